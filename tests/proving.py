"""What the tests of the statements and pitfalls share: the machine's journal, dials as short texts, programs of their own.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from helping import BOUND_S, until

import ras_ext
from ras_ext import Dial, Event
from ras_ext.sim import Machine, Step

RDEOPT_PausedStates = 2  # S0.4

ON_WINDOWS = sys.platform == "win32"

PENDING: list[Step] = [{"state": "OpenPort"}, {"delay_ms": 3_600_000, "state": "Connected"}]
"""A script that no test waits for the end of."""

# docs/ras-semantics.md, 10.2: what a dial of each default script announces with paused states off, an error after a slash.
STORIES = {
    "vpn_ok": "0 1 2 3 4 5 6 10 6 18 14 24 8192",
    "pppoe_ok": "0 1 2 3 4 5 6 10 6 18 14 24 8192",
    "modem_ok": "0 1 2 3 4 5 6 10 6 11 12 18 14 8192",
    "connect_now": "8192",
    "slow": "0 1 2 3 4 5 6 10 6 18 14 24 8192",
    "callback": "0 1 2 3 4 5 6 8 15 16 17 2 3 4 13 6 10 6 18 14 8192",
    "multilink2": "0 0 1 1 2 2 3 4 5 6 10 6 18 14 22 2/676 23 8192",
    "drop": "0 1 2 3 4 5 6 10 6 18 14 24 8192",
    "auth_fail": "0 1 2 3 4 5 6 6/691",
    "unreachable": "0 1 2 2/868",
    "busy": "0 0/633",
    "modem_noanswer": "0 1 2 2/678",
    "retry": "0 1 2 3 4 5 6 6/691",
    "expired": "0 1 2 3 4 5 6 6/648",
    "interactive": "0 1 2 3 4 4/703",
    "eap_ui": "0 1 2 3 4 5 5/703",
}
FAILING = tuple(name for name, story in STORIES.items() if not story.endswith("8192"))


def story(events: Iterable[Event]) -> str:
    """ "0 1 2 2/868": the states, an error after a slash."""
    return " ".join(f"{int(event.state)}/{event.error}" if event.error else str(int(event.state)) for event in events)


def calls(journal: Path, function: str) -> list[str]:
    """The lines of one API function in a journal, a call each, written when the call returned."""
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    return [line for line in lines if re.search(rf"\b{function}\b", line)]


def hang_ups(journal: Path) -> int:
    """How often RasHangUp was called."""
    return len(calls(journal, "RasHangUpW"))


def handles_of(lines: Iterable[str]) -> list[str]:
    """The handles that journal lines name."""
    return [match[1] for match in (re.search(r"h=(0x[0-9a-f]+)", line) for line in lines) if match]


def finish(machine: Machine, dial: Dial) -> None:
    """Waits until the native side is through with a dial, and lets every held call go on meanwhile."""
    for _ in range(1000):
        machine.release()
        if dial.hang_up_result is not None:
            return
        dial.wait_closed(1)
    raise AssertionError(f"{dial!r} never settles")


def until_released(machine: Machine, condition: Callable[[], object], what: str) -> None:
    """Lets held calls go on until the condition is true: one that is held only a moment later would miss a single release."""

    def look() -> object:
        machine.release()
        return condition()

    until(look, what)


def until_idle(machine: Machine) -> None:
    """Lets virtual time pass until the machine holds nothing."""

    def look() -> bool:
        machine.advance(1)
        return not any(machine.counters)

    until(look, "the machine holding nothing")


def hang_up_all(client: ras_ext.Client) -> None:
    """Ends every connection of the machine."""
    for connection in client.connections():
        connection.hang_up(all=True)


PROLOGUE = """
import sys, threading
import ras_ext, ras_ext.sim
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
"""
"""How a program for `program` begins: its arguments are the phone book and the journal."""


def program(code: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own, in `folder`, with the package that is tested here."""
    package = str(Path(ras_ext.__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment.update(PYTHONIOENCODING="utf-8", PYTHONFAULTHANDLER="1", PYTHONWARNINGS="default")
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=BOUND_S * 3,
        check=False,
    )
