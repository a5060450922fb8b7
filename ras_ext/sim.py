"""Control of the simulated RAS machine that answers `ras_ext.open("sim")`.

SPDX-License-Identifier: MIT

There is one machine per process, as a Windows machine has one RAS: every client of "sim" sees it, and so does every
Machine. It dials the entries of real phone-book files; what a dial does is a script. Behaviours that a program should
survive are knobs, each with the section of docs/ras-semantics.md that it comes from.

    with ras_ext.open("sim", phonebook="office.pbk") as client:
        machine = ras_ext.sim.control(client)
        machine.script("Office VPN", "auth_fail")
        client.dial("Office VPN").result()             # raises AuthenticationError

A scenario file says the same in JSON:

    {"clock": "virtual", "seed": 7, "journal": "calls.txt",
     "knobs": {"hangup_delay_ms": 300},
     "faults": [{"function": "RasEnumConnectionsW", "code": 711}],
     "accounts": [{"entry": "Office VPN", "username": "ada", "password": "lovelace"}],
     "entries": {"Office VPN": {"script": [{"state": "OpenPort"}, {"delay_ms": 20, "state": "Connected"}],
                                "knobs": {"early": 1}}}}
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

from . import _ffi
from ._ffi import ffi, lib
from .client import Client
from .connection import Connection
from .errors import NotAvailableError, RasError, error_for
from .events import State

UNLIMITED = 0xFFFFFFFF
"""For `Machine.ports`: as many as are dialled."""

_UINT32_MAX = 0xFFFFFFFF
_SCENARIO = ("seed", "clock", "journal", "knobs", "faults", "accounts", "ports", "devices", "entries")


class Step(TypedDict, total=False):
    """One line of a script. All keys may be left out but `state`, which a `drop` does not need."""

    delay_ms: int
    """Before it, on the machine's clock."""
    state: int | str
    """A State, its name, or any number."""
    error: int
    """Not 0: the state is announced as failed; with `drop`, the reason."""
    extended_error: int
    subentry: int
    """Link of a multilink connection, from 1."""
    silent: bool
    """The state is entered, but no handler is called."""
    drop: bool
    """No state: the link breaks."""


class Knob(NamedTuple):
    """A nasty behaviour that can be switched on."""

    name: str
    initial: int
    about: str
    """S-numbers and meaning."""


class SimCounters(NamedTuple):
    """What the machine holds now, for all callers."""

    handles: int
    """HRASCONN values that a caller still owes a RasHangUp for, or that are closing."""
    references: int
    """References to connections."""
    threads: int
    """Link workers and closers that have not ended."""
    ports: int
    """Ports in use."""


def control(client: Client | None = None) -> Machine:
    """The control of the simulated machine behind a client, or of this process's.

    Args:
        client: A client of "sim"; None: the machine of this process.

    Returns:
        A Machine.

    Raises:
        NotAvailableError: the client is not one of a simulated machine.
        TypeError: no client.
        ForkedError (a RuntimeError): in a forked child.

    Threads: any; does not block.
    """
    _ffi.check_fork()
    if client is not None:
        if not isinstance(client, Client):
            raise TypeError(f"control() takes a Client, not {type(client).__name__}")
        if client.api != "sim":  # the system's rasapi32.dll may be ours too, in tests under Wine
            find: Any = lib.rasx_sim_of
            found: Any = client._handle().call(find)
            if isinstance(found, int) or not found:
                raise NotAvailableError(
                    _ffi.E_NOT_AVAILABLE, f"{client.api!r} is no simulated machine; only that of 'sim' is controlled."
                )
            return Machine(found)
    return Machine()


# --- Checks -------------------------------------------------------------------------------------------------------------------


def _encoded(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} contains a NUL character")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what} contains an unpaired surrogate") from None


def _optional(value: object, what: str) -> Any:
    return ffi.NULL if value is None else ffi.new("char[]", _encoded(value, what))


def _integer(value: object, what: str, least: int = 0, most: int = _UINT32_MAX) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{what} must be between {least} and {most}, but is {value}")
    return int(value)


def _keys(given: object, known: Iterable[str], where: str) -> Mapping[str, Any]:
    """Checks that this is an object with known keys only."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be an object, not {type(given).__name__}")
    names = sorted(known)
    for key in given:
        if key not in names:
            raise ValueError(f"{where} has the unknown key {key!r}; there are {', '.join(names)}")
    return given


def _state(value: object, where: str) -> int:
    if isinstance(value, str):
        state = State.__members__.get(value)
        if state is None:
            raise ValueError(f"{where}: there is no state {value!r}; there are {', '.join(State.__members__)}, or any number")
        return int(state)
    return _integer(value, f"{where}: state")


def _steps(steps: Sequence[Step], where: str) -> Any:
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence):
        raise ValueError(f"{where} must be the name of a script or a list of steps, not {type(steps).__name__}")
    if not steps:
        raise ValueError(f"{where} has no steps")
    array = ffi.new("rasx_sim_step[]", len(steps))
    for index, given in enumerate(steps):
        here = f"{where}[{index}]"
        step = _keys(given, Step.__annotations__, here)
        drop = bool(step.get("drop", False))
        if "state" not in step and not drop:
            raise ValueError(f'{here} has neither "state" nor "drop"')
        item = array[index]
        item.state = _state(step.get("state", State.Disconnected), here)
        for name in ("delay_ms", "error", "extended_error", "subentry"):
            setattr(item, name, _integer(step.get(name, 0), f"{here}: {name}"))
        item.flags = (lib.RASX_SIM_SILENT if step.get("silent", False) else 0) | (lib.RASX_SIM_DROP if drop else 0)
    return array


# --- The machine --------------------------------------------------------------------------------------------------------------


class Machine:
    """The simulated machine of this process. All Machines are the same one, but for that of a simulated rasapi32.dll.

    Threads: any; nothing blocks but reset, advance and settle, which release the GIL.
    """

    __slots__ = ("_api",)

    def __init__(self, api: Any = None) -> None:
        self._api = lib.rasx_sim_get_api() if api is None else api

    @property
    def _table(self) -> Any:
        """The control table. Not in a forked child, where a lock of the machine may have been copied while it was held."""
        _ffi.check_fork()
        return self._api

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Machine) and bool(self._api == other._api)

    def __hash__(self) -> int:
        return hash(self._api)

    def __repr__(self) -> str:
        if _ffi.forked():
            return "<ras_ext.sim.Machine of the parent process>"
        held = ", ".join(f"{value} {name}" for name, value in self.counters._asdict().items() if value)
        return f"<ras_ext.sim.Machine{', ' + held if held else ''}>"

    def _check(self, code: int, entry: str | None = None) -> None:
        if code == _ffi.E_STILL_OPEN:
            held = ", ".join(f"{value} {name}" for name, value in self.counters._asdict().items())
            raise error_for(code, f"The machine is in use ({held}): hang up, or use reset(force=True).")
        if code != 0:
            raise error_for(code, _ffi.error_text(None, code), entry=entry)

    # --- As a whole ---

    def reset(self, force: bool = False) -> None:
        """Back to a machine without scripts, knobs, faults, accounts and counts, on the real clock.

        Args:
            force: Drop the links that stand, and wait for the machine's threads.

        Raises:
            RasError: RASX_E_STILL_OPEN when handles are open and `force` is False.

        Threads: any; with `force` it blocks, bounded, with the GIL released.

        Source: docs/design.md, section 2.
        """
        _ffi.check_fork()
        self._check(self._table.reset(bool(force)))

    def seed(self, value: int) -> None:
        """Seeds the machine's chance: what the knobs repeat_percent, skip_percent and the like draw from.

        Args:
            value: 64 bits.

        Raises:
            TypeError, ValueError: no such number.

        Threads: any; does not block.
        """
        self._table.seed(_integer(value, "seed", 0, 0xFFFFFFFFFFFFFFFF))

    @property
    def counters(self) -> SimCounters:
        """What the machine holds now, for all callers.

        Returns:
            SimCounters.

        Threads: any; does not block.
        """
        out = ffi.new("rasx_sim_counters *")
        self._table.counters(out)
        return SimCounters(out.handles, out.references, out.threads, out.ports)

    def calls(self, function: str) -> int:
        """How often an API function has been called since the last reset.

        Args:
            function: "RasHangUpW" and so on; one that is unknown has not been called.

        Returns:
            The number, calls that a fault ended included.

        Threads: any; does not block.
        """
        return int(self._table.calls(_encoded(function, "function")))

    def journal(self, path: str | os.PathLike[str] | None) -> None:
        """Appends one line per API call to a file, which never shows a password.

        Args:
            path: The file; None ends the journal.

        Raises:
            RasError: 2, 3 or 5 when the file cannot be written.

        Threads: any; writes to the file.
        """
        name = None if path is None else os.fspath(path)
        self._check(self._table.journal(_optional(name, "path")))

    # --- What dials do ---

    @property
    def scripts(self) -> tuple[str, ...]:
        """The names of the default scripts.

        Returns:
            Names that `script` takes.

        Threads: any; does not block.

        Source: S10.2.
        """
        names: list[str] = []
        while (name := self._table.script_name(len(names))) != ffi.NULL:
            names.append(ffi.string(name).decode())
        return tuple(names)

    def script(self, entry: str | None, script: str | Sequence[Step]) -> None:
        """Says what a dial of an entry does.

        Args:
            entry: The entry; None: every entry without a script of its own.
            script: The name of a default script, or a list of steps.

        Raises:
            ValueError: no such script, or a step that is wrong; the message names it.

        Threads: any; does not block.

        Source: S10.2.
        """
        name = _optional(entry, "entry")
        if isinstance(script, str):
            if script not in self.scripts:
                raise ValueError(f"there is no script {script!r}; there are {', '.join(self.scripts)}")
            self._check(self._table.script(name, _encoded(script, "script")))
            return
        steps = _steps(script, "script")
        self._check(self._table.script_steps(name, steps, len(script)))

    def account(self, entry: str, username: str, password: str) -> None:
        """Says which one user name and password an entry accepts; others fail with 691.

        Args:
            entry: The entry.
            username: The user.
            password: The password, of which the machine keeps a salted hash.

        Threads: any; does not block.

        Source: S1.4, S6.
        """
        name = _encoded(username, "username")
        self._check(self._table.account(_encoded(entry, "entry"), name, _encoded(password, "password")))

    def save_credentials(self, entry: str, username: str, password: str | None = None, domain: str | None = None) -> None:
        """Saves the credentials of an entry, which a dial without a user name uses.

        Args:
            entry: The entry.
            username: The user.
            password: The password; None: none is saved.
            domain: The domain; None: none is saved.

        Threads: any; does not block.

        Source: S4.7.
        """
        secret, realm = _optional(password, "password"), _optional(domain, "domain")
        self._check(self._table.save_credentials(_encoded(entry, "entry"), _encoded(username, "username"), secret, realm))

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The behaviours that can be switched on.

        Returns:
            Knobs, each with its meaning and its S-numbers.

        Threads: any; does not block.
        """
        found: list[Knob] = []
        about, initial = ffi.new("const char **"), ffi.new("int64_t *")
        while (name := self._table.knob_name(len(found), about, initial)) != ffi.NULL:
            found.append(Knob(ffi.string(name).decode(), int(initial[0]), ffi.string(about[0]).decode()))
        return tuple(found)

    def knob(self, name: str, value: int, entry: str | None = None) -> None:
        """Switches a behaviour, for one entry or for the machine.

        Args:
            name: One of `knobs`.
            value: What its text says; -1 for an entry: as the machine.
            entry: None: the machine.

        Raises:
            ValueError: no such knob.

        Threads: any; does not block.

        Source: `knobs` names it for each.
        """
        number = _integer(value, f"the value of the knob {name}", -(1 << 63), (1 << 63) - 1)
        code = self._table.knob(_optional(entry, "entry"), _encoded(name, "name"), number)
        if code == 87:
            raise ValueError(f"there is no knob {name!r}; there are {', '.join(knob.name for knob in self.knobs)}")
        self._check(code, entry)

    def fault(self, function: str, code: int, after: int = 0, times: int = 0) -> None:
        """Lets calls of an API function fail without doing anything.

        Args:
            function: "RasHangUpW" and so on.
            code: What it returns; 0 takes the fault away.
            after: How many calls still work before that.
            times: How many calls fail; 0: all.

        Raises:
            ValueError: no such function.

        Threads: any; does not block.
        """
        numbers = (_integer(code, "code"), _integer(after, "after"), _integer(times, "times"))
        result = self._table.fault(_encoded(function, "function"), *numbers)
        if result == 87:
            raise ValueError(f"there is no API function {function!r} here")
        self._check(result)

    def ports(self, device_type: str, count: int) -> None:
        """Says how many ports the devices of a type have; a dial that finds none free gets 633.

        Args:
            device_type: "vpn", "modem", "PPPoE" and so on.
            count: How many; UNLIMITED, which it is at first: as many as are dialled.

        Threads: any; does not block.

        Source: S1.12, S10.2.
        """
        self._check(self._table.ports(_encoded(device_type, "device_type"), _integer(count, "count")))

    def add_device(self, device_type: str, device_name: str) -> None:
        """Adds a device to those that RasEnumDevices lists.

        Args:
            device_type: "vpn", "modem", "PPPoE" and so on.
            device_name: Its name.

        Threads: any; does not block.

        Source: S4.4.
        """
        self._check(self._table.add_device(_encoded(device_type, "device_type"), _encoded(device_name, "device_name")))

    def drop(self, connection: Connection | int, reason: int = 829) -> None:
        """The other side ends the link.

        Args:
            connection: A Connection or its handle.
            reason: The code that the status shows.

        Raises:
            RasError: 6 for a handle that is none.

        Threads: any; does not block.

        Source: S2.5.
        """
        handle = connection.handle if isinstance(connection, Connection) else connection
        number = _integer(handle, "connection", 0, 0xFFFFFFFFFFFFFFFF)
        self._check(self._table.drop(number, _integer(reason, "reason")))

    def release(self) -> None:
        """Lets the calls go on that the knobs block_dial, block_status and block_hangup hold.

        Threads: any; does not block.
        """
        self._table.release()

    # --- The clock ---

    def clock(self, kind: Literal["real", "virtual"]) -> None:
        """Switches the machine's clock, which is also that of its clients.

        A virtual clock moves while a caller waits (`Dial.result`, iteration, hang-up ...), and in `advance` and `settle`.

        Args:
            kind: "real" or "virtual".

        Raises:
            RasError: RASX_E_STILL_OPEN while dials are in flight.
            ValueError: neither "real" nor "virtual".

        Threads: any; does not block.

        Source: docs/design.md "One clock per client".
        """
        if kind not in ("real", "virtual"):
            raise ValueError(f'the clock is "real" or "virtual", not {kind!r}')
        self._check(self._table.clock(kind == "virtual"))

    @property
    def now(self) -> float:
        """Seconds on the machine's clock, from a start that means nothing.

        Threads: any; does not block.
        """
        return int(self._table.now_ns()) / 1e9

    def advance(self, seconds: float) -> None:
        """Virtual clock: lets this much time pass, firing what is due in the order time, dial, subentry.

        Args:
            seconds: How much.

        Raises:
            RasError: 50 with the real clock; 1460 when the machine's threads did not come to rest in 10 real seconds.
            ValueError: negative, or not finite.

        Threads: any; blocks until all is at rest, with the GIL released.

        Source: docs/design.md "One clock per client".
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"seconds must be a number, not {type(seconds).__name__}")
        if not 0 <= seconds <= 1e9:
            raise ValueError(f"seconds must be between 0 and 1e9, but is {seconds}")
        self._check(self._table.advance(round(seconds * 1e9)))

    def settle(self) -> None:
        """Virtual clock: waits until every thread is at rest and nothing is due now.

        Raises:
            RasError: as `advance`.

        Threads: any; blocks, with the GIL released.
        """
        self._check(self._table.settle())

    # --- Scenarios ---

    def load(self, scenario: str | os.PathLike[str] | Mapping[str, Any]) -> None:
        """Sets the machine up from a scenario, on top of what it has been told before.

        Args:
            scenario: The path of a JSON file, or what stands in one; the module's docstring shows one.

        Raises:
            ValueError: not JSON, or a key or value that is wrong; the message names it. Nothing that stands behind it in
                the scenario has been set then.
            OSError: the file cannot be read.

        Threads: any; reads the file.
        """
        where = "scenario"
        if isinstance(scenario, Mapping):
            content: object = scenario
        else:
            import json
            import pathlib

            where = os.fspath(scenario)
            with pathlib.Path(where).open(encoding="utf-8") as file:
                try:
                    content = json.load(file)
                except ValueError as problem:
                    raise ValueError(f"{where} is not JSON: {problem}") from None
        try:
            self._load(_keys(content, _SCENARIO, "the scenario"))
        except RasError:
            raise
        except (TypeError, ValueError) as problem:
            raise ValueError(f"{where}: {problem}") from None

    def _load(self, scenario: Mapping[str, Any]) -> None:
        if "clock" in scenario:
            self.clock(scenario["clock"])
        if "seed" in scenario:
            self.seed(scenario["seed"])
        if "journal" in scenario:
            self.journal(_path(scenario["journal"]))
        self._load_knobs(scenario.get("knobs", {}), None, '"knobs"')
        for index, fault in enumerate(_list(scenario.get("faults", []), '"faults"')):
            here = f'"faults"[{index}]'
            self.fault(**_record(fault, ("function", "code"), ("after", "times"), here))
        for index, account in enumerate(_list(scenario.get("accounts", []), '"accounts"')):
            self.account(**_record(account, ("entry", "username", "password"), (), f'"accounts"[{index}]'))
        for device_type, count in _mapping(scenario.get("ports", {}), '"ports"').items():
            self.ports(device_type, count)
        for index, device in enumerate(_list(scenario.get("devices", []), '"devices"')):
            fields = _record(device, ("type", "name"), (), f'"devices"[{index}]')
            self.add_device(fields["type"], fields["name"])
        for entry, settings in _mapping(scenario.get("entries", {}), '"entries"').items():
            here = f'"entries"[{entry!r}]'
            fields = _record(settings, (), ("script", "knobs"), here)
            if "script" in fields:
                script = fields["script"]
                if isinstance(script, str):
                    self.script(entry, script)
                else:
                    steps = _steps(script, f'{here}["script"]')
                    self._check(self._table.script_steps(_optional(entry, "entry"), steps, len(script)), entry)
            self._load_knobs(fields.get("knobs", {}), entry, f'{here}["knobs"]')

    def _load_knobs(self, knobs: object, entry: str | None, where: str) -> None:
        for name, value in _mapping(knobs, where).items():
            self.knob(name, value, entry)


def _path(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f'"journal" must be a path, not {type(given).__name__}')
    return given


def _mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be an object, not {type(given).__name__}")
    return given


def _list(given: object, where: str) -> Sequence[Any]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise ValueError(f"{where} must be a list, not {type(given).__name__}")
    return given


def _record(given: object, required: Sequence[str], optional: Sequence[str], where: str) -> dict[str, Any]:
    """Checks an object's keys: all that are required, none that is unknown."""
    fields = _keys(given, (*required, *optional), where)
    for name in required:
        if name not in fields:
            raise ValueError(f"{where} lacks the key {name!r}")
    return dict(fields)
