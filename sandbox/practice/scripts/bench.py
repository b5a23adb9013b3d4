"""Many steps of a tool that does nothing, to measure what a governed step costs."""

from __future__ import annotations

from sandbox.practice.script import Call, Say, Script

PLAN = {"summary": "Look at the files.", "steps": [{"title": "look", "tool": "read_file"}]}


def steps(count: int) -> Script:
    """A plan, `count` looks at the files, a word at the end. Arguments differ, or the agent would see a loop."""
    yield Call("submit_plan", PLAN)
    for n in range(count):
        yield Call("read_file", {"path": "a.txt" if n % 2 else "b.txt"})
    yield Say("Done.")


def steps20() -> Script:
    yield from steps(20)


def steps50() -> Script:
    yield from steps(50)


def steps200() -> Script:
    yield from steps(200)
