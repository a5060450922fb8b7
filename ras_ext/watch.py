"""Watching the connections of a machine: which came, which went, and which got or lost a link.

SPDX-License-Identifier: MIT

    with ras_ext.watch() as watch:
        for change in watch:
            print(change.kind.name, change.connection.entry, change.reason or "")

RAS only says that something happened (S4.13), and not always. So a Watch compares lists: it lists the connections when RAS
signals, a quarter of a second later once more, and every `poll` seconds whatever RAS does; what differs is reported. A
connection is told from others by its logon session and the id of its attempt, never by its handle, which RAS reuses (S8.13):
a quick reconnection is a DISCONNECTED and a CONNECTED. What came and went again between two looks is not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from . import _ffi
from ._hub import SLICE_NS
from .connection import Connection, hung_up_since, learn_identities, others_like
from .errors import ClosedError, NotAvailableError, RasError, error_for

if TYPE_CHECKING:
    from typing_extensions import Self

    from .client import Client

POLL_S = 2.0

_LEAST_POLL_S, _MOST_POLL_S = 0.01, 86_400.0
_FAILURES_BORNE = 2  # looks in a row that may fail before somebody is told
_BUSY_S = 0.01

Identity = tuple[object, ...]

_alive: WeakValueDictionary[int, Watch] = WeakValueDictionary()  # every Watch of this process, for ras_ext.testing
_serial = count()


class ChangeKind(Enum):
    """What has happened."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LINK_ADDED = "link added"
    LINK_REMOVED = "link removed"


class Change(NamedTuple):
    """One change that a Watch saw."""

    kind: ChangeKind
    connection: Connection
    """The same object from its CONNECTED to its DISCONNECTED."""
    time: float
    """When it was seen: seconds on the client's clock, the real one being that of time.perf_counter."""
    reason: RasError | None = None
    """DISCONNECTED: `connection.dropped`, which says so when the reason is not known (S2.5). Else None."""
    link: int | None = None
    """LINK_ADDED, LINK_REMOVED: which one, as the subentry from 1. Else None."""


class _Known(NamedTuple):
    """A connection at the last look."""

    connection: Connection
    links: frozenset[int] | None  # None: not known so far
    since_ns: int


class _Parcel:
    """A change on its way to somebody. `taken` is set in the last step before it is returned, so that an interrupt loses none."""

    __slots__ = ("change", "taken", "taker")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.taken = False
        self.taker: int | None = None  # the thread that is about to return it, or was struck when it was


class Watch:
    """Reports what changes among a machine's connections; from `Client.watch`.

    An iterator that ends with `close`, and a context manager that closes. Several threads may take from one Watch: each
    change goes to one of them.

    Threads: every method may be called from any thread.

    Source: S4.13, S4.2, S8.50, S8.72.
    """

    @staticmethod
    def check_poll(poll: object) -> None:
        """Raises TypeError or ValueError for what is no `poll`."""
        if isinstance(poll, bool) or not isinstance(poll, (int, float)):
            raise TypeError(f"poll must be a number of seconds, not {type(poll).__name__}")
        if not _LEAST_POLL_S <= poll <= _MOST_POLL_S:
            raise ValueError(f"poll must be between {_LEAST_POLL_S:g} and {_MOST_POLL_S:g} seconds, but is {poll:g}")

    def __init__(self, client: Client, *, poll: float = POLL_S, existing: bool = False) -> None:
        self.check_poll(poll)
        _ffi.check_fork()
        self._client = client
        self._lock = threading.RLock()  # held while the connections are listed and compared
        # What stood at the last look, and what nobody has taken yet: one object, so that an interrupt finds both old or both new.
        self._state: tuple[dict[Identity, _Known], tuple[_Parcel, ...]] = ({}, ())
        self._stale = False  # listing is due
        self._failures = 0
        code, handle = _ffi.open_watch(client._hub.client, round(poll * 1000))
        if handle is None:
            raise self._error(code)
        self._handle = handle
        try:
            self._look(borne=0)
        except BaseException:
            self._handle.close()
            raise
        if not existing:
            self._state = (self._state[0], ())
        _alive[next(_serial)] = self

    def _error(self, code: int) -> Exception:
        if code == _ffi.E_CLOSED:
            return ClosedError(code, "The client has been closed.")
        if code == 8:
            return MemoryError("no memory to watch the connections")
        return error_for(code, _ffi.error_text(self._client._hub.client, code))

    # --- Looking --------------------------------------------------------------------------------------------------------------

    def _look(self, borne: int = _FAILURES_BORNE) -> None:
        """Lists the connections and keeps what differs. A failure is told only when more than `borne` came in a row."""
        with self._lock:
            hub = self._client._hub
            known = self._state[0]
            self._stale = False
            try:
                code, listed = _ffi.list_connections(hub.client)
                if code != 0:
                    self._failures += 1
                    if self._failures <= borne or code == _ffi.E_CLOSED:
                        return
                    self._failures = 0
                    raise self._error(code)
                self._failures = 0
                now_ns, found = hub.now(), self._recognise(listed)
                fresh, changes = self._compare(known, found, now_ns)
            except BaseException:
                self._stale = True  # what struck here may have cost the only signal
                raise
            if self._state[0] is known:  # else a signal handler has looked meanwhile, later than this
                self._state = (fresh, self._state[1] + tuple(map(_Parcel, changes)))
            else:
                self._stale = True

    def _recognise(self, listed: Iterable[_ffi.RawConnection]) -> dict[Identity, list[_ffi.RawConnection]]:
        """The list by identity. A RAS that lists each link of a connection gives several rows of one identity."""
        found: dict[Identity, list[_ffi.RawConnection]] = {}
        for raw in listed:
            found.setdefault(raw.identity, []).append(raw)
        return found

    def _compare(
        self, known: dict[Identity, _Known], found: dict[Identity, list[_ffi.RawConnection]], now_ns: int
    ) -> tuple[dict[Identity, _Known], list[Change]]:
        """What stands now, and how that differs: first what went, then what came, then links."""
        api = self._client.api
        handles = {raw.handle: identity for identity, rows in found.items() for raw in rows}
        time = now_ns / 1e9
        went, came, moved = [], [], []
        fresh: dict[Identity, _Known] = {}
        for identity, old in known.items():
            if identity not in found:
                reason = self._why(old, reused=old.connection.handle in handles)
                went.append(Change(ChangeKind.DISCONNECTED, old.connection, time, reason))
        for identity, rows in found.items():
            seen = known.get(identity)
            if seen is None:
                connection = Connection(self._client, rows[0].handle, rows[0].entry, raw=rows[0])
                fresh[identity] = _Known(connection, self._links(connection, rows), now_ns)
                came.append(Change(ChangeKind.CONNECTED, connection, time))
                continue
            links = self._links(seen.connection, rows)
            if links is None:
                links = seen.links
            elif seen.links is not None:
                for kind, which in ((ChangeKind.LINK_REMOVED, seen.links - links), (ChangeKind.LINK_ADDED, links - seen.links)):
                    moved += [Change(kind, seen.connection, time, link=link) for link in sorted(which)]
            fresh[identity] = seen._replace(links=links)
        learn_identities(api, handles)
        return fresh, went + came + moved

    @staticmethod
    def _links(connection: Connection, rows: list[_ffi.RawConnection]) -> frozenset[int] | None:
        """The links of a connection that stand, by subentry; None when that is not known just now."""
        try:
            return frozenset(link.subentry for link in connection.links() if link.up)
        except NotAvailableError:
            return frozenset(raw.subentry for raw in rows)
        except RasError:  # it is just coming or going
            return None

    def _why(self, old: _Known, reused: bool) -> RasError:
        """Why a connection went, told to every Connection of this process that stands for it."""
        gone = old.connection
        others = others_like(gone, reused)
        own = hung_up_since(self._client.api, gone.handle, old.since_ns)
        error = gone._last_error or next((other._last_error for other in others if other._last_error), 0)
        if not own and not error and not reused:  # some systems still tell, for a moment
            _, status = _ffi.get_status(self._client._hub.client, gone.handle)
            error = 0 if status is None else status.error
        for other in others:
            other._end(own, error)
        return gone._end(own, error)

    # --- Taking ---------------------------------------------------------------------------------------------------------------

    def _take(self) -> _Parcel | None:
        """Chooses the next one for this thread: the same again if the thread was struck before it could return it."""
        me = threading.get_ident()
        with self._lock:
            known, parcels = self._state
            gone = 0
            while gone < len(parcels) and parcels[gone].taken:
                gone += 1
            if gone:
                self._state = (known, parcels[gone:])
            for parcel in self._state[1]:
                if not parcel.taken and parcel.taker in (None, me):
                    parcel.taker = me
                    return parcel
        return None

    def get(self, timeout: float | None = None) -> Change | None:
        """Waits for the next change.

        Args:
            timeout: Seconds on the client's clock; None: as long as it takes. With a time-out a virtual clock moves while this
                waits; without one it does not.

        Returns:
            A Change; None when the time is over.

        Raises:
            ClosedError: the watch or its client has been closed, before or while this waited.
            RasError: the connections could not be listed, three times in a row. The watch goes on: call again.
            TypeError, ValueError: `timeout` is no time-out.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; blocks with the GIL released, in slices of at most 50 ms between which Python handles signals.

        Source: S4.13.
        """
        parcel = self._next(timeout)
        if parcel is None:
            return None
        parcel.taken = True
        return parcel.change

    def _next(self, timeout: float | None) -> _Parcel | None:
        from .dial import seconds

        _ffi.check_fork()
        hub = self._client._hub
        limit = seconds(timeout)
        deadline_ns = None if limit is None or limit > 4e9 else hub.now() + int(limit * 1e9)
        while True:
            if self._stale:
                self._look()
            if self.closed:
                raise ClosedError(_ffi.E_CLOSED, "This watch, or its client, has been closed.")
            parcel = self._take()
            if parcel is not None:
                return parcel
            left_ns = SLICE_NS if deadline_ns is None else min(SLICE_NS, deadline_ns - hub.now())
            if left_ns <= 0:
                return None
            code, changed = self._handle.wait((left_ns + 999_999) // 1_000_000, passive=deadline_ns is None)
            if changed:
                self._stale = True
            elif code == _ffi.E_BUSY:  # another thread waits; it may bring what is for this one
                threading.Event().wait(_BUSY_S)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        try:
            parcel = self._next(None)
        except ClosedError:
            raise StopIteration from None
        if parcel is None:
            raise AssertionError("unreachable: without a time-out there is always one")
        parcel.taken = True
        return parcel.change

    @property
    def closed(self) -> bool:
        """Whether the watch, or its client, has been closed."""
        return self._client.closed or not self._handle.is_open

    def close(self) -> None:
        """Ends the watch, and with it every iteration, on other threads too. Again: nothing.

        Threads: any; does not block.
        """
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_handle"):  # shown by a traceback of __init__
            return "<ras_ext.Watch, not open>"
        known, parcels = self._state
        left = sum(not parcel.taken for parcel in parcels)
        state = ", closed" if self.closed else f", {len(known)} up, {left} not taken"
        return f"<ras_ext.Watch of {self._client.api!r}{state}>"
