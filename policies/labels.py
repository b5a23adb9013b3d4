"""Labels: where data came from and who may read it. They join when data meet and never fall alone."""

from __future__ import annotations

from enum import IntEnum

from pydantic import BaseModel, ConfigDict


class Integrity(IntEnum):
    """How far the origin of a value may be trusted to choose things; higher is better."""

    UNTRUSTED = 0
    SOURCE = 1
    """An origin that the operator named as trusted."""
    PLAN = 2
    USER = 3
    OPERATOR = 4


class Label(BaseModel):
    """Integrity × readers, with the names of the origins.

    `readers` is None when anyone may read; otherwise only the named readers may. What carries no
    label is untrusted and private: `Label()`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    integrity: Integrity = Integrity.UNTRUSTED
    readers: frozenset[str] | None = frozenset()
    origins: frozenset[str] = frozenset()

    def join(self, other: Label) -> Label:
        """The label of something made from both: least integrity, common readers, all origins."""
        if self.readers is None or other.readers is None:
            readers = other.readers if self.readers is None else self.readers
        else:
            readers = self.readers & other.readers
        return Label(
            integrity=min(self.integrity, other.integrity),
            readers=readers,
            origins=self.origins | other.origins,
        )


TOP = Label(integrity=Integrity.OPERATOR, readers=None)
"""The neutral element of `join`: nothing has been read yet."""
