"""How wide a text is on a terminal."""

from __future__ import annotations


def width(text: str) -> int:
    """Columns: East Asian wide characters take two."""
    return sum(2 if "\u2e80" <= c <= "\uffef" else 1 for c in text)
