"""Whole runs where a part is missing, away or hostile: one sentence on it, the right exit code, and nothing else."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandbox import confinement
from sandbox.practice.children import end
from sandbox.practice.script import Call, ModelRequest, Say, Script
from tests.journeys.conftest import line_with, plan, shown
from tests.tools.tables.test_tables import BOMBS
from tools.browser.session import BrowserSettings

pytestmark = pytest.mark.timeout(120)
SHOP = "http://shop.example"
LOOK = {"title": "look", "tool": "open_page", "url": f"{SHOP}/**", "at_most": 5}
SLEEP = {"title": "a command", "tool": "run_command", "command": "echo ran > ran.txt"}
UPTIME = {"title": "look at web-1", "tool": "server_run", "server": "web-1", "command": "uptime"}


def settings(practice, *, top: str = "", hosts: str = "") -> None:
    path = practice.home / "settings.toml"
    path.write_text(f"{top}\n{path.read_text()}\n{hosts}\n")


@pytest.fixture
def impatient(monkeypatch):
    """A browser that waits for no page longer than three seconds, and takes no file above two megabytes."""
    monkeypatch.setitem(BrowserSettings.__init__.__kwdefaults__, "load_timeout_s", 3.0)
    monkeypatch.setitem(BrowserSettings.__init__.__kwdefaults__, "download_bytes", 2_000_000)


def test_without_a_browser_the_page_fails_with_how_to_get_one(practice):
    settings(practice, top='browser = "no-such-browser"')

    said = shown(practice, [plan(LOOK), Call("open_page", {"url": f"{SHOP}/login"}), Say("No browser.")])

    told = line_with(said, "no-such-browser")
    assert "correct the setting `browser`" in told
    assert said.code == 1, said.out  # nothing of the plan was done


def test_without_bubblewrap_no_command_runs_and_the_sentence_says_what_to_install(practice, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, **_: None)
    confinement.probe.cache_clear()
    try:
        said = shown(practice, [plan(SLEEP), Call("run_command", {"command": "echo ran > ran.txt"}), Say("No walls.")])
    finally:
        confinement.probe.cache_clear()

    assert "install the Debian package bubblewrap" in line_with(said, "bubblewrap is missing")
    assert list((practice.home / "runs").glob("*/ran.txt")) == []
    assert said.code == 1, said.out


def wrong_password(first: ModelRequest) -> Script:
    request = yield plan({**LOOK, "expect": {"check": "page", "url": f"{SHOP}/orders", "text": "Orders found"}})
    request = yield Call("open_page", {"url": f"{SHOP}/login"})
    page = request.last_tool()
    user, password, button = (
        ref(page, *what) for what in (("textbox", "User"), ("textbox", "Password"), ("button", "Log in"))
    )
    yield Call("fill", {"ref": user, "value": "office"})
    yield Call("fill", {"ref": password, "value": "made-up-and-wrong"})
    request = yield Call("click", {"ref": button})
    yield Say(request.find(r"(?i)[^\n]*(?:wrong|not right|do not|unknown)[^\n]*", "It let me in."))


def ref(page: str, role: str, name: str) -> str:
    import re

    match = re.search(rf'{role} "{re.escape(name)}"[^\n]*?\[ref=(\w+)\]', page)
    assert match, page
    return match[1]


def test_a_refused_login_ends_as_failed_whatever_the_model_says(practice):
    said = shown(practice, wrong_password)

    assert "failed" in line_with(said, "the page does not show it")
    assert "It let me in" not in said.out
    assert said.code == 1, said.out


def test_a_page_that_never_loads_fails_in_time(practice, impatient):
    said = shown(practice, [plan(LOOK), Call("open_page", {"url": f"{SHOP}/slow"}), Say("It is away.")])

    assert f"{SHOP}/slow" in line_with(said, "The page never loaded within 3 s")
    assert said.code == 1, said.out


class Endless(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/csv" if self.path == "/all.csv" else "text/html")
        self.end_headers()
        try:
            while self.path == "/all.csv":
                self.wfile.write(b"1001,0.00,nothing to see\r\n" * 2048)
            self.wfile.write(b"<title>Files</title><a href=/all.csv download>All orders</a>")
        except OSError:
            return  # the browser has gone

    def log_message(self, *_):
        pass


@contextmanager
def served(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def too_large(first: ModelRequest) -> Script:
    yield plan({"title": "all", "tool": "download", "url": "http://files.example/all.csv", "path": "all.csv"})
    request = yield Call("open_page", {"url": "http://files.example/"})
    yield Call("download", {"ref": ref(request.last_tool(), "link", "All orders"), "path": "all.csv"})
    yield Say("It is too large.")


def test_a_download_without_an_end_is_stopped_and_leaves_no_file(practice, impatient):
    with served(Endless) as address:
        settings(practice, hosts=f'"files.example" = "{address}"')
        said = shown(practice, too_large)

    assert "was stopped" in line_with(said, "it is larger than 2,000,000 bytes")
    assert list((practice.home / "runs").glob("*/all.csv")) == []
    assert said.code == 1, said.out


def test_a_workbook_that_is_a_bomb_is_refused_in_words(practice, tmp_path):
    (tmp_path / "orders.xlsx").write_bytes(BOMBS["unpacks to far more"]())
    read = {"title": "read it", "tool": "read_table", "path": "orders.xlsx"}

    said = shown(
        practice,
        [plan(read), Call("read_table", {"path": "orders.xlsx"}), Say("A bomb.")],
        "--file",
        str(tmp_path / "orders.xlsx"),
    )

    assert "orders.xlsx" in line_with(said, "unpacks to far more")
    assert said.code == 1, said.out


def test_a_server_that_is_away_is_named(practice):
    end(practice.world.folder, "web1")

    said = shown(practice, [plan(UPTIME), Call("server_run", {"server": "web-1", "command": "uptime"}), Say("Away.")])

    assert "'web-1' cannot be reached; check address and sshd" in line_with(said, "cannot be reached")
    assert said.code == 1, said.out


def test_a_server_with_another_key_gets_nothing(practice):
    path = practice.home / "servers.yaml"
    pinned = practice.world.web1_host_key.split()[1]
    other = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    path.write_text(path.read_text().replace(pinned, other))

    said = shown(practice, [plan(UPTIME), Call("server_run", {"server": "web-1", "command": "uptime"}), Say("Odd.")])

    assert "another host key than the pinned one, so nothing was sent" in line_with(said, "host key")
    assert said.code == 1, said.out
