"""What command text is accepted, and that it means the same to bash."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from policies.action import Command
from tools.commands import matching, parse, render
from tools.errors import ToolError

FILES = ["a", "b.txt", "ab.txt", ".hidden", "sub/c.txt", "sub/-x"]


def glob(pattern: str) -> list[str]:
    return matching(FILES, pattern)


def command(*argv: str, **more: object) -> Command:
    return Command(argv=argv, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "pipelines"),
    [
        ("ls -l", ((command("ls", "-l"),),)),
        ("  df   -h ", ((command("df", "-h"),),)),
        ("grep 'a b' \"c d\"e\\ f", ((command("grep", "a b", "c de f"),),)),
        ("a | b x | c", ((command("a"), command("b", "x"), command("c")),)),
        ("a && b | c && d", ((command("a"),), (command("b"), command("c")), (command("d"),))),
        ("sort < b.txt > out/x.txt", ((command("sort", stdin="b.txt", stdout="out/x.txt"),),)),
        ("echo x >> 'my log'", ((command("echo", "x", stdout="my log", append=True),),)),
        ("wc *.txt ./?", ((command("wc", "ab.txt", "b.txt", "./a"),),)),
        ("wc sub/c* */c.txt", ((command("wc", "sub/c.txt", "sub/c.txt"),),)),
        ("find . -name '*.txt' -exec wc {} + ! -size 1", ((command(
            "find", ".", "-name", "*.txt", "-exec", "wc", "{}", "+", "!", "-size", "1"),),)),
        (r"""echo "a\$b\`c\"d\\e\f" 'g\h' \*""", ((command("echo", r'a$b`c"d\e\f', r"g\h", "*"),),)),
        ("echo '' \"\"", ((command("echo", "", ""),),)),
        ("grep x --include=*.txt", ((command("grep", "x", "--include=*.txt"),),)),
        ("echo HEAD~1 a#b --x=y", ((command("echo", "HEAD~1", "a#b", "--x=y"),),)),
        ("mail ⟦email:abcdefghij⟧", ((command("mail", "⟦email:abcdefghij⟧"),),)),
        ("echo '余额 100'", ((command("echo", "余额 100"),),)),
    ],
)  # fmt: skip
def test_simple_commands_become_argument_vectors(text: str, pipelines: tuple[tuple[Command, ...], ...]) -> None:
    assert parse(text, glob=glob) == pipelines


REFUSED = Path(__file__).with_name("refused.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ToolError):
        parse(text, glob=glob)


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\u202e", "\u200b", "\u2028", "\ufeff"])
def test_a_hidden_character_is_refused_even_in_quotes(character: str) -> None:
    with pytest.raises(ToolError, match="invisible"):
        parse(f"echo 'a{character}b'", glob=None)


def test_a_refusal_says_what_is_accepted() -> None:
    with pytest.raises(ToolError) as refused:
        parse("echo $HOME", glob=None)
    assert str(refused.value) == (
        "shell syntax (ParamExp) is not accepted; accepted are simple commands joined by '|' or '&&' on one line, "
        "literal words (quote anything special with '…'), '*' and '?' in names of files of the run's folder, and '<', "
        "'>' or '>>' with such a name"
    )


def test_a_pattern_without_a_folder_to_look_in_is_refused() -> None:
    with pytest.raises(ToolError, match="cannot be expanded here"):
        parse("ls *.txt", glob=None)


def test_a_pattern_never_turns_a_file_into_an_option() -> None:
    assert matching(["-rf", "a"], "*") == ["-rf", "a"]
    with pytest.raises(ToolError, match="begins with '-'"):
        parse("rm *", glob=lambda pattern: matching(["-rf", "a"], pattern))
    assert parse("rm ./*", glob=lambda pattern: matching(["-rf", "a"], pattern)) == (
        (command("rm", "./-rf", "./a"),),
    )  # fmt: skip


def test_too_many_and_too_long_commands_are_refused() -> None:
    assert len(parse(" && ".join(["true"] * 8), glob=None)) == 8
    for text in (" && ".join(["true"] * 9), "echo " + "x" * 16_000, "", "  ", "\t"):
        with pytest.raises(ToolError):
            parse(text, glob=None)


_words = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]) | st.sampled_from("'\"\\$`!*?[]{}~#&|;<>() \t=-")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_words, max_size=4))
def test_whatever_is_rendered_is_parsed_back(arguments: list[str]) -> None:
    one = Command(argv=("prog", *arguments), stdin="a b", stdout="c'd", append=True)
    two = Command(argv=("/usr/bin/x", *arguments))
    assert parse(render(((one,), (two, two))), glob=None) == ((one,), (two, two))


def test_a_first_word_with_an_equals_sign_is_rendered_as_a_program() -> None:
    assert render(((command("A=1", "b"),),)) == "'A=1' b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("globs")
    for name in FILES:
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).touch()
    return made


_PRELUDE = """command_not_found_handle() { printf '%s\\0' "$@" $'\\x01' >> "$log"; }
exec 2>/dev/null
"""
_fragments = st.sampled_from(
    [*"'\"\\$`!*?[]{}~#&|;<>()=-, ^%@+:.ab", " a", " | ", " && ", "${a}", "$(b)", "''", '""', "\\\\", " *", "{a,b}"]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.lists(_fragments, max_size=8).map("".join))
@example(rest=" a\\*b '*' *")
@example(rest=' "a\\b\\\\\\"\\\'"')
@example(rest="=a | zz b && zz ?")
@example(rest=" a=~ ~ x:~")
@example(rest=" {} a{}b {a} ./* .*")
def test_what_is_accepted_gives_the_same_vectors_in_bash(rest: str, folder: Path, tmp_path: Path) -> None:
    text = f"zz{rest}"
    try:
        pipelines = parse(text, glob=glob)
    except ToolError:
        return
    commands = [c for pipeline in pipelines for c in pipeline]
    if any("/" in c.argv[0] or c.stdin or c.stdout for c in commands):
        return  # bash looks for a file then, and does not ask us
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    bash = shutil.which("bash")
    assert bash is not None
    environment = {"log": str(log), "LC_ALL": "C.UTF-8", "PATH": "/nonexistent"}
    subprocess.run([bash, "-c", _PRELUDE + text], cwd=folder, env=environment, check=False)
    vectors = [v.split("\0")[:-1] for v in log.read_text().split("\x01\0")[:-1]]
    expected = [[unicodedata.normalize("NFC", a) for a in c.argv] for c in commands]
    assert sorted(vectors) == sorted(expected)
