"""The agent cannot read or change what governs it, nor answer its own questions, even where the policy allows all.

The home is a practice home under the policy that allows everything: what holds here are the walls, not the rules.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.events import nobody
from agent.settings import load_settings
from agent.store.runs import Run, this_process
from agent.wiring import App
from policies.action import ACTION, ActionBase
from policies.decision import Approvers, AskMode
from policies.gate import Gate
from policies.outcome import Done, Outcome, Refused
from policies.question import Question, Row
from policies.request import Request
from tools.own.declaration import OwnTools

MARK = "GOVERNING-MADEUP"
OURS = ("policy.yaml", "people.yaml", "settings.toml", "servers.yaml", "keys.json", "policies/organisation.yaml")
SEALED = ("store.sqlite3", "checkpoints.sqlite3", "keyring.sealed", "keyring.key")
TARGETS = (*OURS, *SEALED, "tools/spy.yaml", "runs/OTHER/notes.txt")


class Console(BaseHTTPRequestHandler):
    """Stands for a console of ours on this machine, which would take answers."""

    hits: list[str] = []  # noqa: RUF012  one for the test

    def do_GET(self) -> None:
        Console.hits.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(MARK.encode())

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None: ...


class Inside:
    """A run whose every proposal is submitted to the real gate with the real executors behind it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        for name in OURS[1:]:
            (home / name).parent.mkdir(exist_ok=True)
        allow_all = files("sandbox.practice").joinpath("allow-all.yaml").read_text("utf-8")
        allow_all = allow_all.replace("steps: 200, minutes: 60", "steps: 9999, minutes: 600")
        for name in ("policy.yaml", "policies/organisation.yaml"):
            (home / name).write_text(f"# {MARK}\n{allow_all}")
        (home / "people.yaml").write_text(f"# {MARK}\nversion: 1\npersons: {{a: {{accounts: {{system: someone}}}}}}\n")
        (home / "settings.toml").write_text(
            f'# {MARK}\npractice = true\n[model]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
        )
        (home / "servers.yaml").write_text(f"# {MARK}\nservers: {{}}\n")
        (home / "runs/OTHER").mkdir(parents=True)
        (home / "runs/OTHER/notes.txt").write_text(MARK)
        self._bring_a_spy()
        self.app = App(load_settings(environment={"REMIT_HOME": str(home), "REMIT_LANGUAGE": "en"}))
        self.app.keep_secret("some-key", f"{MARK}-secret", ("shop.example",))
        self.seq = 10

    def _bring_a_spy(self) -> None:
        """A tool of the user's own that turned bad: it does the Python that it is given."""
        folder = self.home / "tools"
        folder.mkdir()
        (folder / "spy").write_text(
            "#!/usr/bin/python3 -I\nimport json, os, subprocess, sys\nasked = json.load(sys.stdin)\nsaid = {}\n"
            "try:\n    exec(asked['arguments']['code'], {'said': said, 'os': os, 'subprocess': subprocess})\n"
            "except Exception as error:\n    said['error'] = repr(error)\njson.dump(said, sys.stdout)\n"
        )
        (folder / "spy").chmod(0o755)
        arguments = {"properties": {"code": {"type": "string"}}, "required": ["code"]}
        declared = {"name": "spy", "description": "Made up.", "program": "spy", "arguments": arguments}
        (folder / "spy.yaml").write_text(json.dumps(declared | {"description": f"Made up. {MARK}"}))

    async def begin(self) -> None:
        policy = self.app.policy()
        me = self.app.settings.principal
        run = Run(
            id="RUN",
            created_at=self.app.clock.now(),
            principal=me,
            title="t",
            policy_digest=policy.digest,
            graph_version=1,
        )
        self.app.store.runs.create(run)
        self.epoch = self.app.store.runs.claim("RUN", this_process(), 600)
        self.gate: Gate = (await self.app.hands(run, policy, nobody)).gate
        self.folder = self.home / "runs" / "RUN"
        now = self.app.clock.now()
        self.question = Question(
            id="QOPEN",
            run="RUN",
            turn=1,
            about="action",
            rows=(Row(seq=1, digest="d", title="pay", lines=()),),
            mode=AskMode.EACH,
            approvers=Approvers(),
            requester=me,
            policy_digest=policy.digest,
            asked_at=now,
            expires_at=now.replace(year=now.year + 1),
        )
        with self.app.store.questions._db.writing():
            self.app.store.questions.put(self.question)
        self.before = self.governing()

    def governing(self) -> dict[str, str]:
        """What each file that governs holds. The store and the checkpoints are written by us as the run goes on."""
        names = [*OURS, "keyring.sealed", "keyring.key", "tools/spy.yaml", "tools/spy", "runs/OTHER/notes.txt"]
        found = {n: hashlib.sha256((self.home / n).read_bytes()).hexdigest() for n in names if (self.home / n).exists()}
        found["names"] = repr(sorted(p.name for p in self.home.iterdir() if not p.name.startswith("store.sqlite3-")))
        return found | {"layers": repr(sorted(map(str, (self.home / "policies").rglob("*"))))}

    async def propose(self, raw: dict[str, Any]) -> Outcome | None:
        """What comes of an action as the model may spell it; None for one that has no form at all."""
        try:
            action: ActionBase = ACTION.validate_python(raw)
        except (ValidationError, ValueError):
            return None
        self.seq += 1
        request = Request(
            run="RUN",
            seq=self.seq,
            epoch=self.epoch,
            action=action,  # type: ignore[arg-type]
            principal=self.app.settings.principal,
            mandate=None,
            now=self.app.clock.now(),
            approved_by=("someone",),
        )
        return await self.gate.submit(request)

    def unharmed(self, outcome: Outcome | None) -> None:
        """Nothing that governs was changed, none of it was told, and no question was answered."""
        assert not isinstance(outcome, Refused) or outcome.rules[0] in ("secrets", "handles"), (
            "the walls were not tried"
        )
        assert self.governing() == self.before
        told = outcome.model_dump_json() if outcome else ""
        told += "".join(p.read_text("utf-8", "replace") for p in self.folder.rglob("*") if _plain(p))
        key = json.dumps(json.loads((self.home / "keys.json").read_text()))[-40:-4]
        assert MARK not in told
        assert key not in told
        assert self.app.store.questions.get("QOPEN") == self.question
        assert self.app.store.ledger.verify("RUN") is None


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@pytest.fixture(scope="module")
def console() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Console)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory: pytest.TempPathFactory, console: int) -> AsyncIterator[Inside]:
    home = tmp_path_factory.mktemp("governed")
    home.chmod(0o700)
    made = Inside(home, console)
    await made.begin()
    yield made
    await made.app.close()


def shell(*argv: str, **more: Any) -> dict[str, Any]:
    return {"kind": "shell.run", "pipelines": [[{"argv": list(argv), **more}]]}


def python(code: str) -> dict[str, Any]:
    return shell("python3", "-c", code)


async def test_what_is_not_forbidden_works(inside: Inside) -> None:
    assert isinstance(await inside.propose({"kind": "file.write", "path": "own.txt", "text": "hello"}), Done)
    seen = await inside.propose(shell("cat", "own.txt"))
    assert isinstance(seen, Done)
    assert (seen.observation.exit_code, seen.observation.text.strip()) == (0, "hello")
    action = OwnTools.load(inside.home / "tools").action("spy", {"code": "said['text'] = 'hello'"})
    answered = await inside.propose(action.model_dump())
    assert isinstance(answered, Done)
    assert "hello" in answered.observation.text
    inside.unharmed(answered)


EVERY_PATH = ("{home}/{target}", "../../{target}", "../../../{name}/{target}", "/proc/self/cwd/../../{target}")


def reading(path: str) -> list[dict[str, Any]]:
    return [
        {"kind": "file.read", "path": path},
        {"kind": "table.read", "path": path},
        shell("cat", path),
        shell("cat", stdin=path),
        shell("cp", path, "copy.txt"),
        shell("ln", path, "copy.txt"),
        shell("tar", "cf", "copy.tar", path),
    ]


def writing(path: str) -> list[dict[str, Any]]:
    return [
        {"kind": "file.write", "path": path, "text": "version: 1"},
        {"kind": "table.write", "path": path, "sheets": [{"columns": ["a"], "rows": []}]},
        shell("echo", "x", stdout=path),
        shell("echo", "x", stdout=path, append=True),
        shell("cp", "/etc/hostname", path),
        shell("dd", "if=/dev/zero", f"of={path}", "count=1"),
        shell("rm", "-rf", path),
        shell("mv", path, "gone.txt"),
        shell("touch", path),
        shell("ln", "-sf", "/etc/hostname", path),
        shell("truncate", "-s", "0", path),
        shell("chmod", "777", path),
        python(f"open({path!r}, 'a').write('x')"),
    ]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("target", ["policy.yaml", "keys.json", "store.sqlite3", "policies/organisation.yaml"])
@pytest.mark.parametrize("spelled", EVERY_PATH)
async def test_no_path_leads_to_what_governs(inside: Inside, spelled: str, target: str) -> None:
    path = spelled.format(home=inside.home, name=inside.home.name, target=target)
    attempts = reading(path) + (writing(path) if target != "store.sqlite3" else [])
    for attempt in attempts:
        outcome = await inside.propose(attempt)
        inside.unharmed(outcome)


@pytest.mark.parametrize("target", TARGETS)
async def test_a_link_in_the_folder_leads_nowhere(inside: Inside, target: str) -> None:
    inside.folder.mkdir(exist_ok=True)
    link, folder = inside.folder / "link", inside.folder / "up"
    link.symlink_to(inside.home / target)
    folder.symlink_to(inside.home)
    try:
        for path in ("link", f"up/{target}"):
            for attempt in (*reading(path)[:4], *writing(path)[:4]):
                if target in SEALED[:2] and attempt["kind"] != "file.read":
                    continue
                outcome = await inside.propose(attempt)
                inside.unharmed(outcome)
    finally:
        link.unlink(missing_ok=True)
        folder.unlink(missing_ok=True)


SNOOPS = {
    "the whole disk": shell("grep", "-rl", MARK, "/", "--include=*.yaml", "--include=*.toml"),
    "the folder above": shell("ls", "-la", "../.."),
    "find": shell("find", "/", "-name", "policy.yaml", "-exec", "cat", "{}", ";"),
    "the parent's environment": python(
        "import glob\nfor p in glob.glob('/proc/[0-9]*/environ'): print(open(p, 'rb').read())"
    ),
    "the parent's folder": python(
        "import glob, os\nfor p in glob.glob('/proc/[0-9]*/cwd'):\n  try: print(os.readlink(p), os.listdir(p))\n"
        "  except OSError as e: print(e)"
    ),
    "the parent's open files": python(
        "import glob, os\nfor p in glob.glob('/proc/[0-9]*/fd/*'):\n"
        "  try: print(os.read(os.open(p, os.O_RDONLY | os.O_NONBLOCK), 9999))\n"
        "  except OSError as e: print(e)"
    ),
    "another root": python(
        "import glob\nfor p in glob.glob('/proc/[0-9]*/root'):\n"
        "  try: print(open(p + '{home}/policy.yaml').read())\n  except OSError as e: print(e)"
    ),
    "a mount": shell("mount", "--bind", "{home}", "."),
    "a new namespace": shell("unshare", "-rm", "cat", "{home}/policy.yaml"),
    "a signal": python("import os\nos.kill(os.getppid(), 15)"),
    "our own command": shell("remit", "approve", "QOPEN"),
    "our own command by its module": shell("python3", "-m", "agent.cli", "approve", "QOPEN"),
    "our own command with the home": shell("env", "REMIT_HOME={home}", "remit", "approve", "QOPEN"),
    "the store by SQL": python(
        "import sqlite3\nsqlite3.connect('{home}/store.sqlite3').execute('delete from questions')"
    ),
    "the console": python("import urllib.request as u\nprint(u.urlopen('http://127.0.0.1:{port}/approve').read())"),
    "the console by curl": shell("curl", "-s", "http://localhost:{port}/approve"),
    "the keyring's bus": python(
        "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/run/user/%d/bus' % os.getuid())"
    ),
    "ssh to this machine": shell("ssh", "-o", "StrictHostKeyChecking=no", "localhost", "cat", "{home}/policy.yaml"),
    "a job of the system": python("open('/etc/cron.d/x', 'w').write('* * * * * root touch {home}/policy.yaml')"),
    "the shell": shell("sh", "-c", "cat {home}/policy.yaml; echo x >> {home}/policy.yaml"),
    "a set user": shell("sudo", "-n", "cat", "{home}/policy.yaml"),
    "the disk itself": python("import glob\nprint([open(p, 'rb').read(9) for p in glob.glob('/dev/[svn]*')])"),
}


def _filled(value: Any, inside: Inside) -> Any:
    if isinstance(value, str):
        return value.replace("{home}", str(inside.home)).replace("{port}", str(inside.port))
    if isinstance(value, dict):
        return {key: _filled(item, inside) for key, item in value.items()}
    return [_filled(item, inside) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SNOOPS)
async def test_no_command_gets_behind_the_walls(inside: Inside, name: str) -> None:
    Console.hits.clear()
    outcome = await inside.propose(_filled(SNOOPS[name], inside))
    inside.unharmed(outcome)
    assert Console.hits == []


async def test_an_archive_unpacks_nothing_over_what_governs(inside: Inside) -> None:
    inside.folder.mkdir(exist_ok=True)
    with tarfile.open(inside.folder / "evil.tar", "w") as archive:
        for name in ("../../policy.yaml", f"{inside.home}/policy.yaml", "up/policy.yaml"):
            if name.startswith("up"):
                link = tarfile.TarInfo("up")
                link.type, link.linkname = tarfile.SYMTYPE, str(inside.home)
                archive.addfile(link)
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"bad"))
    for attempt in (
        shell("tar", "-xPf", "evil.tar"),
        shell("tar", "-xf", "evil.tar"),
        shell("unzip", "-o", "evil.tar"),
    ):
        inside.unharmed(await inside.propose(attempt))
    (inside.folder / "evil.tar").unlink()


OWN = {
    "reads": "said['text'] = open('{home}/policy.yaml').read()",
    "reads its own declaration": "said['text'] = open('{home}/tools/spy.yaml').read()",
    "changes the policy": "open('{home}/policy.yaml', 'a').write('x')",
    "changes itself": "open('{home}/tools/spy', 'a').write('x')",
    "makes another tool": "open('{home}/tools/more.yaml', 'w').write('x')",
    "lists": "said['text'] = os.listdir('{home}')",
    "removes a layer": "os.remove('{home}/policies/organisation.yaml')",
    "answers": "said['text'] = subprocess.run(['remit', 'approve', 'QOPEN'], capture_output=True, text=True).stdout",
    "looks at its environment": "said['text'] = dict(os.environ)",
    "calls the console": "import urllib.request as u\nsaid['text'] = u.urlopen('http://127.0.0.1:{port}/').read().decode()",
}


@pytest.mark.parametrize("name", OWN)
async def test_no_tool_of_the_users_own_gets_behind_the_walls(inside: Inside, name: str) -> None:
    Console.hits.clear()
    action = OwnTools.load(inside.home / "tools").action("spy", {"code": _filled(OWN[name], inside)})
    outcome = await inside.propose(action.model_dump())
    assert isinstance(outcome, Done), outcome
    assert "REMIT" not in outcome.model_dump_json()
    inside.unharmed(outcome)
    assert Console.hits == []


def on_page(kind: str, target: str, **more: Any) -> dict[str, Any]:
    url = "http://shop.example/"
    return {"kind": kind, "url": url, "target": target, "control": {"role": "button", "name": "x"}, **more}


PAGES = (
    {"kind": "browser.open", "url": "file://{home}/policy.yaml"},
    {"kind": "browser.open", "url": "view-source:file://{home}/policy.yaml"},
    {"kind": "browser.open", "url": "filesystem:file://{home}/keys.json"},
    {"kind": "browser.open", "url": "chrome://settings"},
    {"kind": "browser.open", "url": "data:text/html,<iframe src=file://{home}/policy.yaml>"},
    {"kind": "browser.open", "url": "http://127.0.0.1:{port}/approve"},
    {"kind": "browser.open", "url": "http://0x7f000001:{port}/approve"},
    {"kind": "browser.open", "url": "http://[::1]:{port}/approve"},
    {"kind": "browser.open", "url": "http://localhost:{port}/approve"},
    {"kind": "browser.open", "url": "http://console.localhost:{port}/approve"},
    {"kind": "browser.open", "url": "http://2130706433:{port}/approve"},
    on_page("browser.submit", "http://localhost:{port}/approve", method="post", fields=[]),
    on_page("browser.download", "file://{home}/policy.yaml", path="policy.yaml"),
    on_page("browser.download", "http://localhost:{port}/policy.yaml", path="../../policy.yaml"),
    on_page("browser.download", "http://localhost:{port}/policy.yaml", path="{home}/policy.yaml"),
    {"kind": "browser.screenshot", "url": "http://shop.example/", "path": "../../policy.yaml"},
)


@pytest.mark.parametrize("attempt", PAGES, ids=lambda a: f"{a['kind']} {a.get('target', a['url'])} {a.get('path', '')}")
async def test_no_page_shows_a_file_or_a_console_of_this_machine(inside: Inside, attempt: dict[str, Any]) -> None:
    Console.hits.clear()
    outcome = await inside.propose(_filled(attempt, inside))
    assert not isinstance(outcome, Done)
    inside.unharmed(outcome)
    assert Console.hits == []


@pytest.mark.parametrize("kind", ["server.read", "server.write", "server.run"])
async def test_no_server_is_there_that_nobody_enrolled(inside: Inside, kind: str) -> None:
    """That this machine is none, also when enrolled: tests/tools/servers/test_reaching_servers.py."""
    more: dict[str, Any] = {"path": str(inside.home / "policy.yaml")}
    if kind == "server.run":
        more = {"pipelines": [[{"argv": ["cat", str(inside.home / "policy.yaml")]}]]}
    if kind == "server.write":
        more["text"] = "x"
    for server in ("localhost", "127.0.0.1", os.uname().nodename):
        outcome = await inside.propose({"kind": kind, "server": server, **more})
        assert not isinstance(outcome, Done)
        inside.unharmed(outcome)


async def test_no_prompt_carries_a_key_or_a_secret(inside: Inside) -> None:
    outcome = await inside.propose({"kind": "file.write", "path": "x.txt", "text": f"{MARK}-secret"})
    assert not isinstance(outcome, Done)
    inside.unharmed(outcome)
