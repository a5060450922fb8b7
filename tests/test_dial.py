"""A dial from the outside: what it reports, how it ends, who may wait for it, and what it survives.

SPDX-License-Identifier: MIT

Numbers in names are those of the pitfalls in docs/ras-semantics.md, section 8.
"""

from __future__ import annotations

import _thread
import gc
import logging
import random
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, python, run_threads, until

import ras_ext
from ras_ext import Client, Dial, Event, HangUp, Origin, State
from ras_ext.sim import Machine, Step

# --- Progress and outcome ---------------------------------------------------------------------------------------------


def test_events_come_in_order_and_end_with_the_decision(virtual: Machine, client: Client) -> None:
    """Iterating yields every announced state once, numbered, with the time since dial(), and stops at Connected."""
    dial = client.dial("Office VPN")
    events = list(dial)
    assert [event.state for event in events] == list(VPN_OK)
    assert [event.sequence for event in events] == list(range(len(VPN_OK)))
    assert [event.is_outcome for event in events] == [False] * (len(VPN_OK) - 1) + [True]
    assert [event.elapsed for event in events] == sorted(event.elapsed for event in events)
    assert dial.elapsed == events[-1].elapsed
    assert list(dial) == events == list(dial.events)
    with dial.result() as connection:
        assert connection.entry == dial.entry == "Office VPN"
        assert connection.handle == events[-1].handle != 0
        assert dial.result() is connection
        assert connection.status().state is State.Connected
    assert dial.lost == 0


def test_dial_returns_at_once_while_ras_dial_blocks(sim: Machine, client: Client) -> None:
    """dial() does not wait for RasDial, and a cancelled dial is over at once for its caller although RasDial blocks (S8.7)."""
    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN")
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    assert not dial.done()
    assert dial.cancel()
    assert dial.done() and dial.cancelled()
    with pytest.raises(ras_ext.DialCancelledError):
        dial.result()
    assert [event.origin for event in dial] == [Origin.Cancel]
    assert not dial.wait_closed(0)
    sim.release()
    assert dial.wait_closed(BOUND_S)
    assert dial.cancel(), "a cancelled dial stays cancelled"


@pytest.mark.parametrize("state", [0, 2, 6, 14, 18])
@pytest.mark.parametrize("code", [691, 678, 633, 868, 13801, 0x80420112])
def test_17_an_error_in_any_state_is_the_failure(virtual: Machine, client: Client, state: int, code: int) -> None:
    """S8.17, S8.26: the first error decides, whatever the state and however large the code; the handle is hung up."""
    virtual.script("Office VPN", [{"state": 0}, {"delay_ms": 5, "state": state}, {"delay_ms": 5, "state": state, "error": code}])
    dial = client.dial("Office VPN")
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result()
    error = caught.value
    assert (error.code, error.state, error.entry, error.still_closing) == (code, state, "Office VPN", False)
    assert virtual.calls("RasHangUpW") == 1
    assert dial.events[-1].failed
    assert dial.hang_up_result is HangUp.GONE


@pytest.mark.parametrize("then", [0, 1, 2])
def test_20_the_first_error_wins(virtual: Machine, client: Client, then: int) -> None:
    """S8.19 to S8.21: what follows an error, if anything does, changes nothing."""
    virtual.knob("error_then", then)
    virtual.script("Office VPN", "auth_fail")
    dial = client.dial("Office VPN")
    with pytest.raises(ras_ext.AuthenticationError) as caught:
        dial.result()
    assert caught.value.code == 691
    assert caught.value.later is None
    assert sum(event.is_outcome for event in dial.events) == 1
    assert list(dial)[-1].error == 691


def test_20_a_later_error_is_kept_beside(virtual: Machine, client: Client) -> None:
    """An error that differs from the deciding one is in RasError.later."""
    virtual.knob("error_then", 1)
    virtual.knob("final_on_hangup", 2)
    virtual.knob("late", 5)
    virtual.script("Office VPN", [{"state": 0}, {"state": 6, "error": 691}, {"state": 8193, "error": 629}])
    dial = client.dial("Office VPN")
    error = dial.exception()
    assert error is not None and error.code == 691
    others = [event.error for event in dial.events if event.error not in (0, 691)]
    assert error.later == (others[0] if others else None)


def test_22_only_connected_is_announced(virtual: Machine, client: Client) -> None:
    """S8.22: no intermediate state is needed."""
    virtual.script("Office VPN", [{"state": "Connected"}])
    dial = client.dial("Office VPN")
    with dial.result():
        assert [event.state for event in dial] == [State.Connected]


def test_24_unknown_states_are_delivered(virtual: Machine, client: Client) -> None:
    """S8.24: numbers that nobody has named come through; one with the DONE bit ends the dial."""
    virtual.script("Office VPN", [{"state": 77}, {"state": 25}, {"state": 8194}])
    dial = client.dial("Office VPN")
    assert [event.state.name for event in dial] == ["Unknown77", "Unknown25", "Unknown8194"]
    with pytest.raises(ras_ext.RasError):
        dial.result()


@pytest.mark.parametrize(
    "knobs", [{"early": 1}, {"early": 1000}, {"early": 1000, "early_on_caller": 1}, {"early": 1000, "threads": 1}]
)
def test_5_notifications_before_ras_dial_returns(virtual: Machine, client: Client, knobs: dict[str, int]) -> None:
    """S8.5: some or all notifications come before RasDial has returned, on whatever thread."""
    for name, value in knobs.items():
        virtual.knob(name, value)
    dial = client.dial("Office VPN")
    assert [event.state for event in dial] == list(VPN_OK)
    assert dial.result().hang_up() is HangUp.GONE


def test_18_repeated_and_concurrent_notifications(virtual: Machine, client: Client) -> None:
    """S8.18, S1.6: repeats from several threads at once lose nothing and decide once."""
    virtual.knob("threads", 2)
    virtual.knob("repeat_percent", 50)
    for seed in range(10):
        virtual.seed(seed)
        dial = client.dial("Office VPN")
        events = list(dial)
        so_far = dial.events  # asked once: what the other thread announces late may come between two looks
        assert [event.sequence for event in so_far] == list(range(len(so_far)))
        assert {event.state for event in events} <= set(VPN_OK)
        assert events[-1].state is State.Connected
        assert dial.result().hang_up() is HangUp.GONE


@pytest.mark.parametrize(("handle", "hangups"), [(0, 0), (1, 1)])
def test_1_and_2_ras_dial_fails_at_once(virtual: Machine, client: Client, handle: int, hangups: int) -> None:
    """S8.1, S8.2: a code that RasDial returns is the outcome; one RasHangUp when it gave a handle nevertheless, else none."""
    virtual.knob("dial_code", 633)
    virtual.knob("dial_code_handle", handle)
    dial = client.dial("Office VPN")
    with pytest.raises(ras_ext.LineError) as caught:
        dial.result()
    assert (caught.value.code, caught.value.origin) == (633, Origin.Return)
    assert virtual.calls("RasHangUpW") == hangups


@pytest.mark.parametrize("by_callback", [0, 1])
def test_missing_entry_and_book_are_outcomes(virtual: Machine, client: Client, by_callback: int, tmp_path: Path) -> None:
    """623 and 621 come from result(), never from dial()."""
    virtual.knob("by_callback", by_callback)
    with pytest.raises(ras_ext.PhonebookError) as caught:
        client.dial("No such entry").result()
    assert caught.value.code == 623
    with pytest.raises(ras_ext.PhonebookError) as caught:
        client.dial("Office VPN", phonebook=tmp_path / "missing.pbk").result()
    assert caught.value.code == 621


@pytest.mark.parametrize("known_notify", [0, 1])
def test_35_and_46_dialling_a_connected_entry(virtual: Machine, client: Client, known_notify: int) -> None:
    """S8.35, S8.46: a second reference, with or without a notification; the first hang-up leaves the connection up."""
    virtual.knob("known_notify", known_notify)
    first = client.dial("Office VPN").result()
    second_dial = client.dial("Office VPN")
    second = second_dial.result()
    assert first == second and hash(first) == hash(second)
    assert second_dial.events[-1].origin is (Origin.Notifier if known_notify else Origin.Poll)
    assert virtual.counters.references == 2
    assert first.hang_up() is HangUp.SHARED
    assert first.hang_up() is HangUp.SHARED, "the same reference is not given up twice"
    assert second.status().state is State.Connected
    assert second.hang_up() is HangUp.GONE
    assert virtual.counters.references == 0


def test_45_a_failed_result_allows_to_dial_again(virtual: Machine, client: Client) -> None:
    """S8.4, S8.45: with one port, the next dial succeeds as soon as result() has raised."""
    virtual.ports("vpn", 1)
    virtual.knob("hangup_delay_ms", 700)
    virtual.script("Office VPN", "auth_fail")
    for _ in range(3):
        with pytest.raises(ras_ext.AuthenticationError) as caught:
            client.dial("Office VPN").result()
        assert not caught.value.still_closing
    virtual.script("Office VPN", "vpn_ok")
    client.dial("Office VPN").result().hang_up()


def test_47_dialling_twice_at_once(virtual: Machine, client: Client) -> None:
    """S8.47: the second dial of an entry that is being dialled fails with 756, and does not disturb the first."""
    virtual.script("Office VPN", "slow")
    first = client.dial("Office VPN")
    next(iter(first))
    with pytest.raises(ras_ext.RasError) as caught:
        client.dial("Office VPN").result()
    assert caught.value.code == 756
    first.result().hang_up()


def test_44_a_hang_up_that_never_ends(virtual: Machine, client: Client) -> None:
    """S8.44: result() raises after the bound and says that the handle is still closing."""
    virtual.knob("never_gone", 1)
    virtual.script("Office VPN", "auth_fail")
    dial = client.dial("Office VPN")
    with pytest.raises(ras_ext.AuthenticationError) as caught:
        dial.result()
    assert caught.value.still_closing
    assert not dial.wait_closed(20)
    virtual.knob("never_gone", 0)
    virtual.reset(force=True)


def test_50_the_other_side_drops_the_link(virtual: Machine, client: Client) -> None:
    """S8.50: status says 6; hanging up what is gone is no error."""
    connection = client.dial("Office VPN").result()
    virtual.drop(connection, 829)
    virtual.advance(1)
    with pytest.raises(ras_ext.DisconnectedError):
        connection.status()
    assert connection.device_name == ""
    assert connection.hang_up() is HangUp.GONE


@pytest.mark.parametrize("notifier", ["func", "func1", "func2", ras_ext.Notifier.FUNC1, 2])
def test_notifier_kinds(virtual: Machine, client: Client, notifier: Any) -> None:
    """Each kind of RasDialFunc brings the states and a connection; those without a handle too (S1.4)."""
    dial = client.dial("Office VPN", notifier=notifier)
    with dial.result() as connection:
        assert connection.status().state is State.Connected
    assert [event.state for event in dial.events] == list(VPN_OK)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has windows")
def test_window_notifier_needs_windows(sim: Machine, client: Client) -> None:
    """Elsewhere it is a clear "not available", from dial()."""
    with pytest.raises(ras_ext.NotAvailableError, match="Windows"):
        client.dial("Office VPN", notifier="window")


# --- Time -------------------------------------------------------------------------------------------------------------


def test_result_timeout_neither_cancels_nor_fails(virtual: Machine, client: Client) -> None:
    """StillDialing is a TimeoutError, no RasError; the dial goes on, and result() can be called again."""
    virtual.script("Office VPN", [{"state": 0}, {"delay_ms": 60_000, "state": "Connected"}])
    dial = client.dial("Office VPN")
    before = virtual.now
    with pytest.raises(TimeoutError) as caught:
        dial.result(30)
    assert isinstance(caught.value, ras_ext.StillDialing) and not isinstance(caught.value, ras_ext.RasError)
    assert caught.value.state is State.OpenPort
    assert 30 <= virtual.now - before < 31
    assert not dial.done()
    dial.result(31).hang_up()


def test_a_dial_with_a_timeout_fails_with_638(virtual: Machine, client: Client) -> None:
    """The dial's own time-out is an outcome with its own origin."""
    virtual.script("Office VPN", [{"state": 0}, {"delay_ms": 60_000, "state": "Connected"}])
    dial = client.dial("Office VPN", timeout=2.5)
    error = dial.exception()
    assert error is not None and (error.code, error.origin) == (638, Origin.Timeout)
    assert 2.5 <= dial.elapsed < 2.6


def test_a_timeout_decides_although_ras_dial_blocks(sim: Machine, client: Client) -> None:
    """The bound holds while the native thread is inside RasDial."""
    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN", timeout=0.05)
    assert [*dial][-1].origin is Origin.Timeout
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result(0)
    assert caught.value.code == 638 and caught.value.still_closing
    sim.release()
    assert dial.wait_closed(BOUND_S)


def test_zero_timeout_looks_without_waiting(virtual: Machine, client: Client) -> None:
    """result(0) and done() make progress visible, but let no time pass."""
    dial = client.dial("Office VPN")
    with pytest.raises(ras_ext.StillDialing):
        dial.result(0)
    before = virtual.now
    virtual.advance(5)
    assert virtual.now == pytest.approx(before + 5)
    assert dial.done()
    dial.result(0).hang_up()


def test_virtual_time_costs_no_real_time(virtual: Machine, client: Client) -> None:
    """S8.75: an hour without a notification passes at once, and the result is the same each time."""
    virtual.script("Office VPN", [{"state": 0}, {"delay_ms": 3_600_000, "state": "Connected"}])
    elapsed = []
    for _ in range(3):
        dial = client.dial("Office VPN")
        dial.result().hang_up()
        elapsed.append([event.elapsed for event in dial.events])
    assert elapsed[0] == elapsed[1] == elapsed[2]
    assert elapsed[0][-1] == pytest.approx(3600)


# --- Many waiting threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_many_threads_wait_for_one_dial(sim: Machine, client: Client, clock: Any) -> None:
    """Results and iterations in many threads see the same connection and the same events."""
    sim.clock(clock)
    dial = client.dial("Office VPN")
    bodies: list[Callable[[], object]] = [lambda: list(dial), dial.result]
    results = run_threads(*bodies * 8)
    assert all(item == list(dial.events) for item in results[0::2])
    assert all(item is dial.result() for item in results[1::2])
    dial.result().hang_up()


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_many_threads_wait_for_their_own_dials(sim: Machine, client: Client, clock: Any, tmp_path: Path) -> None:
    """Threads that dial, wait and hang up beside each other take turns, and none is left waiting."""
    from helping import write_book

    sim.clock(clock)
    names = [f"Line {number}" for number in range(16)]
    book = write_book(tmp_path / "lines.pbk", *names)
    sim.script("Line 3", "auth_fail")

    def body(name: str) -> list[int]:
        seen = []
        for _ in range(4):
            dial = client.dial(name, phonebook=book)
            seen.append([int(event.state) for event in dial][-1])
            if dial.exception() is None:
                assert dial.result().hang_up() is HangUp.GONE
        return seen

    results = run_threads(*[lambda name=name: body(name) for name in names])
    for name, result in zip(names, results, strict=True):
        assert result == ([6] * 4 if name == "Line 3" else [8192] * 4)


def test_wait_returns_when_asked(virtual: Machine, client: Client) -> None:
    """wait() ends with the first, the first failed, or all; a time-out is no error."""
    virtual.script("Office VPN", [{"delay_ms": 1000, "state": "Connected"}])
    virtual.script("Home", [{"delay_ms": 2000, "state": 6, "error": 691}])
    virtual.script("Lab", [{"delay_ms": 3000, "state": "Connected"}])
    dials = first, second, third = client.dial("Office VPN"), client.dial("Home"), client.dial("Lab")
    assert ras_ext.wait(dials, timeout=0.5) == (set(), set(dials))
    assert ras_ext.wait(dials, return_when=ras_ext.FIRST_COMPLETED) == ({first}, {second, third})
    assert ras_ext.wait(dials, return_when=ras_ext.FIRST_EXCEPTION) == ({first, second}, {third})
    assert ras_ext.wait(dials) == (set(dials), set())
    assert ras_ext.wait([]) == (set(), set())
    for dial in (first, third):
        dial.result().hang_up()


def test_wait_over_several_clients(virtual: Machine, client: Client, book: Path) -> None:
    """Dials of two clients can be waited for together."""
    with ras_ext.open("sim", phonebook=book) as other:
        dials = client.dial("Office VPN"), other.dial("Home"), other.dial("Lab")
        done, not_done = ras_ext.wait(dials, timeout=60)
        assert done == set(dials) and not not_done
        for dial in dials:
            dial.result().hang_up()


def test_wait_in_several_threads(sim: Machine, client: Client) -> None:
    """wait() and result() beside each other, with overlapping sets."""
    dials = [client.dial(name) for name in ("Office VPN", "Home", "Lab")]
    results = run_threads(*[lambda: ras_ext.wait(dials).done] * 4, *[dial.result for dial in dials] * 2)
    assert results[:4] == [set(dials)] * 4
    for dial in dials:
        dial.result().hang_up()


# --- Interruption -----------------------------------------------------------------------------------------------------


def test_keyboard_interrupt_leaves_nothing_held(sim: Machine, client: Client) -> None:
    """It ends the wait, not the dial; afterwards any thread can wait."""
    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN")

    def interrupt() -> None:
        until(lambda: client._hub._turn is not None, "the main thread waiting")
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        dial.result()
    thread.join()
    assert not dial.done() and client._hub._turn is None and not client._hub._waiting
    sim.release()
    (connection,) = run_threads(dial.result)
    assert connection is dial.result()
    dial.result().hang_up()


class _StruckError(Exception):
    """What the signal handler of the next test raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signals_at_any_moment_lose_no_event(sim: Machine, client: Client) -> None:
    """An exception that a signal handler raises anywhere in waiting, draining or hanging up loses no event or reference."""
    struck = 0
    armed = False

    def strike(signum: int, frame: FrameType | None) -> None:
        nonlocal struck
        if armed:
            struck += 1
            raise _StruckError

    chance = random.Random(20)
    steps: list[Step] = [{"state": state} for state in VPN_OK[:-1]]
    sim.script(None, [*steps, {"delay_ms": 1, "state": 8192}])
    sim.knob("hangup_delay_ms", 2)
    previous = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(150):
            dial = client.dial("Office VPN")
            result = None
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.002), 0.0007)
            while result is None:
                try:
                    armed = True
                    result = dial.result()
                    armed = False
                except _StruckError:
                    pass
                finally:
                    armed = False
            gone = None
            while gone is None:
                try:
                    armed = True
                    gone = result.hang_up()
                    armed = False
                except _StruckError:
                    pass
                finally:
                    armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert gone is HangUp.GONE
            assert [event.state for event in dial.events] == list(VPN_OK)
            assert [event.sequence for event in dial.events] == list(range(len(VPN_OK)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert struck > 50
    assert sim.calls("RasHangUpW") == 150


def test_a_signal_handler_may_wait_for_a_dial(sim: Machine, client: Client) -> None:
    """A Python signal handler that waits for another dial, in the middle of a wait, borrows the turn."""
    if not hasattr(signal, "SIGUSR1"):
        pytest.skip("needs SIGUSR1")
    sim.script("Office VPN", [{"delay_ms": 5, "state": state} for state in VPN_OK])
    inner: list[Event] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        dial = client.dial("Home")
        inner.extend(dial)
        dial.result().hang_up()

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        outer = client.dial("Office VPN")
        for event in outer:
            if event.state == State.PortOpened:
                signal.raise_signal(signal.SIGUSR1)
        assert [event.state for event in inner] == list(VPN_OK)
        outer.result().hang_up()
    finally:
        signal.signal(signal.SIGUSR1, previous)


# --- Handlers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_on_event_runs_in_order_on_one_daemon_thread(sim: Machine, client: Client, clock: Any) -> None:
    """Every event up to the decision, one at a time; then the done callbacks."""
    sim.clock(clock)
    seen: list[tuple[Any, threading.Thread]] = []
    done = threading.Event()

    def on_event(event: Event) -> None:
        seen.append((int(event.state), threading.current_thread()))

    dial = client.dial("Office VPN", on_event=on_event)
    dial.add_done_callback(lambda finished: seen.append((finished, threading.current_thread())))
    dial.add_done_callback(lambda finished: done.set())
    connection = dial.result()
    assert done.wait(BOUND_S)
    assert [item for item, _ in seen] == [*VPN_OK, dial]
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1].daemon and seen[0][1] is not threading.current_thread()
    connection.hang_up()


def test_handlers_run_although_nobody_waits(sim: Machine, client: Client) -> None:
    """A dial with a handler makes progress by itself, and needs no reference."""
    seen: list[int] = []
    done = threading.Event()

    def on_event(event: Event) -> None:
        seen.append(int(event.state))
        if event.is_outcome:
            done.set()

    reference = weakref.ref(client.dial("Office VPN", on_event=on_event))
    gc.collect()
    assert done.wait(BOUND_S)
    assert seen == list(VPN_OK)
    (connection,) = client.connections()
    connection.hang_up()
    until(lambda: gc.collect() is not None and reference() is None, "the dial being given up")


def test_a_slow_handler_holds_nothing_up(sim: Machine, client: Client) -> None:
    """While on_event of one dial blocks, that dial and others connect."""
    go_on = threading.Event()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        go_on.wait(BOUND_S)
        seen.append(event)

    slow = client.dial("Office VPN", on_event=on_event)
    done = threading.Event()
    slow.add_done_callback(lambda dial: done.set())
    client.dial("Home").result(BOUND_S).hang_up()
    slow.result(BOUND_S).hang_up()
    assert seen == [] and not done.is_set()
    go_on.set()
    assert done.wait(BOUND_S)
    assert seen == [event for event in slow.events if event.sequence <= slow.events[len(VPN_OK) - 1].sequence]


def test_9_what_a_handler_raises_is_reported(
    sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S8.9: it goes to sys.unraisablehook and the log, and changes nothing for the dial."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))
    done = threading.Event()

    def on_event(event: Event) -> None:
        raise ZeroDivisionError(int(event.state))

    def on_done(dial: Dial) -> None:
        raise KeyError("done")

    dial = client.dial("Office VPN", on_event=on_event)
    dial.add_done_callback(on_done)
    dial.add_done_callback(lambda dial: done.set())
    dial.result().hang_up()
    assert done.wait(BOUND_S)
    assert [problem.args[0] for problem in reported] == [*VPN_OK, "done"]
    assert [record.levelname for record in caplog.records if record.name == "ras_ext"].count("ERROR") == len(reported)


def test_done_callback_of_a_decided_dial_runs_at_once(virtual: Machine, client: Client) -> None:
    """On the calling thread, because there is nothing left to wait for."""
    dial = client.dial("Office VPN")
    dial.result().hang_up()
    seen: list[Any] = []
    dial.add_done_callback(lambda finished: seen.append((finished, threading.current_thread())))
    assert seen == [(dial, threading.current_thread())]


def test_a_done_callback_may_take_the_result_of_a_failed_dial(sim: Machine, client: Client) -> None:
    """result() in a callback waits for the hang-up, which nothing that the callback holds delays."""
    sim.script("Office VPN", "auth_fail")
    errors: list[Any] = []
    done = threading.Event()

    def on_done(dial: Dial) -> None:
        errors.append(dial.exception(BOUND_S))
        done.set()

    client.dial("Office VPN").add_done_callback(on_done)
    assert done.wait(BOUND_S)
    assert errors[0].code == 691 and not errors[0].still_closing


def test_a_stuck_handler_does_not_hold_up_close(sim: Machine, book: Path) -> None:
    """close() waits for native threads, not for a handler that does not return."""
    go_on = threading.Event()
    client = ras_ext.open("sim", phonebook=book)
    dial = client.dial("Home", on_event=lambda event: go_on.wait())
    dial.result().hang_up()
    closing = threading.Thread(target=client.close, args=(600,), daemon=True)
    closing.start()
    try:
        closing.join(BOUND_S)
        assert not closing.is_alive()
    finally:
        go_on.set()


def test_a_handler_may_cancel_and_close(sim: Machine, book: Path) -> None:
    """Calls on the handler thread itself, even closing the client, do not deadlock."""
    client = ras_ext.open("sim", phonebook=book)
    done = threading.Event()

    def on_event(event: Event) -> None:
        if event.state == State.PortOpened:
            client.close()
            done.set()

    dial = client.dial("Office VPN", on_event=on_event)
    assert done.wait(BOUND_S)
    assert dial.done()
    client.close()


# --- Giving up --------------------------------------------------------------------------------------------------------


def test_a_forgotten_dial_is_cancelled_with_a_warning(sim: Machine, client: Client) -> None:
    """Losing the last reference in flight hangs up from a native thread."""
    sim.script("Office VPN", "slow")
    dial = client.dial("Office VPN")
    next(iter(dial))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del dial
        gc.collect()
    assert [item.category for item in caught] == [ResourceWarning]
    assert "Office VPN" in str(caught[0].message)
    until(lambda: not any(sim.counters), "the link being down")
    assert sim.calls("RasHangUpW") == 1


def test_with_cancels_what_is_undecided(sim: Machine, client: Client) -> None:
    """Leaving the block cancels; a dial that is decided is left alone."""
    sim.script("Office VPN", "slow")
    with client.dial("Office VPN") as dial:
        next(iter(dial))
    assert dial.cancelled()
    assert dial.wait_closed(BOUND_S)
    with client.dial("Home") as dial:
        connection = dial.result()
    assert not dial.cancelled()
    connection.hang_up()


def test_cancel_wakes_every_waiting_thread(sim: Machine, client: Client) -> None:
    """Whoever waits in result(), iteration or wait() is done at once."""
    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN")

    def result() -> object:
        with pytest.raises(ras_ext.DialCancelledError):
            dial.result()
        return None

    def cancel() -> object:
        until(lambda: len(client._hub._waiting) == 6, "six threads waiting")
        return dial.cancel()

    waiting = [result, result, lambda: list(dial), lambda: list(dial), lambda: ras_ext.wait([dial]), lambda: ras_ext.wait([dial])]
    assert run_threads(*waiting, cancel)[-1] is True
    sim.release()
    assert dial.wait_closed(BOUND_S)


def test_cancel_after_the_decision_changes_nothing(virtual: Machine, client: Client) -> None:
    """It says False, and the connection stands."""
    dial = client.dial("Office VPN")
    connection = dial.result()
    assert not dial.cancel() and not dial.cancelled()
    assert connection.status().state is State.Connected
    connection.hang_up()


@pytest.mark.leaves_connections
def test_a_collected_connection_stays_up(virtual: Machine, client: Client) -> None:
    """Neither a Connection nor its Dial hangs up when it is collected."""
    client.dial("Office VPN").result()
    gc.collect()
    virtual.advance(60)
    assert [connection.entry for connection in client.connections()] == ["Office VPN"]
    assert virtual.calls("RasHangUpW") == 0


def test_client_close_cancels_dials_and_leaves_connections(sim: Machine, client: Client, book: Path) -> None:
    """What is in flight is cancelled and hung up; what stands stays; dials keep what they know."""
    sim.script("Home", "slow")
    with ras_ext.open("sim", phonebook=book) as other:
        connected = other.dial("Office VPN")
        kept = connected.result()
        flying = other.dial("Home")
        next(iter(flying))
    assert flying.cancelled() and flying.done()
    with pytest.raises(ras_ext.DialCancelledError):
        flying.result()
    assert [event.origin for event in flying][-1] is Origin.Cancel
    assert connected.result() is kept
    assert flying.elapsed > 0 and flying.lost == 0
    with pytest.raises(ras_ext.ClosedError):
        kept.status()
    with pytest.raises(ras_ext.ClosedError):
        other.dial("Office VPN")
    (still,) = client.connections()
    assert still.handle == kept.handle
    still.hang_up()


def test_client_close_with_ras_dial_blocked_is_bounded(sim: Machine, book: Path) -> None:
    """A native thread that is stuck in RasDial is left behind after the time-out, and ends by itself."""
    sim.knob("block_dial", 1)
    client = ras_ext.open("sim", phonebook=book)
    dial = client.dial("Office VPN")
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    client.close(timeout=0.05)
    assert dial.cancelled()
    sim.release()


# --- Secrets and logs -------------------------------------------------------------------------------------------------

SECRET = "correct horse battery staple"


def test_password_kinds_reach_the_server(virtual: Machine, client: Client) -> None:
    """str, bytes, bytearray and a callable; the caller's bytearray is left to the caller."""
    virtual.account("Office VPN", "ada", SECRET)
    mutable = bytearray(SECRET.encode())
    for password in (SECRET, SECRET.encode(), mutable, lambda: SECRET, lambda: mutable):
        client.dial("Office VPN", username="ada", password=password).result().hang_up()
    assert mutable == SECRET.encode()
    with pytest.raises(ras_ext.AuthenticationError):
        client.dial("Office VPN", username="ada", password="wrong").result()


def test_59_password_of_256_units(virtual: Machine, client: Client) -> None:
    """S8.59: the longest password passes whole; one unit more is refused."""
    longest = "𝄞" * 128
    virtual.account("Office VPN", "ada", longest)
    client.dial("Office VPN", username="ada", password=longest).result().hang_up()
    for password in (longest + "x", (longest + "x").encode()):
        with pytest.raises(ValueError, match="257 UTF-16 units"):
            client.dial("Office VPN", username="ada", password=password)


@pytest.mark.parametrize(
    "arguments",
    [
        {"entry": 7},
        {"username": None},
        {"username": "a\0b"},
        {"domain": "d" * 16},
        {"timeout": -1},
        {"notifier": "pigeon"},
        {"password": SECRET + "\0"},
        {"password": SECRET + "\ud800"},
        {"password": SECRET.encode() + b"\xff"},
        {"password": SECRET * 10},
        {"password": [SECRET]},
        {"password": lambda: [SECRET]},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
@pytest.mark.parametrize("module", [False, True])
def test_no_traceback_shows_a_password(sim: Machine, client: Client, arguments: dict[str, Any], module: bool) -> None:
    """Not in the message, not in a local variable of a frame of ours, not in a chained exception."""
    given: dict[str, Any] = {"entry": "Office VPN", "username": "ada", "password": SECRET, **arguments}
    if module:
        given["client"] = client
    try:
        (ras_ext.dial if module else client.dial)(**given)
    except (TypeError, ValueError) as problem:
        caught: BaseException | None = problem
    else:
        pytest.fail("accepted")
    while caught is not None:
        frames = traceback.TracebackException.from_exception(caught, capture_locals=True)
        ours = [frame for frame in frames.stack if "ras_ext" in Path(frame.filename).parts]
        assert ours and not any(SECRET in value for frame in ours for value in (frame.locals or {}).values())
        assert SECRET not in str(caught) and SECRET not in repr(caught)
        caught = caught.__context__


def test_nothing_logged_shows_credentials(
    virtual: Machine, client: Client, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A DEBUG line per event; no password anywhere, no user name at INFO or above; the same for the journal."""
    caplog.set_level(logging.DEBUG, logger="ras_ext")
    virtual.journal(tmp_path / "journal")
    virtual.script("Office VPN", "auth_fail")
    dial = client.dial("Office VPN", username="ada-lovelace", password=SECRET)
    assert dial.exception() is not None
    records = [record for record in caplog.records if record.name == "ras_ext"]
    assert len(records) == len(dial.events) and {record.levelno for record in records} == {logging.DEBUG}
    text = caplog.text + (tmp_path / "journal").read_text() + repr(dial) + repr(dial.events) + repr(dial.exception())
    assert SECRET not in text and "ada-lovelace" not in text


# --- Processes --------------------------------------------------------------------------------------------------------

_PROLOGUE = """
import sys, ras_ext, ras_ext.sim
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
"""


def _journal(path: Path, function: str) -> int:
    return sum(
        line.split("]")[-1].strip().startswith(function) or f" {function} " in line for line in path.read_text().splitlines()
    )


def test_16_exit_leaves_the_connection_up(book: Path, tmp_path: Path) -> None:
    """S1.11, S8.16: a program that ends with a connection does not hang up."""
    done = python(_PROLOGUE + 'connection = client.dial("Office VPN").result()', book, tmp_path / "journal")
    assert (done.returncode, done.stderr) == (0, "")
    assert "RasDialW" in (tmp_path / "journal").read_text()
    assert "RasHangUpW" not in (tmp_path / "journal").read_text()


@pytest.mark.parametrize("handlers", ["", ", on_event=lambda event: None"])
def test_14_exit_in_flight_hangs_up_once(book: Path, tmp_path: Path, handlers: str) -> None:
    """S8.14, S8.16: a program that ends while it dials hangs up, and neither crashes nor complains."""
    code = _PROLOGUE + f'machine.script(None, "slow")\ndial = client.dial("Office VPN"{handlers})\nnext(iter(dial))'
    done = python(code, book, tmp_path / "journal")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "journal").read_text().splitlines()
    assert sum("RasHangUpW" in line for line in lines) == 1


def test_exit_with_threads_that_wait(book: Path, tmp_path: Path) -> None:
    """Daemon threads in result() at exit do not hang or crash the interpreter."""
    code = (
        _PROLOGUE
        + """
import threading
machine.knob("block_status", 0)
machine.script(None, "slow")
dials = [client.dial("Office VPN"), client.dial("Home")]
def wait(dial):
    try:
        dial.result()
    except ras_ext.RasError:
        pass
for dial in dials * 3:
    threading.Thread(target=wait, args=(dial,), daemon=True).start()
next(iter(dials[0]))
"""
    )
    done = python(code, book, tmp_path / "journal")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_fork_child_is_refused(book: Path, tmp_path: Path) -> None:
    """In a forked child public calls raise, destructors and the exit hook do nothing, and the parent is undisturbed."""
    code = (
        _PROLOGUE
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
machine.script("Home", [{"state": 0}, {"delay_ms": 300, "state": 8192}])
connection = client.dial("Office VPN").result()
dial = client.dial("Home")
next(iter(dial))
pid = os.fork()
if pid == 0:
    refused = 0
    calls = [lambda: client.dial("Lab"), client.connections, client.entries, client.devices, client.close, dial.result,
             dial.cancel, dial.done, lambda: dial.events, lambda: next(iter(dial)), dial.wait_closed, connection.status,
             connection.hang_up,
             lambda: ras_ext.open("sim"), lambda: ras_ext.dial("x"), lambda: ras_ext.wait([dial]), lambda: client.error_text(1),
             lambda: dial.add_done_callback(print), lambda: client.validate_entry_name("x"), ras_ext.sim.control]
    for call in calls:
        try:
            call()
        except RuntimeError as problem:
            refused += isinstance(problem, ras_ext.ForkedError)
    dial = connection = client = None
    os.write(1, b"%d of %d" % (refused, len(calls)))
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
dial.result().hang_up()
connection.hang_up()
"""
    )
    done = python(code, book, tmp_path / "journal")
    assert (done.returncode, done.stderr) == (0, "")
    refused, _, calls = done.stdout.partition(" of ")
    assert refused == calls
    assert sum("RasHangUpW" in line for line in (tmp_path / "journal").read_text().splitlines()) == 2


def test_fork_without_use_is_fine(book: Path, tmp_path: Path) -> None:
    """A process that only imported the library may fork, and the child may dial."""
    if not hasattr(__import__("os"), "fork"):
        pytest.skip("needs fork")
    code = """
import os, sys, ras_ext
if os.fork() == 0:
    client = ras_ext.open("sim", phonebook=sys.argv[1])
    client.dial("Office VPN").result().hang_up()
    client.close()
    os._exit(0)
assert os.wait()[1] == 0
"""
    done = python(code, book, tmp_path / "journal")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_is_light() -> None:
    """Importing the package brings in neither asyncio, rich, json, logging nor subprocess."""
    done = python("import sys; before = set(sys.modules); import ras_ext; print(*sorted(set(sys.modules) - before))")
    heavy = {
        "asyncio",
        "rich",
        "json",
        "logging",
        "subprocess",
        "inspect",
        "dataclasses",
        "socket",
        "uuid",
        "ipaddress",
        "pathlib",
    }
    assert done.returncode == 0
    assert not heavy & set(done.stdout.split())


def test_steps_are_typed() -> None:
    """Step is what scripts are made of; a reader's aid, checked by mypy."""
    step: Step = {"state": "Connected", "delay_ms": 1}
    assert set(step) <= set(Step.__annotations__)
