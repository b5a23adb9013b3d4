"""The set-up script, on a checkout and on nothing but a Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-I", "-S", str(ROOT / "sandbox/setup.py"), *arguments),  # -S: without what is installed
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_each_missing_part_is_one_line_that_says_how_to_get_it(tmp_path: Path) -> None:
    done = setup("--check", PATH=str(tmp_path), HOME=str(tmp_path), REMIT_VENV=str(tmp_path / "none"))

    said = dict(re.findall(r"^(\S.*?)\s{2,}(.*)$", done.stdout, flags=re.MULTILINE))
    assert set(said) == {"bubblewrap", "OpenSSH server", "browser", "CJK fonts", "environment"}
    assert said["bubblewrap"].endswith("install the package bubblewrap (0.8 or newer) as root")
    assert "PLAYWRIGHT_DOWNLOAD_HOST" in said["browser"]
    assert said["CJK fonts"].endswith("install the package fonts-noto-cjk as root")
    assert said["environment"] == f"missing in {tmp_path / 'none'}: run python3 sandbox/setup.py"
    assert (done.returncode, done.stderr) == (1, "")
    assert list(tmp_path.iterdir()) == []


def test_looking_changes_nothing_where_all_is_there() -> None:
    done = setup("--check", **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ})

    for part in ("bubblewrap", "OpenSSH server", "browser", "CJK fonts"):
        assert re.search(rf"^{part} +ready$", done.stdout, flags=re.MULTILINE)


def test_the_lock_files_pin_everything_and_name_no_index_and_no_path_of_a_machine() -> None:
    pins = {}
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        pins[name] = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([a-z0-9.]+)", text, flags=re.MULTILINE))
        for line in text.splitlines():
            assert re.fullmatch(
                r"[a-z0-9._-]+==[a-z0-9.]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|    #.*", line
            )
            assert not re.search(r"://|find-links|index-url|(?<!\()/[a-z]|[A-Z]:", line)

    core, dev = pins.values()
    assert core.items() <= dev.items()
    assert {"langgraph", "openai", "pytest", "mypy", "hatchling"} <= dev.keys()
    assert "pytest" not in core
