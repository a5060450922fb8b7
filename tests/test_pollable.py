"""Pollable: dials that tell by a socket, for select(), selectors, trio, anyio and whatever else waits on one.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import gc
import os
import select
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helping import BOUND_S, VPN_OK, run_threads, until
from holding import SOAK, open_descriptors
from test_secrets import SECRET, check_traceback

from ras_ext import (
    Answer,
    AuthenticationError,
    Client,
    ClosedError,
    Dial,
    DialCancelledError,
    Event,
    HangUp,
    Origin,
    RasError,
    _ffi,
)
from ras_ext._hub import _Turn
from ras_ext.pollable import Pollable
from ras_ext.sim import Machine, Step

if TYPE_CHECKING:
    import anyio
    import trio
else:
    try:
        import anyio
        import trio
    except ImportError:
        if os.environ.get("CI") and sys.platform != "win32":
            raise
        trio = None

needs_trio = pytest.mark.skipif(trio is None, reason="trio and anyio are not installed")

FOR_EVER: list[Step] = [{"state": 0}, {"delay_ms": 3_600_000, "state": 8192}]
QUICK: list[Step] = [*({"state": 5} for _ in range(9)), {"state": 8192}]  # type: ignore[list-item] # nine states


def wait_readable(pollable: Pollable, timeout: float = BOUND_S) -> bool:
    return bool(select.select([pollable], [], [], timeout)[0])


def drive(pollable: Pollable, *dials: Dial) -> None:
    """The loop that every user writes."""
    while not all(dial.done() for dial in dials):
        assert wait_readable(pollable, pollable.timeout if pollable.timeout is not None else BOUND_S) or pollable.timeout == 0
        pollable.poll()


# --- select and selectors ---------------------------------------------------------------------------------------------


def test_select(sim: Machine, client: Client) -> None:
    """The socket is readable when there is something, and silent when everything has been taken."""
    with client.pollable() as pollable:
        dial = pollable.dial("Home", username="ada", password=SECRET)
        drive(pollable, dial)
        connection = dial.result(0)
        assert tuple(int(event.state) for event in dial.events) == VPN_OK
        while not dial.wait_closed(0):
            assert wait_readable(pollable)
            pollable.poll()

        def is_silent() -> bool:
            pollable.poll()
            return not wait_readable(pollable, 0)

        until(is_silent, "silence")  # a byte may come a moment after its record
        assert connection.hang_up() is HangUp.GONE
        assert repr(pollable) == "<ras_ext.Pollable of 'sim'>"
    assert repr(pollable) == "<ras_ext.Pollable of 'sim', closed>"


def test_selectors_and_many_dials(sim: Machine, client: Client) -> None:
    """Two Pollables of one client, each with its dials; a failure is told as well as a success."""
    sim.script("Lab", "auth_fail")
    with client.pollable() as one, client.pollable() as two, selectors.DefaultSelector() as selector:
        dials = [pollable.dial(entry) for pollable, entry in ((one, "Home"), (one, "Lab"), (two, "Office VPN"))]
        for pollable in (one, two):
            selector.register(pollable, selectors.EVENT_READ)
        while not all(dial.done() for dial in dials):
            ready = selector.select(BOUND_S)
            assert ready
            for key, _ in ready:
                assert isinstance(key.fileobj, Pollable)
                key.fileobj.poll()
        with pytest.raises(AuthenticationError):
            dials[1].result()
        for dial in (dials[0], dials[2]):
            assert dial.result(0).hang_up() is HangUp.GONE


def test_nothing_is_lost_between_two_polls(sim: Machine, client: Client) -> None:
    """One dial after another: each wait ends by its own byte, and every notification is seen or counted."""
    sim.script("Home", QUICK)
    sim.knob("hangup_delay_ms", 0)
    with client.pollable() as pollable:
        for _ in range(1000 if SOAK else 100):
            dial = pollable.dial("Home")
            while not dial.wait_closed(0):
                assert wait_readable(pollable), "a wake-up was lost"
                pollable.poll()
            assert len(dial.events) + dial.lost == len(QUICK)
            assert dial.result(0).hang_up() is HangUp.GONE


def test_time_out_while_ras_dial_blocks(sim: Machine, client: Client) -> None:
    """`timeout` says when to look; polling then decides the dial."""
    sim.knob("block_dial", 1)
    with client.pollable() as pollable:
        assert pollable.timeout is None
        late = pollable.dial("Lab", timeout=3600)
        left_s = pollable.timeout
        assert left_s is not None
        assert 3500 < left_s <= 3600
        dial = pollable.dial("Home", timeout=0.1)
        assert pollable.timeout is not None
        assert pollable.timeout <= 0.1
        while not dial.done():
            wait_readable(pollable, pollable.timeout)
            pollable.poll()
        assert (dial.events[-1].error, dial.events[-1].origin) == (638, Origin.Timeout)
        assert pollable.timeout > 3000
        assert late.cancel()
        until(lambda: sim.calls("RasDialW") == 2, "both calls of RasDial")
        sim.release()
        with pytest.raises(RasError) as raised:
            dial.result()
        assert raised.value.code == 638


def test_on_event_and_interactive(sim: Machine, client: Client) -> None:
    """They run on a thread of the dial, whose other thread takes the events; the socket tells all the same."""
    sim.script("Home", "retry")
    sim.account("Home", "ada", "right")
    with client.pollable() as pollable:
        for _ in range(4):
            seen: list[Event] = []
            threads: set[int] = set()

            def on_event(event: Event, seen: list[Event] = seen, threads: set[int] = threads) -> None:
                seen.append(event)
                threads.add(threading.get_ident())

            dial = pollable.dial(
                "Home",
                username="ada",
                password="wrong",
                on_event=on_event,
                interactive=lambda event, dial: Answer(username="ada", password="right"),
            )
            drive(pollable, dial)
            until(lambda: len(seen) == len(dial.events), "all calls of on_event")  # noqa: B023
            assert threading.get_ident() not in threads
            assert dial.result().hang_up() is HangUp.GONE


def test_a_look_that_another_thread_kept_us_from(virtual: Machine, client: Client) -> None:
    """Who empties the socket, but may not look because another thread is at it, is told again when that thread leaves."""
    virtual.script("Home", FOR_EVER)
    with client.pollable() as pollable:
        dial = pollable.dial("Home")
        hub = pollable._hub
        virtual.settle()  # the handler has left: its byte may come a moment after its event
        assert dial.events
        pollable.poll()
        assert not wait_readable(pollable, 0)
        turn = _Turn()

        def hold() -> None:
            assert hub._enter(turn)

        def leave() -> None:
            hub._leave(turn)
            hub._pass_on()

        run_threads(hold)
        assert dial.cancel()
        until(lambda: wait_readable(pollable, 0), "the byte")
        pollable.poll()
        assert not wait_readable(pollable, 0)
        assert not list(dial._events)[1:]
        run_threads(leave)
        assert wait_readable(pollable), "nobody would ever look"
        pollable.poll()
        assert dial.events[-1].origin is Origin.Cancel
        assert dial.wait_closed()


def test_other_threads_look_and_wait(sim: Machine, client: Client) -> None:
    """They drain in the poller's place, at any moment; nobody is forgotten."""
    sim.script("Home", QUICK)
    sim.knob("hangup_delay_ms", 0)
    stop = threading.Event()
    current: list[Dial] = []

    def look() -> None:
        while not stop.is_set():
            for dial in list(current):
                dial.done()

    def wait() -> None:
        while not stop.is_set():
            for dial in list(current):
                dial.result()

    def main(pollable: Pollable) -> None:
        try:
            for _ in range(30):
                dial = pollable.dial("Home")
                current[:] = [dial]
                while not dial.wait_closed(0):
                    assert wait_readable(pollable), "a wake-up was lost"
                    pollable.poll()
                current.clear()
                assert dial.result(0).hang_up() is HangUp.GONE
        finally:
            stop.set()

    with client.pollable() as pollable:
        run_threads(lambda: main(pollable), look, wait)


def test_polled_from_two_threads(sim: Machine, client: Client) -> None:
    """One at a time waits; but if two poll, nothing is lost or seen twice."""
    sim.script(None, QUICK)
    sim.knob("hangup_delay_ms", 0)
    with client.pollable() as pollable:

        def poll(entry: str) -> int:
            for _ in range(20):
                dial = pollable.dial(entry)
                while not dial.wait_closed(0):
                    pollable.poll()
                assert len(dial.events) + dial.lost == len(QUICK)
                assert [event.sequence for event in dial.events] == sorted({event.sequence for event in dial.events})
                assert dial.result(0).hang_up() is HangUp.GONE
            return 20

        assert run_threads(lambda: poll("Home"), lambda: poll("Lab")) == [20, 20]


# --- The end ----------------------------------------------------------------------------------------------------------


def test_closing(sim: Machine, client: Client) -> None:
    """Dials in flight are cancelled, connections stay, and everything later is refused. The client is not closed."""
    sim.script("Lab", FOR_EVER)
    pollable = client.pollable()
    up = pollable.dial("Home").result()
    dial = pollable.dial("Lab")
    until(lambda: dial.events, "an event")
    pollable.close()
    pollable.close()
    assert pollable.closed
    assert pollable.fileno() == -1
    assert dial.cancelled()
    with pytest.raises(DialCancelledError):
        dial.result()
    for refused in (pollable.poll, lambda: pollable.dial("Home")):
        with pytest.raises(ClosedError):
            refused()
    assert pollable.timeout is None
    assert not client.closed
    assert up.hang_up() is HangUp.GONE


def test_closing_while_another_thread_waits(sim: Machine, client: Client) -> None:
    """That thread's wait ends; so does its dial."""
    sim.script("Home", FOR_EVER)
    for _ in range(4):
        pollable = client.pollable()
        dial = pollable.dial("Home")

        def wait(dial: Dial = dial) -> object:
            with pytest.raises(DialCancelledError):
                dial.result()
            return True

        def close(pollable: Pollable = pollable) -> object:
            until(lambda: pollable._hub._waiting, "the waiting thread")
            pollable.close()
            return True

        assert run_threads(wait, close) == [True, True]
        until(lambda: not _ffi.counters().threads, "the hang-up")


def test_closing_while_handlers_push(sim: Machine, client: Client) -> None:
    """The socket is taken from the core before it is closed: no handler sends into a descriptor that is another's by then."""
    sim.script("Home", [{"state": 5, "delay_ms": 0} for _ in range(3000)])
    for _ in range(20):
        pollable = client.pollable()
        dial = pollable.dial("Home")
        pollable.close()
        assert dial.cancelled()
        with client.pollable() as other:  # gets the same descriptors
            other.poll()
            assert not wait_readable(other, 0)
        until(lambda: not _ffi.counters().threads, "the hang-up")


def test_a_closed_client(sim: Machine, client: Client) -> None:
    """It closes its Pollables, and opens no more."""
    sim.script("Home", FOR_EVER)
    pollable = client.pollable()
    dial = pollable.dial("Home")
    client.close()
    assert pollable.closed
    assert dial.cancelled()
    for refused in (pollable.poll, lambda: pollable.dial("Home"), client.pollable):
        with pytest.raises(ClosedError):
            refused()
    pollable.close()


def test_a_forgotten_pollable(sim: Machine, client: Client) -> None:
    """A dial that somebody holds goes on, and can be waited for; the sockets go."""
    before = len(open_descriptors()) if Path("/proc/self/fd").is_dir() else 0
    sim.knob("block_dial", 1)
    dial = client.pollable().dial("Home")
    gc.collect()
    if before:
        assert len(open_descriptors()) <= before
    until(lambda: sim.calls("RasDialW") == 1, "RasDial")
    sim.release()
    assert dial.result(BOUND_S).hang_up() is HangUp.GONE
    sim.knob("block_dial", 0)
    connection = client.pollable().dial("Lab", on_event=lambda event: None).result(BOUND_S)
    assert connection.hang_up() is HangUp.GONE


def test_a_pollable_in_a_cycle(sim: Machine, client: Client) -> None:
    """The collector takes it without a word about its sockets."""

    class Holder:
        pollable: Pollable
        me: Any

    for _ in range(20):
        holder = Holder()
        holder.me = holder
        holder.pollable = client.pollable()
        del holder
    gc.collect()  # a warning would be an error here


def test_no_descriptor_is_left_or_inherited(sim: Machine, client: Client) -> None:
    """Opened and closed, or forgotten, many times; and a new program gets none of them."""
    with client.pollable() as pollable:
        assert (
            not os.get_inheritable(pollable._near.fileno()) if sys.platform != "win32" else not pollable._near.get_inheritable()
        )
        assert not pollable._notify.get_inheritable()
        assert not pollable._near.getblocking()
        assert not pollable._notify.getblocking()
        if not Path("/proc/self/fd").is_dir():
            pytest.skip("needs /proc")
        code = "import os; print(len(os.listdir('/proc/self/fd')))"
        counts, more = [], []
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, close_fds=False, check=True)
            counts.append(done.stdout)
            more = [client.pollable() for _ in range(5)]
        assert counts[0] == counts[1]
        del more
    gc.collect()
    before = open_descriptors()
    for index in range(100):
        pollable = client.pollable()
        if index % 2:
            pollable.close()
    del pollable
    gc.collect()
    assert len(open_descriptors()) <= len(before)


def test_no_socket_pair(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError, and nothing is left in the core."""
    import socket

    def refuse(*arguments: object) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(socket, "socketpair", refuse)
    with pytest.raises(OSError, match="too many"):
        client.pollable()
    assert _ffi.counters().queues == 1


def test_refused_arguments_show_no_password(sim: Machine, client: Client) -> None:
    """Also on a Pollable that is closed."""
    pollable = client.pollable()
    with pytest.raises(ValueError, match="time") as raised:
        pollable.dial("Home", username="ada", password=SECRET, timeout=-1)
    check_traceback(raised.value)
    pollable.close()
    with pytest.raises(ClosedError) as closed:
        pollable.dial("Home", username="ada", password=SECRET)
    check_traceback(closed.value)


# --- trio and anyio ---------------------------------------------------------------------------------------------------


async def until_done(pollable: Pollable, wait: Callable[[Pollable], Any], *dials: Dial) -> None:
    while not all(dial.done() for dial in dials):
        await wait(pollable)
        pollable.poll()


@needs_trio
def test_trio(sim: Machine, client: Client) -> None:
    """As the module's docstring shows it: three dials, one of which fails, while another task runs."""
    sim.script("Lab", "auth_fail")
    turns = 0

    async def main() -> None:
        nonlocal turns
        with client.pollable() as pollable:
            dials = [pollable.dial(entry) for entry in ("Home", "Lab", "Office VPN")]

            async def other() -> None:
                nonlocal turns
                while True:
                    await trio.sleep(0.001)
                    turns += 1

            with trio.fail_after(BOUND_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(other)
                    await until_done(pollable, trio.lowlevel.wait_readable, *dials)
                    assert await trio.to_thread.run_sync(dials[0].result(0).hang_up) is HangUp.GONE
                    nursery.cancel_scope.cancel()
            assert dials[2].result(0).hang_up() is HangUp.GONE
            with pytest.raises(AuthenticationError):
                dials[1].result()

    trio.run(main)
    assert turns


@needs_trio
def test_trio_time_out(sim: Machine, client: Client) -> None:
    """move_on_after with `timeout`, while RasDial blocks; and a cancelled scope, which leaves the dial to its owner."""
    sim.knob("block_dial", 1)

    async def main() -> None:
        with client.pollable() as pollable:
            dial = pollable.dial("Home", timeout=0.1)
            while not dial.done():
                limit = pollable.timeout
                with trio.move_on_after(BOUND_S if limit is None else limit):
                    await trio.lowlevel.wait_readable(pollable)
                pollable.poll()
            assert dial.events[-1].error == 638
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.02), pollable.dial("Lab") as second:
                await until_done(pollable, trio.lowlevel.wait_readable, second)
            assert second.cancelled()
            until(lambda: sim.calls("RasDialW") == 2, "both calls of RasDial")
            sim.release()
            assert second.wait_closed()
            assert dial.wait_closed()

    trio.run(main)


@needs_trio
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(sim: Machine, client: Client, backend: str) -> None:
    """On both of its backends."""
    sim.script("Lab", FOR_EVER)

    async def main() -> None:
        with client.pollable() as pollable, anyio.fail_after(BOUND_S):
            dial = pollable.dial("Home")
            await until_done(pollable, anyio.wait_readable, dial)
            assert await anyio.to_thread.run_sync(dial.result(0).hang_up) is HangUp.GONE
            with anyio.move_on_after(0.02), pollable.dial("Lab") as second:
                await until_done(pollable, anyio.wait_readable, second)
            assert second.cancelled()
            assert second.wait_closed()

    anyio.run(main, backend=backend)


def test_the_socket_does_not_stay_readable(sim: Machine, client: Client) -> None:
    """After each poll it is silent until something comes: no loop spins."""
    sim.script("Home", FOR_EVER)
    with client.pollable() as pollable:
        dial = pollable.dial("Home")
        until(lambda: dial.events, "an event")
        started = time.monotonic()
        polls = 0
        while time.monotonic() < started + 0.05:
            if wait_readable(pollable, 0.05):
                pollable.poll()
                polls += 1
        assert polls <= 5
        dial.cancel()
        assert dial.wait_closed()
