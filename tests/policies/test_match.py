"""What matches a pattern, and what only looks as if it did."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.action import Command, canonical_url
from policies.match.command import CommandPattern
from policies.match.path import Glob, glob, is_under
from policies.match.url import UrlPattern
from tests.policies.asking import cases, listed

FAST = settings(max_examples=150, deadline=None)
SEGMENT = st.text("ab*", min_size=1, max_size=3).filter(lambda s: s.count("*") < 2)
GLOBS = st.builds(
    lambda head, rest: "/".join([*head, "**"] if rest or not head else head),
    st.lists(SEGMENT, max_size=3),
    st.booleans(),
)
PATHS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


def each(name: str) -> list[Any]:
    """One parameter for each text under each pattern of a data file."""
    return [
        pytest.param(case["pattern"], str(text), wanted == "match", id=f"{text!r} {wanted} {case['pattern']}")
        for case in cases(name)
        for wanted in ("match", "not_match")
        for text in case[wanted]
    ]


@pytest.mark.parametrize(("pattern", "text", "wanted"), each("urls.yaml"))
def test_a_url_matches_by_its_parts_alone(pattern, text, wanted):
    try:
        url = canonical_url(text)
    except ValueError:
        assert not wanted
    else:
        assert UrlPattern.model_validate(pattern).matches(url) is wanted


@pytest.mark.parametrize(("pattern", "text", "wanted"), each("paths.yaml"))
def test_a_path_matches_segment_by_segment(pattern, text, wanted):
    assert glob(pattern).matches(text) is wanted


@pytest.mark.parametrize(("pattern", "text", "wanted"), each("commands.yaml"))
def test_a_command_matches_by_its_grammar_alone(pattern, text, wanted):
    made = CommandPattern.model_validate(listed(pattern))
    assert made.matches(Command(argv=tuple(shlex.split(text)))) is wanted


def test_a_matcher_takes_no_url_that_is_not_canonical():
    with pytest.raises(ValueError, match="not in canonical form"):
        UrlPattern.parse("http://shop.example/**").matches("http://SHOP.example/x")


@pytest.mark.parametrize(
    "text",
    ["shop.example/x", "http://*.shop.example/", "http://a@b/", "http://b/a**", "http://b/*/../x", "ftp://b/", ""],
)
def test_a_pin_that_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError):
        UrlPattern.parse(text)


@pytest.mark.parametrize("text", ["a/**/b", "*a*", "a/../b", "./a", "a//b", "", "a\nb", "a\\b"])
def test_a_path_pattern_has_one_reading(text):
    with pytest.raises(ValueError, match="no path pattern"):
        glob(text)


@pytest.mark.parametrize(
    "given_",
    [
        {"program": "./df"},
        {"program": "/usr/../bin/df"},
        {"program": "df", "args": (), "options": ("-h",)},
        {"program": "find", "options": ("-exec",)},
        {"program": "sort", "options": ("--compress-program",)},
        {"program": "df", "options": ("h",)},
        {"program": "df", "stdout": "../x"},
    ],
)
def test_a_command_pattern_that_could_grant_more_than_it_says_is_refused(given_):
    with pytest.raises(ValueError):
        CommandPattern.model_validate(given_)


@pytest.mark.parametrize("program", ["sudo", "/usr/bin/env", "python3.11", "xargs", "bash", "timeout", "watch"])
def test_a_program_that_runs_others_needs_exact_arguments(program):
    assert CommandPattern(program=program, operands="any").runs_others
    assert not CommandPattern(program=program, args=("x",)).runs_others


def test_a_redirection_needs_its_own_pattern():
    to_file = Command(argv=("df",), stdout="out/df.txt")
    assert not CommandPattern(program="df").matches(to_file)
    assert CommandPattern(program="df", stdout="out/*").matches(to_file)
    assert not CommandPattern(program="df", stdout="out/*").matches(Command(argv=("df",), stdout="out/../x"))
    assert not CommandPattern(program="df", stdout="**").matches(Command(argv=("df",), stdin="a"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rm -rf x", True),
        ("/bin/rm x", True),
        ("./rm x", True),
        ("sudo rm x", True),
        ("sh -c 'cd / && rm x'", True),
        ("grep rm notes", False),
        ("rmdir x", False),
    ],
)
def test_a_refused_program_is_refused_by_any_path_and_through_wrappers(text, wanted):
    assert CommandPattern(program="rm").touches(Command(argv=tuple(shlex.split(text)))) is wanted


def test_a_refusing_pattern_names_words_that_must_not_occur():
    stop = CommandPattern(program="systemctl", args=("stop", "worker"))
    assert stop.touches(Command(argv=("systemctl", "--now", "stop", "-f", "worker")))
    assert not stop.touches(Command(argv=("systemctl", "status", "worker")))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rm -r /srv/data", True),
        ("rm /srv/data -r", True),
        ("rm -rf /srv/data", True),
        ("rm -fr /srv/data", True),
        ("rm -r /srv/data/", True),
        ("rm -r /srv//data", True),
        ("rm -r //srv/data", True),
        ("rm -r /srv/./data", True),
        ("rm -r /srv/x/../data", True),
        ("rm -r -- /srv/data", True),
        ("rm -r --from=/srv/data/", True),
        ("rm -r -t/srv//data", True),
        ("sudo rm /srv/data -r", True),
        ("sh -c 'cd /; rm -rf \"/srv/data/\"; ls'", True),
        ("rm /srv/data", False),
        ("rm -r /srv/database", False),
        ("rm -f /srv/data", False),
        ("ls -r /srv/data", False),
    ],
)
def test_a_refused_command_is_refused_in_any_order_and_spelling(text, wanted):
    stop = CommandPattern(program="rm", args=("-r", "/srv/data"))
    assert stop.touches(Command(argv=tuple(shlex.split(text)))) is wanted


def test_refused_options_are_found_joined_with_their_value_and_cut_short():
    stop = CommandPattern(program="tool", args=("-fv", "--mode=/a/b", "--recursive", "db"))
    assert stop.touches(Command(argv=("tool", "db", "--mode", "/a//b", "-xvf", "--recurs")))
    assert stop.touches(Command(argv=("tool", "--recursive", "--mode=/a/./b", "-v", "db", "-f")))
    assert not stop.touches(Command(argv=("tool", "--recursive", "--mode=/a/b", "-v", "db")))
    assert not stop.touches(Command(argv=("tool", "--recursive", "--mode=/a", "-fv", "db")))


def test_a_word_named_twice_need_be_said_once_and_a_long_one_takes_no_longer():
    stop = CommandPattern(program="tool", args=("-r", "-r", "/a"))
    assert stop.touches(Command(argv=("tool", "-r", "/a", "-" + "r" * 100_000)))


@pytest.mark.parametrize(
    "path", ["..;/admin", "..;x=1/admin", ".;/admin", "..;", "a/..;b", "%2e%2e;/admin", "..%3b/admin"]
)
def test_dots_before_a_semicolon_are_dot_segments(path):
    with pytest.raises(ValueError, match="dot segments"):
        canonical_url(f"http://shop.example/orders/{path}")


def test_port_0_is_no_default_port():
    assert not UrlPattern.parse("http://shop.example/**").matches("http://shop.example:0/")


def test_a_semicolon_after_a_name_is_no_dot_segment():
    for path in ("a;v=1", "a..;b", "a.;/b", ";v=.."):
        assert canonical_url(f"http://shop.example/{path}").endswith(f"/{path}")


def test_a_refusing_url_pattern_is_not_escaped_by_spelling():
    admin = UrlPattern.parse("http://shop.example/admin/*")
    for url in ("/admin/1", "/Admin/1", "/admin/1/", "/%61dmin/1", "/admin/1?x=y"):
        assert admin.touches(canonical_url(f"http://shop.example{url}"))


# Properties (facts/security.md, section 5)


@FAST
@given(GLOBS, st.lists(GLOBS, max_size=3), PATHS)
def test_samples_stand_for_every_path_of_a_pattern(pattern, others, path):
    """7, and the ground of the preflight: whatever set of patterns a path is in, a sample is in the same set."""
    mine, theirs = glob(pattern), [glob(other) for other in others]
    assume(mine.matches(path) and path.count("/") < 4)

    def seen(text: str) -> list[bool]:
        return [other.matches(text) for other in theirs]

    samples = mine.samples(theirs)
    assert all(mine.matches(sample) for sample in samples)
    met = [sample for sample in samples if all(not a or b for a, b in zip(seen(path), seen(sample), strict=True))]
    assert met or sum(seen(path)) > 1  # two other patterns at once: each has a sample of its own
    for n, inside in enumerate(seen(path)):
        assert not inside or any(seen(sample)[n] for sample in samples)


@FAST
@given(GLOBS, PATHS)
def test_what_matches_also_touches(pattern, path):
    assert not glob(pattern).matches(path) or glob(pattern).touches(path)


@FAST
@given(st.text("ab./\\\x00\n*x ", max_size=12))
def test_nothing_outside_a_root_is_under_it(path):
    """7: dot segments, prefixes like root + "x", and a second slash."""
    if is_under(path, "/ab"):
        assert path == "/ab" or (path.startswith("/ab/") and ".." not in path.split("/"))
    if glob("/ab/**").matches(path):
        assert is_under(path, "/ab")


URLISH = st.text("htps:/.@\\shope-x%20A1[]?#&=", max_size=14).map(lambda tail: f"http://shop.example{tail}")


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(URLISH, st.text("htps:/.@\\shopexam%20", max_size=30), URLISH.map(lambda u: u.replace("http", "HTTP")))
)
def test_two_parsers_agree_about_every_url_that_matches(url):
    """16: the appendix of RFC 3986 reads the same scheme, host and port."""
    try:
        canonical = canonical_url(url)
    except ValueError:
        return
    assert canonical_url(canonical) == canonical
    found = re.fullmatch(r"(?:([^:/?#]+):)(?://([^/?#]*))([^?#]*)(?:\?([^#]*))?", canonical)
    assert found
    pattern = UrlPattern(host={"subdomain_of": "example"}, port=None)
    if pattern.matches(canonical):
        assert re.fullmatch(r"([a-z0-9-]+\.)+example", found[2])  # no port, no user-info left
        assert found[1] in ("http", "https")
    if UrlPattern.parse("http://shop.example/**").matches(canonical):
        assert (found[1], found[2]) == ("http", "shop.example")


ODD = st.sampled_from(
    [";", "|", "&", "&&", "$(x)", "`x`", ">", "<", "\n", "\r", "\x1b", "\u202e", "\u200b", "A=1", " ", "{}"]
)


@FAST
@given(st.data(), ODD)
def test_a_changed_word_never_matches_exact_arguments(data, odd):
    """15, at the matcher: a separator, substitution, control or bidi character makes another command."""
    argv = ["systemctl", "restart", "worker"]
    n = data.draw(st.integers(0, 2))
    at = data.draw(st.integers(0, len(argv[n])))
    changed = [*argv[:n], argv[n][:at] + odd + argv[n][at:], *argv[n + 1 :]]
    pattern = CommandPattern(program="systemctl", args=("restart", "worker"))
    assert not pattern.matches(Command(argv=tuple(changed)))
    assert not pattern.matches(Command(argv=(*argv[: n + 1], odd, *argv[n + 1 :])))


@FAST
@given(st.lists(st.text("-abn=/.x5", max_size=5), max_size=4))
def test_only_listed_options_and_operands_match(words):
    """15: whatever matches is made of listed options, their values, and operands under the root."""
    pattern = CommandPattern(program="x", options=("-a", "-b", {"-n": "number"}), operands={"under": "/x"})
    if not pattern.matches(Command(argv=("x", *words))):
        return
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            assert all(is_under(operand, "/x") for operand in left)
            break
        if word == "-n":
            assert left.pop(0).isdecimal()
        elif not re.fullmatch(r"-[ab]+|-n[0-9]+", word):
            assert is_under(word, "/x")


@FAST
@given(st.text(max_size=6))
def test_nothing_invisible_matches(odd):
    assume(not odd.isprintable())
    assert not CommandPattern(program="ls", operands="any").matches(Command(argv=("ls", odd.replace("\x00", "\n"))))


def test_a_pattern_says_what_it_is_in_a_few_words():
    assert str(UrlPattern.parse("http://shop.example/orders/*")) == "http://shop.example/orders/*"
    assert str(UrlPattern(host={"subdomain_of": "example.com"}, port=81)) == "http(s)://*.example.com:81/**"
    assert str(CommandPattern(program="df", options=("-h",), operands="any")) == "df [-h] …"
    assert str(CommandPattern(program="cat", operands={"under": "/var/log"})) == "cat /var/log/**"
    assert isinstance(glob("a"), Glob) and glob("a").literal and not glob("a/**").literal
