"""Scripts that only the tests of the practice model play."""

from __future__ import annotations

from sandbox.practice.script import Call, Calls, Fault, Kind, Say, SayJson, Script

TIME = Call("get_time", {"city": "杭州"}, reasoning="先查时间。")
TWO = Calls(Call("get_time", {"city": "杭州"}), Call("send_message", {"to": "mary", "text": "明天见"}))


def two_calls() -> Script:
    yield TWO


def json_plan() -> Script:
    yield SayJson({"goal": "见面"})


def broken_arguments() -> Script:
    yield Call("get_time", '{"city": "杭')


def faults() -> Script:
    """Every kind, one after another; those with a shape of their own play two calls."""
    for kind in Kind:
        yield Fault(kind, TWO if kind is not Kind.REASONING_FIELD else Say("四点", "想"), 0.05)


def impatient() -> Script:
    yield Fault(Kind.RATE_LIMIT)
    yield Fault(Kind.SERVER_ERROR)
    yield Say("third time lucky")


def fails() -> Script:
    request = yield Say("first")
    yield Say(request.find("never there"))


def counts() -> Script:
    request = yield Say("one")
    request = yield Say(f"two after {request.messages[-2]['content']}")
    yield Say(f"three after {request.messages[-2]['content']}")


def remembers() -> Script:
    request = yield TIME
    clock = request.find(r"\d\d:\d\d")
    yield Say("noted")
    yield Say(f"it was {clock}")
