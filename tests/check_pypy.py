"""One of everything on PyPy, run by `ci/run.py pypy` with the extension built there: what works, and what differs.

SPDX-License-Identifier: MIT

No pytest: PyPy of Debian is a Python 3.9, for which the suite is not written. docs/platforms.md cites what is asserted here.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import _cffi_backend
from helping import ENTRIES, VPN_OK, until, write_book

import ras_ext
import ras_ext.aio
import ras_ext.sim
from ras_ext import Client, HangUp, _ffi
from ras_ext.sim import Machine

ENDLESS: list[ras_ext.sim.Step] = [{"state": 0}, {"delay_ms": 600_000, "state": 8192}]

LATER = """
import sys, ras_ext, ras_ext.sim
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
connection = client.dial("Office VPN").result()
machine.script("Home", [{"state": 0}, {"delay_ms": 600000, "state": 8192}])
dial = client.dial("Home", on_event=lambda event: None)
next(iter(dial))
print(connection.status().state.name)
"""


def collected(condition: Callable[[], object], what: str) -> None:
    """Waits until something is so that only a collection brings about."""

    def look() -> object:
        gc.collect()
        return condition()

    until(look, what)


def connects(client: Client, machine: Machine) -> str:
    dial = client.dial("Office VPN")
    events = list(dial)
    assert [int(event.state) for event in events] == list(VPN_OK)
    assert [event.sequence for event in events] == list(range(len(VPN_OK)))
    assert pickle.loads(pickle.dumps(events)) == events  # noqa: S301 - our own
    with dial.result() as connection:
        assert connection.status().state is ras_ext.State.Connected
        assert client.connections() == [connection]
    assert connection.hang_up() is HangUp.GONE
    assert client.connections() == []
    return f"{len(events)} states to connected, hung up"


def fails(client: Client, machine: Machine) -> str:
    machine.script("Home", "auth_fail")
    try:
        client.dial("Home").result()
    except ras_ext.AuthenticationError as error:
        assert (error.code, error.name, isinstance(error, PermissionError)) == (691, "ERROR_AUTHENTICATION_FAILURE", True)
        assert not error.still_closing
    else:
        raise AssertionError("a wrong password connects")
    assert machine.counters.handles == 0
    machine.fault("RasDialW", 633, times=1)
    connection = ras_ext.redial(client, "Office VPN", backoff=0.0)
    assert connection.hang_up() is HangUp.GONE
    return "691 raised and hung up, 633 dialled again"


def handles(client: Client, machine: Machine) -> str:
    told: list[ras_ext.Event] = []
    dial = client.dial("Lab", on_event=told.append)
    connection = dial.result()
    until(lambda: told and told[-1].is_outcome, "the handler hearing the outcome")
    assert tuple(told) == dial.events
    assert connection.hang_up() is HangUp.GONE
    return "on_event hears every event"


def watches(client: Client, machine: Machine) -> str:
    with client.watch() as watch:
        connection = client.dial("Lab").result()
        up = next(watch)
        connection.hang_up()
        down = next(watch)
    assert (up.kind.name, down.kind.name) == ("CONNECTED", "DISCONNECTED")
    assert down.connection is up.connection
    assert down.reason is not None
    assert down.reason.code == 631
    return "a connection seen to come and go"


def awaits(client: Client, machine: Machine) -> str:
    async def main() -> int:
        async with ras_ext.aio.dial("Office VPN", client=client) as dial:
            states = [event.state async for event in dial]
            connection = await dial
        assert await connection.hang_up() is HangUp.GONE
        return len(states)

    assert asyncio.run(main()) == len(VPN_OK)
    return "the same with asyncio"


def is_interrupted(client: Client, machine: Machine) -> str:
    """A signal ends a blocking wait, not the dial."""

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    machine.script("Home", ENDLESS)
    dial = client.dial("Home")
    next(iter(dial))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        dial.result()
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("no KeyboardInterrupt")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not dial.done()
    assert dial.cancel()
    assert dial.wait_closed(20)
    return "a signal ends a wait and leaves the dial alone"


def forgets(client: Client, machine: Machine) -> str:
    """Nothing counts references: what is forgotten goes on until the next collection; `with` ends at once."""
    machine.script("Home", ENDLESS)
    with client.dial("Home") as dial:
        next(iter(dial))
    assert dial.cancelled()
    assert dial.wait_closed(20)
    del dial
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.dial("Home")
        assert not caught  # on CPython it would be cancelled by now
        collected(lambda: caught, "the forgotten dial being cancelled")
    assert [warning.category for warning in caught] == [ResourceWarning]
    until(lambda: machine.counters.handles == 0, "the forgotten dial being hung up")
    return "a forgotten dial is cancelled, with its ResourceWarning, at the next collection"


def outlives(book: Path, folder: Path) -> str:
    """A program that ends: its connection stays, its dial in flight is hung up once."""
    journal = folder / "journal.txt"
    done = subprocess.run([sys.executable, "-c", LATER, book, journal], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Connected\n", ""), done
    hung_up = [line for line in journal.read_text(encoding="utf-8").splitlines() if " RasHangUpW " in line]
    assert len(hung_up) == 1, hung_up
    return "the end of a program leaves its connection and cancels its dial"


def runs_the_command(book: Path) -> str:
    command: list[str | Path] = [sys.executable, "-m", "ras_ext", "entries", "--api", "sim", "--phonebook", book]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done
    assert all(name in done.stdout for name in ENTRIES), done
    return "ras-ext lists entries"


def main() -> None:
    assert sys.implementation.name == "pypy", sys.version
    folder = Path.cwd()
    book = write_book(folder / "book.pbk", *ENTRIES)
    told = []
    client = ras_ext.open("sim", phonebook=book)
    machine = ras_ext.sim.control(client)
    for check in (connects, fails, handles, watches, awaits, is_interrupted, forgets):
        machine.reset(force=True)
        started = time.monotonic()
        told.append(f"{check(client, machine)} [{time.monotonic() - started:.1f} s]")
    client.close()
    del client
    collected(lambda: not any(_ffi.counters()), "nothing being left of the closed client")
    told += [outlives(book, folder), runs_the_command(book)]
    version = ".".join(map(str, sys.pypy_version_info[:3]))  # type: ignore[attr-defined]
    print(f"PyPy {version}, Python {sys.version.split()[0]}, cffi {_cffi_backend.__version__}:")
    print("".join(f"      {line}\n" for line in told), end="")


if __name__ == "__main__":
    main()
