"""Dialling again, over another connection, without an entry, to a connected entry, and with a server that calls back.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S

import ras_ext
from ras_ext import Backoff, Client, ClosedError, Dial, DialCancelledError, HangUp, LineError, RasError, State, redial
from ras_ext.sim import Machine

# --- redial ---------------------------------------------------------------------------------------------------------------------


def test_it_dials_again_until_it_connects(virtual: Machine, client: Client) -> None:
    """Transient errors only, at most `attempts` times, waiting on the client's clock in between."""
    virtual.fault("RasDialW", 676, times=2)
    started = virtual.now
    failures: list[tuple[int, float]] = []
    with redial(
        client, "Home", backoff=Backoff(10, 3, jitter=0), on_failure=lambda error, pause: failures.append((error.code, pause))
    ) as connection:
        assert connection.entry == "Home"
        assert failures == [(676, 10), (676, 30)]
        assert 40 <= virtual.now - started < 42
    assert virtual.calls("RasDialW") == 3


def test_the_last_error_is_raised(virtual: Machine, client: Client) -> None:
    """After so many attempts, and without a pause after the last."""
    virtual.script("Home", "busy")
    started = virtual.now
    with pytest.raises(LineError) as raised:
        redial(client, "Home", attempts=4, backoff=5)
    assert raised.value.code == 633
    assert virtual.calls("RasDialW") == 4
    assert 15 <= virtual.now - started < 20


@pytest.mark.parametrize(("script", "code"), [("auth_fail", 691), ("expired", 648)])
def test_what_cannot_pass_is_not_repeated(virtual: Machine, client: Client, script: str, code: int) -> None:
    """A wrong password would only lock the account."""
    virtual.script("Home", script)
    with pytest.raises(RasError) as raised:
        redial(client, "Home", attempts=9)
    assert raised.value.code == code
    assert virtual.calls("RasDialW") == 1


def test_s8_45_the_hang_up_has_ended_before_the_next_attempt(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """A slow hang-up: no attempt meets the rest of the one before it, which would be 633 or 756."""
    virtual.journal(tmp_path / "journal")
    virtual.knob("hangup_delay_ms", 3000)
    virtual.script("Home", "modem_noanswer")
    virtual.ports("vpn", 1)
    errors: list[int] = []
    with pytest.raises(LineError):
        redial(client, "Home", attempts=3, backoff=0.0, on_failure=lambda error, pause: errors.append(error.code))
    assert errors == [678, 678]
    lines = (tmp_path / "journal").read_text(encoding="utf-8").splitlines()
    calls = [name for line in lines for name in ("RasDialW", "RasHangUpW") if name in line]
    assert calls == ["RasDialW", "RasHangUpW"] * 3


def test_never_after_a_cancel(virtual: Machine, client: Client) -> None:
    """Somebody who cancels does not want another dial: neither does closing the client in a pause."""
    virtual.script("Home", [{"state": 0}, {"delay_ms": 50_000, "state": 8192}])
    dials: list[Dial] = []
    start = client.dial

    def keep(*args: Any, **more: Any) -> Dial:
        dials.append(start(*args, **more))
        dials[-1].cancel()
        return dials[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "dial", lambda self, *args, **more: keep(*args, **more))
        with pytest.raises(DialCancelledError):
            redial(client, "Home")
    assert len(dials) == 1
    assert dials[0].wait_closed()
    virtual.fault("RasDialW", 676)
    with pytest.raises(ClosedError):
        redial(client, "Home", backoff=1e6, on_failure=lambda error, pause: client.close())


def test_an_interrupt_cancels_the_dial_in_flight(virtual: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes on dialling behind the back of whoever pressed Ctrl-C."""
    monkeypatch.setattr(Dial, "result", lambda self, timeout=None: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        redial(client, "Home")
    while virtual.counters.handles:
        virtual.advance(1)
    assert virtual.calls("RasDialW") <= 1


def test_backoff() -> None:
    """Grows, is bounded, is shortened by chance from a given generator."""
    assert [Backoff(1, 2, 10, jitter=0)(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert Backoff(1, 2, 10, jitter=0)(10_000) == 10
    one, two = (Backoff(4, 2, 60, 0.5, random.Random(7)) for _ in range(2))
    pauses = [one(n) for n in range(1, 6)]
    assert pauses == [two(n) for n in range(1, 6)]
    assert all(0.5 * full <= pause <= full for pause, full in zip(pauses, (4, 8, 16, 32, 60), strict=True))
    assert Backoff()(1) != Backoff()(1)
    assert repr(Backoff(2)) == "Backoff(first=2, factor=2, most=60, jitter=0.5)"
    for wrong in ({"first": -1}, {"factor": 0.5}, {"jitter": 2}, {"most": float("nan")}, {"most": None}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Backoff(**wrong)


def test_the_password_serves_each_attempt(virtual: Machine, client: Client) -> None:
    """A password, and one that is asked for each time."""
    virtual.account("Home", "ada", "right")
    for password in ("right", b"right", lambda: "right"):
        virtual.fault("RasDialW", 676, times=1)
        with redial(client, "Home", backoff=1, username="ada", password=password):
            pass


def test_wrong_arguments_of_redial(virtual: Machine, client: Client) -> None:
    """Are told before anything is dialled, and no traceback of ours holds the password."""
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"attempts": 0}, ValueError),
        ({"attempts": True}, TypeError),
        ({"backoff": -1}, ValueError),
        ({"backoff": float("inf")}, ValueError),
        ({"on_failure": 3}, TypeError),
        ({"nonsense": 3}, TypeError),
    ]
    for arguments, kind in wrong:
        with pytest.raises(kind) as raised:
            redial(client, "Home", username="ada", password="hush-hush", **arguments)
        trace = raised.value.__traceback__
        while trace is not None:
            if "/ras_ext/" in trace.tb_frame.f_code.co_filename.replace("\\", "/"):
                assert "hush-hush" not in repr(trace.tb_frame.f_locals)
            trace = trace.tb_next
    with pytest.raises(TypeError, match="client"):
        redial("sim", "Home")  # type: ignore[arg-type]
    assert virtual.calls("RasDialW") == 0


def test_s8_47_the_entry_is_being_dialled(virtual: Machine, client: Client) -> None:
    """A second dial meanwhile is 756, which may pass: the next attempt finds the entry connected and shares it."""
    virtual.script("Home", "slow")
    first = client.dial("Home")
    virtual.advance(1)
    with pytest.raises(RasError) as raised:
        client.dial("Home").result()
    assert raised.value.code == 756
    assert raised.value.transient
    second = redial(client, "Home", backoff=10)
    assert second == first.result()
    assert second.hang_up() is HangUp.SHARED
    assert first.result().hang_up() is HangUp.GONE


# --- Two stages -----------------------------------------------------------------------------------------------------------------


def test_a_vpn_through_another_connection(virtual: Machine, client: Client) -> None:
    """S1.10: each has its own handle; hanging up the VPN leaves the one beneath up."""
    beneath = client.dial("Home").result()
    vpn = client.dial("Office VPN", through=beneath).result()
    assert vpn != beneath
    assert vpn.hang_up() is HangUp.GONE
    assert beneath.status().state is State.Connected
    assert beneath.hang_up() is HangUp.GONE


def test_the_connection_beneath_must_be_up(virtual: Machine, client: Client) -> None:
    """Otherwise nothing is dialled; redial does not try again either."""
    beneath = client.dial("Home").result()
    virtual.drop(beneath)
    calls = virtual.calls("RasDialW")
    with pytest.raises(ras_ext.DisconnectedError):
        client.dial("Office VPN", through=beneath)
    with pytest.raises(ras_ext.DisconnectedError):
        redial(client, "Office VPN", through=beneath)
    with pytest.raises(TypeError, match="through"):
        client.dial("Office VPN", through="Home")  # type: ignore[arg-type]
    assert virtual.calls("RasDialW") == calls
    beneath.hang_up()
    second = client.dial("Lab").result()
    second.hang_up(timeout=0)
    with pytest.raises(ras_ext.DisconnectedError):  # closing is not up
        client.dial("Office VPN", through=second)
    assert second.hang_up() is HangUp.GONE


# --- Without an entry, connected already, call back -----------------------------------------------------------------------------


def test_s8_73_without_an_entry(virtual: Machine, client: Client) -> None:
    """Listed as '.' and the number, and only once it is connected."""
    dial = client.dial("", phone_number="555 0199")
    virtual.advance(0.001)
    assert client.connections() == []
    connection = dial.result()
    assert connection.entry == dial.entry == ".555 0199"
    (listed,) = client.connections()
    assert listed == connection
    assert listed.entry == ".555 0199"
    assert connection.hang_up() is HangUp.GONE
    assert client.connections() == []
    with pytest.raises(ras_ext.PhonebookError) as raised:
        client.dial("").result()
    assert raised.value.code == 623


def test_a_connected_entry_gets_a_reference(virtual: Machine, client: Client) -> None:
    """S1.8: each dial of it owes one hang-up."""
    first, second = (client.dial("Home").result() for _ in range(2))
    assert first == second
    assert first.hang_up() is HangUp.SHARED
    assert second.status().state is State.Connected
    assert second.hang_up() is HangUp.GONE


def test_s8_75_the_server_calls_back_after_minutes_of_silence(virtual: Machine, client: Client) -> None:
    """No time-out of ours ends a dial that waits for the server's call; the device states come again."""
    quiet_ms = 7 * 60_000
    states = (5, 6, 8, 15, 16, 17)
    again = (2, 3, 4, 13, 6, 18, 14, 8192)
    script: list[Any] = [{"delay_ms": 1, "state": state} for state in (*states, *again)]
    script[len(states)]["delay_ms"] = quiet_ms
    virtual.script("Home", script)
    dial = client.dial("Home", callback_number="555 0100")
    virtual.advance(6 * 60)
    assert not dial.done()
    assert dial.events[-1].state is State.WaitForCallback
    with dial.result():
        assert [int(event.state) for event in dial.events] == [*states, *again]
        assert dial.elapsed > 7 * 60


def test_many_threads_redial_at_once(sim: Machine, client: Client) -> None:
    """Each entry's attempts are its own; on the real clock."""
    sim.fault("RasDialW", 676, times=4)
    done: list[str] = []

    def run(entry: str) -> None:
        with redial(client, entry, attempts=6, backoff=0.001) as connection:
            done.append(connection.entry)

    threads = [threading.Thread(target=run, args=(entry,), daemon=True) for entry in ("Home", "Lab", "Office VPN")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert sorted(done) == ["Home", "Lab", "Office VPN"]
