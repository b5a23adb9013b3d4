"""The errors of the practice world.

PracticeError
    the world cannot be made, found or used; the message says what to do
"""

from __future__ import annotations


class PracticeError(Exception):
    """The operator must change something before the practice world can be used."""
