"""Pitfalls of docs/ras-semantics.md, section 8: hanging up (44 to 50), end to end.

SPDX-License-Identifier: MIT

docs/pitfalls.md lists them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from proving import STORIES, calls, handles_of, hang_ups, story

import ras_ext
from ras_ext import Client, HangUp, Origin, State
from ras_ext.sim import Machine

FUNCTIONS = ("func", "func1", "func2")
STEPS_IN_TEN_SECONDS = 10_000 // 50
"""Looks at the status that the bound of S3 has room for."""


@pytest.fixture
def journal(sim: Machine, tmp_path: Path) -> Path:
    """The machine's journal, from here to the end of the test."""
    path = tmp_path / "journal.txt"
    sim.journal(path)
    return path


# --- The wait after RasHangUp -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone_code", [6, 668])
@pytest.mark.parametrize("delay_ms", [0, 1, 100, 3_000])
def test_s8_44_either_code_means_gone(virtual: Machine, client: Client, journal: Path, gone_code: int, delay_ms: int) -> None:
    """6 and 668 end the wait, for a connection and for a failed dial."""
    virtual.knob("gone_code", gone_code)
    virtual.knob("hangup_delay_ms", delay_ms)
    virtual.script("Home", "auth_fail")
    assert client.dial("Office VPN").result().hang_up() is HangUp.GONE
    dial = client.dial("Home")
    error = dial.exception()
    assert error is not None and not error.still_closing
    assert dial.hang_up_result is HangUp.GONE
    assert calls(journal, "RasGetConnectStatusW")[-1].endswith(f"-> {gone_code}")


@pytest.mark.parametrize("knob", ["never_gone", "status_stub"])
def test_s8_44_a_status_that_never_ends(virtual: Machine, client: Client, knob: str) -> None:
    """Answers 0 for ever, as Wine's stub does: the wait ends after its bound, at its pace, and says that it is still closing."""
    connection = client.dial("Office VPN").result()
    virtual.script("Home", "auth_fail")
    virtual.knob(knob, 1)
    before, looks = virtual.now, virtual.calls("RasGetConnectStatusW")
    assert connection.hang_up(timeout=10) is HangUp.CLOSING
    assert virtual.now - before == pytest.approx(10, abs=0.5)
    # The waits are slices of 50 ms, and each slice may begin and end with a look.
    assert virtual.calls("RasGetConnectStatusW") - looks <= 2 * STEPS_IN_TEN_SECONDS + 5
    assert connection.hang_up(timeout=1) is HangUp.CLOSING, "a second call goes on waiting"
    assert virtual.calls("RasHangUpW") == 1

    before, looks = virtual.now, virtual.calls("RasGetConnectStatusW")
    dial = client.dial("Home")
    error = dial.exception()
    assert error is not None and error.still_closing and error.code in (691, 6)
    assert virtual.now - before < 12
    assert virtual.calls("RasGetConnectStatusW") - looks <= STEPS_IN_TEN_SECONDS + 20
    assert not dial.wait_closed(60)
    virtual.knob(knob, 0)
    virtual.reset(force=True)


@pytest.mark.parametrize("code", [1722, 87, 5])
def test_s8_44_other_codes_stop_after_a_few_looks(virtual: Machine, client: Client, code: int) -> None:
    """A status call that fails for another reason says nothing of the handle; it is not asked for ever."""
    virtual.script("Office VPN", "auth_fail")
    virtual.fault("RasGetConnectStatusW", code)
    dial = client.dial("Office VPN")
    error = dial.exception()
    assert error is not None and (error.code, error.still_closing) == (691, True)
    assert dial.hang_up_result is HangUp.CLOSING
    assert virtual.calls("RasGetConnectStatusW") <= 10
    assert virtual.calls("RasHangUpW") == 1
    virtual.advance(1)


def test_s8_44_a_few_odd_answers_do_not_end_the_wait(virtual: Machine, client: Client) -> None:
    """Three failing looks, and then the handle is gone."""
    connection = client.dial("Office VPN").result()
    virtual.fault("RasGetConnectStatusW", 1722, times=3)
    assert connection.hang_up() is HangUp.GONE


# --- Dialling again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_45_dialling_again_at_once(virtual: Machine, client: Client, notifier: Any) -> None:
    """One port and a slow hang-up: as soon as result() has raised, or hang_up() has returned, the entry can be dialled."""
    virtual.ports("vpn", 1)
    virtual.knob("hangup_delay_ms", 2_500)
    for script in ("auth_fail", "vpn_ok") * 2:
        virtual.script("Office VPN", script)
        dial = client.dial("Office VPN", notifier=notifier)
        assert story(dial) == STORIES[script]
        if script == "vpn_ok":
            assert dial.result().hang_up() is HangUp.GONE
        else:
            assert isinstance(dial.exception(), ras_ext.AuthenticationError)


def test_s8_45_dialling_again_too_early(virtual: Machine, client: Client) -> None:
    """Whoever does not wait gets 756 or 633, as an outcome that owns nothing; waiting then helps."""
    virtual.ports("vpn", 1)
    virtual.knob("hangup_delay_ms", 2_500)
    connection = client.dial("Office VPN").result()
    assert connection.hang_up(timeout=0) is HangUp.CLOSING
    for entry, code in (("Office VPN", 756), ("Home", 633)):
        error = client.dial(entry).exception()
        assert error is not None and (error.code, error.origin, error.transient) == (code, Origin.Return, True)
    assert virtual.calls("RasHangUpW") == 1
    assert connection.hang_up() is HangUp.GONE
    assert virtual.calls("RasHangUpW") == 1
    client.dial("Home").result().hang_up()


# --- References -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known_notify", [0, 1])
def test_s8_46_two_references_and_one_hang_up(
    virtual: Machine, client: Client, book: Path, journal: Path, known_notify: int
) -> None:
    """Two dials of one entry, by two clients: the first hang-up returns at once and leaves it connected, the second ends it."""
    virtual.knob("known_notify", known_notify)
    with ras_ext.open("sim", phonebook=book) as other:
        first, second = client.dial("Office VPN").result(), other.dial("Office VPN").result()
        until_returned = second.status().state
        assert first == second and until_returned is State.Connected
        assert virtual.counters.references == 2
        before = virtual.now
        assert first.hang_up() is HangUp.SHARED
        assert virtual.now - before <= 1.1, "the wait for the end must not hang"
        assert second.status().state is State.Connected
        assert first.hang_up() is HangUp.SHARED, "the same reference is given up once"
        assert virtual.counters.references == 1
        assert second.hang_up() is HangUp.GONE
    assert hang_ups(journal) == 2


def test_s8_46_a_reference_that_is_not_ours(virtual: Machine, client: Client) -> None:
    """A listed connection is hung up once; another owner keeps it up, which is seen after a bounded wait."""
    mine = client.dial("Office VPN").result()
    client.dial("Office VPN").result()
    (listed,) = client.connections()
    assert listed.hang_up() is HangUp.SHARED
    assert mine.status().state is State.Connected
    assert mine.hang_up(all=True) is HangUp.GONE


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("by_callback", [0, 1])
def test_s8_47_a_second_dial_while_the_first_is_dialling(
    virtual: Machine, client: Client, journal: Path, by_callback: int, notifier: Any
) -> None:
    """756, by return or by notification; the first dial is not disturbed, and its handle is not hung up."""
    virtual.knob("by_callback", by_callback)
    virtual.script("Office VPN", "slow")
    first = client.dial("Office VPN", notifier=notifier)
    next(iter(first))
    second = client.dial("Office VPN", notifier=notifier)
    error = second.exception()
    assert error is not None and (error.code, error.transient) == (756, True)
    assert error.origin is (Origin.Notifier if by_callback else Origin.Return)
    assert story(first) == STORIES["slow"]
    handle = first.result().handle
    assert hex(handle) not in handles_of(calls(journal, "RasHangUpW"))
    assert hang_ups(journal) == by_callback
    assert first.result().hang_up() is HangUp.GONE


# --- What cannot be hung up, and what is gone -------------------------------------------------------------------------


def test_s8_49_the_routers_connection_and_no_handle(virtual: Machine, client: Client, journal: Path) -> None:
    """753 is raised, gives nothing up and may be tried again; a dial without a handle is not hung up at all (6)."""
    connection = client.dial("Office VPN").result()
    virtual.knob("hangup_code", 753, "Office VPN")
    for _ in range(2):
        with pytest.raises(ras_ext.RasError) as caught:
            connection.hang_up()
        assert caught.value.code == 753
    assert connection.status().state is State.Connected
    assert virtual.counters.references == 1
    virtual.knob("hangup_code", 0, "Office VPN")
    assert connection.hang_up() is HangUp.GONE
    before = hang_ups(journal)
    assert client.dial("No such entry").exception() is not None
    assert hang_ups(journal) == before


def test_s8_49_a_failed_dial_that_the_router_owns(virtual: Machine, client: Client) -> None:
    """RasHangUp after a failure is refused: called once, reported as still closing, and nothing hangs."""
    virtual.script("Office VPN", "auth_fail")
    virtual.knob("hangup_code", 753)
    error = client.dial("Office VPN").exception()
    assert error is not None and (error.code, error.still_closing) == (691, True)
    assert virtual.calls("RasHangUpW") == 1
    virtual.knob("hangup_code", 0)
    virtual.reset(force=True)


@pytest.mark.parametrize("gone_code", [6, 668])
@pytest.mark.parametrize("by_script", [False, True])
def test_s8_50_dropped_by_the_other_side(virtual: Machine, client: Client, gone_code: int, by_script: bool) -> None:
    """The status says 6 or 668 and no reason; the list forgets it; hanging up is no error; the entry can be dialled again."""
    virtual.knob("gone_code", gone_code)
    virtual.script("Office VPN", "drop" if by_script else "vpn_ok")
    dial = client.dial("Office VPN")
    connection = dial.result()
    heard = dial.events
    if by_script:
        virtual.advance(1)
    else:
        virtual.drop(connection, 829)
    virtual.advance(1)
    with pytest.raises(ras_ext.DisconnectedError) as caught:
        connection.status()
    assert caught.value.code == gone_code
    assert client.connections() == []
    assert dial.events == heard, "the dial was over, and hears nothing of it"
    assert dial.result() is connection
    assert connection.hang_up() is HangUp.GONE
    virtual.script("Office VPN", "vpn_ok")
    assert client.dial("Office VPN").result().hang_up() is HangUp.GONE
