"""Connections that are hung up without blocking the loop.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..connection import Connection as _Connection
from ..connection import ConnectionStatus, Link
from ..dial import seconds
from ..errors import ClosedError, RasError
from ..events import HangUp
from ._door import DRIVE_MS, LEAST_TIMER_S, Door, door_of

if TYPE_CHECKING:
    from uuid import UUID

_SETTLE_S = 1.0


class Connection:
    """A connection that stands, from awaiting a Dial or from `connections`.

    `async with` hangs it up on leaving. Two are equal when they name the same handle of the same implementation. Being collected
    never hangs up; `blocking` is the same connection of the synchronous face.

    Threads: that of a loop; it may be another one than the dial's.

    Source: S1.8, S3, S4.1, S4.2.
    """

    __slots__ = ("__weakref__", "blocking")

    def __init__(self, blocking: _Connection) -> None:
        self.blocking = blocking
        """The ras_ext.Connection."""

    @property
    def entry(self) -> str:
        """The phone-book entry; "." and the number when dialled without one (S4.2)."""
        return self.blocking.entry

    @property
    def handle(self) -> int:
        """The HRASCONN as an int. Values are reused once a connection is gone (S8.13)."""
        return self.blocking.handle

    @property
    def phonebook(self) -> str:
        """The path of its phone book, as `connections` told it; "" for a connection that a dial gave."""
        return self.blocking.phonebook

    @property
    def entry_id(self) -> UUID | None:
        """guidEntry, as `connections` told it."""
        return self.blocking.entry_id

    @property
    def correlation_id(self) -> UUID | None:
        """The id of this connection attempt, which event logs carry, as `connections` told it."""
        return self.blocking.correlation_id

    async def status(self) -> ConnectionStatus:
        """Asks RAS for the connection's state, on a thread of the loop's executor.

        Raises:
            RasError: 6 or 668 when the connection is gone.
            ClosedError, ForkedError: as `ras_ext.Connection.status`.

        Source: S4.1, S2.5.
        """
        return await asyncio.to_thread(self.blocking.status)

    async def links(self) -> list[Link]:
        """The links of a multilink connection, asked for on a thread of the loop's executor.

        Returns:
            Links of the synchronous face, in the order of the entry's subentries.

        Raises:
            RasError, NotAvailableError, ClosedError, ForkedError: as `ras_ext.Connection.links`.

        Source: S2.3d, S4.10.
        """
        return await asyncio.to_thread(self.blocking.links)

    async def dropped(self) -> RasError | None:
        """Why the connection is gone, so far as anybody knows; None while it is up. See `ras_ext.Connection.dropped`.

        Raises:
            RasError, ClosedError, ForkedError: as `ras_ext.Connection.dropped`.

        Source: S2.5, S4.1.
        """
        return await asyncio.to_thread(lambda: self.blocking.dropped)

    async def hang_up(self, timeout: float | None = 10.0, all: bool = False) -> HangUp:
        """Gives up this reference to the connection, and waits for the link to go down. RasHangUp is called on a native thread.

        Calling it again is harmless: it goes on waiting, or tells the same result; no second reference is given up.

        Args:
            timeout: Seconds on the client's clock to wait for the end; None: as long as it takes.
            all: Give up every reference, also those of other programs.

        Returns:
            HangUp.GONE: the link is down. HangUp.SHARED: others keep it up. HangUp.CLOSING: not down yet after `timeout`.

        Raises:
            RasError: RasHangUp refused: 753 for a connection that the router owns.
            ClosedError: the client has been closed, before or meanwhile.
            TypeError, ValueError: `timeout` is no time-out.
            ForkedError (a RuntimeError): in a forked child.
            asyncio.CancelledError: this task was cancelled. That ends the waiting, not the hang-up.

        Source: S3.
        """
        blocking = self.blocking
        limit_s = seconds(timeout)
        blocking._open()
        door = door_of(blocking._client)
        hub = door.hub
        deadline_ns = None if limit_s is None or limit_s > 4e6 else hub.now() + int(limit_s * 1e9)

        def left_ms() -> int:
            return 0xFFFFFFFF if deadline_ns is None else max(0, (deadline_ns - hub.now() + 999_999) // 1_000_000)

        try:
            await self._until_counted(door, min(_SETTLE_S, left_ms() / 1000))
        except asyncio.CancelledError:  # it is to be hung up nevertheless
            try:
                blocking._begin_hang_up(hub, all, left_ms())
            except RasError:
                pass
            raise
        while True:
            call, joined = blocking._begin_hang_up(hub, all, left_ms())
            if isinstance(call, HangUp):
                return call
            while joined and not call.over:  # begun by another task, perhaps with a longer time-out, perhaps in another loop
                call.hub.poll()
                if door.pollable._drive(max(1, min(DRIVE_MS, left_ms()))):  # so as not to sleep beyond a virtual time-out
                    await asyncio.sleep(0)
                else:
                    await door.until((call,), lambda call=call: call.over, LEAST_TIMER_S)  # type: ignore[misc]
                if left_ms() == 0 and not call.over:
                    return HangUp.CLOSING
            await door.until((call,), lambda call=call: call.over)  # type: ignore[misc]
            result = blocking._end_hang_up(call)
            if call.result is None:
                raise ClosedError("The client of this connection was closed meanwhile; the hang-up goes on.")
            if joined and all and result is HangUp.SHARED:  # the other one gave up one reference only
                continue
            if result is not HangUp.CLOSING or not joined or left_ms() == 0:
                return result

    async def _until_counted(self, door: Door, bound_s: float) -> None:
        """RAS may still be inside RasDial; then the core does not know yet that it owns the reference. So it waits a little."""
        blocking, hub = self.blocking, door.hub
        deadline_ns = hub.now() + int(bound_s * 1e9)
        deadline = door.loop.time() + bound_s  # a virtual clock may stand as long as RasDial blocks
        pause_s = 0.0
        while blocking._in_ras_dial() and hub.now() < deadline_ns and door.loop.time() < deadline:
            driven = door.pollable._drive(10)
            await asyncio.sleep(0 if driven else pause_s)
            blocking._dial_hub.poll()
            pause_s = min(0.01, pause_s + 0.001)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None:
            await self.hang_up()
            return
        try:  # what happened inside the block matters more
            await self.hang_up()
        except (RasError, RuntimeError) as problem:
            import logging

            logging.getLogger("ras_ext").warning("hanging up %r failed: %s", self.entry, problem)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Connection):
            return self.blocking == other.blocking
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.blocking)

    def __repr__(self) -> str:
        return repr(self.blocking).replace("<ras_ext.Connection", "<ras_ext.aio.Connection", 1)
