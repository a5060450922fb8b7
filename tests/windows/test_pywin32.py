"""A client that others wrote, pywin32's win32ras, against our rasapi32.dll: what it can do there, ours can be trusted with.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from receiver import BOOK, BOUND_S, ENTRY, STATES, Window, until

import ras_ext
import ras_ext.sim

win32ras: Any = pytest.importorskip("win32ras")
PATH = str(BOOK)


@pytest.fixture(autouse=True, scope="module")
def _default_book() -> None:
    """The user's default phone book (S7.1): win32ras.Dial garbles the path of any other."""
    place = Path(os.environ["APPDATA"], "Microsoft", "Network", "Connections", "Pbk", "rasphone.pbk")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(BOOK, place)


@pytest.fixture
def machine() -> Iterator[ras_ext.sim.Machine]:
    with ras_ext.open("system") as client:
        machine = ras_ext.sim.control(client)
        machine.reset(force=True)
        yield machine
        until(lambda: not any(machine.counters))
        machine.reset()


def params(user: str = "", password: str = "") -> tuple[str, ...]:
    return (ENTRY, "", "", user, password, "")


def test_dial_with_a_callable(machine: ras_ext.sim.Machine) -> None:
    """RasDialFunc1: all states in order; hang-up and status work with the handle."""
    seen: list[tuple[int, int]] = []
    over = threading.Event()

    def on_event(handle: int, message: int, state: int, error: int, extended: int) -> None:
        seen.append((state, error))
        if state == 8192 or error:
            over.set()

    handle, code = win32ras.Dial(None, None, params(), on_event)
    assert code == 0 and handle
    assert over.wait(BOUND_S)
    assert seen == [(state, 0) for state in STATES]
    state, error, device, _ = win32ras.GetConnectStatus(handle)
    assert (state, error) == (8192, 0)
    assert device and "vpn".startswith(device)  # it takes the 16-bit texts for 8-bit ones
    assert [(found[0], found[1]) for found in win32ras.EnumConnections()] == [(handle, ENTRY)]
    win32ras.HangUp(handle)


def test_a_refused_dial_with_a_callable(machine: ras_ext.sim.Machine) -> None:
    """The failing state is announced again with the error."""
    machine.account(ENTRY, "ada", "right")
    seen: list[tuple[int, int]] = []
    over = threading.Event()

    def on_event(handle: int, message: int, state: int, error: int, extended: int) -> None:
        seen.append((state, error))
        if error:
            over.set()

    handle, code = win32ras.Dial(None, None, params("ada", "wrong"), on_event)
    assert code == 0 and over.wait(BOUND_S)
    assert seen[-1][1] == 691
    win32ras.HangUp(handle)


def test_dial_with_a_window(machine: ras_ext.sim.Machine) -> None:
    """The window form, from the thread of another program's message loop."""
    window = Window()
    try:
        handle, code = win32ras.Dial(None, None, params(), window.handle)
        assert code == 0
        until(lambda: len(window.received) == len(STATES))
        assert window.received == [(state, 0) for state in STATES]
        win32ras.HangUp(handle)
    finally:
        window.close()


def test_dial_synchronously(machine: ras_ext.sim.Machine) -> None:
    """Without a notifier the call returns when the connection stands (S1.3)."""
    handle, code = win32ras.Dial(None, None, params(), None)
    assert (code, win32ras.GetConnectStatus(handle)[0]) == (0, 8192)
    win32ras.HangUp(handle)


def test_lists_and_texts(machine: ras_ext.sim.Machine) -> None:
    """EnumEntries, EnumConnections without any, GetErrorString."""
    assert ENTRY in win32ras.EnumEntries(None, PATH)
    assert list(win32ras.EnumConnections()) == []
    assert "password" in win32ras.GetErrorString(691)


def test_entry_dial_params(machine: ras_ext.sim.Machine) -> None:
    """SetEntryDialParams saves, GetEntryDialParams shows the placeholder, a dial with it is accepted (S4.6, S4.7)."""
    machine.account(ENTRY, "ada", "lovelace")
    win32ras.SetEntryDialParams(PATH, params("ada", "lovelace"), False)
    found, has_password = win32ras.GetEntryDialParams(PATH, ENTRY)
    assert (found[0], found[3], found[4], bool(has_password)) == (ENTRY, "ada", "*" * 16, True)
    handle, code = win32ras.Dial(None, None, found, None)
    assert code == 0
    win32ras.HangUp(handle)
