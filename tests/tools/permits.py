"""Permits for tests of executors, as the gate would mint them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies import permit as minting
from policies.action import ActionBase
from policies.decision import Obligations
from policies.errors import HandleNotAllowed
from policies.permit import Permit


def permit(action: ActionBase, *, handles: Mapping[str, str] | None = None, **obligations: Any) -> Permit:
    """Leave to do `action` once in run `r1`; `handles` are those that may be restored."""

    def opener(text: str) -> str:
        for handle, value in (handles or {}).items():
            text = text.replace(handle, value)
        if "⟦" in text:
            raise HandleNotAllowed("a value may not be restored here")
        return text

    return Permit(
        mint=minting._MINT,
        action=action,
        run="r1",
        key="r1/1",
        obligations=Obligations(**obligations),
        opener=opener,
    )
