"""ras_ext.aio: dialling, iterating, hanging up and watching in an event loop, whatever becomes of tasks, loops and the client.

SPDX-License-Identifier: MIT

Every test runs with each kind of event loop that the platform has (looping.py), in debug mode; at its end no task is left in the
loop, and nothing has been reported to it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, python, run_threads, until, write_book
from holding import SOAK, core_is_empty, open_descriptors, seeds
from looping import LOOPS, Runner, cancel, run_in, soon
from test_secrets import SECRET, check_traceback, shown

import ras_ext
from ras_ext import (
    Answer,
    AuthenticationError,
    ChangeKind,
    Client,
    ClosedError,
    DialCancelledError,
    Event,
    HangUp,
    NotPausedError,
    Origin,
    RasError,
    State,
    _ffi,
    _hub,
    aio,
)
from ras_ext.aio import _door
from ras_ext.pollable import Pollable
from ras_ext.sim import Machine, Step

FOR_EVER: list[Step] = [{"state": 0}, {"delay_ms": 3_600_000, "state": 8192}]
NEVER_POLLS = 86_400.0
SLOWER = 8 if sys.platform == "win32" else 1  # where these tests run on Windows, a change of threads takes so much longer

needs_task_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout and TaskGroup came with Python 3.11")


@pytest.fixture
def sim(sim: Machine) -> Machine:
    """The machine; links go down at once, unless a test says otherwise."""
    sim.knob("hangup_delay_ms", 0)
    return sim


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Runner:
    """Runs a coroutine in a fresh loop."""
    return Runner(request.param)


async def connect(client: Client, entry: str = "Home", **options: Any) -> aio.Connection:
    return await aio.dial(entry, client=client, **options)


async def begin(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that has come to its first wait."""
    task = asyncio.get_running_loop().create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def list_of(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def collect(kept: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what goes to sys.unraisablehook."""

    def hook(args: sys.UnraisableHookArgs) -> None:
        assert args.exc_value is not None
        kept.append(args.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", hook)


# --- Dialling -------------------------------------------------------------------------------------------------------------------


def test_await_iterate_and_async_with(virtual: Machine, client: Client, run: Runner) -> None:
    """The states in order, the same connection twice, hung up once; what a Dial tells is what the synchronous one tells."""

    async def main() -> None:
        async with aio.dial("Home", client=client, username="ada", password=SECRET) as dial:
            assert not dial.done()
            events = [event async for event in dial]
            assert tuple(int(event.state) for event in events) == VPN_OK
            assert tuple(events) == dial.events
            connection = await dial
            assert await dial is connection
            assert await dial.exception() is None
        assert [event async for event in dial] == events
        assert (dial.entry, dial.done(), dial.cancelled(), dial.lost, dial.paused) == ("Home", True, False, 0, False)
        assert dial.elapsed == events[-1].elapsed
        assert not dial.cancel()
        assert await dial.wait_closed()
        assert dial.hang_up_result is HangUp.NONE
        assert repr(dial) == "<ras_ext.aio.Dial of 'Home', connected>"
        assert (connection.entry, connection.phonebook, connection.entry_id, connection.correlation_id) == (
            "Home",
            "",
            None,
            None,
        )
        assert connection.handle == connection.blocking.handle == events[-1].handle
        assert (await connection.status()).state is State.Connected
        assert [link.up for link in await connection.links()] == [True]
        assert await connection.dropped() is None
        assert repr(connection).startswith("<ras_ext.aio.Connection 0x")
        assert await connection.hang_up() is HangUp.GONE
        assert await connection.hang_up() is HangUp.GONE
        assert (await connection.dropped()).code == 631  # type: ignore[union-attr]

    run(main())
    assert virtual.calls("RasHangUpW") == 1


def test_several_tasks_await_and_iterate_one_dial(virtual: Machine, client: Client, run: Runner) -> None:
    """Each sees every event; all get the same connection."""

    async def main() -> None:
        dial = aio.dial("Home", client=client)

        async def wait() -> aio.Connection:
            return await dial

        results = await asyncio.gather(*(wait() for _ in range(5)), dial)
        lists = await asyncio.gather(*(list_of(aiter_of(dial)) for _ in range(5)))
        assert len(set(map(id, results))) == 1
        assert all(tuple(int(event.state) for event in events) == VPN_OK for events in lists)
        await results[0].hang_up()

    def aiter_of(dial: aio.Dial) -> AsyncIterator[Event]:
        return dial.__aiter__()

    run(main())


def test_a_failure_is_raised_with_its_text(virtual: Machine, client: Client, run: Runner) -> None:
    """691 is an AuthenticationError each time; the events end with the one that decided, without raising."""
    virtual.script("Home", "auth_fail")

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        events = [event async for event in dial]
        assert events[-1].failed
        assert events[-1].error == 691
        for _ in range(2):
            with pytest.raises(AuthenticationError, match="691 ERROR_AUTHENTICATION_FAILURE") as raised:
                await dial
            assert raised.value.text
            assert not raised.value.still_closing
        problem = await dial.exception()
        assert isinstance(problem, AuthenticationError)
        assert dial.hang_up_result is HangUp.GONE
        assert not dial.cancelled()

    run(main())
    assert virtual.calls("RasHangUpW") == 1


def test_what_is_refused_at_once(sim: Machine, client: Client, run: Runner) -> None:
    """Wrong arguments, no loop, a closed client."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.dial("Home", client=client)
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.watch(client=client)

    async def main() -> None:
        with pytest.raises(TypeError, match="client"):
            aio.dial("Home", client="sim")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="close"):
            await aio.close("sim")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="time"):
            aio.dial("Home", client=client, timeout=-1)
        with pytest.raises(TypeError, match="on_event"):
            aio.dial("Home", client=client, on_event=7)  # type: ignore[arg-type]
        client.close()
        with pytest.raises(ClosedError):
            aio.dial("Home", client=client)
        with pytest.raises(ClosedError):
            await aio.connections(client)
        with pytest.raises(ClosedError):
            await aio.watch(client=client).get()

    run(main())


@pytest.mark.parametrize("notifier", ["func", "func1", "func2", "window"])
@pytest.mark.parametrize("script", ["vpn_ok", "auth_fail"])
def test_every_kind_of_notifier(virtual: Machine, client: Client, run: Runner, notifier: Any, script: str) -> None:
    """Those without a handle too: the end of RasDial tells it."""
    if notifier == "window" and sys.platform != "win32":
        pytest.skip("the window form exists on Windows only")
    virtual.script("Home", script)

    async def main() -> None:
        dial = aio.dial("Home", client=client, notifier=notifier)
        if script == "auth_fail":
            with pytest.raises(AuthenticationError):
                await dial
        else:
            connection = await dial
            assert connection.handle
            assert await connection.hang_up() is HangUp.GONE

    if script == "vpn_ok":
        virtual.script("Home", "vpn_ok" if "vpn_ok" in virtual.scripts else virtual.scripts[0])
    run(main())


# --- Cancelling -----------------------------------------------------------------------------------------------------------------


async def _await(dial: aio.Dial) -> aio.Connection:
    return await dial


async def _iterate(dial: aio.Dial) -> object:
    return [event async for event in dial]


async def _ask_exception(dial: aio.Dial) -> object:
    return await dial.exception()


async def _leave_with(dial: aio.Dial) -> object:
    async with dial:
        await asyncio.Event().wait()
    return None


WAITS: tuple[Callable[[aio.Dial], Coroutine[Any, Any, object]], ...] = (_await, _iterate, _ask_exception, _leave_with)


async def is_cancelled(machine: Machine, dial: aio.Dial) -> None:
    """The dial is over for everybody at once, and hung up once."""
    assert dial.cancelled()
    assert dial.done()
    with pytest.raises(DialCancelledError):
        await dial
    with pytest.raises(DialCancelledError):
        await dial.exception()
    assert await dial.wait_closed()
    assert dial.hang_up_result is HangUp.GONE
    assert dial.events[-1].origin is Origin.Cancel
    assert machine.calls("RasHangUpW") == 1


@pytest.mark.parametrize("wait", WAITS)
def test_a_cancelled_task_cancels_its_dial(
    sim: Machine, client: Client, run: Runner, wait: Callable[[aio.Dial], Coroutine[Any, Any, object]]
) -> None:
    """By Task.cancel, however the task waits."""
    sim.script("Home", FOR_EVER)

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        task = await begin(wait(dial))
        await soon(lambda: dial.events, "an event")
        await cancel(task)
        await is_cancelled(sim, dial)

    run(main())


@pytest.mark.parametrize("wait", WAITS[:2])
def test_wait_for_cancels_the_dial(
    sim: Machine, client: Client, run: Runner, wait: Callable[[aio.Dial], Coroutine[Any, Any, object]]
) -> None:
    """As any time-out of asyncio; and the connection that came in time is not touched by one that ends later."""
    sim.script("Home", FOR_EVER)

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait(dial), 0.02)
        await soon(lambda: dial.events, "an event")
        assert dial.cancelled()
        assert await dial.wait_closed()
        connection = await asyncio.wait_for(aio.dial("Office VPN", client=client), BOUND_S)
        assert await connection.hang_up() is HangUp.GONE

    run(main())


if sys.version_info >= (3, 11):

    @pytest.mark.parametrize("wait", WAITS)
    def test_a_timeout_cancels_the_dial(
        sim: Machine, client: Client, run: Runner, wait: Callable[[aio.Dial], Coroutine[Any, Any, object]]
    ) -> None:
        """asyncio.timeout."""
        sim.script("Home", FOR_EVER)

        async def main() -> None:
            dial = aio.dial("Home", client=client)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await wait(dial)
            assert dial.cancelled()
            assert await dial.wait_closed()

        run(main())

    def test_a_failing_sibling_cancels_the_dial(sim: Machine, client: Client, run: Runner) -> None:
        """In a TaskGroup; a dial that fails is such a sibling too."""
        sim.script("Home", FOR_EVER)
        sim.script("Lab", "auth_fail")

        async def main() -> None:
            waiting: list[aio.Dial] = []

            async def wait() -> None:
                async with aio.dial("Home", client=client) as dial:
                    waiting.append(dial)
                    await dial

            with pytest.raises(Exception, match="TaskGroup") as raised:
                async with asyncio.TaskGroup() as group:
                    group.create_task(wait())
                    group.create_task(connect(client, "Lab"))
            assert [type(problem) for problem in raised.value.exceptions] == [AuthenticationError]  # type: ignore[attr-defined]
            (dial,) = waiting
            assert dial.cancelled()
            assert await dial.wait_closed()

        run(main())


@pytest.mark.parametrize("wait", WAITS[:3])
def test_cancelled_in_the_moment_of_success(
    sim: Machine, client: Client, run: Runner, wait: Callable[[aio.Dial], Coroutine[Any, Any, object]]
) -> None:
    """The connection has come, unseen by the task: it is hung up, as if the task had been cancelled a moment earlier."""

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        task = await begin(wait(dial))
        assert dial._dial.wait_closed()
        assert not dial.cancelled()
        await cancel(task)
        assert dial.cancelled()
        with pytest.raises(DialCancelledError):
            await dial
        await soon(lambda: sim.counters.references == 0, "the hang-up")

    run(main())
    assert sim.calls("RasHangUpW") == 1


def test_cancelled_in_the_moment_of_success_of_somebody_else(sim: Machine, client: Client, run: Runner) -> None:
    """Who waits too, or has the connection already, keeps it."""

    async def main() -> None:
        for waits in WAITS[:3]:
            dial = aio.dial("Home", client=client)
            task, other = await begin(_await(dial)), await begin(waits(dial))
            assert dial._dial.wait_closed()
            await cancel(other)
            connection = await task
            assert not dial.cancelled()
            assert await connection.hang_up() is HangUp.GONE
            dial = aio.dial("Home", client=client)
            task = await begin(waits(dial))
            assert dial._dial.wait_closed()
            connection = await dial
            await cancel(task)
            assert not dial.cancelled()
            assert (await connection.status()).state is State.Connected
            assert await connection.hang_up() is HangUp.GONE

    run(main())


@pytest.mark.parametrize("seed", seeds(3, 30))
def test_cancelled_at_any_moment(sim: Machine, client: Client, run: Runner, seed: int) -> None:
    """Either the task has the connection, or none stays up."""
    chance = random.Random(seed)
    sim.script("Home", [{"state": 0}, {"delay_ms": 1, "state": 8192}])

    async def main() -> None:
        for _ in range(40):
            task = await begin(connect(client))
            await asyncio.sleep(chance.uniform(0, 0.003 * SLOWER))
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(outcome, aio.Connection):
                assert await outcome.hang_up() is HangUp.GONE
            else:
                assert isinstance(outcome, asyncio.CancelledError)
            await soon(lambda: not _ffi.counters().threads, "the hang-up")

    run(main())
    assert sim.counters.handles == 0


def test_shield_does_not_cancel(sim: Machine, client: Client, run: Runner) -> None:
    """Who waits without owning: the dial goes on, and somebody else gets the connection."""
    sim.knob("block_dial", 1)

    async def main() -> None:
        dial = aio.dial("Home", client=client)

        async def wait() -> aio.Connection:
            return await asyncio.shield(dial)

        task = await begin(wait())
        await cancel(task)
        assert not dial.cancelled()
        await soon(lambda: sim.calls("RasDialW") == 1, "RasDial")
        sim.release()
        connection = await dial
        assert await connection.hang_up() is HangUp.GONE

    run(main())


def test_waiting_for_the_end_does_not_cancel(sim: Machine, client: Client, run: Runner) -> None:
    """A cancelled wait_closed has no claim on the dial."""
    sim.script("Home", FOR_EVER)

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        await cancel(await begin(dial.wait_closed()))
        assert not dial.done()
        assert dial.cancel()
        assert dial.cancel()
        assert await dial.wait_closed()

    run(main())


def test_nothing_of_ours_is_among_the_tasks(virtual: Machine, client: Client, run: Runner) -> None:
    """So gather(*all_tasks()) ends, as many programs use it at their end, and who cancels all tasks meets its own only."""

    async def main() -> None:
        me = {asyncio.current_task()}
        mine = {asyncio.ensure_future(connect(client, entry)) for entry in ("Home", "Lab", "Office VPN")}
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() - me <= mine
        await asyncio.gather(*(asyncio.all_tasks() - me))
        hang_ups = {asyncio.ensure_future(task.result().hang_up()) for task in mine}
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - me <= hang_ups
        assert await asyncio.gather(*hang_ups) == [HangUp.GONE] * 3
        assert asyncio.all_tasks() == me

    run(main())


def test_who_cancels_all_tasks_may_still_wait_in_a_finally(sim: Machine, client: Client, run: Runner) -> None:
    """Each of them is cancelled while it waits, and waits again for the hang-up."""
    sim.script(None, FOR_EVER)
    closed: list[bool] = []

    async def careful(entry: str) -> None:
        dial = aio.dial(entry, client=client)
        try:
            await dial
        finally:
            closed.append(await dial.wait_closed())

    async def main() -> None:
        tasks = [await begin(careful(entry)) for entry in ("Home", "Lab", "Office VPN")]
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(problem) for problem in ended] == [asyncio.CancelledError] * 3
        assert closed == [True] * 3

    run(main())


# --- Interrupts -----------------------------------------------------------------------------------------------------------------


def interrupt(times: int = 1) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_in_the_loop_loses_nothing(sim: Machine, client: Client, run: Runner) -> None:
    """KeyboardInterrupt ends run_until_complete; when the loop is run again, the same task goes on and gets its connection."""
    sim.knob("block_dial", 1)
    with run.loop() as loop:
        task = loop.create_task(connect(client))
        for _ in range(3):
            loop.call_later(0.005, interrupt)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(task)
        until(lambda: sim.calls("RasDialW") == 1, "RasDial")
        sim.release()
        connection = run_in(loop, _pass(task))
        assert run_in(loop, connection.hang_up()) is HangUp.GONE


async def _pass(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize("where", ["_take", "_drive", "timeout"])
def test_an_interrupt_inside_the_reader_loses_nothing(
    sim: Machine, client: Client, run: Runner, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It strikes in the middle of a turn; it is seen as what it is, and the reader goes on."""
    strikes: list[type[BaseException]] = []
    real: Any = vars(Pollable)[where]

    def strike(self: Pollable, *arguments: int) -> object:
        if strikes:
            raise strikes.pop()
        return real.__get__(self) if isinstance(real, property) else real(self, *arguments)

    async def begun() -> aio.Dial:
        return aio.dial("Home", client=client)

    monkeypatch.setattr(Pollable, where, property(strike) if isinstance(real, property) else strike)
    sim.script("Home", FOR_EVER)
    with run.loop() as loop:
        dial = run_in(loop, begun())
        task = loop.create_task(_pass(dial))
        strikes += [KeyboardInterrupt, KeyboardInterrupt]
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run_in(loop, _pass(asyncio.wait({task})))
        run_in(loop, soon(lambda: dial.events, "an event"))
        assert dial.cancel()
        with pytest.raises(DialCancelledError):
            run_in(loop, _pass(task))
        assert run_in(loop, dial.wait_closed())


def test_a_signal_handler_may_cancel_the_dial_while_the_loop_sleeps(sim: Machine, client: Client, run: Runner) -> None:
    """A Python signal handler runs in the loop's own thread, while the loop is inside its selector; who waits is woken."""
    if sys.platform == "win32":
        pytest.skip("sends a POSIX signal")
    sim.script("Home", FOR_EVER)
    dials: list[aio.Dial] = []
    came: list[int] = []

    def handler(number: int, frame: object) -> None:
        came.append(number)
        dials[0].cancel()

    async def main() -> None:
        dials.append(aio.dial("Home", client=client))
        task = await begin(_await(dials[0]))
        await soon(lambda: dials[0].events, "an event")
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(DialCancelledError):
            await task
        assert came
        assert await dials[0].wait_closed()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_cancels_what_asyncio_run_awaits(sim: Machine, client: Client) -> None:
    """The usual way: asyncio.run cancels the main task or all tasks, so the dial is cancelled; then KeyboardInterrupt."""
    sim.script("Home", FOR_EVER)
    dials: list[aio.Dial] = []

    async def main() -> None:
        dials.append(aio.dial("Home", client=client))
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGINT)
        await dials[0]

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert dials[0].cancelled()


# --- Loops ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handlers", [False, True])
def test_a_loop_that_is_closed_in_mid_dial(book: Path, sim: Machine, run: Runner, handlers: bool) -> None:
    """Nothing crashes; asyncio complains of tasks of the program, and of its handlers, not of others. When it is collected, the
    dial is cancelled, and the core holds nothing."""
    sim.script("Home", FOR_EVER)
    complaints: list[str] = []
    loop = run.make()
    loop.set_exception_handler(lambda _, context: complaints.append(str(context.get("task"))))

    def begin_in(loop: asyncio.AbstractEventLoop) -> ras_ext.Client:
        client = ras_ext.open("sim", phonebook=book)

        async def wait() -> None:
            await aio.dial("Home", client=client, on_event=(lambda event: None) if handlers else None)

        async def main() -> None:
            task = loop.create_task(wait(), name="the program's")
            before = sim.calls("RasDialW")
            await soon(lambda: sim.calls("RasDialW") > before, "RasDial")
            assert not task.done()

        run_in(loop, main())
        return client

    client = begin_in(loop)
    with warnings.catch_warnings(record=True) as told:  # none when the queue is collected before the dial
        warnings.simplefilter("always")
        loop.close()
        del loop
        gc.collect()
    assert all("forgotten in flight" in str(warning.message) for warning in told)
    told.clear()  # a warning keeps the dial that it tells of, and that its queue
    gc.collect()
    until(lambda: _ffi.counters().slots == 0, "the end of the dial")
    assert sim.calls("RasHangUpW") == 1
    held = _ffi.counters()
    assert (held.threads, held.queues, held.clients) == (0, 1, 1)
    names = sorted(text.split("name=")[1].split(" ")[0].strip("'\"") for text in complaints)
    assert names == (["ras_ext", "the"] if handlers else ["the"])
    client.close()


def test_the_client_is_closed_after_the_loop(sim: Machine, client: Client, run: Runner) -> None:
    """With somebody who still waits in the closed loop: closing works, and nobody is woken there."""
    sim.script("Home", FOR_EVER)
    loop = run.make()
    loop.set_exception_handler(lambda _, context: None)
    dials: list[aio.Dial] = []

    async def main() -> None:
        dials.append(aio.dial("Home", client=client))
        await begin(_await(dials[0]))
        await soon(lambda: dials[0].events, "an event")

    run_in(loop, main())
    loop.close()
    client.close()
    assert dials[0].cancelled()
    dials.clear()
    del loop
    gc.collect()


def test_a_dial_belongs_to_its_loop(sim: Machine, client: Client, run: Runner) -> None:
    """In another one it can be looked at and cancelled, not awaited."""
    sim.script("Home", FOR_EVER)

    async def start() -> aio.Dial:
        return aio.dial("Home", client=client)

    dial = run(start())

    async def other() -> None:
        for wait in (_await, _iterate, _ask_exception):
            with pytest.raises(RuntimeError, match="another event loop"):
                await wait(dial)
        with pytest.raises(RuntimeError, match="another event loop"):
            await dial.wait_closed()
        assert dial.cancel()

    run(other())
    assert dial.cancelled()


def test_one_client_in_loop_after_loop(virtual: Machine, client: Client, run: Runner) -> None:
    """Each loop has a queue of its own, which goes with it. A connection may be hung up in another loop than its dial's."""
    for _ in range(3):
        connection = run(connect(client))
        other = run(connect(client, "Lab"))
        assert run(connection.hang_up()) is HangUp.GONE
        assert run(other.hang_up()) is HangUp.GONE
        del connection, other  # they know the queue that tells the end of their dial
        gc.collect()
        assert _ffi.counters().queues == 1


def test_one_client_in_two_loops_at_once(sim: Machine, client: Client, run: Runner) -> None:
    """On two threads, with one more that uses the synchronous face."""

    async def many(entry: str) -> int:
        for _ in range(8):
            async with aio.dial(entry, client=client) as dial:
                assert [event.state async for event in dial][-1] is State.Connected
                assert await (await dial).hang_up() is HangUp.GONE
        return 8

    def blocking() -> int:
        for _ in range(8):
            assert client.dial("Office VPN").result(BOUND_S).hang_up() is HangUp.GONE
        return 8

    bodies = [lambda entry=entry: run(many(entry)) for entry in ("Home", "Lab")]
    assert run_threads(*bodies, blocking) == [8, 8, 8]


def test_a_loop_that_moves_to_another_thread(sim: Machine, client: Client, run: Runner) -> None:
    """Run a while here and then there: who looks at the dial from the first thread wakes the loop in the second."""
    sim.knob("block_dial", 1)
    with run.loop() as loop:
        dials: list[aio.Dial] = []

        async def first() -> asyncio.Task[object]:
            dials.append(aio.dial("Home", client=client))
            return await begin(_await(dials[0]))

        task = run_in(loop, first())
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(task)))
        thread.start()
        until(lambda: sim.calls("RasDialW") == 1, "RasDial")
        sim.release()
        deadline = time.monotonic() + BOUND_S
        while thread.is_alive() and time.monotonic() < deadline:
            dials[0].done()
        thread.join(BOUND_S)
        assert results
        assert run_in(loop, results[0].hang_up()) is HangUp.GONE


# --- Closing --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the loop", "a thread", "aio.close"])
def test_closing_the_client_ends_all_waiting(sim: Machine, client: Client, run: Runner, who: str) -> None:
    """Every dial in flight is cancelled, and everybody who waits for one is told so."""
    sim.script(None, FOR_EVER)

    async def main() -> None:
        dials = [aio.dial(entry, client=client) for entry in ("Home", "Lab", "Office VPN")]
        tasks = [await begin(wait(dial)) for dial in dials for wait in WAITS[:3]]
        ends = [await begin(dial.wait_closed()) for dial in dials]
        if who == "the loop":
            client.close()
        elif who == "a thread":
            await asyncio.to_thread(client.close)
        else:
            await aio.close(client)
        assert client.closed
        for problem in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(problem, (DialCancelledError, list)), problem
        await asyncio.gather(*ends)
        assert all(dial.cancelled() for dial in dials)
        with pytest.raises(ClosedError):
            aio.dial("Home", client=client)
        await aio.close(client)

    run(main())


def test_a_queue_that_is_opened_while_the_client_closes(
    sim: Machine, client: Client, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed too, or refused, in whatever moment of closing it comes: there is none that nobody closes."""
    doors: list[_door.Door] = []
    refused: list[ClosedError] = []
    real = _hub.Hub.cancel_all

    async def main() -> None:
        def cancel_all(hub: _hub.Hub) -> None:
            real(hub)
            try:
                doors.append(_door.Door(client, asyncio.get_running_loop()))
            except ClosedError as problem:
                refused.append(problem)

        doors.append(_door.door_of(client))
        monkeypatch.setattr(_hub.Hub, "cancel_all", cancel_all)
        client.close()
        monkeypatch.undo()
        assert refused
        assert all(door.hub.closed for door in doors)

    run(main())


@pytest.mark.parametrize("seed", seeds(2, 60))
def test_closing_on_a_thread_while_things_happen(sim: Machine, book: Path, run: Runner, seed: int) -> None:
    """In whatever moment: a dial ends connected, failed or cancelled, a hang-up with a result or ClosedError; none hangs."""
    chance = random.Random(seed)
    sim.knob("hangup_delay_ms", 3)
    sim.script("Lab", "auth_fail")
    sim.script("Office VPN", FOR_EVER)

    async def one(client: Client, entry: str) -> None:
        try:
            async with aio.dial(entry, client=client) as dial:
                if chance.random() < 0.5:
                    async for _ in dial:
                        pass
                connection = await dial
            await connection.hang_up()
        except (AuthenticationError, DialCancelledError, ClosedError):
            pass

    async def main() -> None:
        for _ in range(5 if SLOWER == 1 else 2):
            client = ras_ext.open("sim", phonebook=book)
            tasks = [await begin(one(client, entry)) for entry in ("Home", "Lab", "Office VPN", "Büro №5") * 2]
            delay_s = chance.choice([0, 0.001, 0.003, 0.006, 0.01])
            closer = threading.Timer(delay_s, client.close)
            closer.start()
            problems = [problem for problem in await asyncio.gather(*tasks, return_exceptions=True) if problem is not None]
            await asyncio.to_thread(closer.join)
            assert not [problem for problem in problems if getattr(problem, "code", 0) != 756], problems

    run(main())
    sim.reset(force=True)


# --- Handlers -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_on_event_runs_in_the_loop(virtual: Machine, client: Client, run: Runner, kind: str) -> None:
    """In order, one at a time, up to the deciding event; nobody has to hold the dial or wait for it."""
    seen: list[int] = []
    threads: set[int] = set()
    inside = 0

    def plain(event: Event) -> None:
        seen.append(int(event.state))
        threads.add(threading.get_ident())

    async def coroutine(event: Event) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0.001)
        plain(event)
        inside -= 1

    async def main() -> None:
        aio.dial("Home", client=client, on_event=plain if kind == "plain" else coroutine)
        await soon(lambda: 8192 in seen, "the last event")
        assert tuple(seen) == VPN_OK
        assert threads == {threading.get_ident()}
        (connection,) = await aio.connections(client)
        assert await connection.hang_up() is HangUp.GONE
        await soon(lambda: len(asyncio.all_tasks()) == 1, "the end of the handlers' task")

    run(main())


def test_the_dial_of_a_handler_outlives_a_collection(sim: Machine, client: Client, run: Runner) -> None:
    """Also while the handler waits for something of its own."""
    sim.script("Home", [{"state": 0}, {"delay_ms": 30, "state": 8192}])
    seen: list[Event] = []

    async def main() -> None:
        go = asyncio.Event()

        async def handler(event: Event) -> None:
            seen.append(event)
            await go.wait()

        aio.dial("Home", client=client, on_event=handler)
        await soon(lambda: seen, "the first event")
        gc.collect()
        go.set()
        await soon(lambda: len(seen) == 2, "the last event")
        (connection,) = await aio.connections(client)
        assert await connection.hang_up() is HangUp.GONE
        await soon(lambda: len(asyncio.all_tasks()) == 1, "the end of the handlers' task")

    run(main())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_a_handler_raises(
    virtual: Machine,
    client: Client,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """It goes to the log and to sys.unraisablehook; the dial goes on, and so do the calls."""
    problems: list[BaseException] = []
    collect(problems, monkeypatch)

    def plain(event: Event) -> None:
        raise LookupError(int(event.state))

    async def coroutine(event: Event) -> None:
        await asyncio.sleep(0)
        plain(event)

    async def main() -> None:
        dial = aio.dial("Home", client=client, on_event=plain if kind == "plain" else coroutine)
        await (await dial).hang_up()
        await soon(lambda: len(problems) == len(VPN_OK), "all calls")

    run(main())
    assert [problem.args[0] for problem in problems] == list(VPN_OK)
    assert caplog.text.count("on_event of the dial of 'Home' raised LookupError") == len(VPN_OK)


def test_a_cancelled_handler_cancels_the_dial(sim: Machine, client: Client, run: Runner) -> None:
    """As at the end of asyncio.run, which cancels what is left: nobody would hear of the dial from then on."""
    sim.script("Home", FOR_EVER)
    entered: list[Event] = []

    async def handler(event: Event) -> None:
        entered.append(event)
        await asyncio.Event().wait()

    async def main() -> None:
        dial = aio.dial("Home", client=client, on_event=handler)
        await soon(lambda: entered, "the first event")
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        await cancel(task)
        assert dial.cancelled()
        assert await dial.wait_closed()

    run(main())


# --- Pauses ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "coroutine", "slow"])
def test_an_interactive_handler_answers(virtual: Machine, client: Client, run: Runner, kind: str) -> None:
    """It is called in the loop with the event and the dial. While it thinks, a virtual clock does not run into the pause's
    bound, although somebody waits for the dial."""
    virtual.account("Home", "ada", "right")
    virtual.script("Home", "retry")
    asked: list[tuple[str | None, bool]] = []

    def plain(event: Event, dial: aio.Dial) -> Answer:
        asked.append((event.wants, dial.paused))
        return Answer(username="ada", password="right")

    async def coroutine(event: Event, dial: aio.Dial) -> Answer:
        started = virtual.now
        await asyncio.sleep(0.2 if kind == "slow" else 0)
        assert virtual.now - started < 1
        return plain(event, dial)

    async def main() -> None:
        handler = plain if kind == "plain" else coroutine
        dial = aio.dial("Home", client=client, username="ada", password="wrong", interactive=handler, pause_timeout=2)
        connection = await dial
        assert asked == [("credentials", True)]
        assert await connection.hang_up() is HangUp.GONE

    run(main())
    assert virtual.calls("RasDialW") == 2


def test_an_interactive_handler_gives_up_or_raises(
    virtual: Machine, client: Client, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: cancelled, or, where no answer was possible, the failure that it would have had. An exception, or something else than
    an answer: reported, and cancelled."""
    virtual.script("Home", "retry")
    virtual.script("Lab", "eap_ui")
    problems: list[BaseException] = []
    collect(problems, monkeypatch)

    def raises(event: Event, dial: aio.Dial) -> None:
        raise LookupError

    async def raises_later(event: Event, dial: aio.Dial) -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def none(event: Event, dial: aio.Dial) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        handlers: list[Any] = [lambda event, dial: None, none, raises, raises_later, lambda event, dial: "yes"]
        for handler in handlers:
            dial = aio.dial("Home", client=client, interactive=handler)
            with pytest.raises(DialCancelledError):
                await dial
            assert await dial.wait_closed()
        for handler in handlers[:2]:
            with pytest.raises(RasError) as raised:
                await aio.dial("Lab", client=client, interactive=handler)
            assert raised.value.code == 703

    run(main())
    assert [type(problem) for problem in problems] == [LookupError, LookupError, TypeError]


def test_resume_and_give_up_by_hand(virtual: Machine, client: Client, run: Runner) -> None:
    """With paused_states: the iteration shows the pause, and goes on after the answer."""
    virtual.account("Home", "ada", "right")
    virtual.script("Home", "retry")

    async def main() -> None:
        dial = aio.dial("Home", client=client, username="ada", password="wrong", paused_states=True)
        with pytest.raises(NotPausedError):
            dial.resume()
        async for event in dial:
            if event.wants is not None:
                assert dial.paused
                dial.resume(password="right")
        assert await (await dial).hang_up() is HangUp.GONE
        second = aio.dial("Home", client=client, username="ada", password="wrong", paused_states=True)
        async for event in second:
            if event.wants is not None:
                second.give_up()
        with pytest.raises(AuthenticationError) as raised:
            await second
        assert raised.value.origin is Origin.Core

    run(main())


def test_a_pause_that_nobody_answers(virtual: Machine, client: Client, run: Runner) -> None:
    """It ends with pause_timeout, on the client's clock."""
    virtual.script("Home", "retry")

    async def main() -> None:
        started = virtual.now
        with pytest.raises(RasError):
            await aio.dial("Home", client=client, paused_states=True, pause_timeout=7)
        assert 7 <= virtual.now - started < 8

    run(main())


# --- Options --------------------------------------------------------------------------------------------------------------------


def test_through_another_connection(virtual: Machine, client: Client, run: Runner) -> None:
    """Of either face; not through one that is gone."""

    async def main() -> None:
        beneath = await connect(client, "Lab")
        for through in (beneath, beneath.blocking):
            vpn = await connect(client, "Office VPN", through=through)
            assert vpn != beneath
            assert await vpn.hang_up() is HangUp.GONE
        await beneath.hang_up()
        for through in (beneath, beneath.blocking):
            with pytest.raises(ras_ext.DisconnectedError):
                aio.dial("Office VPN", client=client, through=through)
        with pytest.raises(TypeError, match="through"):
            aio.dial("Office VPN", client=client, through="Lab")  # type: ignore[arg-type]

    run(main())


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("notifier", ["func2", "func", "window"])
def test_the_dials_own_time_out(sim: Machine, client: Client, run: Runner, blocked: bool, notifier: Any) -> None:
    """638, also while RasDial does not return; the loop has to look at the clock then."""
    if notifier == "window" and sys.platform != "win32":
        pytest.skip("the window form exists on Windows only")
    sim.script("Home", FOR_EVER)
    sim.knob("block_dial", int(blocked))

    async def main() -> None:
        dial = aio.dial("Home", client=client, timeout=0.15, notifier=notifier)
        events = [event async for event in dial]
        assert (events[-1].error, events[-1].origin) == (638, Origin.Timeout)
        sim.release()
        with pytest.raises(RasError) as raised:
            await dial
        assert raised.value.code == 638
        assert not raised.value.still_closing

    run(main())


def test_the_loop_is_free_while_ras_dial_blocks(sim: Machine, client: Client, run: Runner) -> None:
    """Other tasks have their turns; cancelling is immediate."""
    sim.script("Home", FOR_EVER)
    sim.knob("block_dial", 1)

    async def main() -> None:
        dial = aio.dial("Home", client=client)
        task = await begin(_await(dial))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        await soon(lambda: sim.calls("RasDialW") == 1, "RasDial")
        await cancel(task)
        assert dial.cancelled()
        sim.release()
        assert await dial.wait_closed()

    run(main())


# --- Hanging up -----------------------------------------------------------------------------------------------------------------


def test_shared_references(virtual: Machine, client: Client, run: Runner) -> None:
    """Two dials of one entry hold two references: the first hang-up says so at once, the second ends the link."""

    async def main() -> None:
        first, second = await connect(client), await connect(client)
        assert first == second
        assert hash(first) == hash(second)
        assert first != first.blocking
        assert await first.hang_up() is HangUp.SHARED
        assert await first.hang_up() is HangUp.SHARED
        assert await second.hang_up() is HangUp.GONE

    run(main())
    assert virtual.calls("RasHangUpW") == 2


def test_every_reference_on_request(virtual: Machine, client: Client, run: Runner) -> None:
    """all=True gives up those of others too, also when a hang-up of one is under way, or has said that others are left."""

    async def main() -> None:
        for count in (1, 2, 3):
            connections = [await connect(client) for _ in range(count)]
            assert await connections[0].hang_up(all=True) is HangUp.GONE
            assert virtual.counters.references == 0
        first, _ = await connect(client), await connect(client)
        assert await first.hang_up() is HangUp.SHARED
        assert await first.hang_up(all=True) is HangUp.GONE
        first, _ = await connect(client), await connect(client)
        results = list(await asyncio.gather(first.hang_up(), first.hang_up(all=True)))
        assert results == [HangUp.SHARED, HangUp.GONE]

    run(main())


def test_a_slow_hang_up(virtual: Machine, client: Client, run: Runner) -> None:
    """CLOSING after the time-out, on the client's clock; then the waiting goes on without another RasHangUp."""
    virtual.knob("hangup_delay_ms", 5000)

    async def main() -> None:
        connection = await connect(client)
        started = virtual.now
        assert await connection.hang_up(timeout=0) is HangUp.CLOSING
        assert await connection.hang_up(timeout=1) is HangUp.CLOSING
        assert 1 <= virtual.now - started < 2
        assert await connection.hang_up(timeout=1.5) is HangUp.CLOSING
        assert await connection.hang_up(timeout=None) is HangUp.GONE
        assert 5 <= virtual.now - started < 6

    run(main())
    assert virtual.calls("RasHangUpW") == 1


@pytest.mark.parametrize("timeouts", [(10, 10), (1, 10), (10, 1), (1, None)])
def test_hung_up_by_two_tasks_at_once(
    virtual: Machine, client: Client, run: Runner, timeouts: tuple[float | None, float | None]
) -> None:
    """One RasHangUp; each waits for its own time."""
    virtual.knob("hangup_delay_ms", 5000)

    async def main() -> None:
        connection = await connect(client)
        results = await asyncio.gather(*(connection.hang_up(timeout) for timeout in timeouts))
        assert results == [HangUp.CLOSING if timeout == 1 else HangUp.GONE for timeout in timeouts]
        assert await connection.hang_up() is HangUp.GONE

    run(main())
    assert virtual.calls("RasHangUpW") == 1


def test_a_cancelled_hang_up_goes_on(sim: Machine, client: Client, run: Runner) -> None:
    """Cancelling ends the waiting only; asked again, it tells the result."""
    sim.knob("hangup_delay_ms", 100)

    async def main() -> None:
        for index in range(3):
            connection = await connect(client)
            task = await begin(connection.hang_up())
            if index:
                await soon(lambda index=index: sim.calls("RasHangUpW") == index + 1, "RasHangUp")  # type: ignore[misc]
            await cancel(task)
            assert await connection.hang_up() is HangUp.GONE
            assert sim.calls("RasHangUpW") == index + 1

    run(main())


@pytest.mark.parametrize("cancelled", [False, True])
def test_hung_up_before_ras_dial_has_returned(sim: Machine, client: Client, run: Runner, cancelled: bool) -> None:
    """Connected has been announced, and RasDial still blocks: it is hung up once nevertheless, also by a task that is cancelled
    while it waits for RasDial to return."""
    sim.knob("early", 1000)
    sim.knob("block_dial", 1)
    counted = _ffi.counters().references

    async def main() -> None:
        connection = await connect(client)
        assert sim.counters.references == 1
        if cancelled:
            await cancel(await begin(connection.hang_up()))
        else:
            await connection.hang_up(timeout=0.05)
        await soon(lambda: sim.calls("RasHangUpW") == 1, "RasHangUp")
        sim.release()
        assert await connection.hang_up() is HangUp.GONE

    run(main())
    assert sim.calls("RasHangUpW") == 1
    until(lambda: _ffi.counters().references == counted, "the core's references")


def test_a_refused_hang_up(virtual: Machine, client: Client, run: Runner) -> None:
    """753 is raised to everybody who waits; a later one may succeed."""
    virtual.knob("hangup_code", 753)

    async def main() -> None:
        connection = await connect(client)
        problems = await asyncio.gather(connection.hang_up(), connection.hang_up(), return_exceptions=True)
        assert [getattr(problem, "code", None) for problem in problems] == [753, 753]
        with pytest.raises(RasError):
            async with connection:
                pass
        virtual.knob("hangup_code", 0)
        assert await connection.hang_up() is HangUp.GONE

    run(main())


def test_mixed_with_the_blocking_face(sim: Machine, client: Client, run: Runner) -> None:
    """Begun with one face, ended with the other, or with both at once: one RasHangUp."""
    sim.knob("hangup_delay_ms", 60)

    async def main() -> None:
        first = await connect(client)
        assert first.blocking.hang_up(0) is HangUp.CLOSING
        assert await first.hang_up() is HangUp.GONE
        second = await connect(client)
        assert await second.hang_up(0) is HangUp.CLOSING
        assert await asyncio.to_thread(second.blocking.hang_up) is HangUp.GONE
        assert await second.hang_up() is HangUp.GONE
        third = await connect(client)
        results = list(await asyncio.gather(asyncio.to_thread(third.blocking.hang_up), third.hang_up(), third.hang_up()))
        assert results == [HangUp.GONE] * 3
        assert sim.calls("RasHangUpW") == 3
        found = client.dial("Lab")
        mine = aio.Connection(await asyncio.to_thread(found.result))
        assert await mine.hang_up() is HangUp.GONE

    run(main())


def test_a_connection_as_a_context_manager(virtual: Machine, client: Client, run: Runner) -> None:
    """Hung up on leaving, whatever is raised inside; what is raised inside matters more than a refused hang-up."""

    async def main() -> None:
        async with await connect(client) as connection:
            assert (await connection.status()).state is State.Connected
        assert virtual.counters.references == 0
        with pytest.raises(LookupError):
            async with await connect(client):
                raise LookupError
        assert virtual.counters.references == 0
        virtual.knob("hangup_code", 753)
        with pytest.raises(LookupError):
            async with await connect(client) as connection:
                raise LookupError
        virtual.knob("hangup_code", 0)
        await connection.hang_up()

        inside = asyncio.Event()

        async def hold() -> None:
            async with await connect(client):
                inside.set()
                await asyncio.Event().wait()

        task = await begin(hold())
        await inside.wait()
        await cancel(task)
        assert virtual.counters.references == 0

    run(main())


def test_the_client_is_closed_in_the_middle_of_a_hang_up(sim: Machine, client: Client, run: Runner) -> None:
    """ClosedError for who waits, and not for ever; the connection is given up all the same."""
    sim.knob("hangup_delay_ms", 150)

    async def main() -> None:
        connection = await connect(client)
        tasks = [await begin(connection.hang_up(None)) for _ in range(2)]
        await soon(lambda: sim.calls("RasHangUpW") == 1, "RasHangUp")
        await aio.close(client, 0)
        for problem in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(problem, ClosedError) or problem is HangUp.GONE, problem
        with pytest.raises(ClosedError):
            await connection.hang_up()

    run(main())


def test_connections_are_listed(virtual: Machine, client: Client, run: Runner) -> None:
    """Those of other faces too, with their identities; hung up like any."""

    async def main() -> None:
        assert await aio.connections(client) == []
        mine = await connect(client)
        other = await asyncio.to_thread(client.dial("Lab").result)
        listed = {connection.entry: connection for connection in await aio.connections(client)}
        assert listed == {"Home": mine, "Lab": aio.Connection(other)}
        assert listed["Home"].correlation_id is not None
        assert listed["Home"].phonebook
        for connection in listed.values():
            assert await connection.hang_up() is HangUp.GONE

    run(main())


# --- Dialling again -------------------------------------------------------------------------------------------------------------


def test_redial_until_it_connects(virtual: Machine, client: Client, run: Runner) -> None:
    """Errors that may pass, at most `attempts` times, with pauses on the client's clock."""
    virtual.fault("RasDialW", 676, times=2)
    failures: list[tuple[int, float]] = []

    async def main() -> None:
        started = virtual.now
        backoff = ras_ext.Backoff(10, 3, jitter=0)
        connection = await aio.redial(
            client, "Home", backoff=backoff, on_failure=lambda error, pause: failures.append((error.code, pause))
        )
        assert failures == [(676, 10), (676, 30)]
        assert 40 <= virtual.now - started < 42
        await connection.hang_up()
        virtual.script("Home", "busy")
        with pytest.raises(ras_ext.LineError):
            await aio.redial(client, "Home", attempts=4, backoff=5)
        assert virtual.calls("RasDialW") == 3 + 4

    run(main())


def test_redial_stops(virtual: Machine, client: Client, run: Runner) -> None:
    """At once for what cannot pass, for wrong arguments, for a dial that was cancelled, and when the client is closed."""
    virtual.script("Home", "auth_fail")

    async def main() -> None:
        with pytest.raises(AuthenticationError):
            await aio.redial(client, "Home", attempts=9)
        assert virtual.calls("RasDialW") == 1
        for wrong in ({"attempts": 0}, {"backoff": -1}, {"on_failure": 7}):
            with pytest.raises((TypeError, ValueError)):
                await aio.redial(client, "Home", **wrong)  # type: ignore[arg-type]
        virtual.script("Home", FOR_EVER)
        with pytest.raises(DialCancelledError):
            await aio.redial(client, "Home", on_event=lambda event: [dial.cancel() for dial in dials()])
        virtual.fault("RasDialW", 676)
        with pytest.raises(ClosedError):
            await aio.redial(client, "Home", backoff=1e6, on_failure=lambda error, pause: client.close())

    def dials() -> list[aio.Dial]:
        return [thing for thing in gc.get_objects() if type(thing) is aio.Dial and not thing.done()]

    run(main())


def test_redial_is_cancelled(sim: Machine, client: Client, run: Runner) -> None:
    """In a dial: that is cancelled. In a pause, which may be for ever: nothing more is dialled. Closing the client ends it."""

    async def main() -> None:
        sim.script("Home", FOR_EVER)
        task = await begin(aio.redial(client, "Home"))
        await soon(lambda: sim.counters.handles == 1, "the dial")
        await cancel(task)
        await soon(lambda: sim.counters.handles == 0, "the hang-up")
        sim.fault("RasDialW", 676)
        failed: list[float] = []
        task = await begin(
            aio.redial(client, "Home", backoff=lambda n: float("inf"), on_failure=lambda error, pause: failed.append(pause))
        )
        await soon(lambda: failed, "the pause")
        await asyncio.sleep(0.01)
        assert not task.done()
        await cancel(task)
        calls = sim.calls("RasDialW")
        task = await begin(aio.redial(client, "Home", backoff=lambda n: 1e9))
        await soon(lambda: sim.calls("RasDialW") > calls, "the dial")
        await aio.close(client)
        with pytest.raises((ClosedError, DialCancelledError)):
            await task

    run(main())


def test_redial_is_cancelled_in_the_moment_of_success(sim: Machine, client: Client, run: Runner) -> None:
    """The connection that nobody will ever hold is hung up."""

    async def main() -> None:
        task = await begin(aio.redial(client, "Home"))
        (native,) = _door.door_of(client).hub._known_dials()
        assert isinstance(native, ras_ext.Dial) and native.wait_closed()
        await cancel(task)
        await soon(lambda: sim.counters.references == 0, "the hang-up")

    run(main())
    assert sim.calls("RasHangUpW") == 1


# --- Watching -------------------------------------------------------------------------------------------------------------------


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ras_ext watch"]


def test_a_watch_reports_what_comes_and_goes(sim: Machine, client: Client, run: Runner) -> None:
    """Connections with their identity, drops with the reason; the same object from CONNECTED to DISCONNECTED."""

    async def main() -> None:
        async with aio.watch(client=client, poll=NEVER_POLLS) as watch:
            connection = await connect(client)
            came = await watch.get()
            assert (came.kind, came.connection, came.reason, came.link) == (ChangeKind.CONNECTED, connection, None, None)
            assert came.connection.correlation_id is not None
            sim.drop(connection.blocking, 829)
            went = await watch.get()
            assert went.kind is ChangeKind.DISCONNECTED
            assert went.connection is came.connection
            assert went.reason is not None
            assert (await connection.dropped()) is not None
            assert went.time >= came.time
        async for change in watch:
            pytest.fail(f"closed, but {change}")
        with pytest.raises(ClosedError):
            await watch.get()

    run(main())
    until(lambda: not watching(), "the end of the thread")


def test_existing_connections_are_reported_on_request(sim: Machine, client: Client, run: Runner) -> None:
    """existing=True."""

    async def main() -> None:
        first, second = await connect(client), await connect(client, "Lab")
        async with aio.watch(client=client, existing=True) as watch:
            entries = {(await watch.get()).connection.entry for _ in range(2)}
            assert entries == {"Home", "Lab"}
            await first.hang_up()
            gone = await watch.get()
            assert (gone.kind, gone.connection, gone.reason.code if gone.reason else 0) == (ChangeKind.DISCONNECTED, first, 631)
        await second.hang_up()

    run(main())


@pytest.mark.parametrize("what", ["the watch", "the client"])
def test_closing_ends_every_iteration(sim: Machine, client: Client, run: Runner, what: str) -> None:
    """Of several tasks, and does not block the loop."""

    async def main() -> None:
        watch = aio.watch(client=client)

        async def iterate() -> int:
            return len([change async for change in watch])

        tasks = [await begin(iterate()) for _ in range(3)]
        getter = await begin(watch.get())
        await soon(lambda: watch._feed.opened.done(), "listening")
        if what == "the watch":
            watch.close()
            watch.close()
        else:
            await aio.close(client)
        assert await asyncio.gather(*tasks) == [0, 0, 0]
        with pytest.raises(ClosedError):
            await getter
        for _ in range(3):
            with pytest.raises(ClosedError):
                await watch.get()

    run(main())
    until(lambda: not watching(), "the end of the thread")


def test_a_cancelled_get_loses_no_change(sim: Machine, client: Client, run: Runner) -> None:
    """Cancelled before, while, and just after a change comes: the next one who asks gets it."""

    async def main() -> None:
        async with aio.watch(client=client) as watch:
            chance = random.Random(5)
            kinds = []
            for index in range(6):
                task = await begin(watch.get())
                connection = await connect(client, ("Home", "Lab")[index % 2])
                if chance.random() < 0.5:
                    await soon(lambda: not watch._feed.items.empty() or task.done(), "the change")  # noqa: B023
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                kinds.append((done if isinstance(done, aio.Change) else await watch.get()).kind)
                await connection.hang_up()
                kinds.append((await watch.get()).kind)
            assert kinds == [ChangeKind.CONNECTED, ChangeKind.DISCONNECTED] * 6

    run(main())


def test_a_forgotten_watch_ends_its_thread(sim: Machine, client: Client, run: Runner) -> None:
    """Also one that was never waited for."""

    async def main() -> None:
        watch = aio.watch(client=client)
        async with watch:
            pass
        gone = weakref.ref(watch)
        del watch
        assert gone() is None
        aio.watch(client=client)
        await soon(lambda: not watching(), "the end of the thread")

    run(main())


def test_a_loop_that_is_closed_while_it_watches(sim: Machine, client: Client, run: Runner) -> None:
    """The thread ends with the next change, or when the watch is collected."""
    watches: list[aio.Watch] = []

    async def main() -> aio.Connection:
        for _ in range(2):
            watches.append(aio.watch(client=client))
            await watches[-1].__aenter__()
        connection = await connect(client)
        for watch in watches[-2:]:
            assert (await watch.get()).connection == connection
        return connection

    connection = run(main())
    assert connection.blocking.hang_up() is HangUp.GONE
    until(lambda: not watching(), "the end of the threads")
    run(main()).blocking.hang_up()
    watches.clear()
    until(lambda: not watching(), "the end of the threads")


def test_a_list_that_fails_is_told_and_the_watch_goes_on(sim: Machine, client: Client, run: Runner) -> None:
    """Three failures in a row are one RasError."""

    async def main() -> None:
        async with aio.watch(client=client, poll=0.02) as watch:
            sim.fault("RasEnumConnectionsW", 5, times=3)
            with pytest.raises(RasError) as raised:
                await watch.get()
            assert raised.value.code == 5
            connection = await connect(client)
            assert (await watch.get()).connection == connection
            await connection.hang_up()

    run(main())


# --- Many -----------------------------------------------------------------------------------------------------------------------


def test_a_thousand_dials_in_one_loop(sim: Machine, tmp_path: Path, run: Runner) -> None:
    """All connect, none waits for another, all are hung up."""
    count = 1000 if sys.platform != "win32" else 100
    names = [f"Entry {number}" for number in range(count)]
    sim.script(None, "connect_now")

    async def main() -> None:
        with ras_ext.open("sim", phonebook=write_book(tmp_path / "many.pbk", *names)) as client:
            connections = await asyncio.gather(*(connect(client, name) for name in names))
            assert len({connection.handle for connection in connections}) == count
            results = await asyncio.gather(*(connection.hang_up() for connection in connections))
            assert results == [HangUp.GONE] * count

    run(main())
    assert sim.calls("RasHangUpW") == count


def notifications(count: int) -> list[Step]:
    """A script of so many states, and Connected."""
    states: list[Step] = [{"state": 5} for _ in range(count)]
    return [*states, {"state": 8192}]


class Stress:
    """Dials with long scripts, while the loop is busy and those who wait come and go."""

    def __init__(self, machine: Machine, client: Client, seed: int, pushes: int) -> None:
        self.chance = random.Random(seed)
        self.client = client
        self.left = pushes
        self.stop = False
        self.looks: set[asyncio.Task[None]] = set()
        self.lengths = {}
        for number, name in enumerate(STRESSED):
            steps = self.chance.choice([1, 2, 8, 30, 120, 400]) if number else 60
            machine.script(name, notifications(steps))
            self.lengths[name] = steps + 1

    async def busy(self) -> None:
        """Keeps the loop from sleeping, in bursts."""
        while not self.stop:
            for _ in range(self.chance.choice([1, 5, 40, 200])):
                await asyncio.sleep(0)
            await asyncio.sleep(self.chance.choice([0, 0.0005, 0.002]))

    async def look(self, dial: aio.Dial) -> None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.0005]))
        await dial.wait_closed()

    async def iterate(self, dial: aio.Dial) -> None:
        async for _ in dial:
            pass

    async def dial(self, name: str) -> None:
        dial = aio.dial(name, client=self.client)
        while not dial.done():  # waits that are given up at random do not own the dial
            task = asyncio.ensure_future(self.look(dial))
            self.looks.add(task)
            task.add_done_callback(self.looks.discard)
            if self.chance.random() < 0.5:
                break
            for _ in range(self.chance.choice([0, 1, 2, 10])):
                await asyncio.sleep(0)
            task.cancel()
        if self.chance.random() < 0.5:
            await self.iterate(dial)
        connection = await dial
        assert await dial.wait_closed()
        assert len(dial.events) + dial.lost == self.lengths[name]
        assert dial.events[-1].state is State.Connected
        self.left -= self.lengths[name]
        assert await connection.hang_up() is HangUp.GONE

    async def lane(self, name: str) -> None:
        while self.left > 0:
            await self.dial(name)

    async def main(self) -> None:
        busy = asyncio.ensure_future(self.busy())
        await asyncio.gather(*(self.lane(name) for name in STRESSED))
        self.stop = True
        await busy
        await asyncio.gather(*self.looks, return_exceptions=True)


STRESSED = tuple(f"Lane {number}" for number in range(6))


@pytest.mark.parametrize("seed", seeds(2, 10))
def test_a_busy_loop_loses_no_wake_up(sim: Machine, tmp_path: Path, run: Runner, seed: int) -> None:
    """Every dial ends, and every notification is seen or counted as lost: 50,000 of them, or a million and more in a soak."""
    pushes = 150_000 if SOAK else 50_000 // SLOWER
    with ras_ext.open("sim", phonebook=write_book(tmp_path / "lanes.pbk", *STRESSED)) as client:
        stress = Stress(sim, client, seed, pushes)
        with run.loop() as loop:
            loop.set_debug(False)
            loop.run_until_complete(stress.main())
    assert stress.left <= 0


def test_one_dial_after_another_loses_no_wake_up(sim: Machine, client: Client, run: Runner) -> None:
    """With nothing else in the loop that would wake it by chance: each wait ends by its own byte."""
    sim.script("Home", "connect_now")

    async def main() -> None:
        for _ in range(2000 if SOAK else 200 // SLOWER):
            connection = await connect(client)
            assert await connection.hang_up() is HangUp.GONE

    run(main())


def test_another_thread_takes_the_events(sim: Machine, client: Client, run: Runner) -> None:
    """Threads that look at the same dials drain in the loop's place, at any moment; nobody in the loop is forgotten."""
    sim.script("Home", notifications(10))
    current: list[aio.Dial] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for dial in current:
                dial.done()
                dial._dial._hub.poll()
            time.sleep(0)  # or each of three threads would wait for the others' turns to run out

    async def main() -> None:
        for _ in range(20):
            dial = aio.dial("Home", client=client)
            current[:] = [dial]
            connection = await dial
            assert await dial.wait_closed()
            assert await connection.hang_up() is HangUp.GONE

    threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        run(main())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        current.clear()


def test_a_record_that_comes_between_the_look_and_the_registration(
    sim: Machine, client: Client, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread takes it then, and wakes nobody, because nobody is known to wait yet."""
    sim.script("Home", "connect_now")

    class Late(_door.Waker):
        def __enter__(self) -> Late:
            hub = self._door.hub

            def take() -> None:
                while hub._live:
                    hub.poll()

            run_threads(take)
            super().__enter__()
            return self

    monkeypatch.setattr(_door, "Waker", Late)

    async def main() -> None:
        connection = await connect(client)
        monkeypatch.undo()
        assert await connection.hang_up() is HangUp.GONE

    run(main())


# --- Nothing is left ------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_in_memory(virtual: Machine, client: Client, run: Runner) -> None:
    """Without the collector: dials, connections and what belongs to the loop are no cycles."""

    async def main() -> list[weakref.ref[Any]]:
        dial = aio.dial("Home", client=client, on_event=lambda event: None)
        async for _ in dial:
            pass
        connection = await dial
        await connection.hang_up()
        failed = aio.dial("Nowhere", client=client)
        with pytest.raises(RasError):
            await failed
        await soon(lambda: len(asyncio.all_tasks()) == 1, "the end of the handlers' task")
        things = [dial, connection, failed, failed._door]
        return [weakref.ref(thing) for thing in things]

    gc.collect()
    gc.disable()
    try:
        references = run(main())
        assert [reference() for reference in references] == [None] * len(references)
    finally:
        gc.enable()


def test_no_descriptors_are_left(sim: Machine, book: Path, run: Runner) -> None:
    """Two hundred loops: no socket stays open, nor anything of the core."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    sim.script("Home", "connect_now")
    sim.script("Lab", FOR_EVER)

    async def main() -> None:
        with ras_ext.open("sim", phonebook=book) as client:
            connection = await connect(client)
            await connection.hang_up()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(aio.dial("Lab", client=client), 0.001)

    run(main())
    gc.collect()
    before = open_descriptors()
    for _ in range(200):
        run(main())
    gc.collect()
    assert len(open_descriptors()) <= len(before)
    until(core_is_empty, "the end of the dials")


# --- Secrets --------------------------------------------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "time-out": {"timeout": -1},
    "client": {"client": 7},
    "handler": {"on_event": 7},
    "interactive": {"interactive": 7},
    "through": {"through": 7},
    "long": {"password": SECRET * 40},
    "NUL": {"password": SECRET + "\0"},
    "no user": {"username": None},
    "callable": {"password": lambda: [SECRET]},
}


@pytest.mark.parametrize("face", ["dial", "redial", "pollable"])
@pytest.mark.parametrize("bad", BAD)
def test_no_traceback_shows_the_password(sim: Machine, client: Client, run: Runner, bad: str, face: str) -> None:
    """However the arguments are refused: no frame of the package holds it."""
    if bad == "client" and face == "pollable":
        bad = "handler"
    options = {"username": "ada", "password": SECRET, **BAD[bad]}

    async def main() -> None:
        try:
            if face == "dial":
                aio.dial("Home", **{"client": client, **options})
            elif face == "redial":
                await aio.redial(options.pop("client", client), "Home", **options)
            else:
                with client.pollable() as pollable:
                    pollable.dial("Home", **options)
        except (TypeError, ValueError) as problem:
            check_traceback(problem)
        else:
            pytest.fail("accepted")

    run(main())


def test_no_failure_shows_the_password(virtual: Machine, client: Client, run: Runner) -> None:
    """Neither a failed dial, nor one that was cancelled, nor a resume that is refused."""
    virtual.script("Home", "auth_fail")

    async def main() -> None:
        dial = aio.dial("Home", client=client, username="ada", password=SECRET)
        with pytest.raises(AuthenticationError) as raised:
            await dial
        check_traceback(raised.value)
        with pytest.raises(NotPausedError) as refused:
            dial.resume(password=SECRET)
        check_traceback(refused.value)
        with pytest.raises(AuthenticationError) as again:
            await aio.redial(client, "Home", username="ada", password=SECRET)
        check_traceback(again.value)
        assert not shown(repr(dial) + repr(dial.events))

    run(main())


# --- Programs -------------------------------------------------------------------------------------------------------------------

_PROLOGUE = """
import asyncio, os, sys
import ras_ext, ras_ext.sim
from ras_ext import aio
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
machine.journal(sys.argv[2])
loop_kind = sys.argv[3]
if loop_kind == "uvloop":
    import uvloop
    make = uvloop.new_event_loop
elif loop_kind == "proactor":
    make = asyncio.ProactorEventLoop
else:
    make = asyncio.SelectorEventLoop
loop = make()
asyncio.set_event_loop(loop)
FOR_EVER = [{"state": 0}, {"delay_ms": 3600000, "state": 8192}]
async def started():
    while not machine.counters.handles:
        await asyncio.sleep(0.001)
"""

# How a program ends in mid-dial: its code, the exit status, and whether the program's own task is complained of.
ENDS: dict[str, tuple[str, int, bool]] = {
    "dropped": (
        """
async def main():
    dial = aio.dial("Home", client=client, on_event=lambda event: None)
    await started()
    return dial
kept = loop.run_until_complete(main())
""",
        0,
        True,
    ),
    "held": (
        """
async def main():
    dial = aio.dial("Home", client=client)
    await started()
    return dial
kept = loop.run_until_complete(main())
loop.close()
""",
        0,
        False,
    ),
    "sys.exit": (
        """
async def main():
    asyncio.get_running_loop().call_later(0.05, sys.exit, 3)
    await aio.dial("Home", client=client)
loop.run_until_complete(main())
""",
        3,
        True,
    ),
    "exception": (
        """
async def main():
    async with aio.dial("Home", client=client) as dial:
        await started()
        sys.exit(4)
loop.run_until_complete(main())
""",
        4,
        False,
    ),
    "os._exit": (
        """
async def main():
    asyncio.get_running_loop().call_later(0.05, os._exit, 5)
    await aio.dial("Home", client=client)
loop.run_until_complete(main())
""",
        5,
        False,
    ),
    "watch": (
        """
async def main():
    kept.append(aio.watch(client=client))
    async with kept[0]:
        dial = aio.dial("Home", client=client)
        await started()
        sys.exit(6)
kept = []
loop.run_until_complete(main())
""",
        6,
        False,
    ),
}


def run_python(kind: str, code: str, book: Path, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs a program with this kind of loop: how it ended, and its journal."""
    Runner(kind)
    done = python(_PROLOGUE + code, book, tmp_path / "journal", kind)
    return done, (tmp_path / "journal").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_in_mid_dial(book: Path, tmp_path: Path, end: str, kind: str) -> None:
    """By itself, with its own status, and silently, but for what asyncio says of the program's own tasks."""
    code, status, complained_of = ENDS[end]
    done, journal = run_python(kind, 'machine.script("Home", FOR_EVER)\n' + code, book, tmp_path)
    assert done.returncode == status, done.stderr
    noise = done.stderr.strip()
    if complained_of:
        lines = [line for line in noise.splitlines() if line and not line.startswith(("task: <Task", "Task was destroyed"))]
        quiet = not [line for line in lines if "Error" in line or "ras_ext reader" in line]
        assert quiet, noise
    else:
        assert not [line for line in noise.splitlines() if "ResourceWarning" not in line and line.strip()], noise
    assert journal.count("RasDialW") == 1
    assert journal.count("RasHangUpW") == (0 if end == "os._exit" else 1)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_program_ends_with_a_connection_up(book: Path, tmp_path: Path, kind: str) -> None:
    """It stays up: nothing hangs up, and nothing is said."""
    code = """
async def main():
    kept.append(await aio.dial("Home", client=client))
    aio.watch(client=client)
kept = []
loop.run_until_complete(main())
loop.close()
"""
    done, journal = run_python(kind, code, book, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RasHangUpW" not in journal


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", LOOPS)
def test_a_forked_child_is_refused(book: Path, tmp_path: Path, kind: str) -> None:
    """Whatever it tries raises ForkedError in the child, which ends by itself; the parent's dial is undisturbed."""
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
machine.knob("block_dial", 1)
def refused(call):
    try:
        call()
    except ras_ext.ForkedError:
        return 1
    return 0

async def child(dial):
    assert refused(lambda: aio.dial("Lab", client=client))
    assert refused(lambda: aio.watch(client=client))
    assert refused(dial.cancel)
    assert refused(lambda: dial.events)
    async with dial:
        pass
    for wait in (lambda: aio.connections(client), lambda: aio.redial(client, "Lab"), lambda: aio.close(client)):
        try:
            await wait()
        except ras_ext.ForkedError:
            continue
        raise AssertionError("not refused")

async def main():
    dial = aio.dial("Home", client=client)
    task = asyncio.ensure_future(asyncio.shield(dial))
    while machine.calls("RasDialW") == 0:
        await asyncio.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.events._set_running_loop(None)
            asyncio.SelectorEventLoop().run_until_complete(child(dial))
            status = 0
        finally:
            if status:
                import traceback
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    machine.release()
    connection = await task
    print((await connection.hang_up()).name)

loop.run_until_complete(main())
client.close()
"""
    done, journal = run_python(kind, code, book, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "GONE\n", "")
    assert journal.count("RasHangUpW") == 1


def test_import_ras_ext_brings_no_asyncio() -> None:
    """Nor sockets: who dials on threads does not pay for them; and using the synchronous face does not either."""
    code = """
import sys
before = set(sys.modules)
import ras_ext, ras_ext.sim
with ras_ext.open("sim") as client:
    client.dial("", phone_number="1").exception()
print(sorted({"asyncio", "socket", "selectors", "ras_ext.aio", "logging"} & (set(sys.modules) - before)))
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
