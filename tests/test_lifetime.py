"""Who keeps what alive: forgotten dials, cycles, handlers, connections, clients; and notifications that come after the end.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import gc
import random
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, until, write_book
from holding import SOAK, core_is_empty, run_program, seeds

import ras_ext
from ras_ext import Client, Dial, Event, HangUp, State, _ffi
from ras_ext.sim import Machine

HOUR_MS = 3_600_000


@pytest.fixture
def endless(sim: Machine) -> Machine:
    """A machine whose dials announce OpenPort and then nothing for an hour."""
    sim.script(None, [{"state": 0}, {"delay_ms": HOUR_MS, "state": 8192}])
    return sim


@contextmanager
def forgetting() -> Iterator[list[str]]:
    """Collects the texts of the ResourceWarnings that come up inside."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        gc.collect()
    texts += [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)]


# --- Forgotten dials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["at once", "announced", "RasDial blocks"])
def test_a_forgotten_dial_warns_and_is_cancelled(endless: Machine, client: Client, phase: str) -> None:
    """Losing the last reference in flight gives one ResourceWarning that names the entry, and the native thread hangs up once."""
    if phase == "RasDial blocks":
        endless.knob("block_dial", 1)
    dial = client.dial("Office VPN")
    if phase == "announced":
        next(iter(dial))
    elif phase == "RasDial blocks":
        until(lambda: endless.calls("RasDialW") == 1, "RasDial being called")
    with forgetting() as texts:
        del dial
    assert len(texts) == 1 and "'Office VPN'" in texts[0] and "forgotten" in texts[0]
    endless.release()
    until(lambda: _ffi.counters().threads == 0, "the native thread having ended")
    if phase != "at once":  # it may have been cancelled before RasDial was called
        assert endless.calls("RasHangUpW") == 1
    until(lambda: not any(endless.counters), "the machine being empty")


def test_a_dial_in_a_cycle_is_found(endless: Machine, client: Client) -> None:
    """A reference cycle delays the warning and the cancelling until it is collected."""

    class Holder:
        pass

    holder = Holder()
    holder.dial = client.dial("Office VPN")  # type: ignore[attr-defined] # an attribute for this test
    holder.iterator = iter(holder.dial)  # type: ignore[attr-defined]
    holder.me = holder  # type: ignore[attr-defined]
    next(holder.iterator)  # type: ignore[attr-defined]
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del holder
        assert _ffi.counters().threads == 1
    finally:
        gc.enable()
    with forgetting() as texts:
        gc.collect()
    assert len(texts) == 1
    until(lambda: _ffi.counters().threads == 0, "the native thread having ended")


def test_an_iterator_keeps_its_dial(endless: Machine, client: Client) -> None:
    """`for event in client.dial(...)` is no forgotten dial while the loop runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iterator = iter(client.dial("Office VPN"))
        gc.collect()
        assert next(iterator).state is State.OpenPort
    with forgetting() as texts:
        del iterator
    assert len(texts) == 1


def test_a_decided_dial_is_forgotten_in_silence(sim: Machine, client: Client) -> None:
    """Connected, failed or cancelled: nothing to warn of."""
    sim.script("Home", "auth_fail")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for entry, code in (("Office VPN", 0), ("Home", 691)):
            dial = client.dial(entry)
            problem = dial.exception()
            assert (problem.code if problem else 0) == code
            del dial, problem
        dial = client.dial("Lab")
        dial.cancel()
        del dial
        gc.collect()
    until(lambda: not _ffi.counters().threads, "the native threads having ended")
    for connection in client.connections():
        connection.hang_up()


@pytest.mark.parametrize("how", ["on_event", "done callback"])
def test_handlers_keep_a_dial_alive(sim: Machine, client: Client, how: str) -> None:
    """Nobody holds the dial, and it goes on to its outcome; then it is let go."""
    sim.script(None, [{"state": 0}, {"delay_ms": 20, "state": 8192}])
    done = threading.Event()
    states: list[State] = []

    def on_event(event: Event) -> None:
        states.append(event.state)
        if event.is_outcome:
            done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if how == "on_event":
            forgotten = weakref.ref(client.dial("Office VPN", on_event=on_event))
        else:
            dial = client.dial("Office VPN")
            dial.add_done_callback(lambda dial: done.set())
            forgotten = weakref.ref(dial)
            del dial
        gc.collect()
        assert done.wait(BOUND_S)
        until(lambda: gc.collect() >= 0 and forgotten() is None, "the dial being let go after its outcome")
    if how == "on_event":
        assert states == [State.OpenPort, State.Connected]
    (connection,) = client.connections()
    assert connection.hang_up() is HangUp.GONE


def refuse_handler_threads(monkeypatch: pytest.MonkeyPatch, allowed: Callable[[], bool]) -> tuple[list[str], list[Any]]:
    """No handler thread is to be had until allowed(). The names of those refused, and what came to sys.unraisablehook."""
    refused: list[str] = []
    reported: list[Any] = []
    start = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if "on_event" in thread.name and not allowed():
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    return refused, reported


def test_a_handler_thread_that_cannot_be_started(
    endless: Machine, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported, the dial stays alive, and the next event tries again: the handler misses nothing."""
    endless.clock("virtual")
    endless.script("Office VPN", [{"state": 0}, {"delay_ms": 50, "state": 1}, {"delay_ms": 50, "state": 8192}])
    refused, reported = refuse_handler_threads(monkeypatch, lambda: bool(refused))
    states: list[State] = []
    done = threading.Event()

    def on_event(event: Event) -> None:
        states.append(event.state)
        if event.is_outcome:
            done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.dial("Office VPN", on_event=on_event)
        gc.collect()
        until(lambda: reported, "the refusal")
        endless.advance(1)  # not before: the refusal is to meet the first event alone
        assert done.wait(BOUND_S)
    assert states == [State.OpenPort, State.PortOpened, State.Connected]
    assert len(refused) == len(reported) == 1 and "can't start new thread" in caplog.text
    (connection,) = client.connections()
    assert connection.hang_up() is HangUp.GONE


@pytest.mark.parametrize("closed", [False, True])
def test_a_handler_thread_refused_at_the_last_event(
    endless: Machine, client: Client, book: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    """No further event comes; it is tried again all the same, and reported once. Closing calls the done callbacks at last."""
    endless.clock("virtual")
    endless.script("Office VPN", [{"state": 8192}])
    allowed = threading.Event()
    refused, reported = refuse_handler_threads(monkeypatch, allowed.is_set)
    states: list[State] = []
    done = threading.Event()
    dial = client.dial("Office VPN", on_event=lambda event: states.append(event.state))
    dial.add_done_callback(lambda dial: done.set())
    connection = dial.result()
    assert dial.wait_closed()
    until(lambda: len(refused) >= 3, "further attempts")
    assert not states and not done.is_set()
    if closed:
        client.close()
    allowed.set()
    assert done.wait(BOUND_S)
    assert states == ([] if closed else [State.Connected])
    assert len(reported) == 1
    if closed:
        with ras_ext.open("sim", phonebook=book) as other:
            (left,) = other.connections()
            assert left.hang_up() is HangUp.GONE
    else:
        assert connection.hang_up() is HangUp.GONE


def test_a_forgotten_dial_disturbs_no_other(endless: Machine, client: Client) -> None:
    """Dials that are forgotten all the time beside one that is waited for: it gets its events and its connection."""
    endless.script("Office VPN", [{"delay_ms": 2, "state": state} for state in (0, 1, 2, 3, 4, 5, 6, 10, 18, 14, 8192)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(50 if SOAK else 6):
            dial = client.dial("Office VPN")
            for index, _event in enumerate(dial):
                client.dial(("Home", "Lab", "Büro №5")[index % 3])
            assert len(dial.events) == 11 and dial.lost == 0
            assert dial.result().hang_up() is HangUp.GONE
        gc.collect()
    until(lambda: not _ffi.counters().threads, "the native threads having ended")


def test_forgetting_in_other_threads(endless: Machine, client: Client) -> None:
    """The last reference may go on any thread, also while the main thread is the consumer."""
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            client.dial("Home")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        endless.script("Office VPN", [{"state": 0}, {"delay_ms": 300, "state": 8192}])
        threads = [threading.Thread(target=forget) for _ in range(3)]
        for thread in threads:
            thread.start()
        dial = client.dial("Office VPN")
        assert [event.state for event in dial] == [State.OpenPort, State.Connected]
        stop.set()
        for thread in threads:
            thread.join()
        dial.result().hang_up()
        gc.collect()
    until(lambda: not _ffi.counters().threads, "the native threads having ended")


# --- Connections and clients ------------------------------------------------------------------------------------------


def test_a_connection_is_never_hung_up_by_collection(sim: Machine, client: Client) -> None:
    """Neither by losing the Connection, nor its Dial, nor in a cycle, nor by closing or losing its client."""
    before = _ffi.counters().references  # a forced reset of the machine in an earlier test may have left some
    dial = client.dial("Office VPN")
    connection = dial.result()
    box: list[Any] = [connection, dial]
    box.append(box)
    del connection, dial, box
    gc.collect()
    assert sim.calls("RasHangUpW") == 0
    (still,) = client.connections()
    assert still.status().state is State.Connected
    with ras_ext.open("sim", phonebook=client.phonebook) as another:
        second = another.dial("Home").result()
    with pytest.raises(ras_ext.ClosedError):
        second.hang_up()
    del second, another
    gc.collect()
    assert sim.calls("RasHangUpW") == 0 and _ffi.counters().references == before + 2
    assert sorted(entry.entry for entry in client.connections()) == ["Home", "Office VPN"]
    for connection in client.connections():
        assert connection.hang_up() is HangUp.GONE
    assert sim.calls("RasHangUpW") == 2 and _ffi.counters().references == before


def test_a_lost_client_closes(endless: Machine, book: Path) -> None:
    """A client with dials in flight that nobody holds any more, in a cycle too: all of it ends, connections stay."""
    endless.script("Home", "connect_now")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        client = ras_ext.open("sim", phonebook=book)
        client.dial("Home").result()
        box: list[Any] = [client, client.dial("Office VPN"), client.dial("Lab")]
        box.append(box)
        del client, box
        gc.collect()
    until(core_is_empty, "the core being empty")
    assert endless.counters.references == 1
    with ras_ext.open("sim", phonebook=book) as client:
        (connection,) = client.connections()
        assert connection.hang_up() is HangUp.GONE


def test_a_dial_outlives_its_client(endless: Machine, book: Path) -> None:
    """After close() a dial still tells what it knows, and waits for nothing."""
    client = ras_ext.open("sim", phonebook=book)
    dial = client.dial("Office VPN")
    next(iter(dial))
    client.close()
    assert dial.done() and dial.cancelled() and dial.events[0].state is State.OpenPort
    assert [event.state for event in dial][:1] == [State.OpenPort]
    for call in (dial.result, dial.exception):
        with pytest.raises(ras_ext.DialCancelledError):
            call()
    assert ras_ext.wait([dial]).done == {dial}
    assert dial.cancel() and isinstance(dial.elapsed, float) and dial.lost == 0
    dial.wait_closed(0)


# --- After the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(12, 100))
def test_notifications_after_close_find_nobody(sim: Machine, tmp_path: Path, seed: int) -> None:
    """Dials are closed in every phase, then RasDial returns and notifications come: no crash, and no new dial hears of them."""
    chance = random.Random(seed)
    names = [f"Entry {number}" for number in range(24)]
    book = write_book(tmp_path / "b.pbk", *names)
    sim.seed(seed)
    sim.knob("late", chance.choice([0, 3, 50]))
    sim.knob("final_on_hangup", chance.choice([0, 1, 2]))
    sim.knob("threads", chance.choice([0, 1, 2]))
    sim.knob("slow_device", chance.choice([0, 1]))
    sim.knob("hangup_delay_ms", chance.choice([0, 5]))
    kinds: list[Any] = ["func2", "func2", "func", "func1"]
    client = ras_ext.open("sim", phonebook=book)
    for name in names[:12]:
        sim.script(name, chance.choice(["vpn_ok", "auth_fail", "slow", "connect_now", "unreachable"]))
        sim.knob("block_dial", chance.choice([0, 1]), name)
        sim.knob("early", chance.choice([0, 2, 1000]), name)
    dials = [client.dial(name, notifier=chance.choice(kinds)) for name in names[:12]]
    some = chance.randrange(13)
    until(lambda: sim.calls("RasDialW") >= some, "RasDials being called")
    ras_ext.wait(dials, chance.uniform(0, 0.02))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if chance.random() < 0.5:
            del dials[:6]
    client.close(0)
    assert all(dial.done() for dial in dials)
    with ras_ext.open("sim", phonebook=book) as second:  # on the queues and slots of the first
        fresh = [second.dial(name, notifier=chance.choice(kinds)) for name in names[12:]]
        sim.release()
        for dial in fresh:
            assert dial.result(BOUND_S).hang_up() is HangUp.GONE
            assert [event.sequence for event in dial.events] == list(range(len(dial.events)))
            handles = {event.handle for event in dial.events if event.handle}
            assert handles == {dial.result().handle}, "an event of another dial"
        for connection in second.connections():  # what had connected before it was closed
            connection.hang_up()
        until(lambda: second.connections() == [] or [c.hang_up() for c in second.connections()] == [], "no connection being left")

    def is_empty() -> bool:
        sim.release()  # again: a thread may have been just about to call RasDial when all others were released
        return core_is_empty()

    until(is_empty, "the core being empty")
    until(lambda: _ffi.counters().abandoned == 0, "every handler having left its slot")


def test_notifications_after_everything_is_gone(sim: Machine, book: Path) -> None:
    """Not one client is open any more when they come."""
    sim.knob("late", 200)
    sim.knob("threads", 1)
    for _ in range(50 if SOAK else 5):
        with ras_ext.open("sim", phonebook=book) as client:
            dial = client.dial("Office VPN")
            next(iter(dial))
        del client, dial
        gc.collect()
        assert core_is_empty()
        until(lambda: sim.counters.threads == 0, "the late notifications having come")


# --- The end of the interpreter ---------------------------------------------------------------------------------------

_SCENES = {
    "a global": "dial = client.dial('Office VPN')",
    "in a cycle": "box = [client.dial('Office VPN')]; box.append(box); del box",
    "in a module": "sys.modules['m'] = type(sys)('m'); sys.modules['m'].dial = client.dial('Office VPN')",
    "without a client": "dial = client.dial('Office VPN'); del client",
    "an iterator": "iterator = iter(client.dial('Office VPN')); next(iterator)",
    "with handlers": "client.dial('Office VPN', on_event=lambda event: None)",
    "in a default": "def f(dial=client.dial('Office VPN')): pass",
    "in a thread": "import threading; threading.Thread(target=client.dial('Office VPN').wait_closed, daemon=True).start()",
}


@pytest.mark.parametrize("scene", _SCENES)
def test_the_end_of_the_interpreter_is_silent(book: Path, tmp_path: Path, scene: str) -> None:
    """A dial in flight at exit is cancelled and hung up without a warning, with every warning on (-X dev)."""
    code = f"""
import gc, sys, ras_ext, ras_ext.sim
gc.disable()  # the cycle shall live until the end
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
machine.script(None, [{{"state": 0}}, {{"delay_ms": {HOUR_MS}, "state": 8192}}])
{_SCENES[scene]}
while not machine.calls("RasDialW"):
    pass
"""
    ended = run_program(code, book, tmp_path / "journal", flags=["-X", "dev"])
    assert (ended.code, ended.noise, ended.killed) == (0, "", False)
    assert (tmp_path / "journal").read_text().count("RasHangUpW") == 1


def test_dials_are_weakly_referenced(endless: Machine, client: Client) -> None:
    """A dial without handlers is owned by nobody but its user: also the consumer and waiters let it go."""
    dial = client.dial("Office VPN")
    reference: weakref.ref[Dial] = weakref.ref(dial)
    with pytest.raises(ras_ext.StillDialing):
        dial.result(0.001)
    assert ras_ext.wait([dial], 0.001).not_done == {dial}
    with forgetting() as texts:
        del dial
        gc.collect()
    assert len(texts) == 1 and reference() is None  # the recorded warning had kept it
