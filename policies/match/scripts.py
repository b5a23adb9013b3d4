"""Which scripts for sed, awk and jq only turn input into output, and end.

Each reads its script word by word and knows by list what may stand there. Doubt is False.
"""

from __future__ import annotations

import re

_LIMIT = 2000

# sed: commands by list. w, W, r, R and e reach files and programs; b, t, T, D could loop for ever.
_SED_END = r"[ ]*(?:;|\Z|(?=\}))"
_SED_ADDRESS = re.compile(r"[0-9]+(~[0-9]+)?|\$|[+~][0-9]+")
_SED_PLAIN = re.compile(rf"(?:[pPdnNgGhHx=zF]|[qQl][ ]*[0-9]*){_SED_END}")
# The rest of the script is text; at its end a backslash would take the next script in.
_SED_TEXT = re.compile(r"[aic][ ]*[^ \\;}](?:.*[^\\])?\Z")
# The usual way to read all lines before the rest is done: it ends with the input.
_SED_ALL = re.compile(r" *:([a-z]) *; *N *; *\$ *! *b *\1 *; *")
_SED_FLAGS = re.compile(rf"[gpiI0-9]*{_SED_END}")


def sed_reads(script: str) -> bool:
    """True for addresses, blocks, `s` and `y`, and the commands that move, print or drop lines."""
    script = _SED_ALL.sub("", script, count=1) if _SED_ALL.match(script) else script
    at, depth, size = 0, 0, len(script)
    if not script or size > _LIMIT:
        return False
    while at < size:
        if script[at] in " ;":
            at += 1
            continue
        if script[at] == "}":
            at, depth = at + 1, depth - 1
            continue
        after = _sed_addresses(script, at)
        if after is None or after >= size or depth < 0:
            return False
        at, command = after, script[after]
        if command == "{":
            at, depth = at + 1, depth + 1
            continue
        if command in "sy":
            first = _sed_part(script, at + 1)
            second = _sed_part(script, first) if first else None
            end = _SED_FLAGS.match(script, second + 1) if second else None
        else:
            end = _SED_PLAIN.match(script, at) or _SED_TEXT.match(script, at)
        if end is None:
            return False
        at = end.end()
    return depth == 0


def _sed_addresses(script: str, at: int) -> int | None:
    for n in range(2):
        if found := _SED_ADDRESS.match(script, at):
            at = found.end()
        elif script[at : at + 1] in ("/", "\\"):
            end = _sed_part(script, at if script[at] == "/" else at + 1)
            if end is None:
                return None
            at = end + 1
            while script[at : at + 1] in ("I", "M"):
                at += 1
        elif n:
            return None
        while script[at : at + 1] == " ":
            at += 1
        if script[at : at + 1] != "," or n:
            break
        at += 1
        while script[at : at + 1] == " ":
            at += 1
    while script[at : at + 1] in ("!", " "):
        at += 1
    return at


def _sed_part(script: str, at: int) -> int | None:
    """Where the part ends whose delimiter stands at `at`: the place of the next one.

    None where versions of sed disagree, because a delimiter stands inside brackets.
    """
    mark, inside = script[at : at + 1], False
    if not mark or mark in "\\ \n;}" or mark.isalnum():
        return None
    at += 1
    while at < len(script):
        letter = script[at]
        if letter == "\\":
            at += 1
        elif letter == mark:
            return None if inside and mark not in "[]" else at
        elif letter == "[" and not inside:
            inside = True
            at += len(re.match(r"\[\^?\]?", script[at:])[0]) - 1  # type: ignore[index]
        elif letter == "]":
            inside = False
        at += 1
    return None


# awk: functions by list. No input or output but lines and print, no loop but over fields and keys.
_CALLS = (
    "length substr index split sub gsub gensub match sprintf tolower toupper int sqrt exp log sin cos atan2 rand srand "
    "strftime systime mktime asort asorti strtonum"
)
_AWK_CALLS = frozenset(_CALLS.split())
_WORDS = "if else in next nextfile exit delete print printf for BEGIN END length"
_AWK_WORDS = frozenset(_WORDS.split())
_AWK_NEVER = re.compile(
    r"\b(system|getline|close|fflush|popen|while|do|function|func|ARGV|ARGC|ARGIND|ENVIRON|PROCINFO|SYMTAB|FUNCTAB|"
    r"BEGINFILE|ENDFILE|include|load|namespace|switch|return|break|continue)\b"
)
_AWK_TOKEN = re.compile(
    r"(?P<space>[ ]+)|(?P<string>\"(?:[^\"\\]|\\.)*\")|(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<op>\|\||&&|\+\+|--|[-+*/%^=!<>]=|!~|[-+*%^=!<>~?:,;(){}\[\]$/])"
)
_AWK_REGEX = re.compile(r"/(?:[^/\\\[]|\\.|\[\^?\]?(?:\[:[a-z]+:\]|[^]/\\\[]|\\[^]/])*\])*/")
_AWK_LOOP = re.compile(
    r"for *\( *(?P<i>[a-z_]\w*) *= *[0-9]+ *; *(?P=i) *<=? *(?:NF|NR|[0-9]{1,5}) *;"
    r" *(?:(?P=i) *\+\+|\+\+ *(?P=i)|(?P=i) *\+= *[1-9]) *\)"
    r"|for *\( *(?P<d>[a-z_]\w*) *= *(?:NF|[0-9]{1,5}) *; *(?P=d) *>=? *[0-9]{1,5} *; *(?:(?P=d) *--|-- *(?P=d)) *\)"
    r"|for *\( *(?P<k>[A-Za-z_]\w*) +in +[A-Za-z_]\w* *\)"
)


def awk_reads(script: str) -> bool:
    """True for patterns, print, arithmetic on fields, arrays, and loops over fields or keys."""
    # Looked for in strings as well: so it does not matter whether every awk takes `/` for what we take it for.
    if not script or len(script) > _LIMIT or _AWK_NEVER.search(script) or not _awk_loops_end(script):
        return False
    at, before, printing, opened = 0, "", -1, list[str]()
    while at < len(script):
        found = _AWK_TOKEN.match(script, at)
        word, kind = (found[0], found.lastgroup) if found else ("", None)
        if script[at] == "/" and before in ("++", "--", "length"):
            return False  # versions of awk disagree what comes now
        if script[at] == "/" and not re.fullmatch(r"[\w\")\]]", before[-1:]):
            found, kind = _AWK_REGEX.match(script, at), "regex"
        if found is None or (word[:1] == ")" and not opened):
            return False
        at = found.end()
        if kind == "space":
            continue
        if kind == "name" and script[at : at + 1] == "(" and word not in _AWK_CALLS | _AWK_WORDS:
            return False
        if word in ("print", "printf"):
            printing = len(opened)
        elif kind == "op" and word in (";", "{", "}"):
            printing = -1
        elif kind == "op" and word in (">", ">=") and printing >= len(opened):
            return False  # `print > file`
        before, opened = _awk_before(found[0], kind, before, opened)
    return not opened


def _awk_before(word: str, kind: str | None, before: str, opened: list[str]) -> tuple[str, list[str]]:
    """What stands before the next token, as far as it tells whether a `/` divides, and what is open."""
    if kind in ("string", "regex"):
        return '"', opened
    if word in ("(", "["):
        return word, [*opened, before]
    if word in (")", "]") and opened:
        # behind the head of an `if` or `for` there is nothing to divide
        return ("(" if opened[-1] in ("if(", "for(") else word), opened[:-1]
    return (f"{word}(" if word in _AWK_WORDS - {"length"} else word), opened


def _awk_loops_end(script: str) -> bool:
    """True when every `for` is one that ends, and nothing in the script moves what it counts."""
    heads = list(_AWK_LOOP.finditer(script))
    names = [head["i"] or head["d"] or head["k"] for head in heads]
    if len(re.findall(r"\bfor\b", script)) != len(heads) or len(set(names)) < len(names):
        return False
    if not any(head["i"] or head["d"] for head in heads):
        return True
    counted = "|".join([*names, "NF", "NR"])
    moved = rf"\b({counted})\b *([-+*/%^]?=(?!=)|\+\+|--)|(\+\+|--) *({counted})\b|\$ *[(0]|\b(g?sub|split)\b"
    return re.search(moved, _AWK_LOOP.sub("", script)) is None


# jq: functions by list. No modules, no environment, no further inputs, no generators without an end.
_FUNCTIONS = """
abs add all and any arrays as ascii ascii_downcase ascii_upcase booleans bsearch capture catch ceil contains date
dateadd datesub debug del elif else empty end endswith error explode false first flatten floor foreach from_entries
fromdate fromdateiso8601 fromjson getpath gmtime group_by gsub has have_literal_numbers if implode in index indices
infinite inside isinfinite isnan isnormal isvalid iterables join keys keys_unsorted last leaf_paths length limit
localtime log ltrim ltrimstr map map_values match max max_by min min_by mktime nan not now nth null nulls numbers
objects or path paths pick pow recurse reduce reverse rindex round rtrim rtrimstr scalars scan select sort sort_by
split splits sqrt startswith strftime strings strptime sub test then to_entries todate todateiso8601 tojson tonumber
tostream tostring transpose trim true try type unique unique_by utf8bytelength values walk with_entries"""
_JQ_WORDS = frozenset(_FUNCTIONS.split())
_JQ_TOKEN = re.compile(
    r"(?P<space>[ ]+)|(?P<field>\.(?:[A-Za-z_]\w*)?)|(?P<name>[A-Za-z_]\w*)|(?P<variable>\$(?!ENV\b|__)[A-Za-z_]\w*)"
    r"|(?P<format>@(?:text|json|html|uri|csv|tsv|sh|base64d?)\b)|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<op>//=|[|=!<>+*/%-]=|//|\?//|[][(){}|,:;=<>+*/%?-])"
)


def jq_reads(script: str) -> bool:
    """True for paths, arithmetic, strings and the functions that look at one input."""
    at = 0 if script and len(script) <= _LIMIT else None
    while at is not None and at < len(script):
        at = _jq_token(script, at)
    return at is not None


def _jq_token(script: str, at: int) -> int | None:
    """Where the token at `at` ends; None when it is none that may stand there."""
    if script[at] == '"':
        return _jq_string(script, at + 1)
    found = _JQ_TOKEN.match(script, at)
    if found is None or (found["name"] and not _jq_name(script, found)):
        return None
    return found.end()


def _jq_name(script: str, found: re.Match[str]) -> bool:
    """A known word, or the key in `{key: value}` and `{key}`."""
    before, after = script[: found.start()].rstrip(), script[found.end() :].lstrip()
    if found[0] == "range":
        return re.match(r"\( *[0-9]{1,5} *(; *[0-9]{1,5} *)?\)", after) is not None
    if found[0] in _JQ_WORDS:
        return found[0] != "recurse" or after[:1] != "("  # recurse(.) has no end
    key = before[-1:] in ("{", ",") and after[:1] in (":", ",", "}")
    return key and found[0] not in ("env", "input", "inputs", "halt_error", "input_filename")


def _jq_string(script: str, at: int) -> int | None:
    while at < len(script):
        if script[at] == '"':
            return at + 1
        if script[at] != "\\":
            at += 1
        elif script[at + 1 : at + 2] != "(":
            at += 2
        else:
            at, depth = at + 2, 1
            while depth:
                if at >= len(script):
                    return None
                depth += {"(": 1, ")": -1}.get(script[at], 0)
                after = _jq_token(script, at)
                if after is None:
                    return None
                at = after
    return None
