"""Watching connections from a loop: a thread asks RAS, which may block, and tells the loop.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from ..client import Client, check_fork
from ..errors import ClosedError, RasError
from ..watch import POLL_S, ChangeKind
from ..watch import Change as _Change
from ..watch import Watch as _Watch
from ._connection import Connection
from ._door import client_or_default

if TYPE_CHECKING:
    from typing_extensions import Self


class Change(NamedTuple):
    """One change that a Watch saw; as ras_ext.Change, with a Connection of this module."""

    kind: ChangeKind
    connection: Connection
    """The same connection from its CONNECTED to its DISCONNECTED."""
    time: float
    """When it was seen, in seconds on the client's clock."""
    reason: RasError | None = None
    """DISCONNECTED: why, so far as anybody knows. Else None."""
    link: int | None = None
    """LINK_ADDED, LINK_REMOVED: which one, as the subentry from 1. Else None."""


class _Feed:
    """What a Watch's thread shares with it: the thread must not keep the Watch alive."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.items: asyncio.Queue[_Change | BaseException | None] = asyncio.Queue()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.watch: _Watch | None = None
        self.closing = False

    def tell(self, what: _Change | BaseException | None) -> bool:
        """From the thread. False when the loop is closed."""
        return self._call(self.items.put_nowait, what)

    def _call(self, function: Callable[..., object], *arguments: object) -> bool:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True

    def _open(self, problem: BaseException | None) -> None:
        if self.opened.done():
            return
        if problem is None:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(problem)
            self.opened.exception()  # seen: nobody has to ask

    def run(self, client: Client, poll: float, existing: bool) -> None:
        """The thread: RAS may block while connections are listed."""
        try:
            watch = self.watch = _Watch(client, poll=poll, existing=existing)
        except BaseException as problem:
            self._call(self._open, problem)
            return
        try:
            self._call(self._open, None)
            while not self.closing:
                try:
                    change = watch.get()
                except ClosedError:
                    break
                except RasError as problem:  # the watch goes on
                    if not self.tell(problem):
                        break
                    continue
                if change is not None and not self.tell(change):
                    break
        finally:
            watch.close()
            self.tell(None)

    def close(self) -> None:
        self.closing = True
        if self.watch is not None:
            self.watch.close()


def watch(*, poll: float = POLL_S, existing: bool = False, client: Client | None = None) -> Watch:
    """Starts to watch the connections of this machine, other programs' included; as `ras_ext.watch`.

    Args:
        poll: Seconds on the client's clock between looks that nothing has called for.
        existing: Report the connections that stand already as connected.
        client: None: the one of "system".

    Returns:
        A Watch: an asynchronous iterator of Changes. `async with` waits until it listens, and closes it; what happens from then
        on is reported.

    Raises:
        RuntimeError: no event loop is running, or no thread can be started.
        NotAvailableError: no client was given, and this system has no RAS.
        TypeError, ValueError, ForkedError: as `Client.watch`. ClosedError and RasError are raised by the first wait.

    Threads: that of the loop; does not block. A daemon thread of its own asks RAS.

    Source: S4.13, S4.2.
    """
    _Watch.check_poll(poll)
    check_fork()
    return Watch(client_or_default(client), poll, existing)


class Watch:
    """Reports what changes among a machine's connections; from `ras_ext.aio.watch`. Closed when it is collected.

    Threads: that of its loop.

    Source: S4.13, S4.2.
    """

    __slots__ = ("__weakref__", "_ended", "_feed", "_known")

    def __init__(self, client: Client, poll: float, existing: bool) -> None:
        self._feed = _Feed(asyncio.get_running_loop())
        self._known: WeakValueDictionary[int, Connection] = WeakValueDictionary()  # so that one connection stays one object
        self._ended = False
        threading.Thread(target=self._feed.run, args=(client, poll, existing), name="ras_ext watch", daemon=True).start()

    async def get(self) -> Change:
        """Waits for the next change. For a time-out: `asyncio.timeout`; a cancelled wait loses nothing.

        Raises:
            ClosedError: the watch or its client has been closed.
            RasError: the connections could not be listed, three times in a row. The watch goes on: call again.
        """
        feed = self._feed
        await asyncio.shield(feed.opened)
        if self._ended:
            item: _Change | BaseException | None = None
        else:
            item = await feed.items.get()
        if item is None:
            self._ended = True
            if feed.items.empty():
                feed.items.put_nowait(None)  # for another task that waits
            raise ClosedError("This watch, or its client, has been closed.")
        if isinstance(item, BaseException):
            raise item
        connection = self._known.get(id(item.connection))
        if connection is None or connection.blocking is not item.connection:
            connection = Connection(item.connection)
            self._known[id(item.connection)] = connection
        return Change(item.kind, connection, item.time, item.reason, item.link)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Ends the watch, and with it every iteration. Again: nothing. Does not block."""
        self._feed.close()

    async def __aenter__(self) -> Self:
        await asyncio.shield(self._feed.opened)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self._feed.close()
        except AttributeError:  # __init__ did not come so far
            pass
