"""Tables as one HTML page that stands alone: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from policies.question import visible

_STYLE = """body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:.5rem 0 2rem;width:100%}th,td{border:1px solid #ccc;padding:.3rem .6rem;
text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#f0f0f0}.warning{color:#a00;font-weight:600}
.none{color:#666}"""
_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""A page with nothing but its own style: whatever slipped past the escaping could load and run nothing."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table under its heading; `none` is shown when it has no rows, `warnings` above it."""

    heading: str
    names: Sequence[str]
    rows: Iterable[Sequence[Any]]
    none: str = ""
    warnings: Sequence[str] = ()


def page(title: str, sections: Iterable[Section], *, language: str) -> Iterable[str]:
    """The page, piece by piece."""
    yield (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{_text(title)}</h1>\n"
    )
    for section in sections:
        yield f"<h2>{_text(section.heading)}</h2>\n"
        yield from (f'<p class="warning">{_text(warning)}</p>\n' for warning in section.warnings)
        rows = iter(section.rows)
        first = next(rows, None)
        if first is None:
            yield f'<p class="none">{_text(section.none)}</p>\n'
            continue
        heads = "".join(f'<th scope="col">{_text(name)}</th>' for name in section.names)
        yield f"<table><thead><tr>{heads}</tr></thead><tbody>\n"
        for row in (first, *rows):
            yield f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n"
        yield "</tbody></table>\n"
    yield "</body></html>\n"


def _text(value: Any) -> str:
    text = value.strftime("%Y-%m-%d %H:%M:%S") if hasattr(value, "strftime") else str(value)
    return escape(visible(text))
