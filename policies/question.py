"""Questions to people: one card, drawn by our code, with a row and a digest for each action."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Literal

from policies.action import Value
from policies.decision import Approvers, AskMode
from policies.errors import AnswerRefused


class Answer(Value):
    """One person's yes or no; `because` goes to the model."""

    yes: bool
    by: str
    at: datetime
    because: str = ""
    account: str = ""
    """The account it came from, such as `system:alice`; `by` is the person, where one is known to have it."""

    @property
    def from_account(self) -> str:
        """The account; answers stored before there were any came from the operating system's."""
        return self.account or f"system:{self.by}"


class Row(Value):
    """One thing that is asked for. `lines` are (label, text) pairs with hidden characters made visible."""

    seq: int
    digest: str
    title: str
    lines: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...] = ()


class Question(Value):
    """A card. It is answered row by row; an answer binds the row's digest, once, until `expires_at`."""

    id: str
    run: str
    turn: int
    about: Literal["plan", "action", "unknown"]
    rows: tuple[Row, ...]
    mode: AskMode
    approvers: Approvers
    requester: str
    policy_digest: str
    asked_at: datetime
    expires_at: datetime
    closed: bool = False

    def row(self, seq: int) -> Row | None:
        """The row of a submission."""
        return next((r for r in self.rows if r.seq == seq), None)

    def verdict(self, row: Row, now: datetime) -> bool | None:
        """True: enough yes. False: a no, or too late. None: still open."""
        if any(not a.yes for a in row.answers):
            return False
        if len({a.by for a in row.answers}) >= self.approvers.answers:
            return True
        return False if now >= self.expires_at else None

    def settled(self, now: datetime) -> bool:
        """True when no row is open any more."""
        return all(self.verdict(r, now) is not None for r in self.rows)

    def answered(self, answers: dict[int, Answer], now: datetime) -> Question:
        """This question with answers added by row seq; AnswerRefused when one does not count."""
        rows = []
        for row in self.rows:
            answer = answers.get(row.seq)
            if answer is None:
                rows.append(row)
                continue
            if now >= self.expires_at:
                raise AnswerRefused(f"question {self.id!r} expired at {self.expires_at:%Y-%m-%d %H:%M} UTC")
            if self.closed or self.verdict(row, now) is not None:
                raise AnswerRefused(f"question {self.id!r} is already answered; an answer counts once")
            if any(a.by == answer.by for a in row.answers):
                raise AnswerRefused(f"{answer.by!r} already answered {self.id!r}; another person must")
            rows.append(row.model_copy(update={"answers": (*row.answers, answer)}))
        if unknown := set(answers) - {r.seq for r in self.rows}:
            raise AnswerRefused(f"question {self.id!r} has no row {min(unknown)}")
        return self.model_copy(update={"rows": tuple(rows)})


def visible(text: str) -> str:
    """`text` with control, bidirectional and other invisible characters, and odd blanks, written as ⟨U+XXXX⟩."""
    return "".join(f"⟨U+{ord(c):04X}⟩" if _unseen(c) else c for c in text)


def _unseen(c: str) -> bool:
    return c not in _BLANKS and (unicodedata.category(c) in _UNSEEN_KINDS or c in _UNSEEN)


_BLANKS = "\n \u3000"
"""What a reader sees as what it is; the last one is the blank of Chinese text."""
_UNSEEN_KINDS = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"})
# Letters and marks that draw nothing (Unicode's Default_Ignorable_Code_Point), and the empty Braille cell.
_UNSEEN = frozenset(
    chr(c)
    for first, last in (
        *((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800)),
        *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
    )
    for c in range(first, last + 1)
)
