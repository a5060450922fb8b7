"""One queue per client and loop, and the task that reads its socket while somebody waits.

SPDX-License-Identifier: MIT

Each client has one further queue in each loop (a Pollable). While somebody awaits, one task reads its socket; while nobody does
there is none, so `gather(*all_tasks())` and the end of `asyncio.run` find nothing of ours. The first thing that a new reader
does is to look at the queue, so a byte that a cancelled receive has swallowed costs nothing. `loop.sock_recv` is what the
Selector loop, the Proactor loop and uvloop all have.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from .._hub import HangUpCall, Waiter
from ..client import Client, _default_client
from ..dial import Dial, report
from ..pollable import Pollable

_DRIVE_MS = 50  # how much of a virtual clock's time passes before other tasks get a turn
LEAST_TIMER_S = 0.05


class Waker(Waiter):
    """One coroutine that waits for something of certain dials. Whoever drains wakes it, on whatever thread."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self, dials: Iterable[Dial | HangUpCall], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(dials)
        self._loop = loop
        self._thread = threading.get_ident()
        self.future: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._set()
            return
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Door:
    """The queue of one client in one loop, and the task that reads its socket while somebody waits."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self.loop = loop
        self.pollable = Pollable(client)
        self.hub = self.pollable._hub
        self.wakers: set[Waker] = set()
        self._reader: asyncio.Task[None] | None = None
        self._parked = False  # the reader waits for the socket

    async def until(self, dials: Iterable[Dial | HangUpCall], ready: Callable[[], bool], bound_s: float | None = None) -> bool:
        """Waits until ready(), or so many seconds of the loop's clock. Whether it is ready."""
        deadline = None if bound_s is None else self.loop.time() + bound_s
        while not ready():
            if self.pollable.closed:
                self.hub.poll()
                return ready()
            with Waker(dials, self.loop) as waker:
                self.wakers.add(waker)
                timer = None
                try:
                    self._read_on()
                    if deadline is not None:
                        if self.loop.time() >= deadline:
                            return ready()
                        timer = self.loop.call_at(deadline, waker._set)
                    await waker.future
                finally:
                    if timer is not None:
                        timer.cancel()
                    self.wakers.discard(waker)
                    if not self.wakers and self._parked:
                        self.pollable._ring()  # the reader may go; not by cancelling it, which somebody may gather
        return True

    def _read_on(self) -> None:
        if self._reader is None:
            self._reader = self.loop.create_task(self._read(), name=f"ras_ext reader of {self.client.api}")
            self._reader.add_done_callback(self._reader_done)

    def _reader_done(self, reader: asyncio.Task[None]) -> None:
        """Who cancels all tasks cancels the reader too; those who still wait for something, in a `finally` say, need another."""
        if self._reader is reader:
            self._reader = None
        if not reader.cancelled() and (problem := reader.exception()) is not None:
            report("reading the socket of a queue", problem)
        if self.wakers and not self.loop.is_closed():
            if self.pollable.closed:
                for waker in list(self.wakers):
                    waker._set()
            else:
                self._read_on()

    async def _read(self) -> None:
        """The reader task. Ends when nobody waits any more."""
        pollable, near = self.pollable, self.pollable._near
        while not pollable.closed:
            pollable.poll()
            if not self.wakers:
                return
            await asyncio.sleep(0)  # those who were woken may want more, and leave or stay
            if not self.wakers:
                return
            if pollable.closed:
                break
            if pollable._drive(_DRIVE_MS):
                continue
            left_s = pollable.timeout
            timer = None if left_s is None else self.loop.call_later(max(left_s, LEAST_TIMER_S), pollable._ring)
            self._parked = True
            try:
                await self.loop.sock_recv(near, 64)
            finally:
                self._parked = False
                if timer is not None:
                    timer.cancel()
        for waker in list(self.wakers):
            waker._set()

    async def sleep(self, duration_s: float) -> None:
        """Lets time of the client's clock pass: a virtual one moves, as it does while blocking callers wait."""
        if not self.hub.client.is_virtual():
            await asyncio.sleep(duration_s)
            return
        deadline_ns = self.hub.now() + int(duration_s * 1e9)
        while not self.hub.closing and (left_ns := deadline_ns - self.hub.now()) > 0:
            if not self.pollable._drive(max(1, min(_DRIVE_MS, left_ns // 1_000_000))):
                await asyncio.sleep(0.001)  # somebody thinks
            await asyncio.sleep(0)


_doors: WeakValueDictionary[tuple[int, int], Door] = WeakValueDictionary()
_doors_lock = threading.Lock()


def door_of(client: Client) -> Door:
    """The door of this client in the running loop. Dials, and whoever waits, keep it."""
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
