"""The README tells the truth: its session is what the demo prints, its commands run, its tests exist."""

from __future__ import annotations

import ast
import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.cli.screen import Screen
from agent.events import Event
from agent.language import Language
from agent.settings import load_settings
from policies.decision import Effect
from policies.load import load
from policies.outcome import Refused
from sandbox.practice.world import down
from tests.policies.asking import action, ask
from tools.own.declaration import OwnTools
from tools.servers.inventory import load_inventory

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = ("README.md", "CHANGELOG.md", "SECURITY.md")
REMIT = Path(sys.executable).with_name("remit")
TYPED = "sk-MADEUP-typed-into-the-readme"
"""What every command of the README is given on standard input."""


class Block(NamedTuple):
    """A fenced block, with the comment above it that says what becomes of it."""

    kind: str
    text: str
    does: str
    given: str


BLOCKS = [
    Block(kind, text, does or "", given or "")
    for does, given, kind, text in re.findall(r"(?m)^(?:<!-- ([a-z ]+): (.+?) -->\n)?```(\w*)\n((?s:.*?))^```$", README)
]


def blocks(kind: str, does: str) -> list[Block]:
    return [block for block in BLOCKS if (block.kind, block.does) == (kind, does)]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A person's, with an empty home. The key keeps secrets in its own file, whatever keyring the desktop has."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("REMIT_", "XDG_", "LC_", "LANG"))}
    yield bare | {
        "HOME": str(home),
        "PATH": f"{REMIT.parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "REMIT_KEYRING_KEY": base64.b64encode(bytes(32)).decode(),
    }
    for name in ("practice", "demo"):
        down(home / f".local/share/remit-{name}/world")


def plain(text: str) -> str:
    """Without ids, times and the breaks of lines, which differ from one play to the next."""
    text = re.sub(r"\b[A-Z0-9]{8,9}\b", "ID", text)
    return " ".join(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text).split())


@pytest.mark.timeout(300)
def test_the_session_on_the_first_screen_is_what_the_demo_prints(environment: dict[str, str], tmp_path: Path) -> None:
    transcript = tmp_path / "transcript"
    with transcript.open("w") as out:
        code = subprocess.run(
            [REMIT, "practice", "demo"], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ).returncode
    said = transcript.read_text("utf-8")

    assert code == 0, said
    rest = plain(said[said.index("\n2. ") :])
    (session,) = blocks("text", "session")
    for part in map(plain, re.split(r"(?m)^…$", session.text)):
        assert part in rest, f"the demo does not print, or not here: {part}"
        rest = rest.split(part, 1)[1]


def test_the_two_commands_after_it_are_targets_of_the_makefile() -> None:
    printed = subprocess.run(["make", "-n", "demo", "test"], cwd=ROOT, capture_output=True, text=True)

    assert printed.returncode == 0, printed.stderr
    assert "/remit practice demo\n" in printed.stdout
    first = next(block for block in BLOCKS if block.kind == "sh")
    assert re.findall(r"(?m)^make (\w+)", first.text) == ["demo", "test"]


@pytest.mark.timeout(300)
def test_every_command_and_every_file_works_in_the_order_of_the_page(
    environment: dict[str, str], tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("policies", "tools", "Makefile"):
        (checkout / name).symlink_to(ROOT / name)
    script = "".join(map(as_shell, BLOCKS))
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"remit() {{ command remit \"$@\" <<< '{TYPED}'; }}\n{script}"],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert TYPED not in run.stdout + run.stderr
    home = Path(environment["HOME"], ".local/share/remit")
    assert list(load_inventory(home / "servers.yaml").servers) == ["web-2"]
    grown = load(checkout / "my-policy.yaml")
    assert {"crm-read", "vat-check"} <= {rule.id for rule in grown.rules}
    assert ask(grown, "browser.open https://crm.example/contacts/17").effect is Effect.ALLOW
    called = OwnTools.load(home / "tools").action("vat_check", {"number": "FD123456782"})
    assert ask(grown, called).effect is Effect.ALLOW


def as_shell(block: Block) -> str:
    """What a reader does with a block, as lines for bash; blocks to look at, and those guarded, are nothing."""
    if block.does == "not run" or block.kind in ("text", "toml"):
        return ""
    if block.kind == "sh":
        return f"{block.text}\n"
    end = f"end of {block.given}"
    match block.does:
        case "append":
            return f"cat >> {block.given} <<'{end}'\n{block.text}{end}\n"
        case "write":
            return f"cat > \"$REMIT_HOME/{block.given}\" <<'{end}'\n{block.text}{end}\n"
        case _:
            raise AssertionError(f"nobody says what becomes of this block:\n{block.text}")


def test_few_blocks_are_left_unrun_and_each_says_why() -> None:
    assert {block.kind for block in BLOCKS} <= {"sh", "yaml", "toml", "text"}
    assert len(blocks("sh", "not run")) <= 4
    assert not blocks("yaml", "not run")


@pytest.mark.parametrize("block", blocks("toml", ""), ids=lambda block: block.text.split('"')[3])
def test_every_model_server_s_settings_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(block.text, "utf-8")

    model = load_settings(environment={"REMIT_HOME": str(tmp_path)}).model

    assert model.base_url.endswith("/v1")
    assert model.model


def test_the_refusal_is_the_one_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("text", "refusal")
    decision = ask(load(ROOT / "policies/presets/back-office.yaml"), block.given)
    refused = Refused(rules=decision.rules, reason=decision.reason, instead=decision.instead)

    Screen(Language("en")).event(Event(kind="outcome", action=action(block.given), outcome=refused))

    assert decision.effect is Effect.DENY
    assert capsys.readouterr().out == block.text


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", README)

    assert len(named) > 20
    missing = [f"{path}::{name}" for path, name in named if name not in functions(ROOT / path)]
    assert missing == []


def test_every_guarantee_names_a_test() -> None:
    table = README[README.index("| Guarantee |") :].split("\n\n")[0].splitlines()[2:]

    assert [row for row in table if not re.search(r"`tests/[\w/]+\.py::\w+` \|$", row)] == []


def functions(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_link_and_file_that_is_named_is_there() -> None:
    missing = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text("utf-8")
        headings = {slug(h) for h in re.findall(r"(?m)^#+ (.+)$", README)}
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if (path and not (ROOT / path).exists()) or (anchor and anchor not in headings):
                missing.append(f"{name}: {target}")
        for path in re.findall(r"`((?:agent|tools|policies|sandbox)/[\w./-]*)`", text):
            if not (ROOT / path).exists():
                missing.append(f"{name}: {path}")
    assert missing == []


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_no_path_of_a_machine_and_no_index(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")

    assert re.findall(r"(?<![\w.~$}])/(?:home|root|work|tmp|Users|usr)/|pypi|/simple\b", text) == []


def test_every_command_and_option_that_is_named_is_there() -> None:
    """Of the subcommands in words between backquotes, which are not run."""
    named = {tuple(found.split()[1:3]) for found in re.findall(r"`(remit [a-z]+(?: [a-z]+)?)", README)}
    known = {"run", "chat", "questions", "approve", "reject", "init", "doctor"}
    groups = {
        "runs": {"list", "show", "files", "resume", "stop"},
        "audit": {"show", "verify", "export", "key", "report", "erase"},
        "policy": {"check", "decide", "describe", "explain", "new", "replay", "schema", "sign", "test"},
        "secrets": {"set", "list", "remove"},
        "tools": {"list", "check"},
        "practice": {"up", "down", "status", "demo"},
    }
    assert {words for words in named if words[0] not in known and words[1] not in groups.get(words[0], ())} == set()
