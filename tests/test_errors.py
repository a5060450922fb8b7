# SPDX-License-Identifier: MIT
"""Errors: their classes, what they say, that they travel, and that they never mislead a caller into redialling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from ras_ext import errors
from ras_ext._codes import CODES
from ras_ext.events import Origin, State

HINTED = (
    *(5, 6, 602, 619, 623, 628, 629, 631, 633, 638, 651, 668, 676, 678, 680, 691, 703, 711, 718, 720, 721, 734, 738, 756),
    *(766, 780, 786, 787, 789, 797, 798, 800, 806, 807, 808, 809, 812, 813, 815, 828, 829, 850, 868),
    *(13801, 13805, 13813, 13868, 0x80420112, 0x80070057),
)


def full() -> errors.RasError:
    return errors.error_for(
        691,
        "Access denied\r\nbecause of the user name.",
        state=State.AuthNotify,
        extended_error=7,
        origin=Origin.Notifier,
        entry="Office VPN",
        later=829,
        still_closing=True,
    )


def attributes(error: errors.RasError) -> dict[str, object]:
    names = ("code", "name", "text", "hint", "transient", "state", "extended_error", "origin", "entry", "later", "still_closing")
    return {name: getattr(error, name) for name in names} | {"args": error.args, "strerror": error.strerror, "str": str(error)}


@pytest.mark.parametrize(
    ("code", "kind", "builtin"),
    [
        (691, errors.AuthenticationError, PermissionError),
        (645, errors.AuthenticationError, PermissionError),
        (853, errors.AuthenticationError, PermissionError),
        (924, errors.AuthenticationError, PermissionError),
        (919, errors.AuthenticationError, PermissionError),
        (0x80420112, errors.AuthenticationError, PermissionError),
        (5, errors.AccessError, PermissionError),
        (789, errors.IpsecError, ConnectionError),
        (13801, errors.IpsecError, ConnectionError),
        (809, errors.TunnelError, ConnectionError),
        (868, errors.TunnelError, ConnectionError),
        (1231, errors.TunnelError, ConnectionError),
        (633, errors.LineError, ConnectionError),
        (678, errors.LineError, ConnectionError),
        (653, errors.LineError, ConnectionError),
        (628, errors.DisconnectedError, ConnectionError),
        (6, errors.DisconnectedError, ConnectionError),
        (668, errors.DisconnectedError, ConnectionError),
        (718, errors.ProtocolError, ConnectionError),
        (621, errors.PhonebookError, LookupError),
        (625, errors.PhonebookError, LookupError),
        (87, errors.UsageError, ValueError),
        (603, errors.UsageError, ValueError),
        (610, errors.UsageError, ValueError),
        (632, errors.UsageError, ValueError),
        (errors.INVALID, errors.UsageError, ValueError),
        (711, errors.ServiceError, OSError),
        (757, errors.ServiceError, OSError),
        (1722, errors.ServiceError, OSError),
        (1753, errors.ServiceError, OSError),
        (errors.NOT_AVAILABLE, errors.NotAvailableError, NotImplementedError),
        (errors.CLOSED, errors.ClosedError, RuntimeError),
        (errors.FORKED, errors.ForkedError, RuntimeError),
        (756, errors.RasError, OSError),
        (12345, errors.RasError, OSError),
    ],
)
def test_class_of_a_code(code: int, kind: type[errors.RasError], builtin: type[Exception]) -> None:
    """S6: a code gives the subclass of its group, which is also the built-in that fits."""
    error = errors.error_for(code)
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert isinstance(error, errors.RasError)


@pytest.mark.parametrize("code", [*CODES, 12345, 13899, 0x80420199, 0xFFFFFFFF])
def test_every_code_makes_an_error_that_holds_together(code: int) -> None:
    """For each code there are name, text, one line, no errno, no TimeoutError, and a round trip through pickle."""
    error = errors.error_for(code, state=State.ConnectDevice)
    assert error.code == code
    assert error.name
    assert error.text
    assert "\n" not in str(error)
    assert error.errno is None
    assert not isinstance(error, TimeoutError)
    assert attributes(pickle.loads(pickle.dumps(error))) == attributes(error)  # noqa: S301
    assert errors.code_of(error.name) == code


def test_str_is_one_readable_line() -> None:
    """The line has the number, the name, the text, where it happened, and the hint, whatever the system's text contains."""
    line = str(full())
    assert line.startswith("691 ERROR_AUTHENTICATION_FAILURE: Access denied because of the user name. (state AuthNotify, ")
    assert "entry 'Office VPN'" in line
    assert "extended error 7" in line
    assert "later 829 ERROR_LINK_FAILURE" in line
    assert "still closing) Hint: Check the user name" in line
    plain = str(errors.error_for(691))
    assert plain == f"691 ERROR_AUTHENTICATION_FAILURE: {CODES[691][1]} Hint: {errors.HINTS[691]}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(protocol: int) -> None:
    """All attributes survive, as does the class, with each protocol."""
    error = full()
    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
    assert type(back) is errors.AuthenticationError
    assert attributes(back) == attributes(error)
    assert back.state is State.AuthNotify


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy_keeps_everything(copier: object) -> None:
    """copy.copy and copy.deepcopy give an equal, separate error."""
    assert callable(copier)
    error = full()
    back = copier(error)
    assert back is not error
    assert type(back) is type(error)
    assert attributes(back) == attributes(error)


def test_pickle_of_an_unknown_state() -> None:
    """S8.24: a state without a name travels too."""
    back = pickle.loads(pickle.dumps(errors.error_for(629, state=State(8194))))  # noqa: S301
    assert back.state == 8194
    assert "state Unknown8194" in str(back)


def test_oserror_is_not_misled() -> None:
    """errno stays None (5 is no EIO here), strerror is the text, and the class does not change with the code."""
    error = errors.RasError(5, "no")
    assert type(error) is errors.RasError
    assert error.errno is None
    assert error.strerror == "no"
    assert error.filename is None
    assert error.args == (5, "no")


def test_cancelled_dial_is_not_retried() -> None:
    """631 from our own cancel is a class of its own, not transient, no ConnectionError; from RAS it is a disconnection."""
    ours = errors.error_for(631, origin=Origin.Cancel)
    assert type(ours) is errors.DialCancelledError
    assert not isinstance(ours, ConnectionError)
    assert not ours.transient
    assert ours.hint is None
    assert type(errors.error_for(631, origin=Origin.Cancel.label)) is errors.DialCancelledError
    theirs = errors.error_for(631, origin=Origin.Notifier)
    assert type(theirs) is errors.DisconnectedError
    assert theirs.hint
    assert type(errors.error_for(829, origin=Origin.Cancel)) is errors.DisconnectedError


@pytest.mark.parametrize("code", [809, 868, 718, 721, 638, 678, 800, 628, 629, 807, 829, 633, 756, 602, 676, 710, 712, 771, 774])
def test_transient_codes(code: int) -> None:
    """S6 "Quick groups": a silent server, a lost link and a busy resource may be gone later."""
    assert errors.RasError(code).transient


@pytest.mark.parametrize(
    "code", [691, 646, 647, 648, 649, 708, 709, 812, 919, 623, 665, 711, 766, 786, 798, 850, 603, 610, 632, 87, 6, 631, 12345]
)
def test_lasting_codes(code: int) -> None:
    """S6 "Quick groups": credentials, set-up and the caller's bugs stay."""
    assert not errors.RasError(code).transient


@pytest.mark.parametrize("code", HINTED)
def test_hints_for_the_codes_people_meet(code: int) -> None:
    """There is a hint, it is a sentence, and describe() shows the same."""
    hint = errors.RasError(code).hint
    assert hint
    assert hint.endswith(".")
    assert errors.describe(code).hint == hint


def test_hints_belong_to_known_codes() -> None:
    """No hint is lost to a misspelt number."""
    assert set(errors.HINTS) <= set(CODES)


def test_s8_26_code_above_0x7fffffff_stays_unsigned_and_shows_in_hex() -> None:
    """S8.26: 0x80420112 is positive however it arrives, and is written in hex."""
    for code in (0x80420112, 0x80420112 - (1 << 32)):
        error = errors.error_for(code, state=State.AuthNotify)
        assert error.code == 0x80420112
        assert str(error).startswith("0x80420112 EAP_E_USER_NAME_PASSWORD_REJECTED: ")
        assert pickle.loads(pickle.dumps(error)).code == 0x80420112  # noqa: S301
    unknown = errors.RasError(0x80420199)
    assert unknown.name == "ERROR_0x80420199"
    assert str(unknown) == "error 0x80420199"
    assert str(errors.RasError(0x80420199, "Something of EAP.")) == "0x80420199: Something of EAP."
    assert "0x80420112" in repr(errors.RasError(0x80420112))
    assert errors.RasError(691, later=-1).later == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ClosedError, errors.CLOSED),
        (errors.ForkedError, errors.FORKED),
        (errors.NotAvailableError, errors.NOT_AVAILABLE),
        (errors.DialCancelledError, 631),
    ],
)
def test_error_with_a_usual_code_needs_only_a_text(kind: type[errors.RasError], code: int) -> None:
    """Such an error takes a text, or a code, or nothing, and travels like the others."""
    make: Callable[..., errors.RasError] = kind
    for error, text in (
        (make("the reason", entry="Office VPN"), "the reason"),
        (make(), CODES[code][1]),
        (make(code, "why"), "why"),
    ):
        assert (error.code, error.text) == (code, text)
        assert attributes(pickle.loads(pickle.dumps(error))) == attributes(error)  # noqa: S301


def test_code_without_a_name() -> None:
    """Numbers that no table knows have a made name, which leads back, and the text "error N"."""
    error = errors.RasError(12345)
    assert error.name == "ERROR_12345"
    assert str(error) == "error 12345"
    assert errors.code_of("ERROR_12345") == 12345


def test_code_of_a_name() -> None:
    """Names are found in any case, with or without the prefix; nonsense is None."""
    assert errors.code_of("ERROR_AUTHENTICATION_FAILURE") == 691
    assert errors.code_of("authentication_failure") == 691
    assert errors.code_of(" WAIT_TIMEOUT ") == 258
    assert errors.code_of("no such name") is None
    assert errors.code_of("0x1FFFFFFFF") is None


def test_describe() -> None:
    """describe() is a named tuple of what the table knows."""
    described = errors.describe(691)
    name, text, hint, transient = described
    assert (described.name, described.text, described.hint, described.transient) == (name, text, hint, transient)
    assert name == "ERROR_AUTHENTICATION_FAILURE"
    assert transient is False
    assert errors.describe(12345) == ("ERROR_12345", "error 12345", None, False)


def test_still_dialing_is_no_ras_error() -> None:
    """Running out of patience is a TimeoutError only: a retry loop over RasErrors must not dial a second time (756)."""
    error = errors.StillDialing(state=State.Authenticate, entry="Office VPN")
    assert isinstance(error, TimeoutError)
    assert not isinstance(error, errors.RasError)
    assert "state Authenticate" in str(error)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(back), back.state, back.entry) == (str(error), State.Authenticate, "Office VPN")
    assert str(copy.copy(error)) == str(error)


def test_repr_shows_what_is_set() -> None:
    """repr() has the class and only the attributes that say something."""
    assert repr(errors.error_for(809)) == f"TunnelError(809, {CODES[809][1]!r})"
    shown = repr(full())
    assert "state=AuthNotify" in shown
    assert "later=829" in shown
    assert "state=OpenPort" in repr(errors.error_for(633, state=State.OpenPort))
