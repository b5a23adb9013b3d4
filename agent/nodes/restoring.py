"""After a park or a crash the browser is empty: the page is restored by repeating recorded reads and fills.

Every repetition is a submission of its own, judged and recorded like any other. If the page then differs
from what was judged, the executor refuses the old action and the model proposes anew.
"""

from __future__ import annotations

from agent.history import done_actions
from agent.state import State
from agent.work import Work
from policies.action import BrowserClick, BrowserFill, BrowserOpen, BrowserSubmit
from policies.errors import ActionFailed
from policies.outcome import Done

RESTORE_SEQ = 1_000_000
"""Submissions of repetitions live above this, so that they never take the number of a proposal."""


async def restore_page(work: Work, state: State, *, before: int) -> None:
    """Bring the browser back to where the action `before` was judged; ActionFailed when that cannot be done."""
    if work.pages.has_page(work.run):
        return
    for seq, action in done_actions(work.store, work.run, prefix="browser.", before=before):
        repeatable = isinstance(action, BrowserOpen | BrowserFill) or (
            isinstance(action, BrowserSubmit | BrowserClick) and action.does in ("read", "login")
        )
        if not repeatable:
            continue
        again = RESTORE_SEQ * work.epoch + seq
        outcome = await work.gate.submit(work.request(state, action, seq=again))
        if not isinstance(outcome, Done):
            raise ActionFailed(
                f"the page could not be restored ({action.kind} did not succeed again); open it anew",
                may_have_acted=False,
            )
