"""A simulated RAS for the tests of your own program: what the pytest fixture `ras_sim` gives, and what any test can use.

SPDX-License-Identifier: MIT

    def test_wrong_password(ras_sim):                       # pytest: the fixture comes with the package
        ras_sim.script("Office VPN", "auth_fail")
        with pytest.raises(ras_ext.AuthenticationError):
            my_program.connect()                            # which calls ras_ext.dial("Office VPN", ...)

    with ras_ext.testing.RasSim(folder) as ras_sim:         # without pytest
        ...

docs/testing-your-code.md is the whole story. While a RasSim is open, "system" is the simulated machine: `ras_ext.dial`,
`redial`, `watch` and `ras_ext.open("system")` give it, so that the program under test need not know that it is tested.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from . import _ffi
from . import client as _steered
from .client import Client
from .connection import Connection
from .dial import Dial
from .errors import RasError
from .phonebook import NameCheck
from .sim import Machine, Step
from .watch import _alive as _watches

if TYPE_CHECKING:
    from typing_extensions import Self

Kind = Literal["vpn", "pppoe", "modem"]

ENTRY = "Office VPN"
"""The entry of a phone book that nobody has said anything about."""

_BOUND_S = 10.0  # real seconds for threads that are about to end
_HANDLERS_S = 5.0  # real seconds for handlers of the program to return
_GRACE_S = 0.25  # real seconds for an outcome that is on its way

_user = ""  # who has the machine
_user_lock = threading.Lock()

# Type, MEDIA, Port, Device, DEVICE of an entry, as Windows writes them (S7.3, S7.4).
_DEVICES: Mapping[str, tuple[int, str, str, str, str]] = {
    "vpn": (2, "rastapi", "VPN2-0", "WAN Miniport (IKEv2)", "vpn"),
    "pppoe": (5, "rastapi", "PPPoE5-0", "WAN Miniport (PPPOE)", "PPPoE"),
    "modem": (1, "serial", "COM3", "Standard Modem", "modem"),
}


class LeftoverError(AssertionError):
    """The test ended with something of RAS still open; the message names each thing, and how to allow it."""


def rest(done: Callable[[], bool], machine: Machine | None = None, bound_s: float = _BOUND_S) -> bool:
    """Waits, in real time, until threads that are about to end have ended.

    Args:
        done: Whether they have.
        machine: Its virtual clock, if it has one, is moved, because hang-ups take time on it.
        bound_s: Real seconds.

    Returns:
        What `done` says at last.

    Threads: any; blocks.
    """
    deadline = monotonic() + bound_s
    pause = threading.Event()
    while not done():
        if monotonic() > deadline:
            return False
        try:
            if machine is None:
                pause.wait(0.001)
            else:
                machine.advance(1)
        except RasError:  # the clock is real
            pause.wait(0.001)
    return True


def entry_text(name: str, kind: Kind = "vpn", phone_number: str | None = None, links: int = 1) -> str:
    """The lines of a phone-book file that make up one entry.

    Args:
        name: The entry.
        kind: What it dials with.
        phone_number: Number, host name or address; None: one that goes with the kind.
        links: More than one: a multilink entry.

    Returns:
        Text that ends in an empty line.

    Raises:
        ValueError: no such kind, a number of links that is none, or a line break in the texts.

    Threads: any; does not block.

    Source: S7.2 to S7.4.
    """
    if kind not in _DEVICES:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _DEVICES))}, but is {kind!r}")
    if not 1 <= links <= 64:
        raise ValueError(f"links must be between 1 and 64, but is {links}")
    number = {"vpn": "vpn.example.com", "pppoe": "", "modem": "5550100"}[kind] if phone_number is None else phone_number
    if not name or any(character in text for text in (name, number) for character in "\r\n\0"):
        raise ValueError("an entry needs a name, and neither that nor the number may hold a line break or a NUL character")
    number_of_type, media, port, device, device_type = _DEVICES[kind]
    lines = [f"[{name}]", "Encoding=1", f"Type={number_of_type}"]
    for link in range(links):
        where = port if link == 0 else f"{port.rstrip('0123456789')}{int(port[-1]) + link}"
        lines += [f"MEDIA={media}", f"Port={where}", f"Device={device}", f"DEVICE={device_type}", f"PhoneNumber={number}"]
    return "".join(f"{line}\r\n" for line in [*lines, ""])


class RasSim:
    """The simulated RAS of one test: a fresh machine, a phone book of its own, and a check that nothing is left over.

    There is one machine per process (docs/design.md, section 2), so only one RasSim can be open at a time: a second one is
    refused, on any thread. Tests in several processes, as pytest-xdist runs them, do not meet.

    Threads: every method may be called from any thread; those that block say so.
    """

    machine: Machine
    """The machine itself, for all that has no method here: `ras_ext.sim.Machine`."""
    client: Client
    """A client of the machine with `phonebook`, closed after the test."""
    phonebook: Path
    """The file that holds the entries; also the default of clients that the program under test opens."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        entries: Iterable[str] | None = None,
        phonebook: str | os.PathLike[str] | None = None,
        clock: Literal["virtual", "real"] = "virtual",
        scenario: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        leaves: bool | str | Iterable[str] = (),
        as_system: bool = True,
        user: str = "a RasSim",
    ) -> None:
        """Resets the machine and makes it this test's.

        Args:
            folder: Where the phone book is written: tmp_path, say.
            entries: VPN entries to begin with; None: "Office VPN", and none beside a `phonebook` of your own.
            phonebook: A .pbk file to begin with. It is copied, never written.
            clock: "virtual" moves only in `advance`, `settle` and in calls that wait with a time-out; "real" is the real one.
            scenario: What `Machine.load` takes, loaded last.
            leaves: Entries whose connections may stay up at the end. True: nothing is checked at the end.
            as_system: Whether "system" is the simulated machine meanwhile; False leaves the real one in its place.
            user: Who this is, for the message that refuses another.

        Raises:
            RuntimeError: another RasSim is open in this process.
            ValueError, TypeError, OSError: arguments that are wrong, files that cannot be read.
            ForkedError (a RuntimeError): in a forked child.
        """
        global _user
        _ffi.check_fork()
        mine = f"{user} (thread {threading.current_thread().name!r})"
        with _user_lock:
            other, _user = _user, _user or mine
        if other:
            raise RuntimeError(
                f"The simulated RAS is in use by {other}, and there is only one in a process. Tests that use it cannot run at "
                "the same time in several threads; run them in processes instead, as pytest-xdist does (pytest -n auto)."
            )
        self._open = True
        self._may_stay: set[str | int] = set()
        self._unchecked = leaves is True
        with _steered._clients_lock:
            self._before = WeakSet(_steered._clients)  # whoever has these answers for them
        self._default: Client | None = None
        self._steering = False
        self._threads_before = _ffi.counters().threads
        try:
            if not isinstance(leaves, bool):
                self._may_stay.update([leaves] if isinstance(leaves, str) else leaves)
            self.machine = Machine()
            self.machine.reset(force=True)
            self.machine.clock(clock)
            self.phonebook = Path(folder) / "ras_sim.pbk"
            self.phonebook.write_bytes(b"" if phonebook is None else Path(phonebook).read_bytes())
            self.client = Client("sim", phonebook=self.phonebook)
            for name in (ENTRY,) if entries is None and phonebook is None else _names(entries):
                self.add_entry(name)
            if scenario is not None:
                self.machine.load(scenario)
            if as_system:
                self._steer()
        except BaseException:
            self._restore()
            raise

    # --- "system" ---

    def _steer(self) -> None:
        with _steered._default_lock:
            self._default, _steered._default = _steered._default, None
            _steered._stand_in = self.phonebook
            self._steering = True

    def _steer_back(self) -> None:
        with _steered._default_lock:
            if self._steering:
                self._steering = False
                _steered._stand_in = None
                _steered._default = self._default

    # --- The phone book ---

    def add_entry(
        self,
        name: str,
        *,
        kind: Kind = "vpn",
        phone_number: str | None = None,
        links: int = 1,
        script: str | Sequence[Step] | None = None,
    ) -> None:
        """Adds an entry to the phone book.

        Args:
            name: A name that the phone book does not have yet.
            kind: "vpn", "pppoe" or "modem".
            phone_number: Number, host name or address; None: one that goes with the kind.
            links: More than one: a multilink entry.
            script: What a dial of it does, as `script` takes it; None: it connects.

        Raises:
            ValueError: the name is there already or no name for an entry; no such kind, links or script.

        Threads: any; does not block.
        """
        text = entry_text(name, kind, phone_number, links)
        found = self.client.validate_entry_name(name)
        if found is NameCheck.PRESENT:
            raise ValueError(f"the phone book has an entry {name!r} already")
        if found is NameCheck.MALFORMED:
            raise ValueError(f"{name!r} is no name that RAS takes for an entry")
        content = self.phonebook.read_bytes()
        try:
            content.decode("utf-8")
            added = text.encode("utf-8")
        except UnicodeDecodeError:
            added = text.encode("cp1252")
        self._write(content + (b"\r\n" if content and not content.endswith(b"\n") else b"") + added)
        if script is not None:
            self.script(name, script)

    def load_phonebook(self, path: str | os.PathLike[str]) -> None:
        """Replaces the phone book by a copy of your own .pbk file.

        Args:
            path: The file; it is not written.

        Raises:
            OSError: it cannot be read.

        Threads: any; does not block.
        """
        self._write(Path(path).read_bytes())

    def _write(self, content: bytes) -> None:
        fresh = self.phonebook.with_suffix(".new")  # a new file, so that nobody takes it for the one that is cached
        fresh.write_bytes(content)
        fresh.replace(self.phonebook)

    # --- What dials do ---

    def script(self, entry: str | None, name_or_steps: str | Sequence[Step]) -> None:
        """Says what a dial of an entry does: `Machine.script`.

        Args:
            entry: The entry; None: every entry without a script of its own.
            name_or_steps: One of `machine.scripts`, or a list of `ras_ext.sim.Step`.

        Raises:
            ValueError: no such script, or a step that is wrong.

        Threads: any; does not block.
        """
        self.machine.script(entry, name_or_steps)

    def account(self, entry: str, username: str, password: str) -> None:
        """The one user name and password that an entry accepts; others fail with 691: `Machine.account`.

        Args:
            entry: The entry.
            username: The user.
            password: The password; the machine keeps a salted hash.

        Threads: any; does not block.
        """
        self.machine.account(entry, username, password)

    def fault(self, function: str, code: int, after: int = 0, times: int = 0) -> None:
        """Lets calls of an API function fail without doing anything: `Machine.fault`.

        Args:
            function: "RasHangUpW" and so on.
            code: What it returns; 0 takes the fault away.
            after: How many calls still work before that.
            times: How many calls fail; 0: all.

        Raises:
            ValueError: no such function.

        Threads: any; does not block.
        """
        self.machine.fault(function, code, after, times)

    def knob(self, name: str, value: int, entry: str | None = None) -> None:
        """Switches a nasty behaviour: `Machine.knob`.

        Args:
            name: One of `machine.knobs`.
            value: What its text says.
            entry: None: the whole machine.

        Raises:
            ValueError: no such knob.

        Threads: any; does not block.
        """
        self.machine.knob(name, value, entry)

    def drop(self, connection: Connection | int | str, reason: int = 829) -> None:
        """The other side ends the link.

        Args:
            connection: A Connection, its handle, or its entry.
            reason: The code that the status shows.

        Raises:
            LookupError: no connection to that entry is up.
            RasError: 6 for a handle that is none.

        Threads: any; does not block.
        """
        if isinstance(connection, str):
            found = [one for one in self.connections() if one.entry == connection]
            if not found:
                raise LookupError(f"no connection to {connection!r} is up")
            connection = found[0]
        self.machine.drop(connection, reason)

    # --- Looking ---

    def connections(self) -> list[Connection]:
        """The connections that are up, whoever dialled them.

        Returns:
            Connections; `ras_ext.Connection` compares equal when it stands for the same one.

        Threads: any; does not block.
        """
        return self.client.connections()

    def calls(self, function: str) -> int:
        """How often an API function has been called in this test.

        Args:
            function: "RasDialW", "RasHangUpW" and so on.

        Returns:
            The number, faults included.

        Threads: any; does not block.
        """
        return self.machine.calls(function)

    # --- Time ---

    @property
    def now(self) -> float:
        """Seconds on the machine's clock."""
        return self.machine.now

    def advance(self, seconds: float) -> None:
        """Virtual clock: lets this much time pass; everything that falls due happens, in order.

        Args:
            seconds: How much.

        Raises:
            RasError: 50 with the real clock; 1460 when threads did not come to rest in 10 real seconds.
            ValueError: negative, or not finite.

        Threads: any; blocks until all is at rest, with the GIL released.
        """
        self.machine.advance(seconds)

    def settle(self) -> None:
        """Virtual clock: waits until RAS is at rest and nothing is due now, without letting time pass.

        Raises:
            RasError: as `advance`.

        Threads: any; blocks, with the GIL released.
        """
        self.machine.settle()

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Waits, in real time, for what another thread does: a handler that `on_event` calls, your program's own thread.

        A virtual clock stands meanwhile.

        Args:
            condition: Called until it returns something true.
            seconds: Real seconds after which it is given up.

        Raises:
            TimeoutError: it did not come true.

        Threads: any; blocks.
        """
        if not rest(lambda: bool(condition()), bound_s=seconds):
            raise TimeoutError(f"the condition did not come true within {seconds:g} real seconds")

    # --- The end ---

    def may_stay_up(self, connection: Connection | str) -> None:
        """Declares that a connection may still be up when the test ends.

        Args:
            connection: The Connection, or its entry.

        Threads: any; does not block.
        """
        self._may_stay.add(connection if isinstance(connection, str) else connection.handle)

    def close(self) -> None:
        """Checks that nothing is left, then cleans up and makes "system" the real one again. Again: nothing.

        Raises:
            LeftoverError: something is left; it has been cleaned up nevertheless.

        Threads: any; blocks while things end.
        """
        if not self._open or _ffi.forked():
            return
        left: list[str] = []
        try:
            left = self._leftovers()
        finally:
            if not self._restore():
                left.append("native threads that did not end")
        if left and not self._unchecked:
            raise LeftoverError("The test ended, but this of RAS is left:\n" + "\n".join(f"  - {item}" for item in left))

    def _opened(self) -> list[Client]:
        """The clients of the machine that this test has opened and not closed, its own `client` included."""
        with _steered._clients_lock:
            return [client for client in _steered._clients if client.api == "sim" and client not in self._before]

    def _leftovers(self) -> list[str]:
        machine = self.machine
        machine.release()
        for function in ("RasEnumConnectionsW", "RasGetConnectStatusW", "RasHangUpW"):
            machine.fault(function, 0)  # what a test broke shall not blind the check
        machine.knob("list_grows", 0)
        if any(machine.counters) or len(self._opened()) > 1:
            gc.collect()  # a Dial in a cycle is cancelled, a Client or Watch in one closes, when that is collected
        opened = self._opened()
        hubs = [hub for client in opened for hub in (client._hub, *client._further_hubs())]

        def undecided() -> list[Dial]:
            return [one for hub in hubs for one in list(hub._dials.values()) if isinstance(one, Dial) and not one.done()]

        def handling() -> list[Dial]:
            return [dial for hub in hubs for dial in list(hub._pinned) if dial.done()]

        left = []
        rest(lambda: not undecided(), bound_s=_GRACE_S)
        flying = undecided()
        for dial in flying:
            events = dial.events
            state = f"last state {events[-1].state.name}" if events else "no event yet"
            left.append(
                f"a native thread: the dial of {dial.entry!r} is in flight ({state}). Wait for its result(), or cancel it."
            )
        if not rest(lambda: not handling(), bound_s=_HANDLERS_S):
            for dial in handling():
                left.append(f"a pending event: the handler of the dial of {dial.entry!r} has not come to its last one.")
        for watch in list(_watches.values()):
            if not watch.closed and watch._client in opened:
                left.append(f"a pending notification: {watch!r} is open. Close it, or use it in a `with` statement.")
        left += self._standing({dial._handle for dial in flying})
        for client in opened:
            if client is not self.client and client is not _steered._default:  # that one nobody else can close
                left.append(f"a client: {client!r} of {client.phonebook} is open. Close it, or use it in a `with` statement.")
        return left

    def _standing(self, flying: set[int]) -> list[str]:
        """Connections that are up and were not declared."""
        up = [one for one in self._any_client().connections() if one.handle not in flying]
        undeclared = [one for one in up if not {one.entry, one.handle} & self._may_stay]
        left = [
            f"a handle: the connection to {one.entry!r} ({one.handle:#x}) is up. Hang it up, or declare it: "
            f"ras_sim.may_stay_up(connection), or @pytest.mark.ras_sim(leaves={one.entry!r})."
            for one in undeclared
        ]
        references = self.machine.counters.references - len(flying)
        if undeclared and references > len(up):
            left.append(
                f"a reference: {references} are held to {len(up)} connection{'s' if len(up) > 1 else ''}. "
                "Each dial of a connection that is up takes one more, and each wants a hang_up() of its own."
            )
        return left

    def _any_client(self) -> Client:
        if self.client.closed:
            self.client = Client("sim", phonebook=self.phonebook)
        return self.client

    def _restore(self) -> bool:
        """A machine and a "system" as before, whatever happened. False when native threads are left."""
        global _user
        self._open = False
        try:
            self._steer_back()
            machine = Machine()
            machine.release()
            if opened := self._opened():
                for connection in opened[0].connections():
                    try:
                        connection.hang_up(timeout=0, all=True)
                    except RasError:  # what RAS refuses, the reset drops
                        pass
            for client in opened:
                client.close(timeout=1.0)  # the rest is waited for below
            return rest(lambda: _ffi.counters().threads <= self._threads_before and not machine.counters.threads, machine)
        finally:
            try:
                Machine().journal(None)
                Machine().reset(force=True)
            finally:
                _user = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except LeftoverError as problem:
            if exc is None:
                raise
            if hasattr(exc, "add_note"):  # the failure of the test matters more
                exc.add_note(str(problem))

    def __repr__(self) -> str:
        return f"<ras_ext.testing.RasSim{'' if self._open else ', closed'}>"


def _names(entries: Iterable[str] | None) -> Iterable[str]:
    if isinstance(entries, str):
        raise TypeError(f"entries must be a list of names, not the str {entries!r}")
    return entries or ()
