"""`remit init`: a short interview that leaves a home in which everything works."""

from __future__ import annotations

import getpass
import json
import os
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from agent.cli.desk import Desk, desk
from agent.errors import BadSettings

if TYPE_CHECKING:
    from agent.language import Language
    from agent.settings import ModelSettings

PROVIDERS = {
    "DashScope": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen3.8-flash"),
    "vLLM": ("http://127.0.0.1:8000/v1", "Qwen/Qwen3-8B"),
    "Ollama": ("http://127.0.0.1:11434/v1", "qwen3:8b"),
    "other": ("", ""),
}
"""Base URL and model that are proposed. DashScope's is Beijing's shared host; other regions have their own."""
POLICIES = ("read-only", "back-office", "ops-read", "ops-change")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("init")(init)


def init() -> int:
    """Set up model, key and policy in a short interview.

    It asks for language, model server, base URL, model, key and a starter policy, writes them down when all is asked,
    and looks whether all of it works.
    """
    from agent.cli.doctor import doctor  # start-up time
    from agent.language import Language
    from agent.settings import load_settings

    settings = load_settings()
    policy, path, model = settings.home / "policy.yaml", settings.home / "settings.toml", settings.model
    try:
        code = _asked(Language(settings.language), "Language / 语言", settings.language, ("en", "zh"))
        say = Language(code)
        url, name = _server(say, model)
        host = str(urlsplit(url).hostname)
        with desk() as at:
            key, value = _key(at, say, host, model.key)
            preset = "" if policy.exists() else _asked(say, say("Starter policy"), POLICIES[0], POLICIES)
            before = path.read_text("utf-8") if path.exists() else ""
            after = changed(before, {"language": code}, {"base_url": url, "model": name, "key": key}, str(path))
            # All is asked; from here on it is written.
            if value:
                at.app.keep_secret(key, value, (host,))
    except EOFError:
        print()
        raise BadSettings("the input ended before everything was asked, so nothing is set; run: remit init") from None
    if preset:
        _write(policy, files("policies").joinpath("presets", f"{preset}.yaml").read_text("utf-8"))
    else:
        print(say("Your policy is kept as it is: {policy}", policy=policy))
    _write(path, after)
    print(say("Written: {path}. What may be done stands in {policy}: make it yours.", path=path, policy=policy))
    return doctor()


def changed(before: str, top: dict[str, str], model: dict[str, str], name: str) -> str:
    """The settings in `before` with these values at the top and in `[model]`, everything else as it stood.

    BadSettings when they are written in a way that this cannot change; then nothing is lost.
    """
    try:
        wanted: dict[str, Any] = tomllib.loads(before)
        wanted |= {**top, "model": {**wanted.get("model", {}), **model}}
        lines = before.splitlines()
        _set(lines, 0, top)
        if "[model]" not in map(str.strip, lines):
            lines += ["", "[model]"]
        _set(lines, [line.strip() for line in lines].index("[model]") + 1, model)
        after = "\n".join(lines) + "\n"
        if tomllib.loads(after) == wanted:
            return after
    except (tomllib.TOMLDecodeError, TypeError):
        pass
    raise BadSettings(f"{name} is written in a way that init cannot change; set language and [model] in it by hand")


def _set(lines: list[str], start: int, values: dict[str, str]) -> None:
    """Set plain `key = value` lines of the table that begins at `start`, or put them there."""
    end = next((n for n in range(start, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    for key, value in reversed(values.items()):
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        at = next((n for n in range(start, end) if lines[n].partition("=")[0].strip() == key), None)
        if at is None:
            lines.insert(start, line)
            end += 1
        else:
            lines[at] = line


def _server(say: Language, model: ModelSettings) -> tuple[str, str]:
    """Base URL and model; what is set already is proposed."""
    now = next((name for name, (url, _) in PROVIDERS.items() if url == model.base_url), "other")
    provider = _asked(say, say("Model server"), now if model.base_url else "DashScope", tuple(PROVIDERS))
    proposed = (model.base_url, model.model) if model.base_url and provider == now else PROVIDERS[provider]
    while True:
        url = _asked(say, say("Base URL"), proposed[0])
        try:
            if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname:
                break
        except ValueError:  # brackets that hold no address
            pass
        print(
            say(
                "{url} is no base URL such as http://127.0.0.1:8000/v1; it begins with http:// or https://",
                url=repr(url),
            )
        )
    while not (name := _asked(say, say("Model"), proposed[1])):
        print(say("A model must be named, as the server names it."))
    return url, name


def _key(at: Desk, say: Language, host: str, named: str) -> tuple[str, str]:
    """The name under which the server's key is kept, empty for a server that needs none; and a key to be kept."""
    vault, fresh = at.app.vault, f"model-key-{host}"
    kept = next((n for n in (named, "model-key", fresh) if n and (s := vault.find(n)) and host in s.sinks), "")
    prompt = say("API key (empty: keep the one that is there)") if kept else say("API key (empty: none is needed)")
    if not kept and host.endswith(".aliyuncs.com"):
        prompt = say("API key")
    while not (value := getpass.getpass(f"{prompt}: ") if sys.stdin.isatty() else _asked(say, prompt, "")):
        if kept or not host.endswith(".aliyuncs.com"):
            break
        print(say("{host} needs a key; Ctrl-D ends without changing anything.", host=host))
    if value:
        # The key of another host is kept under its own name: it is never sent here, and never lost.
        kept = kept or ("model-key" if vault.find("model-key") is None else fresh)
    return kept, value


def _asked(say: Language, prompt: str, proposed: str, choices: tuple[str, ...] = ()) -> str:
    """What the person types, else what is proposed; one of the choices where there are some. EOFError."""
    shown = f" ({', '.join(choices)})" if choices else ""
    while True:
        print(f"{prompt}{shown}{f' [{proposed}]' if proposed else ''}: ", end="", flush=True)  # see run_command
        typed = input().strip() or proposed
        found = [c for c in choices if c.lower().startswith(typed.lower())]
        if not choices or len(found) == 1:
            return found[0] if found else typed
        many = len(found) > 1
        print(say("{typed} begins several of these" if many else "{typed} is none of these", typed=repr(typed)))


def _write(path: Path, text: str) -> None:
    """Put a file in place whole, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
