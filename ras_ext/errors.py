# SPDX-License-Identifier: MIT
"""Errors: one root, `RasError`, with subclasses that also derive from the built-in exception that fits.

    try:
        connection = ras_ext.dial("Office VPN", username="ada", password=pw).result(60)
    except ras_ext.AuthenticationError as error:    # also a PermissionError
        print(error.code, error.hint)
    except ras_ext.RasError as error:
        if error.transient: ...                     # the same dial may work later

What stands in a RasError is the code, its name and text, where it happened, and a hint; never a user name or a password.

Source: S6 (codes), S1.4 (what a notification may carry).
"""

from operator import index, itemgetter

from ._codes import CODES

TYPE_CHECKING = False  # spares `import typing` when the program runs; type checkers know this name
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "RasError", "AccessError", "AuthenticationError", "ClosedError", "DialCancelledError", "DisconnectedError", "ForkedError",
    "IpsecError", "LineError", "NotAvailableError", "NotPausedError", "PhonebookError", "ProtocolError", "ServiceError",
    "TunnelError", "UsageError", "StillDialing", "Description", "code_of", "describe", "error_for", "name_of",
]  # fmt: skip

BUSY, CLOSED, FORKED, NOT_AVAILABLE, INVALID, UNKNOWN_DIAL, STILL_OPEN = range(0xE0520001, 0xE0520008)  # RASX_E_ of ras_ext.h
NOT_PAUSED = 0xE0520008
_CANCEL = (4, "cancel")  # Origin.Cancel and its label; `events` is not imported here

# What a person can do about it, for the codes that people meet.
HINTS: dict[int, str] = {
    5: "Run the program with the rights that this needs, and check who may read or write the phone book.",
    6: "The connection has ended, or was hung up elsewhere. Dial again; do not keep handles across a hang-up.",
    50: "Use another way on this system; what was asked for does not exist here.",
    87: "Check the arguments: an entry that exists, and texts within their limits.",
    602: "End the other program that dials over this port, or wait until a hang-up that is under way has ended.",
    608: "Open the entry's properties and choose a device that exists on this machine.",
    609: "Open the entry's properties and choose a device that exists on this machine.",
    619: "Dial again. If it stays so, a firewall or router on the way may block the tunnel's protocol.",
    621: "Check the path of the phone book, and that this user may read it.",
    622: "The phone book may be damaged: restore it from a copy, or create the entry again.",
    623: "Check the spelling of the entry's name, and in which phone book it stands; list what there is with entries().",
    624: "Check that this user may write the phone book; one for all users needs administrator rights.",
    625: "Open the phone book in an editor: a line or value in it is damaged.",
    628: "Dial again. If it happens often, look at the line or the network beneath the connection.",
    629: "Dial again. If it happens at once each time, ask the server's administrator: the server ends the connection.",
    631: "Somebody hung up. Dial again if that was not intended.",
    632: "This system does not know the size of the structure: an older or damaged RAS library, or a bug to be reported.",
    633: "Hang up what else uses the device, wait a few seconds after a hang-up, or add ports to the device.",
    638: "Try again later; the server or the line may be overloaded.",
    645: "Look at the extended error, and into the event log of the server.",
    646: "Connect at an hour at which the account may, or have its logon hours changed.",
    647: "Ask the administrator to enable the account.",
    648: "Set a new password for the account, then dial with it.",
    649: "Ask the administrator for the permission to dial in (a property of the account, or a network policy).",
    650: "Check that the server runs; try again later.",
    651: "Check the cable, the modem and the network adapter beneath; for PPPoE also the provider's line. Then dial again.",
    668: "The connection has ended. Dial again.",
    676: "Dial again in a while, or give the entry another number.",
    678: "Check the number or address, and that the server runs; then try again.",
    680: "Check that the line is plugged in and free.",
    691: "Check the user name, the password and the domain, and which ways of signing in the server accepts.",
    703: "Pass what would be asked for (user name, password, certificate), or make the entry not ask.",
    704: "Pass a telephone number for the call back, or switch it off in the entry.",
    708: "Ask the administrator to extend the account.",
    709: "Choose a password that the server's rules allow.",
    711: "Start the service \"Remote Access Connection Manager\" (RasMan) and those it depends on; then dial again.",
    718: "Try again. If it stays so, a firewall may hold back the tunnel, or the server ignores this kind of sign-in.",
    720: "Switch on IPv4 or IPv6 in the entry; reinstalling the WAN miniport repairs a damaged binding.",
    721: "For PPTP let the protocol GRE (number 47) through the firewall; otherwise check that the server speaks PPP.",
    734: "Allow a way of signing in and an encryption that the server also allows.",
    735: "Let the server choose the address, or ask for one out of its range.",
    738: "Have the server's address pool or its DHCP service checked.",
    753: "This connection belongs to the router (demand dial); disconnect it in the routing console.",
    755: "Dial with the entry's own program, or remove the custom dialler from the entry.",
    756: "Wait for the dial that is under way, or cancel it first.",
    766: "Install a machine certificate for the tunnel in the computer's own store, or use a pre-shared key.",
    778: "Check which server answers; its account or certificate does not prove what the entry demands.",
    780: "This entry needs no such call; go on without it.",
    786: "Install a machine certificate in the computer's own store, or use a pre-shared key.",
    787: "Check the pre-shared key, or that each side trusts the authority of the other's certificate.",
    788: "Have the IPsec settings (encryption, hash, group) of both sides compared.",
    789: "Check the pre-shared key, and whether a router on the way (NAT) keeps back UDP 500 and 4500.",
    792: "Let UDP 500 and 4500 through each firewall on the way; then try again.",
    797: "Check that the device is present and that no other program uses it; restart the device.",
    798: "Install a client certificate with its private key for this user, or choose another way of signing in.",
    800: "Check the server's address and the firewall; choose the tunnel type in the entry to see its own error.",
    801: "Install the root certificate of the server's authority, and dial the server by the name in its certificate.",
    806: "Let GRE (protocol 47) through each firewall on the way, or use SSTP or IKEv2.",
    807: "Dial again. If it stays so, the way is too slow, the server is full, or a firewall cuts the tunnel.",
    808: "Check that the server offers this tunnel type at this address, and admits this client.",
    809: "Check the server's address; let UDP 500 and 4500 (IKEv2, L2TP), TCP 443 (SSTP) or TCP 1723 (PPTP) through.",
    810: "Have the certificates of both sides checked: purpose, names and dates.",
    811: "Enter the same pre-shared key on both sides.",
    812: "Choose a way of signing in that the server's policy allows, or have the policy and the group of the account checked.",
    813: "Hang up the other broadband connection first.",
    814: "Enable the network adapter that the provider's line is plugged into.",
    815: "Check the cable to the provider's modem, and the service name in the entry.",
    828: "Dial again, or raise the idle time in the entry.",
    829: "Dial again once the network beneath works.",
    835: "Dial the server by the name that stands in its certificate.",
    850: "Install the sign-in method (EAP) that the entry names, or choose another in the entry.",
    853: "Install a valid client certificate.",
    854: "Renew the client certificate.",
    857: "Have the server's certificate checked.",
    858: "Have the server's certificate renewed, and check this computer's date.",
    864: "Install the root certificate of the authority that issued the server's certificate.",
    868: "Check the spelling of the server's name, and that name resolution (DNS) works here.",
    1231: "Check that this computer has a network.",
    1232: "Check the server's address, and that this computer has a network.",
    1722: "Start the service \"Remote Access Connection Manager\" (RasMan); then try again.",
    1753: "Start the service \"Remote Access Connection Manager\" (RasMan); then try again.",
    13801: "Check that the certificates are valid, made for IKE, trusted by the other side, and name the server that is dialled.",
    13805: "Let UDP 500 and 4500 through each firewall on the way; then try again.",
    13806: "Install a machine certificate with its private key in the computer's own store.",
    13813: "Check the server's address, and let UDP 500 and 4500 through each firewall on the way.",
    13868: "Have the IKE proposals (encryption, integrity, group) of both sides compared.",
    0x80070057: "Check the arguments; with IKEv2 also the certificates and the sign-in settings of the entry.",
    0x80420112: "Check the user name and the password, and that the account may use this sign-in method (EAP).",
    NOT_AVAILABLE: "RAS exists on Windows only; open(\"sim\") gives a simulated one anywhere.",
    FORKED: "Start child processes with the \"spawn\" method, or call exec in the child.",
}  # fmt: skip


def _unsigned(code: int) -> int:
    """Codes are unsigned 32-bit; HRESULTs arrive as negative numbers from some callers (S8.26)."""
    return index(code) & 0xFFFFFFFF


def _number(code: int) -> str:
    return f"0x{code:08X}" if code >= 0x80000000 else str(code)


def name_of(code: int) -> str:
    """The vendor's name of a code; "ERROR_12345" or "ERROR_0x80420199" for one that has none here."""
    code = _unsigned(code)
    known = CODES.get(code)
    return known[0] if known else f"ERROR_{_number(code)}"


def code_of(name: str) -> "int | None":
    """The code of a name, in any case, with or without "ERROR_"; None for an unknown one. Inverse of `name_of`."""
    wanted = name.strip().upper()
    names = (wanted, f"ERROR_{wanted}")
    for code, known in CODES.items():
        if known[0] in names:
            return code
    try:
        code = int(wanted.removeprefix("ERROR_"), 0)
    except ValueError:
        return None
    return code if 0 <= code <= 0xFFFFFFFF else None


class RasError(OSError):
    """Something that RAS, or the system beneath it, refused or lost.

    `errno` stays None, because RAS codes are not errno values (and 13801 or 5 would be misread as such); `strerror` is
    the text. `args` is (code, text).

    Args:
        code: RAS, Win32, IPsec or HRESULT code; negative numbers are taken as unsigned 32-bit ones.
        text: The system's text; None: our own short one, else "error N".
        state: The State in which it happened, if it was during a dial.
        extended_error: More about 639, 640, 645 and 650; else 0.
        origin: The Origin that reported it.
        entry: The phone-book entry.
        later: A different code that came after this one; the first one decides (S8.20).
        still_closing: True when the hang-up that followed had not ended within its bound: a redial may get 633 or 756.
    """

    def __init__(
        self,
        code: int,
        text: "str | None" = None,
        *,
        state: "int | None" = None,
        extended_error: int = 0,
        origin: "int | str | None" = None,
        entry: "str | None" = None,
        later: "int | None" = None,
        still_closing: bool = False,
    ) -> None:
        super().__init__()
        code = _unsigned(code)
        if not text:
            known = CODES.get(code)
            text = known[1] if known else f"error {_number(code)}"
        self.args = (code, text)
        self.strerror = text
        self.code = code
        self.text = text
        self.state = state
        self.extended_error = _unsigned(extended_error)
        self.origin = origin
        self.entry = entry
        self.later = None if later is None else _unsigned(later)
        self.still_closing = still_closing

    @property
    def name(self) -> str:
        """The vendor's name, "ERROR_AUTHENTICATION_FAILURE"; "ERROR_0x80420199" where there is none here."""
        return name_of(self.code)

    @property
    def hint(self) -> "str | None":
        """What one can do about it, for the codes that people meet; else None."""
        return HINTS.get(self.code)

    @property
    def transient(self) -> bool:
        """Whether the same call, later and unchanged, may succeed: a silent server, a busy line, a lost link."""
        known = CODES.get(self.code)
        return known is not None and known[3]

    def __str__(self) -> str:
        number = _number(self.code)
        text = " ".join(self.text.split())
        if self.code in CODES:
            line = f"{number} {self.name}: {text}"
        else:
            line = text if text == f"error {number}" else f"{number}: {text}"
        details = []
        if self.state is not None:
            details.append(f"state {getattr(self.state, 'name', self.state)}")
        if self.entry:
            details.append(f"entry {self.entry!r}")
        if self.extended_error:
            details.append(f"extended error {_number(self.extended_error)}")
        if self.later is not None:
            details.append(f"later {_number(self.later)} {name_of(self.later)}")
        if self.still_closing:
            details.append("still closing")
        if details:
            line += f" ({', '.join(details)})"
        hint = self.hint
        return f"{line} Hint: {hint}" if hint else line

    def __repr__(self) -> str:
        words = [_number(self.code), repr(self.text)]
        for name in ("state", "extended_error", "origin", "entry", "later", "still_closing"):
            value = getattr(self, name)
            if value not in (None, 0, False) or (name == "state" and value is not None):
                words.append(f"{name}={getattr(value, 'name', None) or repr(value)}")
        return f"{type(self).__name__}({', '.join(words)})"

    # All that is told about an error is in its attributes; OSError's own way would call the class with `args` alone.
    def __reduce__(self) -> "tuple[Any, ...]":
        return _rebuild, (type(self), self.args), self.__dict__

    def __setstate__(self, state: "dict[str, Any] | None", /) -> None:
        super().__setstate__(state)
        self.strerror = self.text


def _rebuild(kind: type[RasError], args: "tuple[Any, ...]") -> RasError:
    """For pickle and copy: the attributes follow through __setstate__."""
    error = kind.__new__(kind)
    error.args = args
    return error


class AuthenticationError(RasError, PermissionError):
    """The server or its policy did not let this user in: wrong credentials, account, certificate or sign-in method."""


class AccessError(RasError, PermissionError):
    """This process lacks a right on this machine (5, E_ACCESSDENIED)."""


class IpsecError(RasError, ConnectionError):
    """IPsec, IKE or encryption could not be agreed."""


class TunnelError(RasError, ConnectionError):
    """The VPN or broadband server could not be reached, or refused the tunnel."""


class LineError(RasError, ConnectionError):
    """The line, port, modem or device failed or is in use."""


class DisconnectedError(RasError, ConnectionError):
    """The link was lost or ended, or the handle belongs to no connection any more (6, 668)."""


class ProtocolError(RasError, ConnectionError):
    """PPP, a network protocol or an address could not be negotiated."""


class PhonebookError(RasError, LookupError):
    """The phone book or the entry is missing, damaged or not accessible (621 to 625)."""


class UsageError(RasError, ValueError):
    """The call itself was wrong: an argument, a size, a name."""


class ServiceError(RasError):
    """The service behind RAS does not run (711, 757, 1722, 1753 ...)."""


class _OneCode(RasError):
    """An error that has a usual code, so that it can be raised with a text alone: `ClosedError("the client is closed")`."""

    _usual: int

    def __init__(self, code: "int | str | None" = None, text: "str | None" = None, **details: "Any") -> None:
        if isinstance(code, str):
            code, text = None, code
        super().__init__(self._usual if code is None else code, text, **details)


class NotAvailableError(_OneCode, NotImplementedError):
    """This system lacks the feature: no RAS here, a missing export, or something that Windows has dropped."""

    _usual = NOT_AVAILABLE


class DialCancelledError(_OneCode):
    """The dial was cancelled by this program: cancel(), leaving `with`, or closing the client.

    No ConnectionError, so that code which redials on those does not redial what somebody wanted to end.
    """

    _usual = 631

    @property
    def hint(self) -> "str | None":
        return None

    @property
    def transient(self) -> bool:
        return False


class ClosedError(_OneCode, RuntimeError):
    """The client, queue or dial has been closed or released."""

    _usual = CLOSED


class NotPausedError(_OneCode, RuntimeError):
    """The dial was given an answer although it waits for none: it is not paused, or its pause has been answered already."""

    _usual = NOT_PAUSED


class ForkedError(_OneCode, RuntimeError):
    """The library was used in this process's parent; its threads do not exist here."""

    _usual = FORKED


class StillDialing(TimeoutError):
    """`result(timeout)` ran out while the dial goes on; it was not cancelled.

    Deliberately no RasError, and RasErrors are no TimeoutErrors: who retries on this waits again, and does not dial twice
    (which would give 756).

    Args:
        message: What was waited for.
        state: The last State that was announced, or None.
        entry: The phone-book entry.
    """

    def __init__(
        self, message: str = "the dial is still under way", *, state: "int | None" = None, entry: "str | None" = None
    ) -> None:
        if state is not None:
            message = f"{message} (state {getattr(state, 'name', state)})"
        super().__init__(message)
        self.state = state
        self.entry = entry


_BY_GROUP: dict[str, type[RasError]] = {
    "A": AuthenticationError,
    "B": AuthenticationError,
    "C": IpsecError,
    "D": TunnelError,
    "E": LineError,
    "F": DisconnectedError,
    "G": ProtocolError,
    "J": ServiceError,
    "K": LineError,
}

# Where the group is not enough. Group I (phone book and usage) and P (router) are mixed bags.
_BY_CODE: dict[int, type[RasError]] = {
    code: kind
    for kind, codes in (
        (AccessError, (5, 0x80070005)),
        (AuthenticationError, (874, 875, *range(917, 925), *range(940, 944))),
        (TunnelError, (53, 1231, 1232, 871, 872, 873)),
        (DisconnectedError, (6, 64, 668, 1236, 926, 929, 932, 936)),
        (PhonebookError, (621, 622, 623, 624, 625)),
        (UsageError, (87, 122, 123, 1784, 0x80070057, 603, 610, 632, 704, INVALID)),
        (ServiceError, (1058, 1062, 1722, 1723, 1726, 1753, 900, 903, 928, 956)),
        (NotAvailableError, (50, 126, 127, 816, NOT_AVAILABLE)),
        (ClosedError, (CLOSED, UNKNOWN_DIAL)),
        (NotPausedError, (NOT_PAUSED,)),
        (ForkedError, (FORKED,)),
    )
    for code in codes
}


def _kind_of(code: int) -> type[RasError]:
    kind = _BY_CODE.get(code)
    if kind is None:
        known = CODES.get(code)
        if known is not None:
            return _BY_GROUP.get(known[2], RasError)
        # Codes without a name here still belong to a family by their number: IPsec and IKE, and the facility of EAP.
        if 13800 <= code <= 13999:
            return IpsecError
        if code >> 16 in (0x8042, 0x4042):
            return AuthenticationError
        return RasError
    return kind


def error_for(
    code: int,
    text: "str | None" = None,
    *,
    state: "int | None" = None,
    extended_error: int = 0,
    origin: "int | str | None" = None,
    entry: "str | None" = None,
    later: "int | None" = None,
    still_closing: bool = False,
) -> RasError:
    """Makes the exception that fits a code, with the arguments of `RasError`.

    Returns:
        An instance of a subclass of RasError; of RasError itself when none fits. A dial that this program cancelled
        (631, with Origin.Cancel) gives a DialCancelledError.
    """
    code = _unsigned(code)
    kind = DialCancelledError if code == 631 and origin in _CANCEL else _kind_of(code)
    return kind(
        code,
        text,
        state=state,
        extended_error=extended_error,
        origin=origin,
        entry=entry,
        later=later,
        still_closing=still_closing,
    )


class Description(tuple):  # type: ignore[type-arg] # each field has a type of its own, below
    """What is known about a code without asking any system: (name, text, hint, transient)."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...
        @property
        def text(self) -> str: ...
        @property
        def hint(self) -> str | None: ...
        @property
        def transient(self) -> bool: ...
    else:
        name = property(itemgetter(0), doc="The vendor's name, or a made one (`name_of`).")
        text = property(itemgetter(1), doc='Our own short text, or "error N".')
        hint = property(itemgetter(2), doc="What one can do about it, or None.")
        transient = property(itemgetter(3), doc="Whether the same call may succeed later.")


def describe(code: int) -> Description:
    """What a code means, from our own table; any unsigned 32-bit number, negative ones as such.

    Returns:
        name, text, hint, transient.
    """
    error = RasError(code)
    return Description((error.name, error.text, error.hint, error.transient))
