"""A client: one implementation of the RAS API, opened.

SPDX-License-Identifier: MIT

`dial` raises only what needs no RAS: types, lengths, texts that no RAS could take, a closed client. Everything else, a
missing entry for example, is the outcome of the dial.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Union
from weakref import WeakSet

from . import _ffi
from ._hub import Hub, further_hub, open_hub
from .connection import Connection
from .dial import Dial, seconds
from .errors import ClosedError, NotAvailableError, error_for
from .events import Event, Notifier, State
from .pauses import Answer
from .phonebook import Device, Entry, NameCheck
from .pollable import Pollable
from .watch import POLL_S, Watch

if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Self

APIS = ("system", "sim")

# For the modules above this one, which do not know _ffi.
check_fork, forked = _ffi.check_fork, _ffi.forked

# Evaluated when the module is imported, also by a PyPy that is a Python 3.9 (docs/platforms.md), which lacks "|" here.
Password = Union[str, bytes, bytearray, Callable[[], "str | bytes | bytearray"]]  # noqa: UP007
Path = Union[str, os.PathLike[str]]  # noqa: UP007
Interactive = Callable[[Event, Dial], "Answer | None"]

if TYPE_CHECKING:

    class DialOptions(TypedDict, total=False):
        """The keyword arguments of `Client.dial`, for functions that hand them on."""

        username: str | None
        password: Password | None
        domain: str | None
        phone_number: str | None
        phonebook: Path | None
        notifier: Notifier | Literal["func", "func1", "func2", "window"]
        timeout: float | None
        callback_number: str | None
        subentry: int
        options: int
        paused_states: bool
        pause_timeout: float | None


_EXIT_BOUND_S = 5.0
_UINT32_MAX = 0xFFFFFFFF

# S0.3, in UTF-16 units; what to do about it, where that is not plain.
_LIMITS = {
    "entry": (256, ""),
    "phone_number": (128, ""),
    "callback_number": (128, ""),
    "username": (256, ""),
    "password": (256, ""),
    "domain": (15, "; put a longer domain into the user name: user@example.com"),
}


# --- Arguments ----------------------------------------------------------------------------------------------------------------


def _encoded(value: str, name: str, limit: int = 0, advice: str = "") -> bytes:
    """UTF-8 for the core. ValueError for what RAS could not take: too long, embedded NUL, half a surrogate pair."""
    try:
        encoded = value.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise ValueError(f"{name} contains the unpaired surrogate U+{ord(value[problem.start]):04X} at {problem.start}") from None
    if b"\0" in encoded:
        raise ValueError(f"{name} contains a NUL character at {value.index(chr(0))}, where RAS would take it to end")
    if limit:
        units = len(value) + sum(character > "\uffff" for character in value)
        if units > limit:
            raise ValueError(f"{name} has {units} UTF-16 units; RAS takes at most {limit}{advice}")
    return encoded


def _text(value: str | None, name: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str or None, not {type(value).__name__}")
    return _encoded(value, name, *_LIMITS[name])


def _path(value: Path | None) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"phonebook must be str, os.PathLike or None, not {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"phonebook must be a path of str, not of {type(path).__name__}")
    if not path:
        raise ValueError("phonebook is empty; leave it out for the default phone book")
    return _encoded(path, "phonebook", 32766)


def _number(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value <= _UINT32_MAX:
        raise ValueError(f"{name} must be between 0 and 0xFFFFFFFF, but is {value}")
    return int(value)


def _secret(holder: object, username: str | None) -> _ffi.Secret | None:
    """Checks and copies the password. `holder` is what the public functions made of it in their first line."""
    if not isinstance(holder, _ffi.Secret) or not holder.given:
        return None
    if not username:
        raise ValueError("a password needs a username; leave both out for the saved credentials or the Windows logon")
    holder.ask()
    problem = holder.load(_LIMITS["password"][0])
    if problem is not None:
        raise problem[0](problem[1])
    return holder


def hide_password(options: Any) -> None:
    """Puts the password among keyword arguments out of sight of tracebacks: the first thing that a function does with them."""
    if "password" in options:
        options["password"] = _ffi.hide(options["password"])


def _milliseconds(limit: float | None) -> int:
    """For the core, rounded up; at least 1, because 0 has a meaning of its own there."""
    return _ffi.FOREVER_MS if limit is None else max(1, min(math.ceil(min(limit, 1e7) * 1000), _ffi.FOREVER_MS - 1))


# --- The client ---------------------------------------------------------------------------------------------------------------

_clients: WeakSet[Client] = WeakSet()
_clients_lock = threading.Lock()
_exit_hooked = False

# Set by ras_ext.testing while a test runs, and by nothing else: the phone book of the simulated machine that "system" is then.
_stand_in: Path | None = None


def _raise_for(code: int, api: str) -> None:
    if code == _ffi.E_NOT_AVAILABLE:
        raise NotAvailableError(
            code,
            'This system has no RAS. Either run on Windows, where RAS is part of the system, or use ras_ext.open("sim"), '
            "a simulated RAS that works everywhere.",
        )
    if code == _ffi.E_FORKED:
        _ffi.check_fork()
    if code == 8:
        raise MemoryError(f"no memory for the client of {api!r}")
    raise error_for(code, _ffi.error_text(None, code))


class Client:
    """One implementation of the RAS API, opened by `ras_ext.open`.

    As a context manager it closes on leaving. A client that is collected is closed as well.

    Threads: every method may be called from any thread, at the same time.

    Source: docs/design.md, sections 2 and 4.
    """

    def __init__(self, api: str, *, phonebook: Path | None = None) -> None:
        global _exit_hooked
        _ffi.check_fork()
        if not isinstance(api, str) or api not in APIS:
            names = " and ".join(repr(name) for name in APIS)
            raise ValueError(f"there is no RAS called {api!r}; there are {names}")
        if api == "system" and _stand_in is not None:
            api, phonebook = "sim", _stand_in if phonebook is None else phonebook
        path = _path(phonebook)
        code, hub = open_hub(api, path)
        if hub is None:
            _raise_for(code, api)
            raise AssertionError("unreachable")
        self._hub: Hub = hub
        self._further: WeakSet[Hub] = WeakSet()  # those of its Pollables
        self._api = api  # after _hub: who has this has both
        self._phonebook = None if phonebook is None else os.fspath(phonebook)
        with _clients_lock:
            _clients.add(self)
            if not _exit_hooked:
                atexit.register(_at_exit)
                _exit_hooked = True

    @property
    def api(self) -> str:
        """The name it was opened with: "system" or "sim"."""
        return self._api

    @property
    def phonebook(self) -> str | None:
        """The path of the default phone book of its calls; None: the system's."""
        return self._phonebook

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._hub.closing

    def _handle(self) -> _ffi.ClientHandle:
        _ffi.check_fork()
        handle = self._hub.client
        if self._hub.closing or not handle.is_open:
            raise ClosedError(_ffi.E_CLOSED, "This client has been closed.")
        return handle

    def _error_text(self, code: int) -> str:
        return _ffi.error_text(self._hub.client, code)

    def dial(
        self,
        entry: str,
        *,
        username: str | None = None,
        password: Password | None = None,
        domain: str | None = None,
        phone_number: str | None = None,
        phonebook: Path | None = None,
        on_event: Callable[[Event], object] | None = None,
        notifier: Notifier | Literal["func", "func1", "func2", "window"] = "func2",
        timeout: float | None = None,
        callback_number: str | None = None,
        subentry: int = 0,
        options: int = 0,
        interactive: Interactive | None = None,
        paused_states: bool = False,
        pause_timeout: float | None = 300.0,
        through: Connection | None = None,
    ) -> Dial:
        """Starts to dial an entry and returns at once.

        Args:
            entry: The phone-book entry, at most 256 UTF-16 units; "" dials `phone_number` without an entry.
            username: None: the saved credentials (S4.7), else the Windows logon. "": the Windows logon. At most 256.
            password: str; bytes or bytearray of UTF-8 (the bytearray is yours to wipe afterwards); or a callable that
                returns one, called here. At most 256 UTF-16 units. Our copy is wiped before this returns.
            domain: None or "": the server's own. At most 15; a longer one goes into the user name.
            phone_number: Number or host instead of the entry's own, at most 128.
            phonebook: Path; None: the client's, else the system's default.
            on_event: Called with each Event up to the deciding one, in order, on a daemon thread of this dial. What it raises
                goes to logging and sys.unraisablehook. The dial does not wait for it.
            notifier: How RAS reaches the library (S1.4); "window" on Windows only.
            timeout: Seconds on the client's clock after which the dial fails with 638 (origin Timeout); None: never.
            callback_number: Ask the server to call this number back (S1.2), at most 128.
            subentry: First subentry of a dial-as-needed multilink entry, from 1; 0: the first.
            options: RDEOPT_ bits (S0.4).
            interactive: Switches pauses on (S1.7). Called with the Event and the Dial when the dial pauses, on the dial's handler
                thread, after on_event; `Event.wants` tells what is wanted. Returns an Answer to go on, or None to give up: the
                dial is cancelled, or, where no Answer could help (a terminal, a dialog of EAP), fails with 703. An exception
                gives up too, and is reported as one of on_event is.
            paused_states: Switches pauses on for a caller who resumes by hand, with `Dial.resume`.
            pause_timeout: Seconds on the client's clock after which a pause that nobody answered ends the dial with 703
                (origin Timeout); None: never.
            through: A connection that this one shall run over, an ISP's beneath a VPN (S1.10): it must be up when this is called.

        Returns:
            A Dial. Whatever RAS finds wrong, a missing entry (623) or phone book (621) for example, is its outcome.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: too long, embedded NUL, an unpaired surrogate; a password without a user; a wrong time-out.
            ClosedError: the client has been closed.
            NotAvailableError: the window notifier where there is no Windows.
            RasError: the connection of `through` is not up (6 or 668, say). Nothing has been dialled then.
            ForkedError (a RuntimeError): in a forked child.
            MemoryError: no memory for another dial.

        Threads: any; does not block, but for a moment in RAS with `through`.

        Source: S1.1 to S1.7, S1.10, S0.3.
        """
        password = _ffi.hide(password)  # type: ignore[assignment] # first of all; nothing below holds the clear text
        return self._dial_on(
            self._hub,
            entry,
            username=username,
            password=password,
            domain=domain,
            phone_number=phone_number,
            phonebook=phonebook,
            on_event=on_event,
            notifier=notifier,
            timeout=timeout,
            callback_number=callback_number,
            subentry=subentry,
            options=options,
            interactive=interactive,
            paused_states=paused_states,
            pause_timeout=pause_timeout,
            through=through,
        )

    def _dial_on(
        self,
        hub: Hub,
        entry: str,
        *,
        username: str | None = None,
        password: Password | None = None,
        domain: str | None = None,
        phone_number: str | None = None,
        phonebook: Path | None = None,
        on_event: Callable[[Event], object] | None = None,
        notifier: Notifier | Literal["func", "func1", "func2", "window"] = "func2",
        timeout: float | None = None,
        callback_number: str | None = None,
        subentry: int = 0,
        options: int = 0,
        interactive: Interactive | None = None,
        paused_states: bool = False,
        pause_timeout: float | None = 300.0,
        through: Connection | None = None,
        threads: bool = True,
    ) -> Dial:
        """`dial` on one of this client's queues.

        threads: handlers run on a thread of the dial. False: whoever called sees to them.
        """
        password = _ffi.hide(password)  # type: ignore[assignment]
        self._handle()
        if not isinstance(entry, str):
            raise TypeError(f"entry must be str, not {type(entry).__name__}")
        if on_event is not None and not callable(on_event):
            raise TypeError(f"on_event must be callable, not {type(on_event).__name__}")
        if isinstance(notifier, bool) or not isinstance(notifier, (str, int)):
            raise TypeError(f"notifier must be a Notifier or its name, not {type(notifier).__name__}")
        if interactive is not None and not callable(interactive):
            raise TypeError(f"interactive must be callable, not {type(interactive).__name__}")
        if not isinstance(paused_states, bool):
            raise TypeError(f"paused_states must be a bool, not {type(paused_states).__name__}")
        limit = seconds(timeout)
        bits = _number(options, "options")
        if paused_states or interactive is not None:
            bits |= _ffi.PAUSED_STATES
        request = _ffi.DialRequest(
            entry=_encoded(entry, "entry", *_LIMITS["entry"]),
            username=_text(username, "username"),
            domain=_text(domain, "domain"),
            phone_number=_text(phone_number, "phone_number"),
            callback_number=_text(callback_number, "callback_number"),
            phonebook=_path(phonebook),
            notifier=int(Notifier.parse(notifier)),
            options=bits,
            subentry=_number(subentry, "subentry"),
            pause_timeout_ms=_milliseconds(seconds(pause_timeout, "pause_timeout")),
            timeout_ms=_ffi.FOREVER_MS if limit is None else min(math.ceil(min(limit, 1e7) * 1000), _ffi.FOREVER_MS - 1),
            password=_secret(password, username),
        )
        if through is not None:
            self._check_through(through)
        label = entry or f".{phone_number or ''}"  # the name under which RAS lists a connection without an entry (S1.2)
        dial = Dial(self, hub, label, on_event, interactive)
        code = hub.start(dial, request, pinned=threads and (on_event is not None or interactive is not None))
        if code == 0:
            return dial
        if code == _ffi.E_CLOSED:
            raise ClosedError(code, "This client has been closed.")
        if code == _ffi.E_NOT_AVAILABLE:
            raise NotAvailableError(code, "The window notifier exists on Windows only.", entry=entry)
        if code == _ffi.E_INVALID:  # everything else has been checked here
            raise ValueError("password is not valid UTF-8")
        if code == 8:
            raise MemoryError("no memory for another dial")
        raise error_for(code, self._error_text(code), entry=entry)

    def _check_through(self, through: Connection) -> None:
        """S1.10: the connection beneath must be up, or the dial above it would only fail late and with a puzzling code."""
        if not isinstance(through, Connection):
            raise TypeError(f"through must be a Connection or None, not {type(through).__name__}")
        if through._client.api != self._api:
            raise ValueError(f"through is a connection of {through._client.api!r}, and this client one of {self._api!r}")
        status = through.status()
        if status.state is not State.Connected or status.error:
            code = status.error or 668
            raise error_for(code, self._error_text(code), state=status.state, entry=through.entry)

    def _answer(
        self, username: str | None, password: object, domain: str | None, callback_number: str | None
    ) -> _ffi.AnswerRequest:
        """Checks and encodes what a paused dial goes on with. `password` is a Secret or None."""
        holder = password if isinstance(password, _ffi.Secret) and password.given else None
        request = _ffi.AnswerRequest(
            username=_text(username, "username"),
            domain=_text(domain, "domain"),
            callback_number=_text(callback_number, "callback_number"),
            password=holder,
        )
        if holder is not None:
            holder.ask()
            problem = holder.load(_LIMITS["password"][0])
            if problem is not None:
                raise problem[0](problem[1])
        return request

    def pollable(self) -> Pollable:
        """A further queue of this client for programs with an event loop of their own: its dials tell by a socket.

        Returns:
            A Pollable, to be closed or used in a `with` statement.

        Raises:
            ClosedError: the client has been closed.
            OSError: no socket pair can be had.
            MemoryError: no memory for another queue.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; does not block.

        Source: docs/design.md "Waiting elsewhere".
        """
        return Pollable(self)

    def _further_hub(self) -> Hub:
        """Another queue of this client, closed with it."""
        handle = self._handle()
        code, hub = further_hub(handle)
        if hub is None:
            _raise_for(code, self._api)
            raise AssertionError("unreachable")
        with _clients_lock:
            self._further.add(hub)
        if self._hub.closing:  # meanwhile
            hub.close(0, with_client=False)
            raise ClosedError(_ffi.E_CLOSED, "This client has been closed.")
        return hub

    def connections(self) -> list[Connection]:
        """The connections that stand on this machine, other programs' included.

        Returns:
            Connections; hanging one up gives up a reference, whoever made it.

        Raises:
            RasError: RasEnumConnections failed.
            ClosedError: the client has been closed.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.2.
        """
        handle = self._handle()
        code, found = _ffi.list_connections(handle)
        if code != 0:
            raise error_for(code, _ffi.error_text(handle, code))
        return [Connection(self, raw.handle, raw.entry, raw=raw) for raw in found]

    def watch(self, *, poll: float = POLL_S, existing: bool = False) -> Watch:
        """Starts to watch the connections of this machine, other programs' included: those that come, go, or get another link.

        Args:
            poll: Seconds on the client's clock between looks that nothing has called for. They find what RAS does not notify,
                as was seen on Windows 11 (S4.13).
            existing: Report the connections that stand already as connected.

        Returns:
            A Watch: an iterator of Changes, and a context manager. What happens from now on is reported, not only what happens
            while somebody waits.

        Raises:
            RasError: the connections could not be listed.
            TypeError, ValueError: `poll` is not between 0.01 and 86,400 seconds.
            ClosedError: the client has been closed.
            ForkedError (a RuntimeError): in a forked child.
            MemoryError: no memory for another watch.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.13, S4.2.
        """
        self._handle()
        return Watch(self, poll=poll, existing=existing)

    def entries(self, phonebook: Path | None = None) -> list[Entry]:
        """The entries of a phone book.

        Args:
            phonebook: Path; None: the client's, else all default phone books of the system.

        Returns:
            Entries, in the order of the phone book.

        Raises:
            PhonebookError: 621 or 622, missing or unreadable.
            ClosedError: the client has been closed.
            TypeError, ValueError: no path.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.3.
        """
        handle = self._handle()
        code, found = _ffi.list_entries(handle, _path(phonebook))
        if code != 0:
            raise error_for(code, _ffi.error_text(handle, code))
        return [Entry(raw.name, raw.phonebook, bool(raw.flags & 1)) for raw in found]

    def devices(self) -> list[Device]:
        """The devices that this machine can dial with.

        Returns:
            Devices.

        Raises:
            RasError: RasEnumDevices failed.
            ClosedError: the client has been closed.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.4.
        """
        handle = self._handle()
        code, found = _ffi.list_devices(handle)
        if code != 0:
            raise error_for(code, _ffi.error_text(handle, code))
        return [Device(raw.type, raw.name) for raw in found]

    def validate_entry_name(self, name: str, phonebook: Path | None = None) -> NameCheck:
        """Whether a new entry may have this name.

        Args:
            name: The name; one that is too long or that no RAS could take is malformed.
            phonebook: Path; None: the client's, else the system's default.

        Returns:
            NameCheck.NEW, PRESENT (183) or MALFORMED (123).

        Raises:
            PhonebookError: 621 or 622, missing or unreadable.
            NotAvailableError: this implementation lacks RasValidateEntryName.
            TypeError: the name is no str.
            ClosedError: the client has been closed.

        Threads: any; may block in RAS for a moment, with the GIL released.

        Source: S4.9.
        """
        handle = self._handle()
        path = _path(phonebook)
        if not isinstance(name, str):
            raise TypeError(f"name must be str, not {type(name).__name__}")
        try:
            encoded = _encoded(name, "name", *_LIMITS["entry"])
        except ValueError:
            return NameCheck.MALFORMED
        code = _ffi.validate_entry_name(handle, path, encoded)
        if code in (0, 123, 183):
            return NameCheck(code)
        raise error_for(code, _ffi.error_text(handle, code))

    def error_text(self, code: int) -> str:
        """The text of a code: this implementation's own, else ours, else "error N".

        Args:
            code: Any unsigned 32-bit number.

        Returns:
            The text; translated where the system's is.

        Raises:
            TypeError, ValueError: no such number.
            ClosedError: the client has been closed.

        Threads: any; does not block.

        Source: S4.5.
        """
        handle = self._handle()
        return _ffi.error_text(handle, _number(code, "code"))

    def close(self, timeout: float | None = 5.0) -> None:
        """Cancels the dials in flight, waits for their native threads, closes. Connections stay up.

        May be called again. After it, calls raise ClosedError; dials keep what they know.

        Args:
            timeout: Seconds for the native threads. Those left over go on to hang up, and end by themselves.

        Raises:
            TypeError, ValueError: `timeout` is no time-out.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; blocks as `Dial.result` does.

        Source: S3, docs/design.md "Exit".
        """
        _ffi.check_fork()
        limit = seconds(timeout)
        self._close(4e9 if limit is None else limit)

    def _close(self, timeout_s: float) -> None:
        started = monotonic()
        self._cancel_all()  # all at once, before any of them is waited for
        hubs = [*self._further_hubs(), self._hub]
        for hub in hubs:
            hub.close(max(0.0, min(timeout_s, 4e9) - (monotonic() - started)), with_client=hub is self._hub)
            hub.join_drainer(max(0.1, min(1.0, timeout_s - (monotonic() - started))))
        with _clients_lock:
            _clients.discard(self)

    def _cancel_all(self) -> None:
        self._hub.cancel_all()  # first: who adds a hub looks at this one afterwards
        for hub in self._further_hubs():
            hub.cancel_all()

    def _further_hubs(self) -> list[Hub]:
        with _clients_lock:
            return list(self._further)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not _ffi.forked():
            self._close(_EXIT_BOUND_S)

    def __repr__(self) -> str:
        if not hasattr(self, "_api"):  # a traceback that shows the locals of an `__init__` that failed
            return "<ras_ext.Client, not open>"
        return f"<ras_ext.Client of {self._api!r}{', closed' if self.closed else ''}>"


def _at_exit() -> None:
    """Cancels every dial at once, then closes the clients within one shared bound. Connections stay."""
    if _ffi.forked():
        return
    with _clients_lock:
        clients = list(_clients)
    for client in clients:
        client._cancel_all()
    deadline = monotonic() + _EXIT_BOUND_S
    for client in clients:
        client._close(max(0.0, deadline - monotonic()))


# --- Module level -------------------------------------------------------------------------------------------------------------

_default: Client | None = None
_default_lock = threading.Lock()


def open(api: str, *, phonebook: Path | None = None) -> Client:
    """Opens an implementation of the RAS API.

    Args:
        api: "system" (Microsoft's rasapi32.dll; Windows only) or "sim" (a simulated machine, anywhere).
        phonebook: Path of the default phone book of its calls; None: the system's.

    Returns:
        A Client, to be closed or used in a `with` statement.

    Raises:
        ValueError: another name, or a path that cannot be one.
        NotAvailableError: "system" where there is no RAS.
        TypeError: `phonebook` is no path.
        ForkedError (a RuntimeError): in a forked child.

    Threads: any; does not block on RAS.

    Source: docs/design.md, section 2.
    """
    return Client(api, phonebook=phonebook)


def _default_client() -> Client:
    global _default
    _ffi.check_fork()
    with _default_lock:
        if _default is None or _default.closed:
            _default = Client("system")
        return _default


def dial(
    entry: str,
    *,
    username: str | None = None,
    password: Password | None = None,
    domain: str | None = None,
    phone_number: str | None = None,
    phonebook: Path | None = None,
    on_event: Callable[[Event], object] | None = None,
    notifier: Notifier | Literal["func", "func1", "func2", "window"] = "func2",
    timeout: float | None = None,
    callback_number: str | None = None,
    subentry: int = 0,
    options: int = 0,
    interactive: Interactive | None = None,
    paused_states: bool = False,
    pause_timeout: float | None = 300.0,
    through: Connection | None = None,
    client: Client | None = None,
) -> Dial:
    """Starts to dial an entry and returns at once; `Client.dial` on the system's RAS, or on `client`.

    Args:
        entry: The phone-book entry; the other arguments are those of `Client.dial`.
        username: See `Client.dial`.
        password: See `Client.dial`.
        domain: See `Client.dial`.
        phone_number: See `Client.dial`.
        phonebook: See `Client.dial`.
        on_event: See `Client.dial`.
        notifier: See `Client.dial`.
        timeout: See `Client.dial`.
        callback_number: See `Client.dial`.
        subentry: See `Client.dial`.
        options: See `Client.dial`.
        interactive: See `Client.dial`.
        paused_states: See `Client.dial`.
        pause_timeout: See `Client.dial`.
        through: See `Client.dial`.
        client: None: one for "system", opened with the first dial.

    Returns:
        A Dial.

    Raises:
        NotAvailableError: no client was given, and this system has no RAS.
        TypeError, ValueError, ClosedError, ForkedError, MemoryError: as `Client.dial`.

    Threads: any; does not block.

    Source: S1.1 to S1.6.
    """
    password = _ffi.hide(password)  # type: ignore[assignment] # see Client.dial
    if client is not None and not isinstance(client, Client):
        raise TypeError(f"client must be a Client or None, not {type(client).__name__}")
    return (client or _default_client()).dial(
        entry,
        username=username,
        password=password,
        domain=domain,
        phone_number=phone_number,
        phonebook=phonebook,
        on_event=on_event,
        notifier=notifier,
        timeout=timeout,
        callback_number=callback_number,
        subentry=subentry,
        options=options,
        interactive=interactive,
        paused_states=paused_states,
        pause_timeout=pause_timeout,
        through=through,
    )


def watch(*, poll: float = POLL_S, existing: bool = False, client: Client | None = None) -> Watch:
    """Starts to watch the connections of this machine; `Client.watch` on the system's RAS, or on `client`.

    Args:
        poll: See `Client.watch`.
        existing: See `Client.watch`.
        client: None: one for "system", opened with the first call that needs it.

    Returns:
        A Watch.

    Raises:
        NotAvailableError: no client was given, and this system has no RAS.
        RasError, TypeError, ValueError, ClosedError, ForkedError, MemoryError: as `Client.watch`.

    Threads: any; may block in RAS for a moment, with the GIL released.

    Source: S4.13, S4.2.
    """
    if client is not None and not isinstance(client, Client):
        raise TypeError(f"client must be a Client or None, not {type(client).__name__}")
    return (client or _default_client()).watch(poll=poll, existing=existing)
