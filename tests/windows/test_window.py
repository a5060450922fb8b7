"""Windows that receive notifications: the library's own (the window notifier), and an application's.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest
from receiver import BOOK, BOUND_S, ENTRY, STATES, Window, until

import ras_ext
import ras_ext.sim
from ras_ext.window import post_to_window


@pytest.fixture(params=["sim", "system"])
def client(request: pytest.FixtureRequest) -> Iterator[ras_ext.Client]:
    """A client of our RAS, inside the extension and as rasapi32.dll."""
    with ras_ext.open(request.param, phonebook=BOOK) as client:
        ras_ext.sim.control(client).reset(force=True)
        yield client
    with ras_ext.open(request.param) as client:
        ras_ext.sim.control(client).reset(force=True)


@pytest.fixture
def machine(client: ras_ext.Client) -> ras_ext.sim.Machine:
    return ras_ext.sim.control(client)


# --- The library's own window --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_window_notifier_tells_every_state(client: ras_ext.Client, machine: ras_ext.sim.Machine, clock: Any) -> None:
    """All states arrive, in order, with no subentry and no handle but the one that RasDial returned (S1.4)."""
    machine.clock(clock)
    dial = client.dial(ENTRY, notifier="window")
    events = list(dial)
    with dial.result(BOUND_S) as connection:
        assert connection.status().state is ras_ext.State.Connected
    assert [int(event.state) for event in events] == STATES
    assert {event.subentry for event in events} == {0}
    assert {event.origin for event in events} == {ras_ext.Origin.Notifier}


def test_s8_31_errors_of_the_window_form_are_unsigned(client: ras_ext.Client, machine: ras_ext.sim.Machine) -> None:
    """lParam is 64 bits wide and here sign-extended; the error is the 32-bit code (S8.26)."""
    machine.script(ENTRY, [{"state": 0}, {"state": 5, "error": 0x80420112}])
    dial = client.dial(ENTRY, notifier="window")
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result(BOUND_S)
    assert caught.value.code == 0x80420112


@pytest.mark.parametrize("on_caller", [0, 1])
def test_s8_5_early_notifications_reach_the_window(client: ras_ext.Client, machine: ras_ext.sim.Machine, on_caller: int) -> None:
    """All of them come before RasDial has returned, from another thread or the caller's own."""
    machine.knob("early", 1000)
    machine.knob("early_on_caller", on_caller)
    dial = client.dial(ENTRY, notifier="window")
    dial.result(BOUND_S).hang_up()
    assert [int(event.state) for event in dial.events] == STATES


def test_cancelled_window_dials_leave_nothing(client: ras_ext.Client, machine: ras_ext.sim.Machine) -> None:
    """Twenty windows at once, cancelled in the middle, end with their threads."""
    machine.script(ENTRY, [{"state": 0}, {"delay_ms": 600_000, "state": 8192}])
    for name in ("Office VPN", "Home", "Lab"):
        machine.script(name, [{"state": 0}, {"delay_ms": 600_000, "state": 8192}])
    dials = [client.dial("", phone_number=f"555{i}", notifier="window") for i in range(20)]
    for dial in dials:
        next(iter(dial))
    for dial in dials:
        dial.cancel()
    for dial in dials:
        assert dial.wait_closed(BOUND_S)


def test_s8_29_kind_0_tells_two_dials_apart(client: ras_ext.Client, machine: ras_ext.sim.Machine) -> None:
    """RasDialFunc carries nothing of ours: each dial has a function of its own."""
    machine.script("", [{"state": 0}, {"delay_ms": 5, "state": 5}, {"delay_ms": 5, "state": 8192}])
    machine.script(ENTRY, [{"state": 0}, {"delay_ms": 5, "state": 2}, {"delay_ms": 5, "state": 2, "error": 678}])
    good = [client.dial("", phone_number=f"555{i}", notifier="func") for i in range(8)]
    bad = client.dial(ENTRY, notifier="func")
    with pytest.raises(ras_ext.RasError) as caught:
        bad.result(BOUND_S)
    assert caught.value.code == 678
    for dial in good:
        dial.result(BOUND_S).hang_up()


# --- An application's window ---------------------------------------------------------------------------------------------


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    window.close()


def test_an_applications_window_hears_everything(client: ras_ext.Client, window: Window) -> None:
    """post_to_window sends each state on, as WM_RASDIALEVENT with state and error."""
    dial = client.dial(ENTRY, on_event=post_to_window(window.handle))
    dial.result(BOUND_S).hang_up()
    until(lambda: len(window.received) == len(STATES))
    assert window.received == [(state, 0) for state in STATES]


def test_a_hung_application_does_not_hold_the_dial(client: ras_ext.Client, window: Window) -> None:
    """The window handles nothing, and the dial connects all the same (S1.5)."""
    window.blocked.clear()
    dial = client.dial(ENTRY, on_event=post_to_window(window.handle))
    dial.result(BOUND_S).hang_up()
    assert window.received == []
    window.blocked.set()
    until(lambda: len(window.received) == len(STATES))


def test_a_window_that_is_gone(client: ras_ext.Client) -> None:
    """Is no reason for a dial to fail; the window is told to be gone to whoever asks."""
    gone = Window()
    post = post_to_window(gone.handle)
    gone.close()
    client.dial(ENTRY, on_event=post).result(BOUND_S).hang_up()


def test_an_applications_window_straight_from_ras(machine: ras_ext.sim.Machine, client: ras_ext.Client, window: Window) -> None:
    """RasDial's own window form, as a GUI program calls it: the DLL sends to the window (S1.4)."""
    if client.api != "system":
        pytest.skip("needs rasapi32.dll")
    import rasdll

    dll = rasdll.load()
    params: Any = rasdll.RASDIALPARAMSW()
    params.dwSize, params.szEntryName = 2112, ENTRY
    handle = rasdll.HRASCONN()
    assert dll.RasDialW(None, str(BOOK), ctypes.byref(params), 0xFFFFFFFF, window.handle, ctypes.byref(handle)) == 0
    until(lambda: len(window.received) == len(STATES))
    assert [state for state, _ in window.received] == STATES
    assert dll.RasHangUpW(handle) == 0
    until(lambda: not any(machine.counters))
