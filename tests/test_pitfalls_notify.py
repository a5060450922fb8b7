"""Pitfalls of docs/ras-semantics.md, section 8: the meaning of notifications (17 to 35), end to end.

SPDX-License-Identifier: MIT

docs/pitfalls.md lists them all. What only C can show stands in tests/c/test_pitfalls.c.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, VPN_OK, until, write_book
from proving import STORIES, RDEOPT_PausedStates, finish, handles_of, story
from proving import calls as calls_in

import ras_ext
from ras_ext import Client, Event, HangUp, Origin, State
from ras_ext.sim import Machine, Step

FUNCTIONS = ("func", "func1", "func2")
RUNNING = tuple(state for state in State if not state.is_terminal and not state.is_paused)
CODES = (691, 678, 633, 868, 629, 718, 5, 13801, 1231, 0x80070005, 0x80420112, 0xFFFFFFFF)


# --- What is a failure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*RUNNING, State.Connected, State.Disconnected])
@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_17_an_error_in_any_state_is_the_failure(virtual: Machine, client: Client, state: State, notifier: Any) -> None:
    """Also in one that sounds like success, and whether or not the state was entered without an error before."""
    code = CODES[state % len(CODES)]
    failure: Step = {"state": int(state), "error": code}
    entered: list[Step] = [] if state.is_terminal or state is State.SubEntryDisconnected else [{"state": int(state)}]
    for script in ([failure], [*entered, failure]):
        virtual.script("Office VPN", script)
        before = virtual.calls("RasHangUpW")
        dial = client.dial("Office VPN", notifier=notifier)
        with pytest.raises(ras_ext.RasError) as caught:
            dial.result()
        error = caught.value
        assert (error.code, error.state, error.origin) == (code, state, Origin.Notifier)
        assert dial.events[-1].failed and len(dial.events) == len(script)
        assert virtual.calls("RasHangUpW") - before == 1


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("links", [1, 2])
def test_s8_17_a_link_that_goes_down_without_a_code(virtual: Machine, client: Client, links: int, notifier: Any) -> None:
    """SubEntryDisconnected of every link, no error anywhere: the status tells that the whole has failed (S2.3d, S2.5)."""
    virtual.script("Office VPN", [{"state": 23, "subentry": link + 1} for link in range(links)])
    dial = client.dial("Office VPN", notifier=notifier)
    error = dial.exception()
    assert error is not None and (error.code, error.origin) == (668, Origin.Poll)
    assert story(dial.events[:-1]) == " ".join(["23"] * links)
    assert dial.hang_up_result is HangUp.GONE


def test_s8_18_the_same_state_twice(virtual: Machine, client: Client) -> None:
    """Once without and once with an error is how RAS reports a failure; repeats without an error are progress."""
    virtual.script("Office VPN", [{"state": 5}, {"state": 6}, {"state": 6}, {"state": 6}, {"state": 6, "error": 691}])
    dial = client.dial("Office VPN")
    assert story(dial) == "5 6 6 6 6/691"
    assert [event.is_outcome for event in dial.events] == [False] * 4 + [True]
    assert dial.exception() is not None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_s8_18_repeated_at_random(virtual: Machine, client: Client, seed: int, threads: int) -> None:
    """Repeats of any notification, Connected and the error included, from two threads at once: decided once, nothing lost."""
    virtual.seed(seed)
    virtual.knob("repeat_percent", 50)
    virtual.knob("threads", threads)
    virtual.script("Home", "auth_fail")
    for entry, last in (("Office VPN", State.Connected), ("Home", State.AuthNotify)):
        dial = client.dial(entry)
        events = list(dial)
        assert events[-1].state is last
        finish(virtual, dial)
        assert sum(event.is_outcome for event in dial.events) == 1
        assert [event.sequence for event in dial.events] == list(range(len(dial.events)))
        if threads == 0:
            distinct = [event for i, event in enumerate(events) if i == 0 or story([event]) != story([events[i - 1]])]
            assert story(distinct) == STORIES["auth_fail" if entry == "Home" else "vpn_ok"]
        if dial.exception() is None:
            dial.result().hang_up()


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_19_failure_without_disconnected(virtual: Machine, client: Client, notifier: Any) -> None:
    """The error is the last that is heard, and the dial ends with it."""
    virtual.knob("error_then", 0)
    virtual.script("Office VPN", "unreachable")
    dial = client.dial("Office VPN", notifier=notifier)
    error = dial.exception()
    assert error is not None and (error.code, error.later) == (868, None)
    virtual.advance(60)
    assert story(dial.events) == STORIES["unreachable"]
    assert dial.hang_up_result is HangUp.GONE


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("late", [0, 3])
def test_s8_20_disconnected_with_zero_does_not_hide_the_error(virtual: Machine, client: Client, late: int, notifier: Any) -> None:
    """The first error wins; whatever comes after it is progress of a dial that is over."""
    virtual.knob("error_then", 1)
    virtual.knob("late", late)
    virtual.script("Office VPN", "auth_fail")
    dial = client.dial("Office VPN", notifier=notifier)
    error = dial.exception()
    assert error is not None and (error.code, error.state, error.later) == (691, State.AuthNotify, None)
    assert story(dial) == STORIES["auth_fail"], "iteration ends with the decision"
    assert [story([event]) for event in dial.events if event.is_outcome] == ["6/691"]


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_21_disconnected_with_the_same_error_is_told_once(virtual: Machine, client: Client, notifier: Any) -> None:
    """One outcome, one on_event with it, no `later` error that is the same."""
    virtual.knob("error_then", 2)
    virtual.script("Office VPN", "auth_fail")
    seen: list[Event] = []
    told = threading.Event()
    dial = client.dial("Office VPN", notifier=notifier, on_event=seen.append)
    dial.add_done_callback(lambda decided: told.set())
    error = dial.exception()
    assert error is not None and (error.code, error.later) == (691, None)
    assert told.wait(BOUND_S)
    assert story(seen) == STORIES["auth_fail"]
    assert sum(event.is_outcome for event in dial.events) == 1
    assert virtual.calls("RasHangUpW") == 1


# --- Which states, in which order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("percent", [30, 100])
def test_s8_22_connected_without_intermediate_states(
    virtual: Machine, client: Client, percent: int, seed: int, notifier: Any
) -> None:
    """Some are not announced, or none but Connected."""
    virtual.seed(seed)
    virtual.knob("skip_percent", percent)
    dial = client.dial("Office VPN", notifier=notifier)
    states = [int(event.state) for event in dial]
    left = iter(VPN_OK)
    assert all(state in left for state in states), "what is left is in order"
    assert states[-1] == 8192
    assert percent < 100 or states == [8192]
    dial.result().hang_up()


@pytest.mark.parametrize("seed", range(10))
def test_s8_23_states_in_any_order(virtual: Machine, client: Client, seed: int) -> None:
    """AuthNotify again and again, Authenticated after Projected, all backwards: RAS's order, and the same outcome."""
    chance = random.Random(seed)
    states = [*VPN_OK[:-1], *[6] * 8]
    if seed == 0:
        states.sort(reverse=True)
    else:
        chance.shuffle(states)
    steps: list[Step] = [{"state": state} for state in states]
    virtual.script("Office VPN", [*steps, {"state": 8192}])
    virtual.script("Home", [*steps, {"state": 0, "error": 678}])
    dial = client.dial("Office VPN")
    assert [int(event.state) for event in dial] == [*states, 8192]
    assert dial.result().hang_up() is HangUp.GONE
    failing = client.dial("Home")
    assert story(failing).endswith(" 0/678")
    assert failing.exception() is not None


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("number", [24, 25, 77, 0x0FFF, 0x4000, 0x10000, 0x80000000])
def test_s8_24_unknown_states_are_progress(virtual: Machine, client: Client, number: int, notifier: Any) -> None:
    """Neither bit set: delivered as a number with a made-up name, and the dial goes on."""
    virtual.script("Office VPN", [{"state": number}, {"state": "Connected"}])
    dial = client.dial("Office VPN", notifier=notifier)
    first, last = dial
    assert first.state == number and not first.is_outcome
    assert first.state.name == ("ApplySettings" if number == 24 else f"Unknown{number}")
    assert not first.state.is_terminal and not first.state.is_paused
    assert last.state is State.Connected
    dial.result().hang_up()


@pytest.mark.parametrize("number", [8194, 0x2FFF, 0x3000, 0xFFFFFFFF])
def test_s8_24_unknown_terminal_states_end_the_dial(virtual: Machine, client: Client, number: int) -> None:
    """The DONE bit without being Connected: failed, with 668 as nothing else is said."""
    virtual.script("Office VPN", [{"state": 0}, {"state": number}])
    dial = client.dial("Office VPN")
    error = dial.exception()
    assert error is not None and (error.code, error.state) == (668, number)
    assert dial.events[-1].state.is_terminal and dial.events[-1].state.name == f"Unknown{number}"
    assert virtual.calls("RasHangUpW") == 1


@pytest.mark.parametrize("number", [4101, 0x1FFF])
def test_s8_24_unknown_paused_states_are_pauses(virtual: Machine, client: Client, number: int) -> None:
    """The PAUSED bit: with paused states asked for, the dial stands still until it is given up or answered."""
    virtual.script("Office VPN", [{"state": 5}, {"state": number}, {"state": 8192}])
    with client.dial("Office VPN", options=RDEOPT_PausedStates) as dial:
        events = iter(dial)
        assert (next(events).state, next(events).state) == (5, number)
        assert dial.events[-1].state.is_paused and not dial.events[-1].state.is_terminal
        with pytest.raises(ras_ext.StillDialing) as caught:
            dial.result(60)
        assert caught.value.state == number
    assert dial.wait_closed()
    error = client.dial("Office VPN").exception()  # not asked for: an error in the state before
    assert error is not None and (error.code, error.state) == (703, 5)


# --- Codes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("code", [639, 640, 645, 650, 691, 638, 651, 0x80420112])
def test_s8_25_extended_errors_of_four_codes_only(virtual: Machine, client: Client, code: int, notifier: Any) -> None:
    """639, 640, 645 and 650 have one, where the notifier carries it; elsewhere it is garbage and left out."""
    virtual.script("Office VPN", [{"state": 0, "extended_error": 7}, {"state": 6, "error": code, "extended_error": 0xFEDCBA98}])
    dial = client.dial("Office VPN", notifier=notifier)
    kept = 0xFEDCBA98 if code in (639, 640, 645, 650) and notifier != "func" else 0
    error = dial.exception()
    assert error is not None and (error.code, error.extended_error) == (code, kept)
    assert [event.extended_error for event in dial.events] == [0, kept]


@pytest.mark.parametrize("notifier", [*FUNCTIONS, "window"])
@pytest.mark.parametrize("code", [0x80420112, 0x80000000, 0xFFFFFFFF, 0x80070005])
def test_s8_26_31_codes_beyond_31_bits_stay_positive(virtual: Machine, client: Client, code: int, notifier: Any) -> None:
    """By notification, whatever its kind, and from RasDial: unsigned, and in hexadecimal where people read them."""
    if notifier == "window" and sys.platform != "win32":
        pytest.skip("windows exist on Windows only")
    virtual.script("Office VPN", [{"state": 0}, {"state": 6, "error": code}])
    dial = client.dial("Office VPN", notifier=notifier)
    error = dial.exception()
    assert error is not None and error.code == code == dial.events[-1].error
    assert f"0x{code:08X}" in str(error) and f"0x{code:08X}" in repr(dial.events[-1])
    assert str(-(2**32 - code)) not in str(error) + repr(error) + repr(dial.events)
    virtual.knob("dial_code", code, "Home")
    error = client.dial("Home", notifier=notifier).exception()
    assert error is not None and (error.code, error.origin) == (code, Origin.Return)


@pytest.mark.parametrize("code", [13801, 868, 1231, 0x80420112, 999_999])
def test_s8_27_a_code_that_ras_has_no_text_for(virtual: Machine, client: Client, code: int) -> None:
    """RasGetErrorString refuses it, and the message has a text none the less."""
    virtual.fault("RasGetErrorStringW", 87)
    virtual.script("Office VPN", [{"state": 2, "error": code}])
    error = client.dial("Office VPN").exception()
    assert error is not None and error.code == code
    assert len(error.strerror or str(error)) > 5
    assert (str(code) if code < 0x80000000 else f"0x{code:08X}") in str(error)


# --- Notifications that stop, or tell too little ----------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("silent", [1, 2, 8])
@pytest.mark.parametrize(("script", "code"), [("vpn_ok", 0), ("auth_fail", 691), ("modem_noanswer", 678)])
def test_s8_28_the_outcome_comes_by_polling_when_notifications_stop(
    virtual: Machine, client: Client, script: str, code: int, silent: int, notifier: Any
) -> None:
    """From the first, second or eighth notification on nothing is heard: the status tells how it ended."""
    virtual.knob("silent", silent)
    virtual.script("Office VPN", script)
    announced = STORIES[script].split()[: silent - 1]
    polled = len(announced) < len(STORIES[script].split())
    dial = client.dial("Office VPN", notifier=notifier)
    events = list(dial)
    assert story(events[: len(announced)]).split() == announced
    assert events[-1].origin is (Origin.Poll if polled else Origin.Notifier)
    assert len(events) == len(announced) + polled
    error = dial.exception()
    assert (0 if error is None else error.code) == code
    if error is None:
        dial.result().hang_up()


@pytest.mark.parametrize("notifier", ["func", "func1"])
def test_s8_29_kinds_without_an_id_serve_many_dials(virtual: Machine, client: Client, tmp_path: Path, notifier: Any) -> None:
    """More dials at once than there are functions, half of them failing: each hears its own story."""
    names = [f"Line {number}" for number in range(48)]
    book = write_book(tmp_path / "lines.pbk", *names)
    for name in names[::2]:
        virtual.script(name, "auth_fail")
    dials = [client.dial(name, phonebook=book, notifier=notifier) for name in names]
    assert [story(dial) for dial in dials] == [STORIES["auth_fail"], STORIES["vpn_ok"]] * 24
    for dial in dials[1::2]:
        assert dial.result().hang_up() is HangUp.GONE
    assert all(dial.wait_closed() for dial in dials)
    assert virtual.calls("RasHangUpW") == 48


@pytest.mark.skipif(sys.maxsize < 2**32, reason="handles and ids are narrow where pointers are")
def test_s8_30_ids_and_handles_beyond_32_bits(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """The machine's handles are above 2^32, and so are our callback ids: each dial gets its own events with its own handle."""
    virtual.journal(tmp_path / "journal.txt")
    dials = [client.dial(name) for name in ("Office VPN", "Home", "Lab")]
    for dial in dials:
        assert story(dial) == STORIES["vpn_ok"]
        assert {event.handle for event in dial.events} == {dial.result().handle}
        assert dial.result().handle > 2**32
    told = handles_of(calls_in(tmp_path / "journal.txt", "RasDialW"))
    assert sorted(told) == sorted(hex(dial.result().handle) for dial in dials)
    for dial in dials:
        dial.result().hang_up()


# --- Handlers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", FUNCTIONS)
def test_s8_33_a_python_handler_never_holds_the_dial(sim: Machine, client: Client, notifier: Any) -> None:
    """on_event does not run in the native handler: it blocks until its dial has connected, and that is no deadlock."""
    connected = threading.Event()
    told = threading.Event()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        assert connected.wait(BOUND_S)

    dial = client.dial("Office VPN", notifier=notifier, on_event=on_event)
    dial.add_done_callback(lambda decided: told.set())
    connection = dial.result(BOUND_S)
    assert story(seen) in ("", "0"), "the handler is still at the first event"
    assert client.dial("Home").result(BOUND_S).hang_up() is HangUp.GONE
    connected.set()
    assert told.wait(BOUND_S)
    assert story(seen) == STORIES["vpn_ok"]
    connection.hang_up()


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("at", [State.OpenPort, State.AuthNotify, State.Connected])
def test_s8_34_dialling_in_a_handler(sim: Machine, client: Client, at: State, notifier: Any) -> None:
    """on_event starts another dial, waits for it and hangs it up, while its own dial goes on."""
    inner: list[str] = []
    told = threading.Event()

    def on_event(event: Event) -> None:
        if event.state == at and not inner:
            dial = client.dial("Home", notifier=notifier)
            inner.append(story(dial))
            inner.append(dial.result(BOUND_S).hang_up().name)

    outer = client.dial("Office VPN", notifier=notifier, on_event=on_event)
    outer.add_done_callback(lambda decided: told.set())
    assert story(outer) == STORIES["vpn_ok"]
    assert told.wait(BOUND_S)
    assert inner == [STORIES["vpn_ok"], "GONE"]
    outer.result().hang_up()


def test_s8_34_redialling_in_a_handler(sim: Machine, client: Client) -> None:
    """A done callback of a failed dial dials the same entry again, and gets neither 756 nor a deadlock."""
    sim.script("Office VPN", "auth_fail")
    codes: list[int] = []
    told = threading.Event()

    def again(dial: ras_ext.Dial) -> None:
        error = dial.exception(BOUND_S)  # raised when the link is down
        codes.append(0 if error is None else error.code)
        if len(codes) == 2:
            sim.script("Office VPN", "connect_now")
        if len(codes) < 3:
            client.dial("Office VPN").add_done_callback(again)
        else:
            told.set()

    client.dial("Office VPN").add_done_callback(again)
    assert told.wait(BOUND_S)
    assert codes == [691, 691, 0]
    (connection,) = client.connections()
    connection.hang_up()


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("known_notify", [0, 1])
def test_s8_35_dialling_what_is_connected(virtual: Machine, client: Client, known_notify: int, notifier: Any) -> None:
    """No notification, or a single Connected: one outcome, a second reference, and no waiting beyond a second look."""
    virtual.knob("known_notify", known_notify)
    first = client.dial("Office VPN").result()
    started = virtual.now
    dial = client.dial("Office VPN", notifier=notifier)
    second = dial.result()
    (event,) = dial.events
    assert event.state is State.Connected and event.is_outcome
    assert event.origin is (Origin.Notifier if known_notify else Origin.Poll)
    assert virtual.now - started <= 1
    assert second.handle == first.handle
    until(lambda: dial.wait_closed(1), "RasDial returning")
    assert virtual.counters.references == 2
    assert second.hang_up() is HangUp.SHARED
    assert first.hang_up() is HangUp.GONE
