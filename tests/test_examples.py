"""The examples run as they stand, on the simulated machine; what the documents point at is there.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
    """Exit status, lines of standard output, standard error."""
    env = {variable: value for variable, value in os.environ.items() if not variable.startswith("PYTHON")} | variables
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("path", sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.c")]), ids=lambda path: path.name)
def test_example_is_short(path: Path) -> None:
    """Nobody reads a long example."""
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def test_blocking_dial() -> None:
    """Connects, hangs up, says both."""
    assert run("blocking_dial.py", "--api", "sim") == (
        0,
        ["Office VPN is up through WAN Miniport (IKEv2)", "hung up: gone"],
        "",
    )


def test_blocking_dial_of_unknown_entry() -> None:
    """A failure is told with its number and name, and is the exit status."""
    status, lines, err = run("blocking_dial.py", "--api", "sim", "Nowhere")
    assert (status, err) == (1, "")
    assert lines[0].startswith("623 ERROR_CANNOT_FIND_PHONEBOOK_ENTRY: ")


def test_progress() -> None:
    """Both ways show the same states, from the first to Connected."""
    status, lines, err = run("progress.py", "--api", "sim")
    assert (status, err) == (0, "")
    states = [line.split()[2] for line in lines]
    half = len(states) // 2
    assert states[:half] == states[half:]
    assert (states[0], states[half - 1]) == ("OpenPort", "Connected")


def test_retry() -> None:
    """Two busy lines, two pauses that grow, then the connection."""
    status, lines, err = run("retry.py", "--api", "sim", "--pause", "0.01")
    assert (status, err) == (0, "")
    assert lines == ["676 ERROR_LINE_BUSY: again in 0.01 s", "676 ERROR_LINE_BUSY: again in 0.02 s", "Office VPN is up"]


def test_watcher() -> None:
    """A connection that somebody makes, and that the other side ends: both are told, the reason honestly."""
    assert run("watcher.py", "--api", "sim", "--changes", "2") == (
        0,
        ["Office VPN: connected", "Office VPN: disconnected (668 ERROR_NO_CONNECTION)"],
        "",
    )


def test_asyncio_dial() -> None:
    """Two dials at once and one that cannot be: each tells its own states in order."""
    status, lines, err = run("asyncio_dial.py", "--api", "sim", "Office VPN", "Home PPPoE", "Nowhere")
    assert (status, err) == (0, "")
    for entry in ("Office VPN", "Home PPPoE"):
        own = [line.partition(": ")[2] for line in lines if line.startswith(f"{entry}: ")]
        assert (own[0], own[-2:]) == ("OpenPort", ["Connected", "hung up, gone"])
    assert "Nowhere: 623 ERROR_CANNOT_FIND_PHONEBOOK_ENTRY" in lines
    assert len({line.partition(": ")[0] for line in lines[:6]}) > 1  # at once, not one after the other


def test_asyncio_dial_runs_out_of_patience() -> None:
    """A time-out ends the program in order: the dial is cancelled, nothing warns of a forgotten task."""
    status, _, err = run("asyncio_dial.py", "--api", "sim", "--patience", "0", "Office VPN")
    assert status == 1
    assert err.splitlines()[-1].startswith(("TimeoutError", "asyncio.exceptions.TimeoutError"))
    assert "never awaited" not in err
    assert "destroyed" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs Qt, which the tests have on Linux only")
def test_gui_qt() -> None:
    """A window's event loop hears of the dial through the socket, and ends when it is decided."""
    if importlib.util.find_spec("PySide6") is None and not os.environ.get("CI"):
        pytest.skip("PySide6 is not installed; ci/requirements.txt has it")
    status, lines, err = run("gui_qt.py", "--api", "sim", QT_QPA_PLATFORM="offscreen")
    assert (status, err) == (0, "")
    assert (lines[0], lines[-1]) == ("OpenPort", "Connected")


def test_my_program(tmp_path: Path) -> None:
    """The test module of a user, in a pytest of its own with the plugin as it is installed."""
    (tmp_path / "test_my_program.py").write_bytes((EXAMPLES / "test_my_program.py").read_bytes())
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_my_program.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file or folder that exists."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_readme_names_tests_that_exist() -> None:
    """Each statement has its tests, and each test that is named stands in the named file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([1-5]) \| .*$", text, re.MULTILINE)
    assert rows == ["1", "2", "3", "4", "5"]
    named = re.findall(r"`(tests/[\w/]+\.(?:py|c))::(\w+)`", text)
    assert len(named) >= 5
    for file, test in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"\b(?:def |TEST\()?{test}\b", source), f"{file} has no {test}"
