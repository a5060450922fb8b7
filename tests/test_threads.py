"""Many threads, many dials, waiting, handlers, cancelling and closing all at once: each waiter gets exactly its answer.

SPDX-License-Identifier: MIT

What the threads do is drawn from a seed; how they interleave is up to the system. RASX_SEED=7 repeats one seed.
"""

from __future__ import annotations

import random
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, python, run_threads, until, write_book
from holding import SOAK, core_is_empty, held_by, seeds

import ras_ext
from ras_ext import Client, Connection, Dial, Event, HangUp, _ffi
from ras_ext.sim import Machine, Step

NAMES = tuple(f"Entry {number}" for number in range(16))

# What a dial of an entry comes to: the script, and the code of its failure (0: connected).
USUAL: list[Step] = [{"state": state} for state in VPN_OK[:-1]]
KINDS: dict[str, tuple[list[Step], int]] = {
    "quick": ([{"state": 8192}], 0),
    "usual": ([*USUAL, {"delay_ms": 3, "state": 8192}], 0),
    "refused": ([{"state": 0}, {"state": 5}, {"delay_ms": 2, "state": 6, "error": 691}], 691),
    "absent": ([{"state": 0}, {"delay_ms": 1, "state": 2, "error": 868}], 868),
    "busy": ([{"state": 0, "error": 633}], 633),
}


@pytest.fixture(params=[0.005, 0.00001], ids=["", "switching often"])
def _switching(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


class Crowd:
    """Threads whose exceptions count, and that must all end."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def add(self, body: Callable[[], object]) -> None:
        def run() -> None:
            try:
                body()
            except BaseException as problem:
                self.failures.append(problem)

        self.threads.append(threading.Thread(target=run, daemon=True))

    def run(self, chance: random.Random, during: Callable[[], object] = lambda: None) -> None:
        chance.shuffle(self.threads)
        for thread in self.threads:
            thread.start()
        during()
        for thread in self.threads:
            thread.join(BOUND_S * 2)
        hanging = sum(thread.is_alive() for thread in self.threads)
        assert not hanging, f"{hanging} of {len(self.threads)} threads hang"
        if self.failures:
            raise self.failures[0]


class Answers:
    """What the waiters of one dial were told."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.connections: list[Connection] = []
        self.codes: list[int] = []
        self.cancelled = 0
        self.events: list[tuple[Event, ...]] = []
        self.handled: list[Event] = []
        self.callbacks = 0
        self.lock = threading.Lock()

    def result(self, dial: Dial) -> None:
        try:
            connection = dial.result()
        except ras_ext.DialCancelledError:
            with self.lock:
                self.cancelled += 1
        except ras_ext.RasError as problem:
            with self.lock:
                self.codes.append(problem.code)
        else:
            with self.lock:
                self.connections.append(connection)

    def exception(self, dial: Dial) -> None:
        try:
            problem = dial.exception()
        except ras_ext.DialCancelledError:
            with self.lock:
                self.cancelled += 1
            return
        with self.lock:
            if problem is None:
                self.connections.append(dial.result())
            else:
                self.codes.append(problem.code)

    def iterate(self, dial: Dial) -> None:
        events = tuple(dial)
        with self.lock:
            self.events.append(events)

    def short_waits(self, dial: Dial) -> None:
        while True:
            try:
                dial.result(0.001)
            except ras_ext.StillDialing:
                continue
            except ras_ext.RasError:
                pass
            break
        self.result(dial)

    def wait(self, dial: Dial) -> None:
        assert ras_ext.wait([dial]).done == {dial}
        self.result(dial)

    def done(self, dial: Dial) -> None:
        with self.lock:
            self.callbacks += 1
        assert dial.done()

    def check(self, dial: Dial, where: str, handled: bool, may_cancel: bool, callbacks: int) -> None:
        """All waiters have been told the same, and that is what became of the dial."""
        assert may_cancel or not dial.cancelled(), where
        if dial.cancelled():
            assert (self.connections, self.codes) == ([], []), where
        elif self.expected:
            assert (self.connections, self.cancelled) == ([], 0) and set(self.codes) <= {self.expected}, where
        else:
            assert (self.codes, self.cancelled) == ([], 0), where
            assert len({id(connection) for connection in self.connections}) <= 1, where
        events = dial.events
        assert [event.sequence for event in events] == list(range(len(events))), where
        decisive = [index for index, event in enumerate(events) if event.is_outcome]
        assert len(decisive) == 1 or (dial.cancelled() and len(decisive) == 0), where
        story = events[: decisive[0] + 1] if decisive else events
        assert all(told == story[: len(told)] for told in self.events), where
        assert dial.cancelled() or all(told == story for told in self.events), where
        if handled:
            assert tuple(self.handled) == story[: len(self.handled)], where
            assert dial.cancelled() or tuple(self.handled) == story, where
        assert self.callbacks == callbacks, where
        assert dial.lost == 0, where


WAYS: tuple[Callable[[Answers, Dial], None], ...] = (
    Answers.result,
    Answers.exception,
    Answers.iterate,
    Answers.short_waits,
    Answers.wait,
)


def _cancel(dial: Dial, after_s: float) -> None:
    ras_ext.wait([dial], after_s)
    dial.cancel()


def _close(client: Client, dials: list[Dial], after_s: float, bound_s: float) -> None:
    ras_ext.wait(dials, after_s)
    client.close(bound_s)


def _has_called(answers: Answers, callbacks: int) -> bool:
    return answers.callbacks == callbacks


def _has_handled(answers: Answers) -> bool:
    return any(event.is_outcome for event in answers.handled)


def _round(sim: Machine, book: Path, seed: int, ending: str) -> None:
    """Some dials, each with several waiters of several kinds, and an ending: to the end, some cancelled, or closed."""
    chance = random.Random(f"{seed} {ending}")
    sim.reset(force=True)
    sim.knob("hangup_delay_ms", 1)
    sim.knob("threads", chance.choice([0, 0, 1, 2]))
    sim.knob("early", chance.choice([0, 0, 2, 1000]))
    kinds = {name: chance.choice(list(KINDS)) for name in NAMES}
    for name, kind in kinds.items():
        sim.script(name, KINDS[kind][0])
    crowd = Crowd()
    client = ras_ext.open("sim", phonebook=book)
    names = chance.sample(NAMES, chance.choice([1, 3, 6]))
    answers = {name: Answers(KINDS[kinds[name]][1]) for name in names}
    handled = {name: chance.random() < 0.4 for name in names}
    callbacks = {name: chance.choice([0, 0, 1, 3]) for name in names}
    kinds_of_notifier: list[Any] = ["func2", "func2", "func1", "func"]
    dials = {
        name: client.dial(
            name,
            notifier=chance.choice(kinds_of_notifier),
            on_event=answers[name].handled.append if handled[name] else None,
        )
        for name in names
    }
    may_cancel = set(names) if ending == "close" else set()
    for name, dial in dials.items():
        for _ in range(callbacks[name]):
            dial.add_done_callback(answers[name].done)
        for _ in range(chance.choice([1, 4, 8])):
            crowd.add(partial(chance.choice(WAYS), answers[name], dial))
        if ending == "cancel" and chance.random() < 0.6:
            may_cancel.add(name)
            crowd.add(partial(_cancel, dial, chance.uniform(0, 0.01)))
    some = chance.sample(sorted(dials), max(1, len(dials) // 2))
    for when in (ras_ext.ALL_COMPLETED, ras_ext.FIRST_COMPLETED, ras_ext.FIRST_EXCEPTION):

        def wait_for_some(when: Any = when) -> None:
            done, not_done = ras_ext.wait([dials[name] for name in some], return_when=when)
            assert done and done.isdisjoint(not_done) and all(dial.done() for dial in done)
            assert when != ras_ext.ALL_COMPLETED or not not_done

        crowd.add(wait_for_some)
    if ending == "close":
        crowd.add(partial(_close, client, list(dials.values()), chance.uniform(0, 0.01), chance.choice([0.0, 0.01, 5.0])))
    crowd.run(chance)
    where = f"seed {seed}, {ending}"
    for name, dial in dials.items():
        if not callbacks[name] and not handled[name]:
            continue
        until(partial(_has_called, answers[name], callbacks[name]), f"{where}: the done callbacks")
        if handled[name] and not dial.cancelled():
            until(partial(_has_handled, answers[name]), f"{where}: the last on_event")
    for name, dial in dials.items():
        answers[name].check(dial, f"{where}, {name} ({kinds[name]})", handled[name], name in may_cancel, callbacks[name])
    if ending != "close":
        until(lambda: held_by(client, *dials.values()) == [], f"{where}: nothing being held")
        for dial in dials.values():
            if not dial.cancelled() and dial.exception() is None:
                assert dial.result().hang_up() is HangUp.GONE, where
            dial.wait_closed(BOUND_S)
    client.close()
    until(core_is_empty, f"{where}: the core being empty")
    with ras_ext.open("sim", phonebook=book) as another:
        for connection in another.connections():  # of dials that had connected before their client was closed
            connection.hang_up()
    until(lambda: not any(sim.counters), f"{where}: the machine being empty")


@pytest.mark.usefixtures("_switching")
@pytest.mark.parametrize("ending", ["to the end", "cancel", "close"])
def test_each_waiter_gets_exactly_its_answer(sim: Machine, tmp_path: Path, ending: str) -> None:
    """30 random rounds of waiting threads on the same and on different dials, in wait(), with handlers and callbacks."""
    book = write_book(tmp_path / "b.pbk", *NAMES)
    for seed in seeds(5, 100):
        _round(sim, book, seed, ending)


@pytest.mark.usefixtures("_switching")
def test_fifty_threads_on_one_dial_and_one_cancels(sim: Machine, client: Client) -> None:
    """All of them are told at once, although RasDial blocks, and all of them the same."""
    sim.knob("block_dial", 1)
    sim.knob("silent", 1)
    dial = client.dial("Office VPN")
    told: Counter[str] = Counter()
    lock = threading.Lock()
    crowd = Crowd()

    def wait_for_it() -> None:
        try:
            dial.result()
        except ras_ext.DialCancelledError:
            with lock:
                told["cancelled"] += 1

    for _ in range(50):
        crowd.add(wait_for_it)
    cancels: list[bool] = []

    def cancel() -> None:
        until(lambda: len(client._hub._waiting) == 50, "all of them waiting")
        cancels.append(dial.cancel())

    crowd.run(random.Random(1), cancel)
    assert cancels == [True] and told == {"cancelled": 50}
    sim.release()
    assert dial.wait_closed(BOUND_S)


def test_waiters_of_other_clients_are_not_disturbed(sim: Machine, book: Path) -> None:
    """Clients come, dial and close in some threads while others wait on theirs."""
    sim.knob("hangup_delay_ms", 1)
    sim.script(None, [{"state": 0}, {"delay_ms": 1, "state": 8192}])
    crowd = Crowd()

    def live(name: str) -> None:
        for _ in range(40 if SOAK else 8):
            with ras_ext.open("sim", phonebook=book) as client:
                dial = client.dial(name, on_event=lambda event: None)
                assert [event.state for event in dial][-1] == 8192
                assert dial.result().hang_up() is HangUp.GONE

    for name in ("Office VPN", "Home", "Lab", "Büro №5"):
        crowd.add(partial(live, name))
    crowd.run(random.Random(2))
    until(core_is_empty, "the core being empty")


def test_callbacks_may_do_anything(sim: Machine, client: Client) -> None:
    """From on_event and done callbacks: dial, wait, cancel others, ask, hang up; from many dials at once."""
    sim.knob("hangup_delay_ms", 1)
    sim.script(None, [{"state": 0}, {"delay_ms": 1, "state": 8192}])
    sim.script("Home", "slow")
    rounds = 40 if SOAK else 8
    finished = threading.Semaphore(0)
    problems: list[BaseException] = []

    def finish(dial: Dial) -> None:
        try:
            assert dial.result().status().state == 8192
            victim = client.dial("Home")
            victim.cancel()
            with pytest.raises(ras_ext.DialCancelledError):
                victim.result()
            assert victim.wait_closed(BOUND_S)
            assert dial.result().hang_up() is HangUp.GONE
        except BaseException as problem:
            problems.append(problem)
        finished.release()

    for _ in range(rounds):
        dial = client.dial("Office VPN", on_event=lambda event: (client.entries(), client.devices()))
        dial.add_done_callback(finish)
        assert finished.acquire(timeout=BOUND_S)
        assert not problems, problems


class FakeDial:
    """Something that a hub may list and cancel."""

    def _cancel(self) -> None:
        pass


def test_cancelling_all_while_dials_come_and_go(sim: Machine, client: Client, request: pytest.FixtureRequest) -> None:
    """What closing and the interpreter's end go through may change meanwhile; nothing is raised (docs/free-threading.md)."""
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    hub = client._hub
    dials = [FakeDial() for _ in range(3000)]
    ended = threading.Event()

    for number, dial in enumerate(dials):
        hub._dials[1 << 40 | number] = dial  # type: ignore[assignment]

    def churn() -> None:
        while not ended.is_set():
            for number in range(16):
                hub._dials.pop(1 << 40 | number, None)
            for number in range(16):
                hub._dials[1 << 40 | number] = dials[number]  # type: ignore[assignment]

    def cancel() -> None:
        try:
            for _ in range(1000 if SOAK else 100):
                hub.cancel_all()
        finally:
            ended.set()

    crowd = Crowd()
    crowd.add(churn)
    crowd.add(cancel)
    crowd.run(random.Random(3))


def test_a_hang_up_that_another_thread_has_seen_end(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread whose look at the status came earlier, and returns later, does not take back that the connection is gone."""
    sim.knob("hangup_delay_ms", 20)
    connection = client.dial("Office VPN").result()
    assert connection.hang_up(timeout=0) is HangUp.CLOSING
    real = _ffi.hang_up
    told: list[object] = []

    def late(handle: Any, *arguments: Any) -> int:
        code = real(handle, *arguments)
        if not told:
            told.append(HangUp.NONE)
            told.append(run_threads(lambda: connection.hang_up(timeout=BOUND_S))[0])
            arguments[-1][0] = HangUp.CLOSING  # what this thread had seen before
        return code

    monkeypatch.setattr(_ffi, "hang_up", late)
    assert connection.hang_up(timeout=0.001) is HangUp.GONE
    assert told == [HangUp.NONE, HangUp.GONE]
    assert "gone" in repr(connection)


def test_one_reason_why_a_connection_is_gone(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads find out at once that a connection is gone: both tell the same reason, and it stays."""
    connection = client.dial("Office VPN").result()
    sim.drop(connection, 829)
    real = _ffi.error_text
    told: list[object] = []

    def text(handle: Any, code: int) -> str:
        if not told:
            told.append(None)
            told.append(run_threads(lambda: connection._end(False, 0))[0])
        return real(handle, code)

    monkeypatch.setattr(_ffi, "error_text", text)
    reason = connection._end(False, 829)
    assert reason is told[1] is connection.dropped
    connection.hang_up()


def test_importing_leaves_the_interpreter_lock_as_it_was() -> None:
    """On a free-threaded CPython the extension says that it needs no lock; else importing it would switch it on for all."""
    code = "import sys, ras_ext, ras_ext.aio; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    done = python(code)
    assert (done.returncode, done.stdout.strip()) == (0, str(not sysconfig.get_config_var("Py_GIL_DISABLED"))), done
