"""Settings: flags over environment over `settings.toml` over defaults, frozen once read.

`REMIT_HOME` holds everything of one person: settings, policy, inventory, tools, store, runs. Its default is
the XDG data directory. Secrets are never settings: they are named here and kept in the keyring.
"""

from __future__ import annotations

import difflib
import os
import pwd
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.errors import BadSettings
from agent.home import default_home
from agent.language import of_the_system

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(BaseModel):
    """The model endpoint: any OpenAI-compatible server, by base URL, model and the name of its key."""

    model_config = _FROZEN

    name: str = "main"
    base_url: str = ""
    model: str = ""
    key: str = "model-key"
    """Name of the API key in the keyring."""
    price_in: Decimal | None = None
    """Per million tokens, in `currency`; absent means unknown, not free."""
    price_out: Decimal | None = None
    currency: str = "CNY"
    context_tokens: Annotated[int, Field(ge=2_000)] = 131_072
    max_reply_tokens: Annotated[int, Field(ge=256)] = 8_192
    thinking: bool = False


class Settings(BaseModel):
    """Everything a process of Remit needs to know before it starts."""

    model_config = _FROZEN

    home: Path
    store: str = ""
    """Database URL; empty means the file `store.sqlite3` in the home."""
    policy: Path | None = None
    """None means `policy.yaml` in the home."""
    policies: Path | None = None
    """Folder of the layers above it: organisation.yaml, units/, users/, jobs/; None means `policies` in the home."""
    signers: dict[str, str] = Field(default_factory=dict)
    """Name to Ed25519 public key (base64). Where there is one, only what these signed is in force."""
    model: ModelSettings = ModelSettings()
    language: Literal["en", "zh"] = "en"
    browser: Path | None = None
    hosts: dict[str, str] = Field(default_factory=dict)
    """Host name to `127.0.0.1:port`: loopback only, for practice and tests."""
    approvers: tuple[str, ...] = ()
    """Further names that may answer questions here; accepted in practice homes only."""
    practice: bool = False

    @property
    def principal(self) -> str:
        """Who asks and answers: the operating system's name for this person, which no variable can change."""
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return f"uid-{os.getuid()}"

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.home / 'store.sqlite3'}"

    @property
    def policy_path(self) -> Path:
        return self.policy or self.home / "policy.yaml"


def load_settings(*, policy: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force; BadSettings names the file and the field that is wrong."""
    home = default_home(environment)
    path = home / "settings.toml"
    written = ""
    try:
        written = path.read_text(encoding="utf-8") if path.exists() else ""
        stored = tomllib.loads(written)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"{path}: {error}; correct the file or move it away") from None
    if not isinstance(stored.get("model", {}), dict):
        raise BadSettings(
            f"{path}:{_line(written, ('model',))}: model is a table; write [model] and its settings below it"
        )
    model = dict(stored.pop("model", {}))
    for field in ("base_url", "model", "key"):
        if value := environment.get(f"REMIT_MODEL_{field.upper()}" if field != "model" else "REMIT_MODEL"):
            model[field] = value
    language = environment.get("REMIT_LANGUAGE") or stored.pop("language", None) or of_the_system(environment)
    given = {"policy": policy or environment.get("REMIT_POLICY"), "store": environment.get("REMIT_STORE")}
    stored.update({k: v for k, v in given.items() if v})
    try:
        settings = Settings(**{**stored, "home": home, "model": model, "language": language})
    except ValidationError as error:
        first = error.errors()[0]
        field, at = ".".join(str(p) for p in first["loc"]), _line(written, first["loc"])
        place = f"{path}:{at}" if at else str(path)
        if first["type"] == "extra_forbidden":
            known = ModelSettings if first["loc"][0] == "model" else Settings
            near = difflib.get_close_matches(str(first["loc"][-1]), known.model_fields, n=1)
            todo = f"did you mean {near[0]!r}?" if near else "remove it"
            raise BadSettings(f"{place}: there is no setting {field!r}; {todo}") from None
        raise BadSettings(f"{place}: {field}: {first['msg'].lower()}; correct this setting") from None
    _check_hosts(settings, path)
    return settings


def _line(written: str, where: Sequence[str | int]) -> int:
    """The number of the line that sets this; 0 when none does, as where it comes from the environment."""
    table, *names = ["", *map(str, where)] if len(where) == 1 else map(str, where)
    now = ""
    for n, line in enumerate(written.splitlines(), 1):
        now = line.strip().strip("[] ") if line.strip().startswith("[") else now
        if now == table and line.partition("=")[0].strip().strip("\"'") == names[0]:
            return n
    return 0


def _check_hosts(settings: Settings, path: Path) -> None:
    for name, address in settings.hosts.items():
        if not address.startswith("127.0.0.1:") or not address.rpartition(":")[2].isdigit():
            raise BadSettings(f"{path}: hosts.{name}: {address!r} is not 127.0.0.1:port; names map to loopback only")
    if settings.approvers and not settings.practice:
        raise BadSettings(f"{path}: approvers: only a practice home takes further names; remove the setting")
