# SPDX-License-Identifier: MIT
"""What a dial reports: states, events, and how a hang-up ended.

Nothing here calls RAS, so this module may be imported anywhere; it imports only what `enum` has loaded already. Whoever
needs many events quickly (the drain loop) makes them with `tuple.__new__(Event, (...))` in the order of `Event.FIELDS`,
with states from `state_of`; everybody else calls `Event(...)`.

Source: S1.4 (notifications), S2 (states), S3 (hang-up).
"""

from enum import IntEnum
from operator import itemgetter

TYPE_CHECKING = False  # spares `import typing` when the program runs; type checkers know this name
if TYPE_CHECKING:
    from typing import ClassVar, Literal

    from typing_extensions import Self

    Want = Literal["credentials", "new_password", "callback_number", "terminal", "eap_ui", "unknown"]

__all__ = ["Event", "HangUp", "Notifier", "Origin", "Outcome", "State", "Substate", "state_of"]

_PAUSED = 0x1000
_DONE = 0x2000
_MOST_UNKNOWN = 256  # pseudo-members kept per enum; RAS has 38 states, so this is only a guard against garbage


class _Open(IntEnum):
    """An IntEnum that also takes numbers nobody has named yet (S8.24): `State(8194).name` is "Unknown8194"."""

    @classmethod
    def _missing_(cls, value: object) -> "Self | None":
        if type(value) is not int or not 0 <= value <= 0xFFFFFFFF:
            return None
        members = _MEMBERS[cls]
        member = members.get(value)
        if member is None:
            member = int.__new__(cls, value)
            member._name_ = f"Unknown{value}"
            member._value_ = value
            # Kept, so that equal numbers give the same object. Beyond the bound they are equal, no longer identical.
            if len(members) - len(cls.__members__) < _MOST_UNKNOWN:
                member = members.setdefault(value, member)
        return member  # type: ignore[return-value] # the dict of this class holds members of this class

    @property
    def is_known(self) -> bool:
        """Whether the number has a name."""
        return self._name_ in type(self).__members__

    # By value: pseudo-members have no attribute of their name, and Python 3.11 pickles by attribute.
    def __reduce_ex__(self, protocol: object, /) -> "tuple[type[Self], tuple[int]]":
        return type(self), (int(self),)

    def __copy__(self) -> "Self":
        return self

    def __deepcopy__(self, memo: object) -> "Self":
        return self

    # The same in every Python: 3.11 changed what an IntEnum prints.
    def __str__(self) -> str:
        return self._name_

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec[-1:] in tuple("bcdoxXn") else format(self._name_, spec)


_MEMBERS: "dict[type[_Open], dict[int, _Open]]" = {}  # by class; filled below, extended by _missing_


class State(_Open):
    """A connection state, with the vendor's names (RASCS_ left off) and values.

    Unknown numbers are accepted and become `UnknownN`; a member equals its number. Never rely on an order of states, or
    that a particular one occurs (S2.3).

    Source: S2.1, S2.2.
    """

    OpenPort = 0
    PortOpened = 1
    ConnectDevice = 2
    DeviceConnected = 3
    AllDevicesConnected = 4
    Authenticate = 5
    AuthNotify = 6
    AuthRetry = 7
    AuthCallback = 8
    AuthChangePassword = 9
    AuthProject = 10
    AuthLinkSpeed = 11
    AuthAck = 12
    ReAuthenticate = 13
    Authenticated = 14
    PrepareForCallback = 15
    WaitForModemReset = 16
    WaitForCallback = 17
    Projected = 18
    StartAuthentication = 19
    CallbackComplete = 20
    LogonNetwork = 21
    SubEntryConnected = 22
    SubEntryDisconnected = 23
    ApplySettings = 24
    Interactive = 4096
    RetryAuthentication = 4097
    CallbackSetByCaller = 4098
    PasswordExpired = 4099
    InvokeEapUI = 4100
    Connected = 8192
    Disconnected = 8193

    @property
    def is_terminal(self) -> bool:
        """Whether no state follows: connected, disconnected, or an unknown one with the same bit (S2.1)."""
        return self & _DONE != 0

    @property
    def is_paused(self) -> bool:
        """Whether RAS waits for the client to resume the dial (S1.7)."""
        return self & _PAUSED != 0


class Substate(_Open):
    """What an established IKEv2 connection is doing (RASCSS_; S2.2). `None_` has its underscore because None is taken."""

    None_ = 0
    Dormant = 1
    Reconnecting = 2
    Reconnected = 8192


class _Named(IntEnum):
    """An IntEnum of ours whose members have a lower-case label, and print as it."""

    @property
    def label(self) -> str:
        """The name in lower case, as messages and the command line show it."""
        return self._name_.lower()

    def __str__(self) -> str:
        return self._name_.lower()

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec[-1:] in tuple("bcdoxXn") else format(self._name_.lower(), spec)


class Origin(_Named):
    """Where an event comes from (enum rasx_origin)."""

    Notifier = 0
    """RAS announced it."""
    Return = 1
    """RasDial returned it."""
    Poll = 2
    """RasGetConnectStatus said it, although no notification did."""
    Timeout = 3
    """The dial's own time-out ran out."""
    Cancel = 4
    """The dial was cancelled, or its client closed."""
    Core = 5
    """The native side itself: no thread, no memory."""


class Outcome(_Named):
    """What an event means for the dial as a whole (enum rasx_outcome)."""

    NONE = 0
    """Progress, or something that came after the decision."""
    CONNECTED = 1
    """Decided: the connection stands."""
    FAILED = 2
    """Decided: `Event.error` tells why, `Event.origin` who said so."""
    SETTLED = 3
    """The dial's last record, which users do not see as an event."""


class HangUp(_Named):
    """How a hang-up ended (enum rasx_hangup; S3, S1.8)."""

    NONE = 0
    """There was nothing to hang up."""
    GONE = 1
    """The link is down."""
    SHARED = 2
    """One reference fewer; others keep the connection up."""
    CLOSING = 3
    """Still closing when the time was over."""


class Notifier(_Named):
    """How RAS reaches the library, with the numbers of enum rasx_notifier (S1.4). `Notifier("func2")` works too."""

    FUNC = 0
    """RasDialFunc: no handle, no extended error, no subentry."""
    FUNC1 = 1
    """RasDialFunc1: no subentry."""
    FUNC2 = 2
    """RasDialFunc2: the default."""
    WINDOW = 3
    """Messages to a window; Windows only."""

    @classmethod
    def _missing_(cls, value: object) -> "Notifier | None":
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None

    @classmethod
    def parse(cls, value: "Notifier | str | int") -> "Notifier":
        """The member for a member, a number, or "func", "func1", "func2", "window" in any case.

        Raises:
            ValueError: anything else; the message lists what there is.
        """
        try:
            return cls(value)  # type: ignore[arg-type] # _missing_ takes the texts
        except ValueError:
            names = ", ".join(repr(member.label) for member in cls)
            raise ValueError(f"{value!r} is no notifier; there are {names}") from None


_STATES: "dict[int, State]" = {int(state): state for state in State}
_MEMBERS[State] = _STATES  # type: ignore[assignment] # only members of State are ever put in
_MEMBERS[Substate] = {int(substate): substate for substate in Substate}


def state_of(value: int) -> State:
    """The State for a number, several times faster than `State(number)`.

    Args:
        value: Any unsigned 32-bit number.
    """
    try:
        return _STATES[value]
    except KeyError:
        return State(value)


_WANTS: "dict[int, Want]" = {
    State.Interactive: "terminal",
    State.RetryAuthentication: "credentials",
    State.CallbackSetByCaller: "callback_number",
    State.PasswordExpired: "new_password",
    State.InvokeEapUI: "eap_ui",
}


class Event(tuple):  # type: ignore[type-arg] # each field has a type of its own, below
    """One notification of a dial: small, immutable, comparable, picklable.

    Source: S1.4 for what a notification carries.
    """

    __slots__ = ()

    FIELDS: "ClassVar[tuple[str, ...]]" = (
        "state", "error", "extended_error", "subentry", "handle", "sequence", "origin", "time", "elapsed", "outcome"
    )  # fmt: skip
    """The order of the fields in the tuple; new ones go to the end."""

    def __new__(
        cls,
        state: int,
        error: int = 0,
        extended_error: int = 0,
        subentry: int = 0,
        handle: int = 0,
        sequence: int = 0,
        origin: int = 0,
        time: float = 0.0,
        elapsed: float = 0.0,
        outcome: int = 0,
    ) -> "Self":
        return tuple.__new__(
            cls,
            (
                state_of(state),
                error & 0xFFFFFFFF,
                extended_error & 0xFFFFFFFF,
                subentry,
                handle,
                sequence,
                Origin(origin),
                time,
                elapsed,
                Outcome(outcome),
            ),
        )

    if TYPE_CHECKING:

        @property
        def state(self) -> State: ...
        @property
        def error(self) -> int: ...
        @property
        def extended_error(self) -> int: ...
        @property
        def subentry(self) -> int: ...
        @property
        def handle(self) -> int: ...
        @property
        def sequence(self) -> int: ...
        @property
        def origin(self) -> Origin: ...
        @property
        def time(self) -> float: ...
        @property
        def elapsed(self) -> float: ...
        @property
        def outcome(self) -> Outcome: ...
    else:
        state = property(itemgetter(0), doc="The State that is entered, or in which it failed.")
        error = property(itemgetter(1), doc="0, or why it failed: an unsigned 32-bit code, which need not be one of RAS.")
        extended_error = property(itemgetter(2), doc="More about the errors 639, 640, 645 and 650; else 0.")
        subentry = property(itemgetter(3), doc="The link of a multilink connection, counted from 1; 0 when not told.")
        handle = property(itemgetter(4), doc="The HRASCONN as an int; 0 when not known.")
        sequence = property(itemgetter(5), doc="0, 1, 2 ... in this dial; a gap means that the ring was full.")
        origin = property(itemgetter(6), doc="Who said so: an Origin.")
        time = property(itemgetter(7), doc="Seconds on the client's clock, normally that of time.perf_counter.")
        elapsed = property(itemgetter(8), doc="Seconds since dial() was called.")
        outcome = property(itemgetter(9), doc="What it means for the whole dial: an Outcome.")

    @property
    def wants(self) -> "Want | None":
        """What a paused dial waits for (S1.7): "credentials", "new_password", "callback_number", "terminal" or "eap_ui";
        "unknown" for a pause that nobody has named yet; None when this is no pause."""
        state, outcome = self[0], self[9]
        if not state & _PAUSED or state & _DONE or outcome:
            return None
        return _WANTS.get(state, "unknown")

    @property
    def is_outcome(self) -> bool:
        """Whether this event decided the dial."""
        return self.outcome in (1, 2)

    @property
    def failed(self) -> bool:
        """Whether this event decided that the dial failed. (One link of several may fail, `error` != 0, without that.)"""
        return self.outcome == 2

    def __getnewargs__(self) -> "tuple[object, ...]":
        return tuple(self)

    def __repr__(self) -> str:
        state, error, extended_error, subentry, _, sequence, origin, _, elapsed, outcome = self
        words = [f"<Event #{sequence} {state.name} at {elapsed:.6f} s"]
        if error:
            words.append(f"error {error}" if error < 0x80000000 else f"error 0x{error:08X}")
        if extended_error:
            words.append(f"extended error {extended_error}")
        if subentry:
            words.append(f"link {subentry}")
        if origin:
            words.append(f"from {origin.label}")
        if outcome:
            words.append(outcome.label)
        return ", ".join(words) + ">"
