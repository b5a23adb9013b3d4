"""What a tool of the user's own may answer without harm to the run."""

from __future__ import annotations

import pytest

from sandbox.practice.script import Call, Say, Script
from tests.agent.conftest import Office, step, submit


@pytest.mark.parametrize("effect", ["read", "write"])
async def test_half_a_character_in_the_answer_of_an_own_tool_leaves_no_open_effect(office: Office, effect: str) -> None:
    def script() -> Script:
        yield submit(step("half"))
        yield Call("half", {})
        yield Say("Done.")

    office.bring("half", r"""print('{"x": "\\ud800"}')""", effect=effect)
    office.set_policy("  - {id: own, effect: allow, action: tool.call, tool: half, arguments: {}, why: w}\n")
    office.app = office.another()
    stand = await office.advance(office.begin(script))

    assert stand.standing == "done"
    assert "\ufffd" in office.told(stand.run)[1]
    assert [row["times"] for row in stand.report["steps"]] == [1]
