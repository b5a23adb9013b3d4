"""What was restored for an effect never comes back to the model in clear, whatever was written around it."""

from __future__ import annotations

from sandbox.practice.script import Call, Say, Script
from tests.agent.conftest import POLICY, Office, step, submit

PHONE = "13800138000"
RESTORING = POLICY.replace(
    "action: [file.write, table.write]", "action: [file.write, table.write], restore: [email, phone, cn_id, bank_card]"
)


async def test_a_handle_put_between_digits_is_refused_and_its_value_never_reaches_the_model(office: Office) -> None:
    office.set_policy(text=RESTORING)

    def script() -> Script:
        yield submit(step("write_file", path="n.txt", at_most=2))
        seen = yield Call("read_file", {"path": "given.txt"})
        handle = seen.find("⟦phone:[a-z2-7]{10}⟧")
        yield Call("write_file", {"path": "n.txt", "text": f"0{handle}0"})
        yield Call("write_file", {"path": "n.txt", "text": f"0.{handle}"})
        yield Call("read_file", {"path": "n.txt"})
        yield Say("Done.")

    run = office.begin(script, given=f"call {PHONE}")
    stand = await office.advance(run)

    assert (stand.standing, office.problems()) == ("done", [])
    refused, written = office.told(run)[2:4]
    assert "touches a letter, a digit or another handle" in refused
    assert "REFUSED" not in written
    assert office.files(run)["n.txt"] == f"0.{PHONE}"
    assert PHONE not in str(office.asked_of_model())
