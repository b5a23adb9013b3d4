"""A permit: leave to do one action once. Only the gate mints them; executors take nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from policies.action import ActionBase
from policies.decision import Obligations
from policies.errors import PolicyError

A = TypeVar("A", bound=ActionBase)
_MINT = object()


class Permit:
    """Leave to carry out `action` once, within `obligations`.

    Not a boundary against hostile Python in our own process; it makes the wrong thing awkward to write.
    """

    __slots__ = ("_action", "_open", "_over", "_spent", "key", "obligations", "run")

    def __init__(
        self,
        *,
        mint: object,
        action: ActionBase,
        run: str,
        key: str,
        obligations: Obligations,
        opener: Callable[[str], str],
    ) -> None:
        if mint is not _MINT:
            raise PolicyError("only the gate mints permits")
        self._action, self.run, self.key, self.obligations = action, run, key, obligations
        self._open, self._spent, self._over = opener, False, False

    def redeem(self, kind: type[A]) -> A:
        """The permitted action, once; a second call, another type, or a call too late raises PolicyError."""
        if self._spent:
            raise PolicyError(f"permit {self.key} was already used, or its time is over")
        if not isinstance(self._action, kind):
            raise PolicyError(f"permit {self.key} is for {type(self._action).__name__}, not {kind.__name__}")
        self._spent = True
        return self._action

    def opened(self, text: str) -> str:
        """`text` with the handles this sink may have restored; RedactionError for any other handle."""
        if self._over:
            raise PolicyError(f"the time of permit {self.key} is over")
        return self._open(text)

    def expire(self) -> None:
        """End it, used or not: whoever still holds it can do and open nothing any more."""
        self._spent = self._over = True

    @property
    def action_type(self) -> type[ActionBase]:
        """The type of the permitted action, to dispatch on before redeeming."""
        return type(self._action)
