"""Users' own tools: declared in YAML, run as confined children."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tools.own
from policies.action import EffectClass, Repeat, ToolCall
from policies.errors import ActionFailed, HandleNotAllowed
from policies.labels import Integrity, Label
from policies.ports import Raw
from sandbox.workspace import Workspace
from tests.tools.permits import permit
from tools.errors import BadTool, ToolError
from tools.own.declaration import OwnTools
from tools.own.executor import OwnExecutor

EXAMPLE = Path(tools.own.__file__).parent / "example"
ECHO = "json.dump({'said': asked}, sys.stdout)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    return tmp_path / "tools"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "r1", quota_bytes=1 << 20)


def bring(folder: Path, body: str = ECHO, name: str = "mine", **more: Any) -> OwnTools:
    """A folder with one more tool in it."""
    program = folder / name
    program.write_text(f"#!/usr/bin/python3 -I\nimport json, os, sys, time\nasked = json.load(sys.stdin)\n{body}\n")
    program.chmod(0o755)
    declared = {
        "name": name,
        "description": "A made-up tool.",
        "program": name,
        "arguments": {
            "properties": {"text": {"type": "string"}, "many": {"type": "array", "items": {"type": "integer"}}},
            "required": ["text"],
        },
        **more,
    }
    (folder / f"{name}.yaml").write_text(json.dumps(declared))  # JSON is YAML too
    return OwnTools.load(folder)


async def call(own: OwnTools, workspace: Workspace, text: str = "a", **more: Any) -> Raw:
    return await OwnExecutor(own, lambda run: workspace).execute(permit(own.action("mine", {"text": text}), **more))


# declarations


def test_what_is_not_declared_means_write_and_never_again(folder: Path) -> None:
    action = bring(folder).action("mine", {"text": "a"})
    assert (action.effect, action.repeat, action.sinks) == (EffectClass.WRITE, Repeat.NEVER, ())
    action = bring(folder, effect="egress", repeat="keyed", sinks=["text"]).action("mine", {"text": "a"})
    assert (action.effect, action.repeat, action.sinks) == (EffectClass.EGRESS, Repeat.KEYED, ("text",))


def test_a_folder_that_is_not_there_holds_no_tools(tmp_path: Path) -> None:
    own = OwnTools.load(tmp_path / "none")
    assert (own.declarations, own.schemas()) == ((), [])
    with pytest.raises(ToolError, match="the own tools are: none"):
        own.action("mine", {})


def test_a_model_is_told_the_arguments_as_json_schema(folder: Path) -> None:
    (schema,) = bring(folder).schemas()
    assert schema == {
        "name": "mine",
        "description": "A made-up tool.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "many": {"type": "array", "items": {"type": "integer"}}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }


GOOD: dict[str, Any] = {"text": "a", "count": 2, "share": 1, "sure": True, "kind": "b", "many": [1]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"text": None}, "text: input should be a valid string"),
        ({"text": 1}, "text: input should be a valid string"),
        ({"count": "2"}, "count: input should be a valid integer"),
        ({"count": True}, "count: input should be a valid integer"),
        ({"share": "x"}, "share: input should be a valid number"),
        ({"sure": 1}, "sure: input should be a valid boolean"),
        ({"kind": "c"}, "kind: input should be 'a' or 'b'"),
        ({"many": ["x"]}, "many.0: input should be a valid integer"),
        ({"many": "x"}, "many: input should be a valid list"),
        ({"other": 1}, "other: extra inputs are not permitted"),
    ],
)
def test_arguments_that_are_not_as_declared_go_back_to_the_model(
    folder: Path, change: dict[str, Any], sentence: str
) -> None:
    properties = {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "many": {"type": "array", "items": {"type": "integer"}},
    }
    own = bring(folder, arguments={"properties": properties, "required": ["text"]})
    assert own.action("mine", {**GOOD}).arguments == GOOD
    with pytest.raises(ToolError) as refused:
        own.action("mine", {**GOOD, **change})
    assert str(refused.value) == f"mine: {sentence}"
    with pytest.raises(ToolError, match="text: field required"):
        own.action("mine", {})


BAD = {
    "name: x": [(1, 1, "description: field required"), (1, 1, "program: field required")],
    "name: Bad Name\ndescription: d\nprogram: mine": [(1, 1, "name: string should match pattern")],
    "name: x\ndescription: d\nprogram: missing": [(3, 1, "'missing' is no executable file")],
    "name: x\ndescription: d\nprogram: plain": [(3, 1, "'plain' is no executable file")],
    "name: x\ndescription: d\nprogram: mine\nread:\n  - mine\n  - nowhere\n  - /": [
        (6, 5, "'nowhere' is not there"),
        (7, 5, "'/' is not there, or is the whole machine"),
    ],
    "name: x\ndescription: d\nprogram: mine\nnetwork: true": [(4, 1, "network: input should be False")],
    "name: x\ndescription: d\nprogram: mine\neffekt: read": [(4, 1, "effekt: extra inputs are not permitted")],
    "name: x\ndescription: d\nprogram: mine\nrepeat: probe": [(1, 1, "'repeat: probe' needs 'probe: true'")],
    "name: x\ndescription: d\nprogram: mine\nsinks: [to]": [(1, 1, "'to' is none of the arguments' properties")],
    "name: x\ndescription: d\nprogram: mine\narguments:\n  properties:\n    a: {type: text}": [
        (6, 9, "arguments.properties.a.type: input should be")
    ],
    "name: x\nname: y": [(2, 1, "found duplicate key")],
    "name: [": [(1, 8, "")],
    "- a": [(1, 1, "a declaration is a mapping")],
    "": [(1, 1, "a declaration is a mapping")],
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_declaration_does_not_load_and_says_where(folder: Path, text: str) -> None:
    bring(folder)
    (folder / "plain").write_text("#!/bin/sh\n")
    path = folder / "bad.yaml"
    path.write_text(text)
    with pytest.raises(BadTool) as refused:
        OwnTools.load(folder)
    said = str(refused.value).splitlines()
    assert len(said) == len(BAD[text])
    for line, (row, column, sentence) in zip(said, BAD[text], strict=True):
        assert line.startswith(f"{path}:{row}:{column}: {sentence}")


def test_a_file_that_is_no_text_does_not_load(folder: Path) -> None:
    (folder / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadTool, match=r"bad\.yaml:1:1: this is no YAML file"):
        OwnTools.load(folder)


def test_two_tools_of_one_name_do_not_load(folder: Path) -> None:
    bring(folder)
    shutil.copy(folder / "mine.yaml", folder / "other.yaml")
    with pytest.raises(BadTool, match="another tool 'mine'"):
        OwnTools.load(folder)


# calls


async def test_a_tool_gets_arguments_and_key_and_gives_an_object(folder: Path, workspace: Workspace) -> None:
    raw = await call(bring(folder), workspace, "甲")
    said: Any = {"said": {"arguments": {"text": "甲"}, "key": "r1/1"}}
    label = Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=frozenset({"tool:mine"}))
    assert raw == Raw(text=json.dumps(said, ensure_ascii=False), data=said, label=label, level="namespaces")


async def test_a_tool_works_in_the_runs_folder_without_a_network_or_our_files(
    folder: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MADEUP_TOKEN", "made-up-token")
    (tmp_path / "secret").write_text("made-up-secret")
    (folder / "beside").write_text("x")
    (folder / "given").write_text("x")
    body = f"""
import socket
open("out.txt", "w").write("made")
json.dump({{
    "seen": [p for p in ({str(tmp_path / "secret")!r}, {str(folder / "beside")!r}) if os.path.exists(p)],
    "given": os.access({str(folder / "given")!r}, os.R_OK) and not os.access({str(folder / "given")!r}, os.W_OK),
    "token": os.environ.get("MADEUP_TOKEN"),
    "net": [name for _, name in socket.if_nameindex()],
}}, sys.stdout)"""
    raw = await call(bring(folder, body, read=["given"]), workspace)
    assert raw.data == {"seen": [], "given": True, "token": None, "net": ["lo"]}
    assert workspace.files() == ("out.txt",)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("sys.exit('no such customer\\nin the books')", "ended with code 1: no such customer in the books"),
        ("sys.exit(3)", "ended with code 3: it said nothing"),
        ("print('hello')", "did not print one JSON object"),
        ("print('[1]')", "did not print one JSON object"),
        ("pass", "did not print one JSON object"),
        ("print(json.dumps({'a': 'x' * 70_000}))", "did not print one JSON object of at most 65,536 bytes"),
        ("print('[' * 60_000)", "did not print one JSON object"),
        ("time.sleep(60)", r"did not end within 0\.5 s"),
    ],
)
async def test_a_tool_that_fails_does_so_in_words(folder: Path, workspace: Workspace, body: str, sentence: str) -> None:
    with pytest.raises(ActionFailed, match=f"^The tool 'mine' {sentence}") as failed:
        await call(bring(folder, body, timeout_s=0.5), workspace)
    assert failed.value.may_have_acted is True
    with pytest.raises(ActionFailed) as failed:
        await call(bring(folder, body, timeout_s=0.5, effect="read"), workspace)
    assert failed.value.may_have_acted is False


async def test_a_talkative_tool_is_still_understood(folder: Path, workspace: Workspace) -> None:
    raw = await call(bring(folder, "sys.stderr.write('x' * 200_000); print('{}')"), workspace)
    assert raw.data == {}


async def test_a_long_complaint_is_cut(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(ActionFailed) as failed:
        await call(bring(folder, "sys.exit('x' * 9_000)"), workspace)
    assert len(str(failed.value)) < 2_100


@pytest.mark.parametrize("change", ["program", "declaration", "removed"])
async def test_a_changed_tool_is_another_action(folder: Path, workspace: Workspace, change: str) -> None:
    action = bring(folder, "open('ran', 'w'); print('{}')").action("mine", {"text": "a"})
    if change == "program":
        with (folder / "mine").open("a") as program:
            program.write("# changed\n")
        own = OwnTools.load(folder)
    elif change == "declaration":
        own = bring(folder, "open('ran', 'w'); print('{}')", effect="read")
    else:
        own = OwnTools({})
    with pytest.raises(ActionFailed, match=r"changed since|there is no tool") as failed:
        await OwnExecutor(own, lambda run: workspace).execute(permit(action))
    assert failed.value.may_have_acted is False
    assert workspace.files() == ()


async def test_handles_reach_the_tool_only_where_allowed(folder: Path, workspace: Workspace) -> None:
    handles = {"⟦email:abcdefghij⟧": "li@corp.example"}
    own = bring(folder, "open('ran', 'w'); " + ECHO)
    with pytest.raises(HandleNotAllowed):
        await call(own, workspace, "to ⟦email:abcdefghij⟧")
    assert workspace.files() == ()
    raw = await call(own, workspace, "to ⟦email:abcdefghij⟧", handles=handles)
    assert raw.data == {"said": {"arguments": {"text": "to li@corp.example"}, "key": "r1/1"}}


async def test_stronger_walls_than_there_are_stop_the_tool(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(ActionFailed, match="full"):
        await call(bring(folder, "open('ran', 'w')"), workspace, least_level="full")
    assert workspace.files() == ()


async def test_a_tool_that_can_says_whether_a_call_happened(folder: Path, workspace: Workspace) -> None:
    body = "print(json.dumps({'happened': asked['probe'] and os.path.exists('x'), 'result': {'id': asked['key']}}))"
    own = bring(folder, body, repeat="probe", probe=True)
    executor = OwnExecutor(own, lambda run: workspace)
    action = own.action("mine", {"text": "a"})
    assert await executor.probe(permit(action)) is None
    workspace.write("x", b"")
    raw = await executor.probe(permit(action))
    assert raw is not None
    assert raw.data == {"id": "r1/1"}


@pytest.mark.parametrize("body", ["print('{}')", """print('{"happened": "yes"}')"""])
@pytest.mark.parametrize("probe", [True, False])
async def test_an_unclear_answer_to_a_probe_stays_unclear(
    folder: Path, workspace: Workspace, body: str, probe: bool
) -> None:
    own = bring(folder, body, probe=probe)
    with pytest.raises(ActionFailed, match="cannot tell") as failed:
        await OwnExecutor(own, lambda run: workspace).probe(permit(own.action("mine", {"text": "a"})))
    assert failed.value.may_have_acted is True


# remit tools check


async def test_a_check_runs_the_examples_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    bring(folder, "sys.exit('ran')", "silent")
    bring(folder, "sys.exit('broken')", "broken", example={"text": "a"})
    bring(folder, ECHO, "wrong", example={"text": 1})
    own = bring(folder, ECHO, "good", example={"text": "a"})
    assert await own.check() == [
        "broken: the example does not work: The tool 'broken' ended with code 1: broken.",
        "wrong: the example does not work: wrong: text: input should be a valid string",
    ]


@pytest.mark.parametrize(("number", "valid"), [("FD123456782", True), ("fd 123 456 782", True), ("FD123456783", False)])
async def test_the_worked_example_works(workspace: Workspace, number: str, valid: bool) -> None:
    own = OwnTools.load(EXAMPLE)
    assert await own.check() == []
    action = own.action("vat_check", {"number": number})
    assert isinstance(action, ToolCall)
    assert action.effect is EffectClass.READ
    raw = await OwnExecutor(own, lambda run: workspace).execute(permit(action))
    assert raw.data == {"valid": valid, "number": number.replace(" ", "").upper()}
