"""Every call into RAS fails, one after the other, with every plausible code: no crash, no leak, no hang, and a clear error.

SPDX-License-Identifier: MIT

The loop is the one that SQLite's tests made known: a scenario runs with the first call of a function failing, then with the
second, and so on, until it runs through without the fault having been reached. Each function of the seam has its turn (the list
RASAPI_FUNCTIONS in csrc/rasapi.h), so a new one is covered on the day it is added. A scenario checks its own results where no
fault was reached; where one was, it may raise a RasError that tells the code, or come out right all the same.

RASX_SOAK=1 takes every code with every call; otherwise each call takes the codes in turn.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helping import ENTRIES, VPN_OK, write_book

import ras_ext
import ras_ext.sim
from ras_ext import _ffi
from ras_ext.events import HangUp, State
from ras_ext.sim import Machine

CODES = (
    2, 3, 5, 6, 8, 14, 50, 87, 120, 122, 126, 127, 183, 234, 259, 600, 602, 603, 608, 609, 610, 619, 621, 622, 623, 625, 628,
    629, 631, 632, 633, 635, 638, 645, 650, 651, 668, 676, 678, 691, 703, 711, 720, 735, 753, 755, 756, 780, 797, 800, 809, 868,
    1062, 1168, 1223, 1231, 1460, 1722, 1723, 1726, 1753, 1784, 13801, 13805, 13868, 0x80004005, 0x80070005, 0x80070057,
    0x80420112, 0xFFFFFFFF,
)  # fmt: skip
MOST_CALLS = 60  # a scenario that reaches the fault so often does not end
SOAK = bool(os.environ.get("RASX_SOAK"))
FEW = sys.platform == "win32" and not SOAK
RESUMES = hasattr(ras_ext.Dial, "resume")
ENTRY = ENTRIES[0]


def functions() -> tuple[str, ...]:
    """Every member of the seam's table, as the machine knows it."""
    header = Path(__file__).resolve().parent.parent / "csrc" / "rasapi.h"
    if not header.is_file():
        header = next(Path(path) for path in ras_ext.get_sources() if Path(path).name == "dial.c").with_name("rasapi.h")
    found = re.findall(r"X\([\w ]+\*?, (Ras\w+W?), ", header.read_text("utf-8"))
    assert "RasDialW" in found and len(found) >= 10
    return tuple(found)


class Fault(NamedTuple):
    """What fails: calls of a function, `after` so many that still work; once, or (times 0) from then on."""

    function: str = ""
    code: int = 0
    after: int = 0
    times: int = 1

    def hang_up(self, *usual: HangUp) -> tuple[HangUp, ...]:
        """How a hang-up may end: what nobody can ask for stays "closing", and who says 6 or 668 is believed (S3)."""
        if self.function == "RasGetConnectStatusW" and (self.times == 0 or self.code in (6, 668)):
            return (*usual, HangUp.CLOSING, HangUp.GONE, HangUp.SHARED)
        if self.function == "RasHangUpW":
            return (*usual, HangUp.CLOSING, HangUp.GONE, HangUp.SHARED)
        return usual


Scenario = Callable[[ras_ext.Client, Machine, Fault], None]


def dial_that_connects(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """Dials, looks at the connection, and hangs it up."""
    dial = client.dial(ENTRY)
    with dial.result(60) as connection:
        assert [event.state for event in dial.events if not event.error][: len(VPN_OK)] == list(VPN_OK)[: len(dial.events)]
        assert dial.events[-1].is_outcome
        assert connection.entry == ENTRY
    assert connection.hang_up(60) in fault.hang_up(HangUp.GONE)


def dial_that_fails(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A dial that is refused is so for the reason that came first, and can be dialled again at once."""
    machine.script(ENTRY, "auth_fail")
    for _ in range(2):
        problem = client.dial(ENTRY, timeout=30).exception(60)
        assert problem is not None
        if problem.code != 691:
            raise problem


def dial_without_notifications(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """The status alone tells the outcome (S8.28)."""
    machine.knob("silent", 1)
    with client.dial(ENTRY, timeout=30).result(60) as connection:
        assert connection.status().state == State.Connected


def dial_that_times_out(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A dial's own time-out hangs up."""
    machine.script(ENTRY, [{"state": "OpenPort", "delay_ms": 5}, {"state": "Connected", "delay_ms": 60_000}])
    problem = client.dial(ENTRY, timeout=3).exception(60)
    assert problem is not None
    if problem.code != 638:
        raise problem


def dial_that_is_cancelled(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A cancelled dial is over at once, whatever RAS says afterwards."""
    dial = client.dial(ENTRY)
    machine.advance(0.02)
    if dial.cancel():
        with pytest.raises(ras_ext.DialCancelledError):
            dial.result(0)
    dial.wait_closed(60)


def dial_that_pauses(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A pause is answered, or bounded."""
    machine.script(ENTRY, "retry")
    dial = client.dial(ENTRY, options=2)
    try:
        connection = dial.result(1)
    except ras_ext.StillDialing:
        if not RESUMES:
            dial.cancel()
            return
        dial.resume(username="ada", password="lovelace")  # type: ignore[attr-defined, unused-ignore]
        connection = dial.result(60)
    connection.hang_up()


def two_dials_of_one_entry(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A second dial of a connected entry is a second reference (S1.8)."""
    first = client.dial(ENTRY).result(60)
    second: ras_ext.Connection | None = None
    try:
        second = client.dial(ENTRY).result(60)
    finally:
        results = [connection.hang_up(60) for connection in (first, second) if connection is not None]
    assert results[0] in fault.hang_up(HangUp.SHARED if len(results) == 2 else HangUp.GONE)
    assert results[-1] in fault.hang_up(HangUp.GONE)


def hang_up_all_references(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    connections = [client.dial(ENTRY).result(60) for _ in range(2)]
    assert connections[0].hang_up(60, all=True) in fault.hang_up(HangUp.GONE)


def list_connections(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """The list, with a connection in it and without."""
    assert client.connections() == []
    with client.dial(ENTRY).result(60) as connection:
        assert client.connections() == [connection]


def list_entries(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    assert [entry.name for entry in client.entries()] == list(ENTRIES)


def list_devices(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    assert "vpn" in {device.type for device in client.devices()}


def check_names(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    for name in (ENTRY, "A new one", ".", "\\"):
        assert client.validate_entry_name(name) is not None


def ask_for_status(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    with client.dial(ENTRY).result(60) as connection:
        status = connection.status()
        assert (status.state, status.error) == (State.Connected, 0)
        if fault.function != "RasGetConnectStatusW":  # these two are "" when the status does not tell
            assert connection.device_type == "vpn"
            assert connection.device_name


def watch_connections(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """A watch sees a connection come and go; a list that fails for good is raised."""
    if not hasattr(client, "watch"):
        return
    with client.watch(poll=1) as watch:
        with client.dial(ENTRY).result(60) as connection:
            change = watch.get(20)
            assert change is not None and change.connection.entry == ENTRY
            if fault.function:  # no hang-up waits for ever because of what the watch raised
                connection.hang_up(20)
        while change is not None and change.kind.name != "DISCONNECTED":
            change = watch.get(20)
        assert change is not None or fault.function in ("RasHangUpW", "RasGetConnectStatusW")


def read_texts(client: ras_ext.Client, machine: Machine, fault: Fault) -> None:
    """There is a text for every code, whoever knows it (S8.27)."""
    for code in (691, 868, 13801, 0x80420112, 424242):
        machine.knob("dial_code", code)
        problem = client.dial(ENTRY).exception(60)
        assert problem is not None and problem.text
        if problem.code != code:
            raise problem


SCENARIOS: tuple[Scenario, ...] = (
    dial_that_connects,
    dial_that_fails,
    dial_without_notifications,
    dial_that_times_out,
    dial_that_is_cancelled,
    dial_that_pauses,
    two_dials_of_one_entry,
    hang_up_all_references,
    list_connections,
    list_entries,
    list_devices,
    check_names,
    ask_for_status,
    watch_connections,
    read_texts,
)


@pytest.fixture(scope="module")
def fault_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_book(tmp_path_factory.mktemp("faults") / "book.pbk", *ENTRIES)
    ras_ext.sim.control().reset(force=True)


def play(scenario: Scenario, book: Path, fault: Fault | None = None) -> bool:
    """One run. True when the fault was reached. Checks what is promised whatever happens."""
    machine = ras_ext.sim.control()
    machine.reset(force=True)
    machine.clock("virtual")
    before = _ffi.counters().references
    where = f"{scenario.__name__}: {fault}"
    began = machine.now
    reached = False
    with ras_ext.open("sim", phonebook=book) as client:
        if fault is not None:
            machine.fault(*fault)
        problem: Exception | None = None
        try:
            scenario(client, machine, fault or Fault())
        except ras_ext.RasError as error:
            problem = error
        except MemoryError as error:
            if fault is None or fault.code != 8:
                raise
            problem = error
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        if fault is not None:
            reached = machine.calls(fault.function) > fault.after
            machine.fault(fault.function, fault.code, 0xFFFFFFFF, 1)  # no more of it
        if isinstance(problem, ras_ext.RasError):
            assert reached and fault is not None, f"{where}: {problem!r} although the fault was not reached"
            assert problem.code == fault.code or problem.code in _FOLLOWING, f"{where}: {problem!r}"
            assert problem.text and problem.name and str(problem), where
            assert problem.errno is None, where
        for connection in client.connections():
            connection.hang_up(30, all=True)
        machine.advance(15)
    assert machine.now - began < 400, f"{where}: {machine.now - began} s passed"
    held = _ffi.counters()
    assert (held.threads, held.slots, held.queues, held.clients) == (0, 0, 0, 0), f"{where}: {held}"
    assert held.abandoned == 0, where
    if fault is None:
        assert held.references == before, where
    if fault is None or fault.function != "RasHangUpW":  # who answers every hang-up with an error, or falsely with 6, keeps it
        assert not any(machine.counters), f"{where}: {machine.counters}"
    elif fault.times and fault.code not in (6, 668, 753):
        assert machine.counters.threads == 0, f"{where}: {machine.counters}"
    return reached


_FOLLOWING = (
    623,  # of read_texts
    638,  # a dial that nobody could look at any more, with a time-out of its own
    631,  # hung up
    633,  # the link that could not be hung up still has the port
    703,  # a pause whose answer was refused
    756,  # the dial that could not be hung up is still there
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_fails_without_a_fault(scenario: Scenario, fault_book: Path) -> None:
    """Each scenario is right, and leaves nothing, when nothing fails."""
    play(scenario, fault_book)


@pytest.mark.parametrize("function", functions())
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_call_fails_in_turn(scenario: Scenario, function: str, fault_book: Path) -> None:
    """Whichever call fails, once or from then on: a clear RasError or a right result, and nothing is left, nothing hangs."""
    codes = itertools.cycle(CODES)
    for _ in range(len(scenario.__name__) + len(function)):  # not the same codes for all
        next(codes)
    for times in (1, 0):
        after = 0
        while True:
            chosen = CODES if SOAK or (after == 0 and not FEW) else [next(codes) for _ in range(1 if FEW else 3)]
            reached = [play(scenario, fault_book, Fault(function, code, after, times)) for code in chosen]
            if not any(reached):
                break
            after += 1
            assert after < MOST_CALLS, f"{scenario.__name__} calls {function} again and again"
