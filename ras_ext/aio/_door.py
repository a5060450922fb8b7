"""One queue per client and loop, and what reads its socket while somebody waits.

SPDX-License-Identifier: MIT

Each client has one further queue in each loop (a Pollable). While somebody awaits, its socket is read; while nobody does, nothing
of ours is pending in the loop. The first thing of every turn is to look at the queue, so a byte that was swallowed costs
nothing. `loop.sock_recv` is what the Selector loop, the Proactor loop and uvloop all have.

The reader is no Task but a chain of callbacks, which advance the coroutine that `sock_recv` returns: a Task would be found by
`gather(*all_tasks())`, be cancelled with all the others while somebody still waits in a `finally`, and be complained of when
its loop is closed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from weakref import WeakValueDictionary

from .._hub import HangUpCall, Waiter
from ..client import Client, _default_client, check_fork
from ..dial import Dial, report
from ..pollable import Pollable

DRIVE_MS = 50  # how much of a virtual clock's time passes before other tasks get a turn
_FAR_MS = 1000  # the same after a virtual second in which nobody began to wait, so that an hour does not take 72,000 turns
LEAST_TIMER_S = 0.05
_NAP_S = 0.25  # how long a pause takes to see that the client has been closed


class Waker(Waiter):
    """One coroutine that waits for something of certain dials. Whoever drains wakes it, on whatever thread."""

    __slots__ = ("_door", "future")

    def __init__(self, dials: Iterable[Dial | HangUpCall], door: Door) -> None:
        super().__init__(dials)
        self._door = door
        self.future: asyncio.Future[None] = door.loop.create_future()

    def wake(self) -> None:
        if self._door.turning == threading.get_ident():
            self.set()
            return
        try:  # elsewhere, even in the loop's own thread, where a signal handler may run while the loop sleeps
            self._door.loop.call_soon_threadsafe(self.set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Door:
    """The queue of one client in one loop, which is read while somebody waits."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self.loop = loop
        self.pollable = Pollable(client)
        self.hub = self.pollable._hub
        self.wakers: set[Waker] = set()
        self.handling: set[asyncio.Task[None]] = set()  # the loop alone would not keep them; it keeps us while we read
        self.turning = 0  # the thread that is inside a turn
        self._driven_ms = 0  # of a virtual clock, since somebody began to wait
        self._reading = False  # a turn is due, or the socket is waited for
        self._receiving: Coroutine[Any, Any, bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- Waiting --------------------------------------------------------------------------------------------------------------

    async def until(self, dials: Iterable[Dial | HangUpCall], ready: Callable[[], bool], bound_s: float | None = None) -> bool:
        """Waits until ready(), so many seconds of the loop's clock, or until nothing can come any more; whether it is ready."""
        deadline = None if bound_s is None else self.loop.time() + bound_s
        while not ready():
            if self.hub.closed or (deadline is not None and self.loop.time() >= deadline):
                return ready()
            with Waker(dials, self) as waker:
                if ready() or self.hub.closed:  # another thread was quicker than the registration
                    continue
                self.wakers.add(waker)
                self._driven_ms = 0
                timer = None if deadline is None else self.loop.call_at(deadline, waker.set)
                try:
                    self._read_on()
                    await waker.future
                finally:
                    if timer is not None:
                        timer.cancel()
                    self.wakers.discard(waker)
                    self._let_go()
        return True

    def keep(self, task: asyncio.Task[None]) -> None:
        """Keeps the task, which calls somebody's handlers, and reads until it is done, as it may wait for other things."""
        self.handling.add(task)
        task.add_done_callback(self._handled)
        self._read_on()

    def _handled(self, task: asyncio.Task[None]) -> None:
        self.handling.discard(task)
        self._let_go()

    async def sleep(self, duration_s: float) -> None:
        """Lets time of the client's clock pass, until the client is closed at most. A virtual clock moves."""
        hub = self.hub
        is_virtual = hub.client.is_virtual()
        deadline_ns = hub.now() + int(duration_s * 1e9)
        while not hub.closing and (left_ns := deadline_ns - hub.now()) > 0:
            if not is_virtual:
                await asyncio.sleep(min(_NAP_S, left_ns / 1e9))
            elif self.pollable._drive(max(1, min(DRIVE_MS, left_ns // 1_000_000))):
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.001)  # somebody thinks

    # --- Reading --------------------------------------------------------------------------------------------------------------

    def _is_wanted(self) -> bool:
        return bool(self.wakers or self.handling)

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self.loop.call_soon(self._turn)

    def _let_go(self) -> None:
        if self._receiving is not None and not self._is_wanted():
            self.hub.ring()  # so that it looks, and ends

    def _turn(self) -> None:
        """Takes what has come. What is next is done after those who were woken: they may want more, and leave or stay."""
        self._step(self._look, self._park)

    def _look(self) -> bool:
        self.turning = threading.get_ident()
        try:
            self.pollable._take()
        finally:
            self.turning = 0
        return self._is_wanted() and not self.hub.closed

    def _park(self) -> None:
        """Lets a virtual clock's time pass, or waits for the socket."""
        self._step(self._drive_or_receive, self._turn)

    def _drive_or_receive(self) -> bool | None:
        if not self._is_wanted() or self.hub.closed:
            return False
        if self._receiving is not None:  # an interrupt came when the following step was in the loop already
            return None
        drive_ms = DRIVE_MS if self._driven_ms < _FAR_MS else _FAR_MS
        if self.pollable._drive(drive_ms):
            self._driven_ms += drive_ms
            return True
        left_s = self.pollable.timeout
        if left_s is not None:
            self._timer = self.loop.call_later(max(left_s, LEAST_TIMER_S), self.hub.ring)
        self._receiving = self.loop.sock_recv(self.pollable._near, 64)
        return self._receive()

    def _receive(self) -> bool | None:
        """Advances the coroutine of sock_recv. None: it waits for something."""
        receiving = self._receiving
        if receiving is None:
            return True
        try:
            waits_for = receiving.send(None)
        except StopIteration:
            pass
        except asyncio.CancelledError:  # of the future: the loop is being closed
            pass
        else:
            if waits_for is None:
                self.loop.call_soon(self._received)
            else:
                waits_for.add_done_callback(self._received)
            return None
        self._receiving = None
        return True

    def _received(self, _: object = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._step(self._receive, self._turn)

    def _step(self, step: Callable[[], bool | None], following: Callable[[], None]) -> None:
        """One callback of the reader. The step says whether there is a following one; None: it has seen to that."""
        try:
            more = step()
            if more:
                self.loop.call_soon(following)
            elif more is not None:
                self._reading = False
        except BaseException as problem:
            self._receiving = None
            self._reading = True
            self.loop.call_later(LEAST_TIMER_S, self._turn)  # who waits is not forgotten for it
            if not isinstance(problem, Exception):  # an interrupt
                raise
            report("reading the socket of a queue", problem)


_doors: WeakValueDictionary[tuple[int, int], Door] = WeakValueDictionary()
_doors_lock = threading.Lock()


def door_of(client: Client) -> Door:
    """The door of this client in the running loop. Dials, and whoever waits, keep it."""
    check_fork()
    loop = asyncio.get_running_loop()
    key = id(loop), id(client)
    with _doors_lock:
        found = _doors.get(key)
        if found is not None and found.loop is loop and found.client is client and not found.pollable.closed:
            return found
    door = Door(client, loop)  # not under the lock: this may collect another one
    with _doors_lock:
        _doors[key] = door
    return door


def client_or_default(client: Client | None) -> Client:
    if client is not None and not isinstance(client, Client):
        raise TypeError(f"client must be a Client or None, not {type(client).__name__}")
    return client or _default_client()
