"""What dial() refuses, what it lets through to RAS, and that nothing in between crashes.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import decimal
import fractions
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ras_ext
from ras_ext import Client, _ffi
from ras_ext.client import _encoded
from ras_ext.dial import seconds
from ras_ext.sim import Machine

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT_LIMITS = {"entry": 256, "username": 256, "password": 256, "domain": 15, "phone_number": 128, "callback_number": 128}


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def is_fine(text: str, limit: int) -> bool:
    """Whether RAS could take the text: no NUL, no half pair, within the limit."""
    return "\0" not in text and not any(0xD800 <= ord(character) <= 0xDFFF for character in text) and units(text) <= limit


def arguments(name: str, value: object) -> dict[str, Any]:
    return {"entry": "No such entry", **({"username": "ada"} if name == "password" else {}), name: value}


def refused_or_decided(client: Client, **given: Any) -> Exception | None:
    """The exception that dial() raised, or None when it started; then the dial is seen through to its outcome."""
    try:
        dial = client.dial(**given)
    except (TypeError, ValueError) as problem:
        return problem
    assert dial.exception(60) is not None or dial.result().hang_up() is not None
    return None


# --- Lengths and contents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), TEXT_LIMITS.items())
def test_58_longest_and_one_too_long(virtual: Machine, client: Client, name: str, limit: int) -> None:
    """S8.58: the limit itself passes whole; one UTF-16 unit more is a ValueError that names the argument and the limit."""
    for longest in ("x" * limit, "ä" * limit, "𝄞" * (limit // 2) + "x" * (limit % 2)):
        assert units(longest) == limit
        assert refused_or_decided(client, **arguments(name, longest)) is None
        with pytest.raises(ValueError, match=f"{name} has {limit + 1} UTF-16 units.* at most {limit}"):
            client.dial(**arguments(name, longest + "x"))


def test_long_domain_says_what_to_do(client: Client) -> None:
    """The domain limit is short, so the message tells the way around it."""
    with pytest.raises(ValueError, match=r"user name: user@example\.com"):
        client.dial("Office VPN", username="ada", domain="department.example.com")


@pytest.mark.parametrize("name", [*TEXT_LIMITS, "phonebook"])
@pytest.mark.parametrize("bad", ["a\0b", "\0", "a\ud800", "\udc00b"], ids=ascii)
def test_nul_and_half_pairs(client: Client, name: str, bad: str) -> None:
    """Embedded NUL and unpaired surrogates are ValueErrors that name the argument."""
    with pytest.raises(ValueError, match=name):
        client.dial(**arguments(name, bad))


@pytest.mark.parametrize("name", [*TEXT_LIMITS, "phonebook", "on_event", "notifier", "timeout", "subentry", "options"])
@pytest.mark.parametrize("bad", [object(), 1.5j, [], {}, ("x",)], ids=lambda value: type(value).__name__)
def test_wrong_types(client: Client, name: str, bad: object) -> None:
    """Objects of no fitting type are TypeErrors that name the argument."""
    with pytest.raises(TypeError, match=name):
        client.dial(**arguments(name, bad))


@pytest.mark.parametrize("name", ["entry", "username", "domain", "phone_number", "callback_number", "phonebook"])
def test_bytes_are_no_text(client: Client, name: str) -> None:
    """Only the password may be bytes; nobody knows the encoding of others."""
    with pytest.raises(TypeError, match=name):
        client.dial(**arguments(name, b"x"))


def test_bytes_path(client: Client) -> None:
    """An os.PathLike of bytes is refused as well."""

    class BytesPath(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"x"

    with pytest.raises(TypeError, match="phonebook"):
        client.dial("x", phonebook=BytesPath())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["subentry", "options"])
@pytest.mark.parametrize("bad", [-1, 1 << 32, True])
def test_numbers(client: Client, name: str, bad: int) -> None:
    """32 bits, unsigned, no bool."""
    with pytest.raises((TypeError, ValueError), match=name):
        client.dial(**arguments(name, bad))


@pytest.mark.parametrize("username", [None, ""])
@pytest.mark.parametrize("password", ["x", "", b"x", bytearray(b"x"), lambda: pytest.fail("called")])
def test_password_without_user(client: Client, username: str | None, password: Any) -> None:
    """A ValueError, before a callable is asked."""
    with pytest.raises(ValueError, match="password needs a username"):
        client.dial("Office VPN", username=username, password=password)


def test_what_a_password_callable_raises_goes_up(client: Client) -> None:
    """And nothing has been dialled."""

    def ask() -> str:
        raise EOFError("no terminal")

    with pytest.raises(EOFError):
        client.dial("Office VPN", username="ada", password=ask)
    with pytest.raises(TypeError, match="password must be"):
        client.dial("Office VPN", username="ada", password=lambda: 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"abc\xe4"])
def test_password_bytes_that_are_no_utf8(client: Client, bad: bytes) -> None:
    """Malformed, overlong, surrogate, beyond Unicode."""
    with pytest.raises(ValueError, match="password is not valid UTF-8"):
        client.dial("Office VPN", username="ada", password=bad)


def test_secret_is_wiped() -> None:
    """After the call our copy is zero, and the holder is empty."""
    secret = _ffi.Secret(b"lovelace")
    assert secret.load(256) is None
    buffer = secret.buffer
    assert bytes(_ffi.ffi.buffer(buffer)) == b"lovelace\0"
    secret.wipe()
    assert bytes(_ffi.ffi.buffer(buffer)) == bytes(9)
    assert secret.buffer is None and not secret.given
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("bad", ["pigeon", "FUNC 2", "", 4, -1, 0xFFFFFFFF])
def test_unknown_notifiers_are_listed(client: Client, bad: Any) -> None:
    """A ValueError with the names that there are."""
    with pytest.raises(ValueError, match="'func2'"):
        client.dial("Office VPN", notifier=bad)


# --- Time-outs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan"), float("-inf"), decimal.Decimal("NaN"), -(10**400)])
def test_impossible_timeouts(virtual: Machine, client: Client, bad: Any) -> None:
    """Negative and NaN are ValueErrors everywhere."""
    dial = client.dial("Office VPN")
    connection = dial.result()
    calls: list[Callable[[], object]] = [
        lambda: client.dial("Home", timeout=bad),
        lambda: dial.result(bad),
        lambda: dial.exception(bad),
        lambda: dial.wait_closed(bad),
        lambda: ras_ext.wait([dial], bad),
        lambda: connection.hang_up(bad),
        lambda: client.close(bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="timeout"):
            call()
    connection.hang_up()


@pytest.mark.parametrize("bad", [True, False, "5", b"5", 1j, object(), [1]])
def test_timeouts_that_are_no_number(bad: Any) -> None:
    """A bool is none either."""
    with pytest.raises(TypeError, match="timeout"):
        seconds(bad)


@pytest.mark.parametrize("endless", [None, float("inf"), 10**400, decimal.Decimal("Infinity")])
def test_endless_timeouts(endless: Any) -> None:
    """None and infinity: as long as it takes."""
    assert seconds(endless) is None


@pytest.mark.parametrize("number", [0, 1, 0.5, decimal.Decimal("0.5"), fractions.Fraction(1, 3), 1e300])
def test_other_numbers(virtual: Machine, client: Client, number: Any) -> None:
    """Every kind of real number will do, small and large."""
    assert seconds(number) == float(number)
    dial = client.dial("Office VPN", timeout=max(number, 1))
    ras_ext.wait([dial], number)
    dial.result(1e300).hang_up()


@QUICK
@given(st.floats(allow_nan=False, min_value=0) | st.integers(min_value=0))
@example(4294967.295)
@example(4294967.296)
@example(2**1024)
def test_any_timeout_of_a_dial(client: Client, value: float) -> None:
    """No number overflows on its way into 32 bits of milliseconds or 64 of nanoseconds."""
    dial = client.dial("No such entry", timeout=value)
    error = dial.exception(value + 1)
    assert error is not None and error.code in (623, 638)


# --- Anything at all --------------------------------------------------------------------------------------------------

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40) | st.text(max_size=300)
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | any_text
    | st.binary(max_size=40)
    | st.lists(st.integers(), max_size=2)
    | st.complex_numbers()
)


@QUICK
@given(name=st.sampled_from(sorted(TEXT_LIMITS)), text=any_text)
@example(name="entry", text="")
@example(name="domain", text="𝄞" * 7 + "x")
@example(name="entry", text="x" * 100_000)
def test_any_text_is_taken_or_refused(client: Client, name: str, text: str) -> None:
    """dial() refuses exactly what RAS could not take, and everything else becomes an outcome."""
    refused = refused_or_decided(client, **arguments(name, text))
    assert (refused is None) == is_fine(text, TEXT_LIMITS[name]), refused
    if refused is not None:
        assert isinstance(refused, ValueError) and name in str(refused)


@QUICK
@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8")))
def test_any_bytes_as_password(client: Client, password: bytes) -> None:
    """Valid UTF-8 without NUL passes, from bytes and bytearray alike; anything else is refused, and not shown."""
    try:
        fine = "\0" not in password.decode("utf-8")
    except UnicodeDecodeError:
        fine = False
    for kind in (bytes, bytearray):
        refused = refused_or_decided(client, entry="No such entry", username="ada", password=kind(password))
        assert (refused is None) == fine
        assert refused is None or isinstance(refused, ValueError)


@QUICK
@given(
    st.fixed_dictionaries(
        {"entry": anything},
        optional=dict.fromkeys(
            ["username", "password", "domain", "phone_number", "phonebook", "on_event", "notifier", "timeout", "callback_number",
             "subentry", "options"],
            anything,
        ),
    )
)  # fmt: skip
def test_any_arguments(client: Client, arguments: dict[str, Any]) -> None:
    """Only TypeError and ValueError come from dial(), also for several wrong arguments at once."""
    try:
        dial = client.dial(**arguments)
    except (TypeError, ValueError, ras_ext.NotAvailableError):
        return
    if not dial.cancel() and dial.exception() is None:
        dial.result().hang_up()


@QUICK
@given(anything, anything, anything)
def test_any_scenario(sim: Machine, first: object, second: object, third: object) -> None:
    """Whatever stands in a scenario, the only exceptions are ValueErrors, and RasErrors of the machine."""
    for scenario in (
        {"knobs": {"early": first}, "seed": second},
        {"entries": {"x": {"script": [{"state": first, "error": second, "delay_ms": third}]}}},
        {"entries": {"x": first}},
        {"faults": [{"function": first, "code": second, "after": third}]},
        {"accounts": [{"entry": first, "username": second, "password": third}]},
        {"devices": [{"type": first, "name": second}], "ports": {"vpn": third}},
        {"devices": first, "ports": second, "entries": third},
    ):
        try:
            sim.load(scenario)
        except (ValueError, ras_ext.RasError):
            pass
    sim.reset()


@pytest.mark.parametrize("text", ["a", "ä", "𝄞", "a𝄞b"])
def test_lengths_are_counted_in_utf16(text: str) -> None:
    """One unit per character, two beyond the BMP."""
    assert _encoded(text, "x", units(text)) == text.encode()
    with pytest.raises(ValueError, match=f"{units(text) + 1} UTF-16 units"):
        _encoded(text + "a", "x", units(text))


def test_phone_book_paths(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """Odd paths are outcomes (621), not exceptions of dial(); an empty one is refused."""
    for odd in ("/", ".", "x" * 300, str(tmp_path), "no/such/file", "\u202e", "con:"):
        error = client.dial("Office VPN", phonebook=odd).exception()
        assert isinstance(error, ras_ext.PhonebookError)
    with pytest.raises(ValueError, match="empty"):
        client.dial("Office VPN", phonebook="")
