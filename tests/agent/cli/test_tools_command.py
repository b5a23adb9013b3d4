"""Users' own tools are listed and tried from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.cli.conftest import Remit

YAML = """name: total
description: Adds numbers.
program: total.sh
effect: read
arguments:
  properties: {numbers: {type: array, items: {type: number}}}
  required: [numbers]
example: {numbers: [1, 2]}
"""


@pytest.fixture
def tools(home: Path) -> Path:
    folder = home / "tools"
    folder.mkdir()
    (folder / "total.yaml").write_text(YAML)
    program = folder / "total.sh"
    program.write_text("#!/bin/sh\ncat >/dev/null\necho '{\"total\": 3}'\n")
    program.chmod(0o755)
    return folder


def test_tools_are_listed_with_what_they_declare(remit: Remit, tools: Path) -> None:
    assert remit("tools", "list").out == "tool\teffect\tprogram\twhat\ntotal\tread\ttotal.sh\tAdds numbers.\n"
    assert remit("tools", "list", "--json").objects == [
        {"tool": "total", "effect": "read", "program": "total.sh", "what": "Adds numbers."}
    ]


def test_a_tool_whose_example_works_is_all_right(remit: Remit, tools: Path) -> None:
    said = remit("tools", "check")

    assert (said.code, said.out) == (0, "Tools: 1, all right.\n")


def test_a_tool_whose_example_fails_is_told(remit: Remit, tools: Path) -> None:
    (tools / "total.sh").write_text("#!/bin/sh\necho '{broken}' >&2\nexit 3\n")

    said, as_json = remit("tools", "check"), remit("tools", "check", "--json")

    assert said.code == as_json.code == 1
    assert "ended with code 3: {broken}" in said.out
    assert as_json.objects[0]["n"] == 1
    assert "{broken}" in as_json.objects[0]["faults"][0]


def test_a_wrong_declaration_is_named_with_its_place(remit: Remit, tools: Path) -> None:
    (tools / "total.yaml").write_text(YAML.replace("effect: read", "effect: look"))

    said = remit("tools", "list")

    assert said.code == 2
    assert f"{tools / 'total.yaml'}:4:" in said.err
