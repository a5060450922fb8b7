"""An established connection: its status, and hanging it up.

SPDX-License-Identifier: MIT

Connections are reference counted by RAS (S1.8): each successful dial of an entry, by any program, holds one. A Connection
stands for one reference; it is never given up because the object is collected, and it outlives this process.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from . import _ffi
from ._hub import SLICE_NS, Waiter
from .errors import ClosedError, NotAvailableError, RasError, error_for
from .events import HangUp, State, Substate, state_of

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address
    from uuid import UUID

    from ._hub import HangUpCall, Hub
    from .client import Client

_SETTLE_NS = 1_000_000_000
_LINK_IS_DOWN, _BEYOND_THE_LAST = 618, 259
_MOST_LINKS = 255
_USER_DISCONNECTION = 631
_NO_CONNECTION = 668
_GONE = (6, 668)  # of RasGetConnectStatus (S2.5)
_NOBODY_KNOWS = "The connection has ended. Windows does not keep the reason; its Application event log may (source RasClient)."
_HANG_UPS_KEPT = 1024

_serial = itertools.count()
_alive: WeakValueDictionary[int, Connection] = WeakValueDictionary()  # every Connection of this process, for watches
_hang_ups: dict[tuple[str, int], int] = {}  # when this process hung up which handle last, oldest first
_end_lock = threading.RLock()  # held for a few bytecodes: whoever learns first why a connection is gone keeps it


class ConnectionStatus(NamedTuple):
    """What RasGetConnectStatus tells (S4.1)."""

    state: State
    """The last state entered."""
    error: int
    """0, or why it failed."""
    substate: Substate
    """What an established IKEv2 connection is doing."""
    local: IPv4Address | IPv6Address | None
    """This side's tunnel end point, when known."""
    remote: IPv4Address | IPv6Address | None
    """The other side's."""
    device_type: str
    """For example "vpn"."""
    device_name: str
    """The device's display name, which is translated: compare the type instead (S8.76)."""
    phone_number: str
    """The number or host that was dialled."""


def _address(endpoint: tuple[int, bytes]) -> IPv4Address | IPv6Address | None:
    kind, octets = endpoint
    if kind not in (1, 2):
        return None
    import ipaddress

    return ipaddress.IPv4Address(octets[:4]) if kind == 1 else ipaddress.IPv6Address(octets)


def others_like(connection: Connection, reused: bool) -> list[Connection]:
    """The Connections of this process that stand for the same connection. For watches.

    Args:
        connection: One that a watch made from a list, so that its identity is known.
        reused: Its handle belongs to another connection by now, so it says nothing any more.
    """
    found = []
    for reference in _alive.valuerefs():
        other = reference()
        if other is None or other is connection or other._client.api != connection._client.api:
            continue
        same = not reused and other._handle == connection._handle
        if other._identity == connection._identity if other._identity is not None else same:
            found.append(other)
    return found


def learn_identities(api: str, listed: dict[int, tuple[object, ...]]) -> None:
    """Tells Connections that came from a dial, and know their handle only, which connection they stand for. For watches."""
    for reference in _alive.valuerefs():
        other = reference()
        if other is not None and other._identity is None and other._gone is None and other._client.api == api:
            other._identity = listed.get(other._handle)


def hung_up_since(api: str, handle: int, since_ns: int) -> bool:
    """Whether this process has hung up this handle, and not before a time on the client's clock."""
    return _hang_ups.get((api, handle), -1) >= since_ns


class Connection:
    """A connection that stands, from `Dial.result` or `Client.connections`.

    As a context manager it hangs up on leaving. Two Connections are equal when they name the same handle of the same
    implementation. Being collected never hangs up.

    Threads: every method may be called from any thread.

    Source: S1.8, S3, S4.1, S4.2.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_client",
        "_dial_hub",
        "_dial_id",
        "_entry",
        "_gone",
        "_handle",
        "_identity",
        "_last_error",
        "_lock",
        "_made_ns",
        "_out",
        "_raw",
        "_result",
        "_since_ns",
    )

    def __init__(
        self,
        client: Client,
        handle: int,
        entry: str,
        *,
        dial_id: int = 0,
        dial_hub: Hub | None = None,
        raw: _ffi.RawConnection | None = None,
    ) -> None:
        self._client = client
        self._handle = handle
        self._entry = entry
        self._dial_id = dial_id
        self._dial_hub = dial_hub or client._hub  # where the end of that dial is told
        self._call: HangUpCall | None = None  # the hang-up that a native thread of its own has begun
        self._raw = raw
        self._lock = threading.RLock()
        self._out = _ffi.new_hang_up()
        self._since_ns = 0  # when RasHangUp was called
        self._result: HangUp | None = None
        self._identity = None if raw is None else raw.identity
        self._made_ns = client._hub.now()
        self._last_error = 0  # what a status showed last, if it was an error
        self._gone: RasError | None = None
        _alive[next(_serial)] = self

    @property
    def entry(self) -> str:
        """The phone-book entry; "." and the number when dialled without one (S4.2)."""
        return self._entry

    @property
    def handle(self) -> int:
        """The HRASCONN as an int. Values are reused once a connection is gone (S8.13)."""
        return self._handle

    def _device(self) -> tuple[str, str]:
        raw = self._raw
        if raw is not None:
            return raw.device_type, raw.device_name
        _, status = _ffi.get_status(self._client._hub.client, self._handle)
        return ("", "") if status is None else (status.device_type, status.device_name)

    @property
    def device_type(self) -> str:
        """The type of its device, "vpn" for example; "" when the connection is gone. May ask RAS."""
        return self._device()[0]

    @property
    def device_name(self) -> str:
        """The display name of its device; "" when the connection is gone. May ask RAS."""
        return self._device()[1]

    @property
    def phonebook(self) -> str:
        """The path of its phone book, as `Client.connections` told it; "" for a connection that `Dial.result` gave."""
        return "" if self._raw is None else self._raw.phonebook

    def _uuid(self, octets: bytes | None) -> UUID | None:
        if octets is None or not any(octets):
            return None
        from uuid import UUID

        return UUID(bytes_le=octets)

    @property
    def entry_id(self) -> UUID | None:
        """guidEntry, as `Client.connections` told it."""
        return self._uuid(None if self._raw is None else self._raw.entry_id)

    @property
    def correlation_id(self) -> UUID | None:
        """The id of this connection attempt, which event logs carry, as `Client.connections` told it."""
        return self._uuid(None if self._raw is None else self._raw.correlation_id)

    def _open(self) -> tuple[Hub, _ffi.ClientHandle]:
        _ffi.check_fork()
        hub = self._client._hub
        client = hub.client
        if not client.is_open:
            raise ClosedError(_ffi.E_CLOSED, "The client of this connection has been closed; the connection itself stays up.")
        return hub, client

    def status(self) -> ConnectionStatus:
        """Asks RAS for the connection's state.

        Returns:
            A ConnectionStatus.

        Raises:
            RasError: 6 or 668 when the connection is gone.
            ClosedError: the client has been closed.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.1, S2.5.
        """
        return self._status(self._handle)

    def _status(self, handle: int) -> ConnectionStatus:
        _, client = self._open()
        code, raw = _ffi.get_status(client, handle)
        if raw is None:
            raise error_for(code, text=_ffi.error_text(client, code), entry=self._entry)
        if handle == self._handle:  # the error of one link is not that of the whole
            self._last_error = raw.error or self._last_error
        return ConnectionStatus(
            state_of(raw.state),
            raw.error,
            Substate(raw.substate),
            _address(raw.local),
            _address(raw.remote),
            raw.device_type,
            raw.device_name,
            raw.phone_number,
        )

    def links(self) -> list[Link]:
        """The links of a multilink connection, those that are down included; a plain connection has one.

        Returns:
            Links, in the order of the entry's subentries.

        Raises:
            RasError: 6 or 668 when the connection is gone.
            NotAvailableError: this implementation lacks RasGetSubEntryHandle.
            ClosedError: the client has been closed.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S2.3d, S4.10.
        """
        _, client = self._open()
        found: list[Link] = []
        for subentry in range(1, _MOST_LINKS + 1):
            code, handle = _ffi.link_handle(client, self._handle, subentry)
            if code == _BEYOND_THE_LAST:
                break
            if code == _ffi.E_NOT_AVAILABLE:
                raise NotAvailableError("This RAS has no RasGetSubEntryHandle.", entry=self._entry)
            if code not in (0, _LINK_IS_DOWN):
                raise error_for(code, _ffi.error_text(client, code), entry=self._entry)
            found.append(Link(self, subentry, handle))
        return found

    # --- The end of a connection ---

    @property
    def dropped(self) -> RasError | None:
        """Why the connection is gone, so far as anybody knows; None while it is up.

        RAS itself does not keep the reason (S2.5). So this is, in this order: 631 when this process hung it up; the error that
        its status showed while somebody looked (`status`, this property, or a Watch of the same API); else 668, whose text says
        that the reason is not known. Once known it stays.

        Raises:
            RasError: RAS could not tell whether the connection is up.
            ClosedError: the client has been closed, and nobody knew before.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S2.5, S4.1, S8.50.
        """
        if self._gone is not None:
            return self._gone
        if self._result is HangUp.GONE:
            return self._end(True, 0)
        _, client = self._open()
        code, raw = _ffi.get_status(client, self._handle)
        if raw is not None and not self._is_replaced(client):
            self._last_error = raw.error or self._last_error
            return None
        if raw is None and code not in _GONE:
            raise error_for(code, text=_ffi.error_text(client, code), entry=self._entry)
        own = self._result is not HangUp.SHARED and hung_up_since(self._client.api, self._handle, self._made_ns)
        return self._end(own or self._result is HangUp.CLOSING, self._last_error)

    def _is_replaced(self, client: _ffi.ClientHandle) -> bool:
        """Whether the handle belongs to a later connection by now. Only for one whose identity is known."""
        if self._identity is None:
            return False
        _, listed = _ffi.list_connections(client)
        return any(raw.handle == self._handle and raw.identity != self._identity for raw in listed)

    def _end(self, own: bool, last_error: int) -> RasError:
        """Keeps why it is gone, unless that is known already. own: this process hung it up."""
        if self._gone is None:
            entry = self._entry
            if own:
                gone = error_for(_USER_DISCONNECTION, "This program hung up the connection.", entry=entry)
            elif last_error:
                text = _ffi.error_text(self._client._hub.client, last_error)
                gone = error_for(last_error, f"{text} (the last status that was seen)", entry=entry)
            else:
                gone = error_for(_NO_CONNECTION, _NOBODY_KNOWS, entry=entry)
            with _end_lock:
                if self._gone is None:
                    self._gone = gone
        return self._gone

    def _mark_hang_up(self, now_ns: int | None) -> None:
        """Notes that this process hangs up the handle; None: takes that back."""
        key = (self._client.api, self._handle)
        _hang_ups.pop(key, None)
        if now_ns is not None:
            _hang_ups[key] = now_ns
            while len(_hang_ups) > _HANG_UPS_KEPT:
                try:
                    _hang_ups.pop(next(iter(_hang_ups)), None)
                except (RuntimeError, StopIteration):  # another thread has changed it in between
                    pass

    def hang_up(self, timeout: float | None = 10.0, all: bool = False) -> HangUp:
        """Gives up this reference to the connection, and waits for the link to go down.

        Calling it again is harmless: it goes on waiting, or tells the same result; no second reference is given up.

        Args:
            timeout: Seconds on the client's clock to wait for the end; None: as long as it takes.
            all: Give up every reference, also those of other programs.

        Returns:
            HangUp.GONE: the link is down. HangUp.SHARED: others keep it up. HangUp.CLOSING: not down yet after `timeout`.

        Raises:
            RasError: RasHangUp refused: 753 for a connection that the router owns.
            ClosedError: the client has been closed.
            TypeError, ValueError: `timeout` is no time-out.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; blocks with the GIL released, in slices of at most 50 ms between which Python handles signals. A
        KeyboardInterrupt ends the waiting, not the hang-up.

        Source: S3.
        """
        from .dial import seconds

        hub, client = self._open()
        limit = seconds(timeout)
        now_ns = hub.now()
        deadline_ns = None if limit is None or limit > 4e9 else now_ns + int(limit * 1e9)
        if self._dial_id:  # RAS may still be inside RasDial; then the core does not know yet that it owns the reference
            bound_ns = now_ns + _SETTLE_NS if deadline_ns is None else min(deadline_ns, now_ns + _SETTLE_NS)
            with Waiter(()) as waiter:
                self._dial_hub.wait(waiter, lambda: not self._in_ras_dial(), bound_ns)
        with self._lock:
            known = self._known_result(all)
            if known is not None:
                return known
            # An interrupt may have come after RasHangUp and before its result was looked at: there must be no second one.
            if _ffi.hang_up_result(self._out) is None:
                self._since_ns = hub.now()
                self._mark_hang_up(self._since_ns)
                code = _ffi.hang_up(client, self._handle, all, 0, self._slice_ms(hub, deadline_ns), self._out)
                if code != 0:
                    self._mark_hang_up(None)
                    self._out = _ffi.new_hang_up()
                    raise error_for(code, _ffi.error_text(client, code), entry=self._entry)
            if self._result is not HangUp.CLOSING:
                self._result = HangUp(_ffi.hang_up_result(self._out) or 0)
        while self._result is HangUp.CLOSING:
            if deadline_ns is not None and hub.now() >= deadline_ns:
                return HangUp.CLOSING
            waited_ms = max(1, (hub.now() - self._since_ns) // 1_000_000)
            out = _ffi.new_hang_up()
            code = _ffi.hang_up(client, self._handle, all, waited_ms, self._slice_ms(hub, deadline_ns), out)
            if code != 0:
                raise error_for(code, _ffi.error_text(client, code), entry=self._entry)
            with self._lock:
                if self._result is HangUp.CLOSING:  # else another thread has seen the end meanwhile
                    self._result = HangUp(_ffi.hang_up_result(out) or 0)
        if self._result is HangUp.SHARED:
            self._mark_hang_up(None)
        return self._result

    def _in_ras_dial(self) -> bool:
        """Whether the dial that made this connection has not come to its end yet."""
        return bool(self._dial_id) and self._dial_hub.is_live(self._dial_id)

    def _known_result(self, all: bool) -> HangUp | None:
        """What a hang-up would tell without doing anything; None when there is something to do. With the lock."""
        if self._result is HangUp.GONE or (self._result is HangUp.SHARED and not all):
            return self._result
        if self._gone is not None:  # the handle may be another connection's by now (S8.13)
            self._result = HangUp.GONE
            return self._result
        if self._result is HangUp.SHARED:
            self._out = _ffi.new_hang_up()
        return None

    def _begin_hang_up(self, hub: Hub, all: bool, timeout_ms: int) -> tuple[HangUp | HangUpCall, bool]:
        """Has a native thread hang up, or go on waiting for an earlier hang-up.

        Returns what is known already, or the call to wait for, and whether that had been begun before: there is one at a time.
        """
        with self._lock:
            known = self._known_result(all)
            if known is not None:
                return known, True
            if self._call is not None and not self._call.over:
                return self._call, True
            first = _ffi.hang_up_result(self._out) is None
            if first:
                self._since_ns = hub.now()
                self._mark_hang_up(self._since_ns)
            waited_ms = 0 if first else max(1, (hub.now() - self._since_ns) // 1_000_000)
            code, call = hub.start_hang_up(self._handle, all, waited_ms, timeout_ms)
            if code != 0:
                if first:
                    self._mark_hang_up(None)
                raise error_for(code, _ffi.error_text(hub.client, code), entry=self._entry)
            self._out = _ffi.begun_hang_up()
            self._result = HangUp.CLOSING
            self._call = call
            return call, False

    def _end_hang_up(self, call: HangUpCall) -> HangUp:
        """What became of it; raises what RasHangUp refused."""
        result = HangUp.CLOSING if call.result is None else HangUp(call.result)
        with self._lock:
            if self._call is call:
                self._call = None
                if call.error:
                    self._mark_hang_up(None)
                    self._out = _ffi.new_hang_up()
                    self._result = None
                elif self._result is not HangUp.GONE:  # the blocking face may have waited longer
                    self._result = result
                if self._result is HangUp.SHARED:
                    self._mark_hang_up(None)
            if self._result is HangUp.GONE:
                result = HangUp.GONE
        if call.error:
            raise error_for(call.error, _ffi.error_text(self._client._hub.client, call.error), entry=self._entry)
        return result  # not self._result: another task may have begun anew meanwhile

    @staticmethod
    def _slice_ms(hub: Hub, deadline_ns: int | None) -> int:
        left_ns = SLICE_NS if deadline_ns is None else min(SLICE_NS, max(0, deadline_ns - hub.now()))
        return (left_ns + 999_999) // 1_000_000

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None:
            self.hang_up()
            return
        try:  # what happened inside the block matters more
            self.hang_up()
        except (RasError, RuntimeError) as problem:
            import logging

            logging.getLogger("ras_ext").warning("hanging up %r failed: %s", self._entry, problem)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Connection):
            return NotImplemented
        return self._handle == other._handle and self._client.api == other._client.api

    def __hash__(self) -> int:
        return hash((self._handle, self._client.api))

    def __repr__(self) -> str:
        state = "" if self._result is None else f", hung up: {self._result.label}"
        return f"<ras_ext.Connection {self._handle:#x} to {self._entry!r}{state}>"


class Link:
    """One link of a multilink connection, as `Connection.links` found it.

    Links that come and go later are not followed: ask for `links()` again.

    Threads: every method may be called from any thread.

    Source: S2.3d, S4.10.
    """

    __slots__ = ("_connection", "_handle", "_subentry")

    def __init__(self, connection: Connection, subentry: int, handle: int) -> None:
        self._connection = connection
        self._subentry = subentry
        self._handle = handle

    @property
    def subentry(self) -> int:
        """Which of the entry's subentries it is, counted from 1."""
        return self._subentry

    @property
    def handle(self) -> int:
        """The HRASCONN of this link as an int; 0 when the link was down."""
        return self._handle

    @property
    def up(self) -> bool:
        """Whether the link stood when `Connection.links` was called."""
        return self._handle != 0

    def status(self) -> ConnectionStatus:
        """Asks RAS for the state of this link. After `hang_up` it need not ever say that the link is gone (S8.48).

        Raises:
            RasError: 618 when the link was down; 6 or 668 when it is gone.
            ClosedError, ForkedError: as `Connection.status`.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.1, S4.10.
        """
        if not self._handle:
            raise error_for(_LINK_IS_DOWN, entry=self._connection.entry)
        return self._connection._status(self._handle)

    def hang_up(self) -> bool:
        """Hangs up this link alone. Does not wait for the end, which the status of a link may never tell (S3).

        Returns:
            True when this call hung it up, False when the link was down already.

        Raises:
            RasError: RasHangUp refused.
            ClosedError, ForkedError: as `Connection.hang_up`.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S3, S8.48.
        """
        _, client = self._connection._open()
        if not self._handle:
            return False
        code = _ffi.link_hang_up(client, self._handle)
        if code in (6, _LINK_IS_DOWN, 668):
            return False
        if code != 0:
            raise error_for(code, _ffi.error_text(client, code), entry=self._connection.entry)
        return True

    def __repr__(self) -> str:
        state = f"{self._handle:#x}" if self._handle else "down"
        return f"<ras_ext.Link {self._subentry} of {self._connection.entry!r}, {state}>"
