"""Pitfalls of docs/ras-semantics.md, section 8: handle and lifetime (1 to 16), end to end.

SPDX-License-Identifier: MIT

docs/pitfalls.md lists them all. What only C can show stands in tests/c/test_pitfalls.c.
"""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, run_threads, until
from proving import PENDING, PROLOGUE, STORIES, calls, finish, handles_of, hang_up_all, hang_ups, program, story, until_released

import ras_ext
from ras_ext import Client, Dial, Event, HangUp, Origin, State
from ras_ext.sim import Machine, Step

FUNCTIONS = ("func", "func1", "func2")


@pytest.fixture
def journal(sim: Machine, tmp_path: Path) -> Path:
    """The machine's journal, from here to the end of the test."""
    path = tmp_path / "journal.txt"
    sim.journal(path)
    return path


# --- What RasDial returns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("notify", [0, 1])
def test_s8_01_an_error_with_a_handle_is_hung_up_once(
    virtual: Machine, client: Client, journal: Path, notify: int, notifier: Any
) -> None:
    """RasDial returns an error and a handle, and announces the failure or not: that handle is hung up once."""
    virtual.knob("dial_code", 711)
    virtual.knob("dial_code_handle", 1)
    virtual.knob("dial_code_notify", notify)
    dial = client.dial("Office VPN", notifier=notifier)
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result()
    assert caught.value.code == 711
    (returned,) = calls(journal, "RasDialW")
    assert returned.endswith("-> 711")
    assert handles_of(calls(journal, "RasHangUpW")) == handles_of([returned])
    assert dial.hang_up_result is HangUp.GONE


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("notify", [0, 1])
def test_s8_02_an_error_without_a_handle_is_not_hung_up(
    virtual: Machine, client: Client, journal: Path, notify: int, notifier: Any
) -> None:
    """A dial that did not start owns nothing, whatever handle a notification told."""
    virtual.knob("dial_code", 711)
    virtual.knob("dial_code_notify", notify)
    dial = client.dial("Office VPN", notifier=notifier)
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result()
    assert (caught.value.code, caught.value.still_closing) == (711, False)
    assert handles_of(calls(journal, "RasDialW")) == ["0x0"]
    assert hang_ups(journal) == 0
    assert dial.hang_up_result is HangUp.NONE


def test_s8_03_no_dial_is_taken_for_a_resume(virtual: Machine, client: Client, journal: Path) -> None:
    """After successes, failures and cancels alike the next dial starts anew, with a handle of its own."""
    virtual.script("Home", "auth_fail")
    virtual.script("Lab", PENDING)
    for _ in range(3):
        client.dial("Office VPN").result().hang_up()
        assert client.dial("Home").exception() is not None
        with client.dial("Lab") as dial:
            next(iter(dial))
        assert dial.wait_closed()
    lines = calls(journal, "RasDialW")
    assert len(lines) == 9 and not any("resume" in line for line in lines)
    assert len(set(handles_of(lines))) == 9


@pytest.mark.parametrize("script", ["auth_fail", "unreachable", "busy", "modem_noanswer", "expired"])
def test_s8_04_a_failure_frees_the_port(virtual: Machine, client: Client, script: str) -> None:
    """With a single port five failures in a row do not make it busy, and the sixth dial connects."""
    virtual.ports("vpn", 1)
    virtual.script("Office VPN", script)
    for _ in range(5):
        error = client.dial("Office VPN").exception()
        assert error is not None and error.code == int(STORIES[script].partition("/")[2])
        assert virtual.counters.ports == 0
    client.dial("Home").result().hang_up()


# --- When and where notifications come --------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("script", ["vpn_ok", "auth_fail", "connect_now", "busy"])
@pytest.mark.parametrize("early", [1, 3, 1000])
@pytest.mark.parametrize("on_caller", [0, 1])
def test_s8_05_notifications_before_ras_dial_returns(
    virtual: Machine, client: Client, script: str, early: int, on_caller: int, notifier: Any
) -> None:
    """One, some or all of them, Connected and the error too, on RAS's thread or on the one that calls RasDial."""
    virtual.knob("early", early)
    virtual.knob("early_on_caller", on_caller)
    virtual.script("Office VPN", script)
    dial = client.dial("Office VPN", notifier=notifier)
    assert story(dial) == STORIES[script]
    finish(virtual, dial)
    assert (dial.exception() is None) is (script in ("vpn_ok", "connect_now"))
    assert dial.events[-1].origin is Origin.Notifier
    hang_up_all(client)


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_05_connected_while_ras_dial_has_not_returned(sim: Machine, client: Client, journal: Path, notifier: Any) -> None:
    """The whole dial is over while RasDial still blocks: the events are there, the connection once its handle is known."""
    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN", notifier=notifier)
    assert story(dial) == STORIES["vpn_ok"]
    assert calls(journal, "RasDialW") == []
    if notifier == "func":  # the kind that carries no handle (S1.4)
        with pytest.raises(ras_ext.StillDialing):
            dial.result(0)
    sim.release()
    assert dial.result(BOUND_S).hang_up() is HangUp.GONE


@pytest.mark.parametrize("knobs", [{"threads": 1}, {"threads": 2}, {"early": 1000, "early_on_caller": 1}, {}], ids=str)
def test_s8_06_no_python_runs_on_a_thread_of_ras(sim: Machine, client: Client, knobs: dict[str, int]) -> None:
    """Notifications on foreign threads, while Python threads compute: handlers run on Python's own, nothing deadlocks."""
    for name, value in knobs.items():
        sim.knob(name, value)
    stop = threading.Event()
    local = threading.local()
    seen: list[tuple[int, int]] = []

    def compute() -> None:
        number = 1
        while not stop.is_set():
            number = number * 3 % 1_000_003

    def on_event(event: Event) -> None:
        local.count = getattr(local, "count", 0) + 1  # works on a thread that Python made; lost on one that it did not
        seen.append((threading.get_ident(), local.count))

    busy = [threading.Thread(target=compute, daemon=True) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        told = threading.Event()
        dial = client.dial("Office VPN", on_event=on_event)
        dial.add_done_callback(lambda decided: told.set())
        connection = dial.result(BOUND_S)
        assert told.wait(BOUND_S)
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading._DummyThread)]
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    assert len({ident for ident, _ in seen}) == 1
    assert [count for _, count in seen] == list(range(1, len(seen) + 1))
    connection.hang_up()


def test_s8_07_a_handler_may_wait_for_ras_dial_to_return(sim: Machine, client: Client, journal: Path) -> None:
    """on_event of the first notification waits for dial(), then for RasDial, to return: both do."""
    sim.knob("block_dial", 1)
    entered, returned, over = threading.Event(), threading.Event(), threading.Event()
    waited: list[bool] = []

    def on_event(event: Event) -> None:
        entered.set()
        if not waited:
            waited.append(returned.wait(BOUND_S))
            waited.append(over.wait(BOUND_S))

    dial = client.dial("Office VPN", on_event=on_event)
    returned.set()
    assert entered.wait(BOUND_S)
    until_released(sim, lambda: calls(journal, "RasDialW"), "RasDial returning while the handler blocks")
    connection = dial.result(BOUND_S)
    over.set()
    connection.hang_up()
    until(lambda: waited == [True, True], "the handler going on")


# --- What must stay alive ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_08_dropping_the_dial_frees_nothing_that_ras_still_calls(sim: Machine, client: Client, notifier: Any) -> None:
    """The Dial is collected in flight; notifications go on, also after the hang-up, into what later dials use."""
    sim.knob("late", 5)
    sim.knob("final_on_hangup", 2)
    sim.knob("repeat_percent", 50)
    sim.knob("hangup_delay_ms", 0)
    steps: list[Step] = [{"delay_ms": 1, "state": state} for state in VPN_OK[:-1]]
    sim.script("Office VPN", steps * 3 + PENDING[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(8):
            dial = client.dial("Office VPN", notifier=notifier)
            next(iter(dial))
            del dial
            gc.collect(0)
            until(lambda: sim.counters.handles == 0, "the dropped dial being hung up")
            other = client.dial("Home", notifier=notifier)
            assert {int(event.state) for event in other} <= set(VPN_OK)
            assert other.result().hang_up() is HangUp.GONE
    assert sim.calls("RasHangUpW") == 16


@pytest.mark.parametrize("problem", [ZeroDivisionError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_s8_09_what_a_handler_raises_stays_in_python(
    virtual: Machine, client: Client, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    """At each event: it is reported, the next event comes nevertheless, and RAS hears nothing of it."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))
    told = threading.Event()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        raise problem

    dial = client.dial("Office VPN", on_event=on_event)
    dial.add_done_callback(lambda decided: told.set())
    assert story(dial) == STORIES["vpn_ok"]
    assert told.wait(BOUND_S)
    assert story(seen) == STORIES["vpn_ok"]
    assert len(reported) == len(seen) and all(item is problem for item in reported)
    dial.result().hang_up()


# --- Hanging up and stale notifications -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.OpenPort, State.AuthNotify, State.Connected])
@pytest.mark.parametrize("final", [0, 1, 2])
def test_s8_10_hanging_up_in_a_handler(sim: Machine, client: Client, journal: Path, state: State, final: int) -> None:
    """on_event cancels, or hangs up what has just connected; a last notification of the dial comes or not."""
    sim.knob("final_on_hangup", final)
    sim.script("Office VPN", [{"state": 0}, {"state": 6}, {"state": 8192}] if state == State.Connected else [{"state": state}])
    ready, told = threading.Event(), threading.Event()
    ended: list[object] = []

    def on_event(event: Event) -> None:
        assert ready.wait(BOUND_S)  # for `dial`
        if event.state == state and event.origin is Origin.Notifier:
            if event.is_outcome:
                ended.extend(connection.hang_up() for connection in client.connections())
            else:
                ended.append(dial.cancel())

    sim.knob("block_dial", 1)
    dial = client.dial("Office VPN", on_event=on_event)
    dial.add_done_callback(lambda decided: told.set())
    ready.set()
    until_released(sim, told.is_set, "the handler being through")
    finish(sim, dial)
    assert ended == [HangUp.GONE if state == State.Connected else True]
    assert hang_ups(journal) == 1
    assert sum(event.is_outcome for event in dial.events) == 1


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("final", [0, 1, 2])
@pytest.mark.parametrize("late", [0, 4])
def test_s8_11_after_hang_up_a_notification_may_come_or_not(
    virtual: Machine, client: Client, late: int, final: int, notifier: Any
) -> None:
    """Cancelled, failed and connected dials end the same way with and without it, and nothing waits for one."""
    virtual.knob("late", late)
    virtual.knob("final_on_hangup", final)
    virtual.script("Office VPN", PENDING)
    virtual.script("Home", "auth_fail")
    cancelled = client.dial("Office VPN", notifier=notifier)
    next(iter(cancelled))
    failed, connected = client.dial("Home", notifier=notifier), client.dial("Lab", notifier=notifier)
    cancelled.cancel()
    with pytest.raises(ras_ext.AuthenticationError):
        failed.result()
    assert connected.result().hang_up() is HangUp.GONE
    assert cancelled.wait_closed() and failed.wait_closed()
    virtual.advance(10)
    for dial, last in ((cancelled, State.Disconnected), (failed, State.AuthNotify), (connected, State.Connected)):
        (outcome,) = (event for event in dial.events if event.is_outcome)
        assert outcome.state == last
    assert cancelled.cancelled() and cancelled.hang_up_result is HangUp.GONE
    assert virtual.calls("RasHangUpW") == 3


@pytest.mark.parametrize("gone_code", [6, 668])
def test_s8_12_hanging_up_twice(virtual: Machine, client: Client, journal: Path, gone_code: int) -> None:
    """The same Connection calls RasHangUp once; another one of the same handle gets 6 or 668, which is no error."""
    virtual.knob("gone_code", gone_code)
    connection = client.dial("Office VPN").result()
    (other,) = client.connections()
    assert other == connection
    assert [connection.hang_up() for _ in range(3)] == [HangUp.GONE] * 3
    assert hang_ups(journal) == 1
    assert other.hang_up() is HangUp.GONE
    assert calls(journal, "RasHangUpW")[1].endswith(f"-> {gone_code}")


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_13_a_stale_notification_of_a_reused_handle(virtual: Machine, client: Client, notifier: Any) -> None:
    """The old dial's notifications keep coming, with the handle that the new dial was given: the new one hears only its own."""
    virtual.knob("reuse_handles", 1)
    virtual.knob("hangup_delay_ms", 0)
    first = client.dial("Office VPN", notifier=notifier)
    old = first.result()
    virtual.knob("late", 200)
    assert old.hang_up() is HangUp.GONE
    virtual.knob("late", 0)
    second = client.dial("Home", notifier=notifier)
    events = list(second)
    assert second.result().handle == old.handle, "the machine has reused the value"
    assert story(events) == STORIES["vpn_ok"] == story(first.events)
    assert virtual.counters.threads > 0, "stale notifications were still coming"
    second.result().hang_up()
    virtual.advance(10)


# --- Threads and the process that end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "notifier"), list(enumerate((*FUNCTIONS, "func2"))))
def test_s8_14_interpreter_shutdown_while_dialling(book: Path, tmp_path: Path, seed: int, notifier: str) -> None:
    """The program ends in a storm of notifications, with handlers that run: no crash, no complaint, one RasHangUp per dial."""
    storm = f'[{{"state": state}} for state in {VPN_OK[:-1]}] * 200'  # in full it is longer than a command line of Windows
    code = (
        PROLOGUE
        + f"""
machine.seed({seed})
machine.knob("threads", {(seed + 1) % 3})
machine.knob("repeat_percent", 30)
machine.knob("final_on_hangup", 2)
machine.knob("late", 3)
machine.script(None, {storm} + {PENDING[1:]})
seen = []
dials = [client.dial(name, notifier="{notifier}", on_event=seen.append) for name in ("Office VPN", "Home", "Lab")]
next(iter(dials[{seed % 3}]))
threading.Thread(target=lambda: list(dials[0]), daemon=True).start()
"""
    )
    done = program(code, book, tmp_path / "journal.txt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    dialled = handles_of(calls(tmp_path / "journal.txt", "RasDialW"))
    assert sorted(handles_of(calls(tmp_path / "journal.txt", "RasHangUpW"))) == sorted(dialled)


def test_s8_15_the_dialling_thread_ends_at_once(sim: Machine, client: Client, journal: Path) -> None:
    """Pool threads, and a thread of their own each: all gone before any RasDial has returned; every dial completes."""
    sim.knob("block_dial", 1)
    sim.script("Home", "auth_fail")
    dials: list[Dial] = []

    def body(name: str) -> None:
        dials.append(client.dial(name))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(body, "Office VPN").result(BOUND_S)
    run_threads(partial(body, "Home"))
    run_threads(partial(body, "Lab"))
    until(lambda: sim.calls("RasDialW") == 3, "three RasDials")
    assert calls(journal, "RasDialW") == []
    until_released(sim, lambda: len(calls(journal, "RasDialW")) == 3, "three RasDials returning")
    assert [story(dial) for dial in dials] == [STORIES["vpn_ok"], STORIES["auth_fail"], STORIES["vpn_ok"]]
    for dial in dials:
        finish(sim, dial)
    hang_up_all(client)


def test_s8_16_exit_keeps_what_stands_and_hangs_up_what_is_in_flight(book: Path, tmp_path: Path) -> None:
    """Of two connections and two dials, in two clients, RasHangUp is called for the dials only."""
    code = (
        PROLOGUE
        + f"""
other = ras_ext.open("sim", phonebook=sys.argv[1])
machine.script("Lab", {PENDING})
machine.script("Büro №5", {PENDING})
kept = client.dial("Office VPN").result(), other.dial("Home").result()
dials = client.dial("Lab"), other.dial("Büro №5")
events = [next(iter(dial)) for dial in dials]
print(*(hex(connection.handle) for connection in kept))
print(*(hex(event.handle) for event in events))
"""
    )
    done = program(code, book, tmp_path / "journal.txt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    kept, flying = (line.split() for line in done.stdout.splitlines())
    ended = handles_of(calls(tmp_path / "journal.txt", "RasHangUpW"))
    assert sorted(ended) == sorted(flying)
    assert not set(ended) & set(kept)
