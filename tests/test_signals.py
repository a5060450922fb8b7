"""Ctrl-C at any moment: it arrives although RAS blocks, and nothing of ours stays held, lost or hung up twice.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, run_threads, until, write_book
from holding import SOAK, core_is_empty, held_by, is_ours, run_program, seeds, waits_in_core

import ras_ext
from ras_ext import Client, Dial, HangUp, Origin, State
from ras_ext.sim import Machine, Step

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")

MAIN = threading.main_thread()


# --- While RasDial blocks ---------------------------------------------------------------------------------------------


def _raise_signal() -> None:
    """From the helper thread to itself: Python hands it to the main thread."""
    signal.raise_signal(signal.SIGINT)


def _pthread_kill() -> None:
    assert MAIN.ident is not None
    signal.pthread_kill(MAIN.ident, signal.SIGINT)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(deliver: Callable[[], None], call: Callable[[], object], when: Callable[[], bool] = lambda: True) -> None:
    """Runs call() on the main thread and, once it waits inside the core, delivers SIGINT: it must raise KeyboardInterrupt."""

    def interrupt() -> None:
        until(lambda: when() and waits_in_core(MAIN.ident), "the main thread waiting")
        deliver()

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    helper = threading.Thread(target=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            helper.start()
            call()
    finally:
        helper.join()
        signal.signal(signal.SIGINT, previous)


WAYS: dict[str, Callable[[Client, Dial], object]] = {
    "result": lambda client, dial: dial.result(),
    "result with a time-out": lambda client, dial: dial.result(3600),
    "exception": lambda client, dial: dial.exception(),
    "iteration": lambda client, dial: next(iter(dial)),
    "wait": lambda client, dial: ras_ext.wait([dial]),
    "wait for the first": lambda client, dial: ras_ext.wait([dial], 3600, ras_ext.FIRST_COMPLETED),
    "wait_closed": lambda client, dial: dial.wait_closed(),
}


@pytest.mark.parametrize("deliver", [_raise_signal, _pthread_kill, _kill], ids=["raise_signal", "pthread_kill", "kill"])
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_while_ras_dial_blocks(
    sim: Machine, client: Client, tmp_path: Path, way: str, deliver: Callable[[], None]
) -> None:
    """KeyboardInterrupt arrives while RasDial has not returned; afterwards others can wait, and the dial can be cancelled."""
    journal = tmp_path / "journal"
    sim.journal(journal)
    sim.knob("block_dial", 1)
    sim.knob("silent", 1)  # what is announced while RasDial blocks would decide the dial
    dial = client.dial("Office VPN")
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    interrupted(deliver, lambda: WAYS[way](client, dial))
    assert not journal.exists() or "RasDialW" not in journal.read_text(), "RasDial has returned"
    assert not dial.done() and held_by(client, dial) == []

    def elsewhere() -> object:
        with pytest.raises(ras_ext.StillDialing):
            dial.result(0.01)
        return True

    def cancelled() -> object:
        with pytest.raises(ras_ext.DialCancelledError):
            dial.result()
        return True

    assert run_threads(elsewhere, elsewhere) == [True, True]
    assert dial.cancel()
    assert run_threads(cancelled) == [True]
    assert "RasDialW" not in (journal.read_text() if journal.exists() else "")
    sim.release()
    assert dial.wait_closed(BOUND_S)
    assert "RasDialW" in journal.read_text()


@pytest.mark.parametrize("again", [False, True], ids=["then it connects", "twice"])
def test_an_interrupted_dial_goes_on(sim: Machine, client: Client, again: bool) -> None:
    """Ctrl-C does not cancel: once RasDial returns, another thread and this one get the same connection."""
    sim.knob("block_dial", 1)
    sim.knob("silent", 1)  # so nothing but the status, read after RasDial has returned, decides
    dial = client.dial("Office VPN")
    for _ in range(1 + again):
        interrupted(_raise_signal, dial.result)
    sim.release()
    other, same = run_threads(dial.result, dial.result)
    assert other is same is dial.result()
    assert [(event.state, event.origin) for event in dial] == [(State.Connected, Origin.Poll)]
    assert dial.result().hang_up() is HangUp.GONE
    assert sim.calls("RasHangUpW") == 1


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_ctrl_c_in_hang_up(sim: Machine, client: Client, timeout: float | None) -> None:
    """It ends the waiting and not the hang-up: going on calls RasHangUp no second time."""
    sim.knob("hangup_delay_ms", 3_600_000)
    connection = client.dial("Office VPN").result()
    interrupted(_raise_signal, lambda: connection.hang_up(timeout), lambda: sim.calls("RasHangUpW") == 1)
    interrupted(_pthread_kill, lambda: connection.hang_up(timeout))
    assert run_threads(lambda: connection.hang_up(0)) == [HangUp.CLOSING]
    assert sim.calls("RasHangUpW") == 1
    assert held_by(client) == []
    sim.reset(force=True)
    assert connection.hang_up() is HangUp.GONE


def test_ctrl_c_in_hang_up_while_ras_dial_blocks(sim: Machine, client: Client, tmp_path: Path) -> None:
    """Also when the notifications came early and RasDial still blocks: the hang-up has not begun, and is made once."""
    journal = tmp_path / "journal"
    sim.journal(journal)
    sim.knob("block_dial", 1)
    sim.knob("early", 1000)
    dial = client.dial("Office VPN")
    connection = dial.result()
    interrupted(_raise_signal, connection.hang_up)
    text = journal.read_text() if journal.exists() else ""
    assert "RasDialW" not in text, "RasDial has returned"
    assert text.count("RasHangUpW") == sim.calls("RasHangUpW")
    sim.release()
    assert dial.wait_closed(BOUND_S)
    assert connection.hang_up() is HangUp.GONE
    assert sim.calls("RasHangUpW") == 1


def test_ctrl_c_while_a_failed_dial_hangs_up(sim: Machine, client: Client) -> None:
    """result() waits for the hang-up after a failure; Ctrl-C ends that wait too, and the error is there afterwards."""
    sim.script("Office VPN", "auth_fail")
    sim.knob("block_hangup", 1)
    dial = client.dial("Office VPN")
    assert any(event.failed for event in dial)
    interrupted(_raise_signal, dial.result)
    assert sim.calls("RasHangUpW") == 1 and dial.hang_up_result is None
    sim.release()
    with pytest.raises(ras_ext.AuthenticationError) as caught:
        dial.result()
    assert not caught.value.still_closing and dial.hang_up_result is HangUp.GONE
    assert sim.calls("RasHangUpW") == 1


def test_ctrl_c_in_close(sim: Machine, book: Path) -> None:
    """close() interrupted while RasDial blocks: the dials are cancelled, and close() can be called again."""
    sim.knob("block_dial", 1)
    sim.knob("silent", 1)
    client = ras_ext.open("sim", phonebook=book)
    dial = client.dial("Office VPN")
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    interrupted(_raise_signal, lambda: client.close(None))
    assert dial.cancelled()
    with pytest.raises(ras_ext.ClosedError):
        client.dial("Home")
    sim.release()
    client.close()
    until(core_is_empty, "the core being empty")


_CHILD = """
import signal, sys, threading, ras_ext, ras_ext.sim
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have had it ignored
sys.path.append(sys.argv[3])
from holding import waits_in_core
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
machine.knob("block_dial", 1)
machine.knob("silent", 1)
dial = client.dial("Office VPN", on_event=None if sys.argv[4] == "plain" else lambda event: None)
while not machine.calls("RasDialW"):
    pass
main = threading.main_thread().ident
def tell():
    while not waits_in_core(main):  # not without a pause: spinning, it would keep the interpreter from the main thread
        threading.Event().wait(0.001)
    print("waiting", flush=True)
threading.Thread(target=tell, daemon=True).start()
def blocked():
    try:
        return "RasDialW" not in open(sys.argv[2]).read()
    except FileNotFoundError:
        return True
"""

_WAYS = {
    "result": "dial.result()",
    "iteration": "next(iter(dial))",
    "wait": "ras_ext.wait([dial])",
    "wait_closed": "dial.wait_closed()",
    "with": "with client, dial: dial.result()",
}


@pytest.mark.parametrize("handlers", ["plain", "on_event"])
@pytest.mark.parametrize("way", _WAYS)
def test_real_sigint(book: Path, tmp_path: Path, way: str, handlers: str) -> None:
    """A process that gets a real SIGINT while RasDial blocks: KeyboardInterrupt, while it still blocks; then all is as before."""
    release = 'dial.cancel(); print("blocked" if blocked() else "returned", flush=True); machine.release()\n'
    if way == "with":  # leaving the block closes, which waits for RasDial: somebody else must let it go on
        code = f"""
def let_go():
    while not dial.cancelled():
        threading.Event().wait(0.001)
    print("blocked" if blocked() else "returned", flush=True)
    machine.release()
threading.Thread(target=let_go, daemon=True).start()
try:
    {_WAYS[way]}
except KeyboardInterrupt:
    print("interrupted")
"""
    else:
        code = f"""
try:
    {_WAYS[way]}
except KeyboardInterrupt:
    print("interrupted")
{release}assert dial.wait_closed(20) and dial.cancelled()
client.close()
"""
    code += """
from ras_ext import _ffi
import time
until = time.monotonic() + 20
while any(_ffi.counters()) and time.monotonic() < until:
    time.sleep(0.001)
print(any(_ffi.counters()))
"""
    arguments = (book, tmp_path / "journal", Path(__file__).parent, handlers)
    ended = run_program(_CHILD + code, *arguments, flags=["-X", "faulthandler"], send=signal.SIGINT)
    assert (ended.code, ended.noise) == (0, "")
    assert sorted(ended.out.split()) == ["False", "blocked", "interrupted", "waiting"]


def test_real_sigint_uncaught(book: Path, tmp_path: Path) -> None:
    """Nobody catches it: the process dies of SIGINT, as Python programs do, although RasDial never returns."""
    ended = run_program(_CHILD + "dial.result()", book, tmp_path / "journal", Path(__file__).parent, "plain", send=signal.SIGINT)
    assert not ended.killed and ended.code == -signal.SIGINT
    assert ended.noise.count("Traceback") == 1 and ended.noise.endswith("KeyboardInterrupt")


# --- At every point ---------------------------------------------------------------------------------------------------

Scene = Callable[["Stage"], Iterator[Callable[[], object]]]
"""Yields one step after the other; a step that was interrupted is done again, as a user at a prompt would."""


class Stage:
    """What a scene works with, and what must be true after it."""

    def __init__(self, client: Client, sim: Machine, names: list[str]) -> None:
        self.client = client
        self.sim = sim
        self.names = names
        self.dials: list[Dial] = []

    def dial(self, script: str | None = None, **options: Any) -> None:
        """Each time another entry, because one that was struck in the middle may be dialling already (756)."""
        name = self.names.pop()
        if script is not None:
            self.sim.script(name, script)
        self.dials.append(self.client.dial(name, **options))

    @property
    def last(self) -> Dial:
        return self.dials[-1]


def connect(stage: Stage) -> Iterator[Callable[[], object]]:
    """dial, iterate, result, status, hang up."""
    yield stage.dial
    yield lambda: list(stage.last)
    yield lambda: stage.last.result()
    yield lambda: stage.last.result().status()
    yield lambda: stage.last.result().hang_up()
    assert stage.last.result().hang_up() is HangUp.GONE
    assert [event.state for event in stage.last.events] == list(VPN_OK)


def fail(stage: Stage) -> Iterator[Callable[[], object]]:
    """A dial that is refused, hung up by the native side, and asked for twice."""
    yield lambda: stage.dial("auth_fail")
    yield lambda: stage.last.exception()
    yield lambda: stage.last.wait_closed()
    problem = stage.last.exception()
    assert problem is not None and problem.code == 691 and stage.last.hang_up_result is HangUp.GONE


def abandon(stage: Stage) -> Iterator[Callable[[], object]]:
    """A few events, then cancel."""
    yield stage.dial

    def until_authenticating() -> None:
        for event in stage.last:
            if event.state is State.Authenticate:
                return

    yield until_authenticating
    yield lambda: stage.last.events
    yield lambda: stage.last.cancel()
    yield lambda: stage.last.wait_closed()
    assert stage.last.cancelled()


def several(stage: Stage) -> Iterator[Callable[[], object]]:
    """wait() for a dial and the same once more, then hang up."""
    yield stage.dial
    yield lambda: ras_ext.wait([stage.last, stage.last], 3600)
    yield lambda: stage.last.done()
    yield lambda: stage.last.result(1).hang_up(None)


def handled(stage: Stage) -> Iterator[Callable[[], object]]:
    """With on_event and a done callback, which run on other threads."""
    seen: list[State] = []
    yield lambda: stage.dial(on_event=lambda event: seen.append(event.state))
    yield lambda: stage.last.result()
    yield lambda: stage.last.result().hang_up()
    done = threading.Event()
    stage.last.add_done_callback(lambda dial: done.set())
    assert done.wait(BOUND_S)
    assert seen[-1] is State.Connected


SCENES: dict[str, Scene] = {"connect": connect, "fail": fail, "abandon": abandon, "several": several, "handled": handled}


def nothing_held(client: Client, dial: Dial) -> bool:
    return held_by(client, dial) == []


def play(stage: Stage, scene: Scene, strike_at: int) -> int:
    """Plays the scene, raising KeyboardInterrupt at the strike_at-th point (0: nowhere). How many points there were.

    The points are those where CPython itself lets a signal handler run: on entry to a function and after a call of C. They are
    counted in frames of the package. Destructors are left out: what is raised there, Python drops.
    """
    points = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal points
        if event not in ("call", "c_return") or not is_ours(frame.f_code.co_filename):
            return
        above: FrameType | None = frame
        while above is not None:
            if above.f_code.co_name == "__del__":
                return
            above = above.f_back
        points += 1
        if points == strike_at:
            raise KeyboardInterrupt

    for step in scene(stage):
        for attempt in range(2):
            sys.setprofile(profile)
            try:
                step()
            except KeyboardInterrupt:
                sys.setprofile(None)
                assert attempt == 0 and strike_at
                continue
            finally:
                sys.setprofile(None)
            break
    return points


@pytest.mark.parametrize("scene", SCENES)
def test_an_interrupt_at_every_point(sim: Machine, tmp_path: Path, scene: str) -> None:
    """A dial, its waiting and its hang-up, interrupted at one point after the other: nothing is held, lost or done twice."""
    names = [f"Entry {number}" for number in range(5000)]
    book = write_book(tmp_path / "many.pbk", *names)
    if scene != "handled":  # its threads' log and handlers need no virtual time
        sim.clock("virtual")
    else:
        sim.script(None, [{"state": state} for state in VPN_OK])
        sim.knob("hangup_delay_ms", 1)
    with warnings.catch_warnings(), ras_ext.open("sim", phonebook=book) as client:
        warnings.simplefilter("ignore", ResourceWarning)  # a dial() that was interrupted leaves a forgotten dial
        stage = Stage(client, sim, names)
        total = play(stage, SCENES[scene], 0)
        points = list(range(1, total + 1))
        most = 1000 if SOAK else 60
        if len(points) > most:
            points = sorted(random.Random(20).sample(points, most))
        for point in points:
            where = f"interrupted at point {point} of {total}"
            stage = Stage(client, sim, names)
            hang_ups = sim.calls("RasHangUpW")
            play(stage, SCENES[scene], point)
            dial = stage.last
            until(partial(nothing_held, client, dial), f"{where}: nothing being held")
            events = dial.events
            assert [event.sequence for event in events] == list(range(len(events))), where
            assert dial.lost == 0, where
            assert dial.wait_closed(BOUND_S), where
            # dial() itself may have been struck after it had started one, which is cancelled and hung up too
            assert 1 <= sim.calls("RasHangUpW") - hang_ups <= 2, where
        for connection in client.connections():  # of a dial() that was struck when it had connected already
            connection.hang_up()
        assert run_threads(lambda: client.dial(names.pop()).result().hang_up()) == [HangUp.GONE]


@pytest.mark.parametrize("seed", seeds(4, 20))
def test_signals_at_random_moments(sim: Machine, tmp_path: Path, seed: int) -> None:
    """A real timer signal whose handler raises, over and over, while dials run: 50 rounds a seed, nothing stuck or lost."""
    rounds = 50
    names = [f"Entry {number}" for number in range(rounds * 40)]
    book = write_book(tmp_path / "many.pbk", *names)
    chance = random.Random(seed)
    armed = False
    struck = 0

    def strike(signum: int, frame: FrameType | None) -> None:
        nonlocal struck
        if not armed:
            return
        while frame is not None:  # what is raised in a destructor, Python drops
            if frame.f_code.co_name == "__del__":
                return
            frame = frame.f_back
        struck += 1
        raise KeyboardInterrupt

    def stubborn(step: Callable[[], object]) -> object:
        """Again and again until it is through."""
        nonlocal armed
        while True:
            try:
                armed = True
                value = step()
                armed = False
                return value
            except KeyboardInterrupt:
                pass
            finally:
                armed = False

    steps: list[Step] = [{"state": state} for state in VPN_OK[:-1]]
    sim.script(None, [*steps, {"delay_ms": 1, "state": 8192}])
    sim.knob("hangup_delay_ms", 2)
    previous = signal.signal(signal.SIGALRM, strike)
    try:
        with warnings.catch_warnings(), ras_ext.open("sim", phonebook=book) as client:
            warnings.simplefilter("ignore", ResourceWarning)
            for number in range(rounds):
                where = f"seed {seed}, round {number}"
                name = names[number]
                kept: list[Dial] = []
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.002), chance.uniform(0.0004, 0.002))
                if number % 5 == 0:  # dial() too: a struck one is forgotten and cancelled, so each try has a name of its own
                    spare = iter(names[rounds + number * 30 : rounds + number * 30 + 30])
                    armed = True
                    try:
                        kept.append(client.dial(name))
                    except KeyboardInterrupt:
                        pass
                    finally:
                        armed = False
                    if not kept:
                        name = next(spare)
                if not kept:
                    kept.append(client.dial(name))
                dial = kept[0]
                for _ in range(chance.randrange(4)):
                    stubborn(
                        chance.choice(
                            [
                                lambda dial=dial: list(dial),
                                lambda dial=dial: dial.events,
                                lambda dial=dial: ras_ext.wait([dial], 0.001),
                                lambda dial=dial: ras_ext.wait([dial]),
                                lambda dial=dial: dial.exception(),
                                lambda dial=dial: dial.lost,
                            ]
                        )
                    )
                connection = stubborn(dial.result)
                assert isinstance(connection, ras_ext.Connection)
                assert stubborn(connection.hang_up) is HangUp.GONE, where
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert [event.state for event in dial.events] == list(VPN_OK), where
                assert [event.sequence for event in dial.events] == list(range(len(VPN_OK))), where
                assert held_by(client, dial) == [], where
            assert struck > 10
            for connection in client.connections():  # of a dial() that was struck when it had connected already
                connection.hang_up()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
