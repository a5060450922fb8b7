"""The C core in typed functions: the only module besides sim.py that touches `lib`.

SPDX-License-Identifier: MIT

Nothing here waits for more than the caller asked, knows a Dial, or raises RasErrors: return codes go up as ints. Pointers
live in owners (ClientHandle, QueueHandle) that know when they are dead, so no thread calls the core with one that another
thread has closed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ._native import ffi as ffi
from ._native import lib as lib
from .errors import ForkedError

Record = tuple[int, int, int, int, int, int, int, int, int, int]
"""One rasx_event: dial, time_ns, handle, state, error, extended_error, subentry, sequence, origin, outcome."""

BATCH = 256
_RECORD = struct.Struct("=QQQIIIIIHH")
FOREVER_MS = lib.RASX_FOREVER
NO_SOCKET = lib.RASX_NO_SOCKET

E_BUSY = lib.RASX_E_BUSY
E_CLOSED = lib.RASX_E_CLOSED
E_FORKED = lib.RASX_E_FORKED
E_NOT_AVAILABLE = lib.RASX_E_NOT_AVAILABLE
E_INVALID = lib.RASX_E_INVALID
E_STILL_OPEN = lib.RASX_E_STILL_OPEN
E_UNKNOWN_DIAL = lib.RASX_E_UNKNOWN_DIAL
E_NOT_PAUSED = lib.RASX_E_NOT_PAUSED

PAUSED_STATES = 0x2  # RDEOPT_PausedStates (S0.4)

OUTCOME_NONE = lib.RASX_OUTCOME_NONE
OUTCOME_CONNECTED = lib.RASX_OUTCOME_CONNECTED
OUTCOME_FAILED = lib.RASX_OUTCOME_FAILED
OUTCOME_SETTLED = lib.RASX_OUTCOME_SETTLED
FROM_CANCEL = lib.RASX_FROM_CANCEL
HANGUP_CLOSING = lib.RASX_HANGUP_CLOSING

_NULL = ffi.NULL

if _RECORD.size != ffi.sizeof("rasx_event"):  # the one layout that this module knows by itself
    raise ImportError(f"ras_ext._native and ras_ext._ffi disagree about rasx_event ({ffi.sizeof('rasx_event')} bytes)")


# --- Fork ---------------------------------------------------------------------------------------------------------------------

_user_pid = 0  # the process that uses the library; 0: none yet
_forked = False


def _after_fork_in_child() -> None:
    global _forked
    _forked = _user_pid != 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def forked(_pid: Callable[[], int] = os.getpid) -> bool:
    """Whether this process is a fork of one that had used the library: its native threads exist in the parent only.

    The number tells also of a fork by C code, which runs no hooks of Python.
    """
    return _forked or (_user_pid != 0 and _pid() != _user_pid)


def check_fork() -> None:
    """Raises ForkedError in a forked child. Called before any lock, because a lock may have been copied while it was held."""
    if forked():
        raise ForkedError(
            E_FORKED, "This process was forked after ras_ext had been used in its parent, whose native threads do not exist here."
        )


# --- Text ---------------------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    """The text in a char array of C; what an implementation garbled is shown as replacement characters."""
    return ffi.string(value).decode("utf-8", "replace")


def _chars(value: bytes | None, keep: list[Any]) -> Any:
    """A NUL-terminated copy for C, kept alive by `keep`; NULL for None."""
    if value is None:
        return _NULL
    buffer = ffi.new("char[]", value)
    keep.append(buffer)
    return buffer


# --- Secrets ------------------------------------------------------------------------------------------------------------------


class Secret:
    """Holds a password so that no repr, traceback with local variables, or log shows it.

    The public functions put what they were given in here in their first line. `load` never raises for a bad value: it
    returns what is wrong, and its caller, whose frame holds no password, raises.
    """

    __slots__ = ("_buffer", "_value")

    def __init__(self, value: object) -> None:
        self._value = value
        self._buffer: Any = None

    def __repr__(self) -> str:
        return "<hidden>"

    def __reduce__(self) -> str:
        raise TypeError("a password is not pickled")

    @property
    def given(self) -> bool:
        return self._value is not None

    def again(self) -> Secret:
        """Another holder of the same, for one more use."""
        return Secret(self._value)

    def ask(self) -> None:
        """Calls the callable that stands for the password, if it is one. What that raises goes up."""
        if callable(self._value):
            self._value = self._value()

    def load(self, limit: int) -> tuple[type[Exception], str] | None:
        """Copies the password into a buffer of C. None, or the exception and message that tell what is wrong."""
        value = self._value
        if isinstance(value, str):
            try:
                value = value.encode("utf-8")
            except UnicodeEncodeError:  # it carries the password: must not be chained to anything
                value = None
            if value is None:
                return ValueError, "password contains a surrogate character, which is no text that RAS could take"
        if not isinstance(value, (bytes, bytearray)):
            return TypeError, f"password must be str, bytes, bytearray or a callable that returns one, not {type(value).__name__}"
        size = len(value)
        if 0 in value:
            return ValueError, "password contains a NUL character, where RAS would take it to end"
        # UTF-16 units without decoding, which would leave an unwipeable copy: one per character, two for four-byte ones.
        units = size if size > 4 * limit else sum((byte & 0xC0 != 0x80) + (byte >= 0xF0) for byte in value)
        if units > limit:
            return ValueError, f"password has {units} UTF-16 units; RAS takes at most {limit}"
        buffer = ffi.new("char[]", size + 1)
        ffi.memmove(buffer, value, size)
        self._buffer = buffer
        return None

    @property
    def buffer(self) -> Any:
        return self._buffer

    def wipe(self) -> None:
        """Overwrites the copy for C and forgets the value. A caller's bytearray is the caller's to wipe."""
        buffer, self._buffer, self._value = self._buffer, None, None
        if buffer is not None:
            ffi.memmove(buffer, bytes(len(buffer)), len(buffer))


def hide(password: object) -> Secret | None:
    """A Secret for a password, so that no frame of ours that may raise holds the password itself."""
    return password if password is None or isinstance(password, Secret) else Secret(password)


# --- Owners of pointers -------------------------------------------------------------------------------------------------------


class _ClientPointer:
    """Owns a rasx_client: the last reference closes it."""

    __slots__ = ("timeout_ms", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.timeout_ms = 0  # how long closing may wait for native threads

    def __del__(self, _close: Any = lib.rasx_close) -> None:
        if not _forked:
            _close(self.value, self.timeout_ms)


class ClientHandle:
    """A rasx_client until it is closed. A call that is inside meanwhile keeps the pointer alive until it returns.

    By a reference, not by a count, because an exception that a signal handler raises may skip any line of Python, but
    never the release of a reference.
    """

    __slots__ = ("_pointer",)

    def __init__(self, value: Any) -> None:
        self._pointer: _ClientPointer | None = _ClientPointer(value)

    def call(self, function: Callable[..., int], *arguments: Any) -> int:
        """function(pointer, ...); E_CLOSED once the client has been closed."""
        pointer = self._pointer
        return E_CLOSED if pointer is None else function(pointer.value, *arguments)

    def close(self, timeout_ms: int = 0) -> None:
        """Closes, waiting at most so long for native threads; at once, or when the last call inside returns."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            pointer.timeout_ms = timeout_ms

    @property
    def is_open(self) -> bool:
        return self._pointer is not None

    def now_ns(self) -> int:
        """The client's clock; 0 once it has been closed."""
        pointer = self._pointer
        return 0 if pointer is None else lib.rasx_now_ns(pointer.value)

    def is_virtual(self) -> bool:
        """Whether the client's clock moves only when somebody moves it."""
        pointer = self._pointer
        return pointer is not None and bool(lib.rasx_clock_is_virtual(pointer.value))


def open_client(api: str, phonebook: bytes | None) -> tuple[int, ClientHandle | None]:
    """rasx_open: a code, and the handle when that is 0."""
    global _user_pid
    out = ffi.new("rasx_client **")
    keep: list[Any] = []
    code = lib.rasx_open(api.encode(), _chars(phonebook, keep), out)
    if code != 0:
        return code, None
    _user_pid = os.getpid()
    return 0, ClientHandle(out[0])


class DialRequest(NamedTuple):
    """What rasx_dial_start is told, already checked and encoded."""

    entry: bytes
    username: bytes | None
    password: Secret | None
    domain: bytes | None
    phone_number: bytes | None
    callback_number: bytes | None
    phonebook: bytes | None
    notifier: int
    options: int
    subentry: int
    timeout_ms: int
    pause_timeout_ms: int = 0


class AnswerRequest(NamedTuple):
    """What rasx_dial_resume is told, already checked and encoded."""

    username: bytes | None
    password: Secret | None
    domain: bytes | None
    callback_number: bytes | None


class QueueHandle:
    """Owns a rasx_queue and the buffer it is drained into.

    The buffer and its count outlive a call, so that a KeyboardInterrupt between draining and decoding loses nothing: the
    next consumer decodes first. Everything but `wake` and `start` needs the consumer's role (hub.py).
    """

    __slots__ = ("_buffer", "_count", "_events", "_pointer", "_ready")

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer  # the core keeps its client's memory until the queue is closed
        self._events = ffi.new("rasx_event[]", BATCH)
        self._buffer = ffi.buffer(self._events)
        self._count = ffi.new("uint32_t *")
        self._ready = ffi.new("uint32_t *")

    def __del__(self) -> None:
        self.close()

    def close(self, _close: Any = lib.rasx_queue_close) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None and not _forked:
            _close(pointer)

    @property
    def is_open(self) -> bool:
        return self._pointer is not None

    def wait(self, timeout_ms: int, passive: bool) -> int:
        """rasx_queue_wait: 0, E_BUSY or E_CLOSED. Releases the GIL."""
        pointer = self._pointer
        return E_CLOSED if pointer is None else lib.rasx_queue_wait(pointer, timeout_ms, passive, self._ready)

    def drained(self) -> list[Record]:
        """The records that the last drain brought. They come again until `forget` is called."""
        count = self._count[0]
        return list(_RECORD.iter_unpack(self._buffer[: count * _RECORD.size])) if count else []

    def forget(self) -> None:
        self._count[0] = 0

    def drain(self) -> int:
        """rasx_queue_drain into the buffer; how many records it brought."""
        pointer = self._pointer
        if pointer is not None:  # else a signal handler has closed the client just now
            lib.rasx_queue_drain(pointer, self._events, BATCH, self._count)
        return int(self._count[0])

    def wake(self) -> None:
        pointer = self._pointer
        if pointer is not None:
            lib.rasx_queue_wake(pointer)

    def set_socket(self, socket: int) -> int:
        """rasx_queue_set_socket: a code. After it the core does not touch the socket that was set before."""
        pointer = self._pointer
        return E_CLOSED if pointer is None else lib.rasx_queue_set_socket(pointer, socket)

    def timeout_ms(self) -> int:
        """rasx_queue_timeout; FOREVER_MS where there is none."""
        out = ffi.new("uint32_t *", FOREVER_MS)
        if self._pointer is not None:
            lib.rasx_queue_timeout(self._pointer, out)
        return int(out[0])

    def start_hang_up(self, handle: int, every: bool, waited_ms: int, timeout_ms: int, out: Any) -> int:
        """rasx_hang_up_start: a code; out[0] is the id of its one record when that is 0."""
        return lib.rasx_hang_up_start(self._pointer, handle, every, waited_ms, timeout_ms, out)

    def start(self, request: DialRequest, out: Any) -> int:
        """rasx_dial_start: a code; out[0] is the dial's id when that is 0. Wipes the password whatever happens."""
        keep: list[Any] = []
        options = ffi.new("rasx_dial_options *")
        options.size = ffi.sizeof("rasx_dial_options")
        options.notifier = request.notifier
        options.phonebook = _chars(request.phonebook, keep)
        options.entry = _chars(request.entry, keep)
        options.phone_number = _chars(request.phone_number, keep)
        options.callback_number = _chars(request.callback_number, keep)
        options.username = _chars(request.username, keep)
        options.domain = _chars(request.domain, keep)
        options.options = request.options
        options.subentry = request.subentry
        options.timeout_ms = request.timeout_ms
        options.pause_timeout_ms = request.pause_timeout_ms
        secret = request.password
        try:
            if secret is not None:
                options.password = secret.buffer
            return lib.rasx_dial_start(self._pointer, options, out)
        finally:
            if secret is not None:
                secret.wipe()


def open_queue(client: ClientHandle) -> tuple[int, QueueHandle | None]:
    """rasx_queue_open: a code, and the handle when that is 0."""
    out = ffi.new("rasx_queue **")
    code = client.call(lib.rasx_queue_open, _NULL, _NULL, out)
    return (code, None) if code != 0 else (0, QueueHandle(out[0]))


# --- Dials and connections ----------------------------------------------------------------------------------------------------


def new_dial_id() -> Any:
    """Where `QueueHandle.start` leaves the id; 0 until then."""
    return ffi.new("rasx_dial *")


def cancel(dial: int, _cancel: Any = lib.rasx_dial_cancel, _new: Any = ffi.new) -> bool:
    """rasx_dial_cancel: whether this call decided the dial. Never blocks."""
    decided = _new("uint32_t *")
    return bool(_cancel(dial, decided) == 0 and decided[0])


def resume(dial: int, request: AnswerRequest) -> int:
    """rasx_dial_resume: a code. Wipes the password whatever happens. Never blocks."""
    keep: list[Any] = []
    secret = request.password
    try:
        answer = ffi.new("rasx_answer *")
        answer.size = ffi.sizeof("rasx_answer")
        answer.username = _chars(request.username, keep)
        answer.domain = _chars(request.domain, keep)
        answer.callback_number = _chars(request.callback_number, keep)
        if secret is not None:
            answer.password = secret.buffer
        return lib.rasx_dial_resume(dial, answer)
    finally:
        if secret is not None:
            secret.wipe()


def give_up(dial: int, error: int) -> int:
    """rasx_dial_resume without an answer: the paused dial fails with `error`. A code."""
    answer = ffi.new("rasx_answer *")
    answer.size = ffi.sizeof("rasx_answer")
    answer.error = error
    return lib.rasx_dial_resume(dial, answer)


def paused(dial: int) -> bool:
    """rasx_dial_paused: whether a pause waits for an answer. Never blocks."""
    out = ffi.new("uint32_t *")
    return bool(lib.rasx_dial_paused(dial, out) == 0 and out[0])


def lost(dial: int) -> int | None:
    """rasx_dial_lost; None when the dial has been released."""
    out = ffi.new("uint32_t *")
    return int(out[0]) if lib.rasx_dial_lost(dial, out) == 0 else None


class RawStatus(NamedTuple):
    state: int
    error: int
    substate: int
    local: tuple[int, bytes]  # RASTUNNELENDPOINT type and address
    remote: tuple[int, bytes]
    device_type: str
    device_name: str
    phone_number: str


def get_status(client: ClientHandle, handle: int) -> tuple[int, RawStatus | None]:
    out = ffi.new("rasx_status *")
    code = client.call(lib.rasx_get_status, handle, out)
    if code != 0:
        return code, None
    return 0, RawStatus(
        out.state,
        out.error,
        out.substate,
        (out.local_type, bytes(out.local)),
        (out.remote_type, bytes(out.remote)),
        _text(out.device_type),
        _text(out.device_name),
        _text(out.phone_number),
    )


_NOT_CALLED = 0xFFFFFFFF


def new_hang_up() -> Any:
    """Where `hang_up` leaves its result, so that an exception between the call and its caller does not lose it."""
    return ffi.new("uint32_t *", _NOT_CALLED)


def begun_hang_up() -> Any:
    """The same where a native thread has been told to call RasHangUp: nobody else must."""
    return ffi.new("uint32_t *", HANGUP_CLOSING)


def hang_up_result(out: Any) -> int | None:
    """The rasx_hangup value; None when rasx_hang_up has not been called with this `out`."""
    value = int(out[0])
    return None if value == _NOT_CALLED else value


def hang_up(client: ClientHandle, handle: int, every: bool, waited_ms: int, timeout_ms: int, out: Any) -> int:
    """rasx_hang_up: a code. waited_ms 0 hangs up; more goes on waiting for an earlier hang-up."""
    return client.call(lib.rasx_hang_up, handle, every, waited_ms, timeout_ms, out)


def link_handle(client: ClientHandle, handle: int, subentry: int) -> tuple[int, int]:
    """rasx_link_handle: a code, and the handle of the link when that is 0."""
    out = ffi.new("uint64_t *")
    code = client.call(lib.rasx_link_handle, handle, subentry, out)
    return code, int(out[0])


def link_hang_up(client: ClientHandle, link: int) -> int:
    """rasx_link_hang_up: a code."""
    return client.call(lib.rasx_link_hang_up, link)


# --- Lists --------------------------------------------------------------------------------------------------------------------

_TRIES = 16  # a list may grow between two calls (S8.55), but not for ever
_TOO_SMALL = 603


class RawConnection(NamedTuple):
    handle: int
    luid: int
    subentry: int
    flags: int
    entry_id: bytes
    correlation_id: bytes
    entry: str
    device_type: str
    device_name: str
    phonebook: str

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells this connection from a later one with the same handle (S8.13): its logon session and the id of its attempt.

        A RAS that tells no such id leaves the handle and the names, which a reconnection may share.
        """
        if any(self.correlation_id):
            return self.luid, self.correlation_id
        return self.handle, self.entry, self.phonebook


class RawEntry(NamedTuple):
    flags: int
    name: str
    phonebook: str


class RawDevice(NamedTuple):
    type: str
    name: str


def _grow(declaration: str, call: Any) -> tuple[int, Any, int]:
    """Calls with more and more room until the list fits: a code, the array, and how much of it is filled."""
    count = ffi.new("uint32_t *", 16)
    code, items = _TOO_SMALL, None
    for _ in range(_TRIES):
        room = count[0]
        items = ffi.new(declaration, room)
        code = call(items, count)
        if code != _TOO_SMALL:
            break
        count[0] = max(count[0], room + room // 2)
    return code, items, int(count[0]) if code == 0 else 0


def list_connections(client: ClientHandle) -> tuple[int, list[RawConnection]]:
    code, items, count = _grow("rasx_connection[]", lambda room, out: client.call(lib.rasx_list_connections, room, out))
    found = []
    for index in range(count):
        item = items[index]
        texts = (_text(item.entry), _text(item.device_type), _text(item.device_name), _text(item.phonebook))
        ids = (bytes(item.entry_id), bytes(item.correlation_id))
        found.append(RawConnection(item.handle, item.luid, item.subentry, item.flags, *ids, *texts))
    return code, found


def list_entries(client: ClientHandle, phonebook: bytes | None) -> tuple[int, list[RawEntry]]:
    keep: list[Any] = []
    path = _chars(phonebook, keep)
    code, items, count = _grow("rasx_entry[]", lambda room, out: client.call(lib.rasx_list_entries, path, room, out))
    return code, [RawEntry(items[i].flags, _text(items[i].name), _text(items[i].phonebook)) for i in range(count)]


def list_devices(client: ClientHandle) -> tuple[int, list[RawDevice]]:
    code, items, count = _grow("rasx_device[]", lambda room, out: client.call(lib.rasx_list_devices, room, out))
    return code, [RawDevice(_text(items[i].type), _text(items[i].name)) for i in range(count)]


def validate_entry_name(client: ClientHandle, phonebook: bytes | None, entry: bytes) -> int:
    keep: list[Any] = []
    return client.call(lib.rasx_validate_entry_name, _chars(phonebook, keep), _chars(entry, keep))


# --- Watching -----------------------------------------------------------------------------------------------------------------


class _WatchPointer:
    """Owns a rasx_watch: the last reference closes it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __del__(self, _close: Any = lib.rasx_watch_close) -> None:
        if not _forked:
            _close(self.value)


class WatchHandle:
    """A rasx_watch until it is closed; a wait that is inside meanwhile keeps the pointer, as with ClientHandle."""

    __slots__ = ("_pointer",)

    def __init__(self, value: Any) -> None:
        self._pointer: _WatchPointer | None = _WatchPointer(value)

    def wait(self, timeout_ms: int, passive: bool) -> tuple[int, bool]:
        """rasx_watch_wait: 0, E_BUSY or E_CLOSED, and whether the connections should be listed again. Releases the GIL."""
        pointer = self._pointer
        if pointer is None:
            return E_CLOSED, False
        changed = ffi.new("uint32_t *")
        code = lib.rasx_watch_wait(pointer.value, timeout_ms, passive, changed)
        return code, bool(changed[0])

    def close(self) -> None:
        """Closes; a wait that is inside returns, and the next one says E_CLOSED."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None and not _forked:
            lib.rasx_watch_wake(pointer.value)

    @property
    def is_open(self) -> bool:
        return self._pointer is not None


def open_watch(client: ClientHandle, poll_ms: int) -> tuple[int, WatchHandle | None]:
    """rasx_watch_open: a code, and the handle when that is 0."""
    out = ffi.new("rasx_watch **")
    code = client.call(lib.rasx_watch_open, poll_ms, out)
    return (code, None) if code != 0 else (0, WatchHandle(out[0]))


# --- Codes and counters -------------------------------------------------------------------------------------------------------


def error_text(client: ClientHandle | None, code: int) -> str:
    """The text of a code: the implementation's own, else ours, else "error N"."""
    room = 1024  # 512 characters always suffice (S4.5), but translated ones take more bytes
    while True:
        text = ffi.new("char[]", room)
        result = E_CLOSED if client is None else client.call(lib.rasx_error_text, code, text, room)
        if result == E_CLOSED:
            result = lib.rasx_error_text(_NULL, code, text, room)
        if result == 0 or room > 65536:
            return _text(text)
        room *= 4


class Counters(NamedTuple):
    """What the core holds now, in this process."""

    threads: int  # native threads of dials that have not ended
    slots: int  # dials not yet released
    queues: int
    clients: int
    abandoned: int  # slots given up because a RAS handler never left them
    references: int  # connection references that this process owns


def counters() -> Counters:
    out = ffi.new("rasx_counters *")
    lib.rasx_get_counters(out)
    return Counters(out.threads, out.slots, out.queues, out.clients, out.abandoned, out.references)


# --- The door for other extensions --------------------------------------------------------------------------------------------


def api_address() -> int:
    """The address of rasx_get_api()'s table: static storage of the loaded core."""
    return int(ffi.cast("uintptr_t", lib.rasx_get_api()))


# --- Windows ------------------------------------------------------------------------------------------------------------------


def window_post(window: int, state: int, error: int) -> int:
    """Posts WM_RASDIALEVENT to an application's window; never blocks."""
    return lib.rasx_window_post(window, state, error)
