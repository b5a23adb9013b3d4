"""A very small script, for the world's own tests and for a first try by hand."""

from __future__ import annotations

from sandbox.practice.script import Call, ModelRequest, Say, Script


def smoke() -> Script:
    request = yield Call("get_time", {"city": "杭州"})
    clock = request.find(r"\d\d:\d\d")
    yield Say(f"It is {clock}.", reasoning="The tool has answered.")


def greeting(first: ModelRequest) -> Script:
    yield Say(f"You said: {first.user}")
