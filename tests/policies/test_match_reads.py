"""Commands that only read are allowed, and nothing can be smuggled through a program that only reads."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.action import EffectClass, ServerRun, ShellRun
from policies.decision import Effect
from policies.load import load
from policies.match import programs
from policies.match.neutral import bare, neutral
from policies.match.programs import reach
from policies.match.scripts import sed_reads
from policies.rules import Policy
from tests.policies.asking import ask
from tools.commands import parse
from tools.errors import ToolError

HERE = Path(__file__).parent
SERVER = "web-1$ "


@cache
def ops_read() -> Policy:
    return load(HERE.parents[1] / "policies/presets/ops-read.yaml")


def corpus(name: str) -> list[str]:
    """The lines of a data file; `web-1$ x` is x on a server, the others run in the run's folder."""
    lines = (HERE / "commands" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("## ")]


def effect(line: str) -> Effect:
    """What the shipped policy says to a command as it is typed; a command that cannot be parsed is refused."""
    try:
        pipelines = parse(line.removeprefix(SERVER), glob=None)
    except ToolError:
        return Effect.DENY
    made = ServerRun(server="web-1", pipelines=pipelines) if line.startswith(SERVER) else ShellRun(pipelines=pipelines)
    said = ask(ops_read(), made, attended=False).effect
    assert said is not Effect.ALLOW or made.effect is EffectClass.READ
    return said


def test_honest_commands_are_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = corpus("honest.txt")
    refused = [line for line in lines if effect(line) is not Effect.ALLOW]
    with capsys.disabled():
        print(f" {len(lines) - len(refused)} of {len(lines)} honest commands allowed", end=" ")
    assert len(lines) >= 150 and len(refused) <= 0.04 * len(lines), refused


def test_nothing_is_smuggled_through_a_program_that_reads(capsys: pytest.CaptureFixture[str]) -> None:
    lines = corpus("smuggled.txt")
    passed = [line for line in lines if effect(line) is not Effect.DENY]
    with capsys.disabled():
        print(f" {len(lines) - len(passed)} of {len(lines)} smuggling commands refused", end=" ")
    assert passed == []
    assert len(set(lines)) == len(lines) >= 400


# Properties (facts/security.md, section 5)

HONEST = [line.removeprefix(SERVER) for line in corpus("honest.txt")]
ODD = [
    ";",
    "&",
    "$(id)",
    "`id`",
    "${x}",
    ">",
    ">>",
    "\n",
    "\r",
    "\x1b",
    "\u202e",
    "\u200b",
    "A=1",
    "$x",
    "\\",
    "!",
    "~",
]


def words(text: str) -> list[str]:
    """Every word of the commands, and what they read from."""
    commands = [command for pipeline in parse(text, glob=None) for command in pipeline]
    return [word for c in commands for word in (*c.argv, *([c.stdin] if c.stdin else ()))]


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(HONEST), st.sampled_from(ODD))
def test_what_is_inserted_into_an_allowed_command_is_refused_or_only_text(
    data: st.DataObject, line: str, odd: str
) -> None:
    """15: allowed is at most the same vector with the odd characters inside a word, where they mean nothing."""
    at = data.draw(st.integers(0, len(line)))
    changed = line[:at] + odd + line[at:]
    if effect(line) is not Effect.ALLOW or effect(changed) is not Effect.ALLOW:
        return
    told = [word.replace(odd, "") if odd != "\\" else word.replace("\\", "") for word in words(changed)]
    assert sorted(filter(None, told)) == sorted(filter(None, (w.replace(odd, "") for w in words(line))))


_TEXT = "lsblk findmnt echo printf basename dirname tr expr tar unzip numfmt dpkg apt apt-cache pgrep rpm df test"
TEXT_ONLY = set(_TEXT.split())
LISTS = ("git branch --list", "git tag -l", "git config")


@pytest.mark.parametrize("odd", ["/etc/shadow", "../x", "/root/.ssh/id_rsa", "a/../../x", ".ssh/id_rsa"])
def test_no_further_operand_of_a_reader_leaves_the_roots(odd: str) -> None:
    """7, 15: whatever is read is under a root."""
    for line in (line for line in HONEST if "|" not in line and "&&" not in line and "<" not in line):
        if TEXT_ONLY.isdisjoint(line.split()) and not line.startswith(LISTS):
            assert effect(f"{line} {odd}") is Effect.DENY, line


def test_an_option_that_is_not_listed_is_refused_everywhere() -> None:
    """Also one cut short, as getopt lets it be, and one with a value that it does not take."""
    for name, grammar in programs._table().items():
        given = [sorted(need)[0] for need in grammar.needs]
        argv = [*name.split("/"), *given]
        assert grammar.stops or reach(neutral([*argv, "--not-listed"])) is None, name
        assert reach(neutral([*argv[:1], "-☃", *argv[1:]])) is None, name
        for long in (o for o in grammar.options if o.startswith("--") and o[:-1] not in grammar.options):
            assert grammar.stops or grammar._parsed([long[:-1]]) is None, (name, long)
            assert grammar.options[long].kinds or grammar._parsed([f"{long}=x"]) is None, (name, long)


SED = st.lists(
    st.sampled_from(
        [
            *"sypdwWrReqQaic=lnNGHDFz{};/|,!$0123 \\[]x^",
            "s/a/b/",
            "/a/",
            "w x",
            "e id",
            "\\/",
            "[/]",
            "s|a|b|",
            "1,2",
            "}",
        ]
    ),
    min_size=1,
    max_size=7,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(SED)
@example("s/[/]/x/e;s/]/y/")
@example("y/a/b/;1,2{p;w x}")
def test_sed_itself_agrees_that_a_script_reads_only(script: str) -> None:
    """GNU sed's sandbox refuses what reads, writes or runs."""
    if sed_reads(script):
        done = subprocess.run(
            ["/usr/bin/sed", "--sandbox", "-n", script], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert b"sandbox" not in done.stderr, script


@given(
    st.lists(
        st.sampled_from(["git", "-C", "x", "log", "diff", "--no-pager", "-c", "curl", "-q", "python3", "-I", "-m"]),
        min_size=1,
    )
)
def test_only_the_neutral_spelling_is_read(argv: list[str]) -> None:
    """5: canonical twice is canonical once."""
    once = neutral(argv)
    assert neutral(once) == once
    assert bare(once) is not None
    assert bare(argv) is None or tuple(argv) == once


def test_no_configuration_of_a_repository_runs_anything(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\necho x >> {mark}\ncat\n")
    trap.chmod(0o700)
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "a").write_text("1\n")
    (folder / ".gitattributes").write_text("a diff=trap\n")

    def git(*words: str) -> None:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)

    git("git", "init", "-q")
    git("git", "add", ".")
    git("git", "-c", "user.name=a", "-c", "user.email=a@shop.example", "commit", "-qm", "x")
    (folder / "a").write_text("2\n")
    for key in (
        "core.fsmonitor",
        "diff.trap.textconv",
        "diff.trap.command",
        "diff.external",
        "gpg.program",
        "core.pager",
    ):
        git("git", "config", key, str(trap))
    git("git", "config", "log.showSignature", "true")
    asked = (
        ["status"],
        ["diff"],
        ["log", "-p"],
        ["show"],
        ["blame", "a"],
        ["describe", "--always", "--dirty"],
        ["ls-files", "-m"],
    )
    for words in asked:
        git(*neutral(["git", *words]))
        assert not mark.exists(), words
    git("git", "status")
    assert mark.exists()  # the trap works
