"""Dials for programs with an event loop of their own: a socket tells when there is something.

SPDX-License-Identifier: MIT

    with client.pollable() as pollable:
        dial = pollable.dial("Office VPN")
        while not dial.done():
            await trio.lowlevel.wait_readable(pollable)     # or anyio's, select(), a notifier of Qt ...
            pollable.poll()
        connection = dial.result(0)

For asyncio there is ras_ext.aio, which is built on this. The native handler sends one byte for each `poll` at most, so a burst of
events costs one system call, and never waits for whoever reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _ffi
from .errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self, Unpack

    from .client import Client, DialOptions, Interactive
    from .connection import Connection
    from .dial import Dial
    from .events import Event


# The sockets of those that are open, so that the collector never meets one before its Pollable, and warns of it, as it may in a
# cycle with a loop that was closed.
_pairs: dict[int, tuple[Any, Any]] = {}


class Pollable:
    """A queue of a client whose dials tell by a socket that there is something. Made by `Client.pollable`.

    Has a `fileno`, so selectors and event loops take it as it is. Closing it cancels its dials in flight and leaves connections.

    Threads: one at a time waits and polls; dials may be looked at, and waited for, on any.

    Source: docs/design.md "Waiting elsewhere".
    """

    __slots__ = ("__weakref__", "_client", "_hub", "_near", "_notify")

    def __init__(self, client: Client) -> None:
        import socket  # not needed by those who wait on threads

        self._client = client
        near, notify = socket.socketpair()
        try:
            near.setblocking(False)
            notify.setblocking(False)
            self._hub = client._further_hub()
        except BaseException:
            near.close()
            notify.close()
            raise
        self._near, self._notify = _pairs[id(self)] = near, notify  # first: only what is here is taken from the core again
        self._hub.bell = notify
        self._hub.set_socket(notify.fileno())

    def fileno(self) -> int:
        """The socket to wait on until it is readable; -1 when this is closed."""
        return self._near.fileno()

    def dial(
        self,
        entry: str,
        *,
        on_event: Callable[[Event], object] | None = None,
        interactive: Interactive | None = None,
        through: Connection | None = None,
        **options: Unpack[DialOptions],
    ) -> Dial:
        """Starts to dial an entry and returns at once, as `Client.dial`; what comes of it is told by the socket.

        Args:
            entry: The phone-book entry; the other arguments are those of `Client.dial`.
            on_event: See `Client.dial`; it runs on a thread of the dial, not in the event loop.
            interactive: See `Client.dial`; likewise.
            through: See `Client.dial`.
            options: See `Client.dial`.

        Returns:
            A Dial. After `poll` it knows what has come: `events`, `done()`, `result(0)`.

        Raises:
            TypeError, ValueError, ClosedError, RasError, ForkedError, MemoryError: as `Client.dial`.

        Threads: any; does not block.

        Source: S1.1 to S1.6.
        """
        from .client import hide_password

        hide_password(options)
        if self.closed:
            raise ClosedError(_ffi.E_CLOSED, "This Pollable, or its client, has been closed.")
        return self._client._dial_on(self._hub, entry, on_event=on_event, interactive=interactive, through=through, **options)

    def poll(self) -> None:
        """Takes what has come for all its dials, and empties the socket.

        To be called when the socket is readable; at any other time it does no harm.

        Raises:
            ClosedError: this, or its client, has been closed.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; does not block.
        """
        _ffi.check_fork()
        if self.closed:
            raise ClosedError(_ffi.E_CLOSED, "This Pollable, or its client, has been closed.")
        self._take()

    def _take(self) -> None:
        self._empty()  # before the look: what comes after it rings again
        self._hub.poll(expire=True)

    def _drive(self, timeout_ms: int) -> bool:
        """Lets so much time of a virtual clock pass, or less if something comes. False: the clock is real, or somebody thinks."""
        hub = self._hub
        if not hub.client.is_virtual() or hub.thinking:
            return False
        self._empty()
        hub.poll(drive_ms=timeout_ms)
        return True

    def _empty(self) -> None:
        try:
            while len(self._near.recv(64)) == 64:
                pass
        except OSError:  # nothing there; or closed by another thread
            pass

    @property
    def timeout(self) -> float | None:
        """Seconds on the client's clock after which `poll` wants to be called although the socket is silent; None: never.

        Only dials with a `timeout` of their own need it, and only while RasDial blocks, which keeps the dial's thread from
        looking at the clock. Changes with each dial and each poll.
        """
        left_ms = self._hub.timeout_ms()
        return None if left_ms == _ffi.FOREVER_MS else left_ms / 1000

    @property
    def closed(self) -> bool:
        """Whether `close` has been called, or the client has been closed."""
        return self._hub.closing or self._client.closed

    def close(self) -> None:
        """Cancels its dials in flight, without waiting for their threads, and closes the socket. Again: nothing.

        Threads: any; does not block on RAS.
        """
        if _ffi.forked():
            return
        self._hub.close(0, with_client=False)
        self._hub.set_socket(_ffi.NO_SOCKET)
        self._hub.bell = None
        self._near.close()
        self._notify.close()
        _pairs.pop(id(self), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(
        self,
        _forked: Callable[[], bool] = _ffi.forked,
        _no_socket: int = _ffi.NO_SOCKET,
        _pairs: dict[int, tuple[Any, Any]] = _pairs,
    ) -> None:
        """Dials that somebody still holds go on, and can be waited for on threads; the socket goes."""
        pair = _pairs.pop(id(self), None)
        if pair is None:  # closed; or __init__ did not come so far
            return
        if not _forked():
            self._hub.set_socket(_no_socket)
        self._hub.bell = None
        for end in pair:
            end.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_notify"):  # shown by a traceback of __init__
            return "<ras_ext.Pollable, not open>"
        return f"<ras_ext.Pollable of {self._client.api!r}{', closed' if self.closed else ''}>"
