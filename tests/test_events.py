# SPDX-License-Identifier: MIT
"""States and events: names for every number, values that travel, and objects that are cheap and immutable."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum

import pytest

from ras_ext import events
from ras_ext.events import Event, HangUp, Notifier, Origin, Outcome, State, Substate, state_of


def test_states_have_the_vendors_names_and_values() -> None:
    """S2.2: a few landmarks, and the number of states."""
    assert (State.OpenPort, State.AuthNotify, State.ApplySettings) == (0, 6, 24)
    assert (State.Interactive, State.InvokeEapUI, State.Connected, State.Disconnected) == (4096, 4100, 8192, 8193)
    assert len(State) == 32
    assert (Substate.None_, Substate.Dormant, Substate.Reconnecting, Substate.Reconnected) == (0, 1, 2, 8192)


@pytest.mark.parametrize(
    ("value", "terminal", "paused"),
    [(25, False, False), (4101, False, True), (8194, True, False), (0x3001, True, True), (0xFFFFFFFF, True, True)],
)
def test_s8_24_unknown_states_classified_by_bits(value: int, terminal: bool, paused: bool) -> None:
    """S8.24: a number without a name is a State all the same, equal to its number, classified by its bits."""
    state = State(value)
    assert isinstance(state, State)
    assert isinstance(state, int)
    assert state == value
    assert hash(state) == hash(value)
    assert {value: "found"}[state] == "found"
    assert state.name == f"Unknown{value}"
    assert str(state) == f"Unknown{value}"
    assert state.value == value
    assert (state.is_terminal, state.is_paused) == (terminal, paused)
    assert not state.is_known
    assert State(value) is state
    assert state_of(value) is state


def test_s8_24_known_states_classified_by_bits() -> None:
    """S2.1: exactly the two final states are terminal, exactly the five of 0x1000 are paused."""
    assert [state for state in State if state.is_terminal] == [State.Connected, State.Disconnected]
    assert [int(state) for state in State if state.is_paused] == [4096, 4097, 4098, 4099, 4100]
    assert all(state.is_known and state_of(int(state)) is state for state in State)


def test_unknown_states_do_not_join_the_named_ones() -> None:
    """Garbage from below neither grows the enum nor its memory without bound; beyond the bound it still works."""
    before = list(State)
    for value in range(100_000, 100_000 + 2 * events._MOST_UNKNOWN):
        assert State(value) == value
        assert State(value).name == f"Unknown{value}"
    assert list(State) == before
    assert len(events._STATES) <= len(before) + events._MOST_UNKNOWN
    assert Substate(100_000).name == "Unknown100000"
    assert not isinstance(Substate(100_000), State)


@pytest.mark.parametrize("value", [-1, 1 << 32, 1.5, "Connected", None])
def test_what_is_no_32_bit_number_is_no_state(value: object) -> None:
    """Only unsigned 32-bit numbers can come from RAS; anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match="not a valid State"):
        State(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [State.OpenPort, State.Connected, State(4711), Substate(77), Substate.Dormant])
def test_states_travel(state: IntEnum) -> None:
    """Known or not, a state survives every pickle protocol and both copies, as the same object."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(state, protocol)) is state  # noqa: S301
    assert copy.copy(state) is state
    assert copy.deepcopy([state])[0] is state


def test_unknown_states_from_many_threads() -> None:
    """Threads that meet the same new number at once get the same object."""
    values = [200_000 + number % 7 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda value: Substate(value), values))
    assert [int(substate) for substate in found] == values
    assert len({id(substate) for substate in found}) == 7


def test_text_is_the_same_in_every_python() -> None:
    """str and format give the name, or the number where a number was asked for."""
    assert f"{State.Connected}" == str(State.Connected) == "Connected"
    assert f"{State.Connected:d} {State.Connected:>10}" == "8192  Connected"
    assert f"{Origin.Timeout} {Origin.Timeout.label} {Origin.Timeout:d}" == "timeout timeout 3"
    assert str(HangUp.GONE) == "gone"


def test_our_enums_have_the_values_of_the_c_header() -> None:
    """enum rasx_origin, rasx_outcome, rasx_hangup and rasx_notifier."""
    assert [(member.label, int(member)) for member in Origin] == list(
        zip(("notifier", "return", "poll", "timeout", "cancel", "core"), range(6), strict=True)
    )
    assert [(member.name, int(member)) for member in HangUp] == [("NONE", 0), ("GONE", 1), ("SHARED", 2), ("CLOSING", 3)]
    assert [(member.name, int(member)) for member in Outcome] == [("NONE", 0), ("CONNECTED", 1), ("FAILED", 2), ("SETTLED", 3)]
    assert [(member.name, int(member)) for member in Notifier] == [("FUNC", 0), ("FUNC1", 1), ("FUNC2", 2), ("WINDOW", 3)]


def test_notifier_from_text() -> None:
    """func, func1, func2 and window in any case; anything else is a ValueError that lists them."""
    assert [Notifier.parse(text) for text in ("func", "Func1", "FUNC2", "window")] == list(Notifier)
    assert Notifier.parse(2) is Notifier.parse(Notifier.FUNC2) is Notifier("func2") is Notifier.FUNC2  # type: ignore[arg-type]
    for wrong in ("func3", "", 4, None):
        with pytest.raises(ValueError, match="'func', 'func1', 'func2', 'window'"):
            Notifier.parse(wrong)  # type: ignore[arg-type]


def some_event() -> Event:
    return Event(6, 691, 7, 2, 0x5555, 3, Origin.Poll, 12.5, 0.25, Outcome.FAILED)


def test_event_fields() -> None:
    """The properties are the tuple's fields, in the order of FIELDS, with their types."""
    event = some_event()
    assert tuple(getattr(event, name) for name in Event.FIELDS) == tuple(event)
    assert (event.state, event.error, event.extended_error, event.subentry) == (State.AuthNotify, 691, 7, 2)
    assert (event.handle, event.sequence, event.time, event.elapsed) == (0x5555, 3, 12.5, 0.25)
    assert event.state is State.AuthNotify
    assert event.origin is Origin.Poll
    assert event.outcome is Outcome.FAILED
    assert Event(0).state is State.OpenPort
    assert Event(8194).state.is_terminal
    assert Event(6, 0x80420112 - (1 << 32)).error == 0x80420112


def test_event_made_in_bulk_is_the_same() -> None:
    """What the drain loop makes with tuple.__new__ equals what the constructor makes."""
    fields = (state_of(6), 691, 7, 2, 0x5555, 3, Origin.Poll, 12.5, 0.25, Outcome.FAILED)
    event = tuple.__new__(Event, fields)
    assert event == some_event()
    assert hash(event) == hash(some_event())
    assert repr(event) == repr(some_event())
    assert event != Event(6)


def test_event_is_immutable() -> None:
    """No field can be set, none can be added."""
    event = some_event()
    with pytest.raises(AttributeError):
        event.error = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.remark = "x"  # type: ignore[attr-defined]


def test_event_travels() -> None:
    """Events survive every pickle protocol that knows new-style classes, and both copies."""
    for event in (some_event(), Event(8194)):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            back = pickle.loads(pickle.dumps(event, protocol))  # noqa: S301
            assert type(back) is Event
            assert back == event
            assert back.state is event.state
        assert copy.copy(event) == event
        assert copy.deepcopy(event) == event


@pytest.mark.parametrize(
    ("outcome", "is_outcome", "failed"),
    [
        (Outcome.NONE, False, False),
        (Outcome.CONNECTED, True, False),
        (Outcome.FAILED, True, True),
        (Outcome.SETTLED, False, False),
    ],
)
def test_event_outcome(outcome: Outcome, is_outcome: bool, failed: bool) -> None:
    """is_outcome and failed speak of the dial as a whole: an error of one link of several is neither (S2.3 d)."""
    event = Event(6, 691, outcome=outcome)
    assert (event.is_outcome, event.failed) == (is_outcome, failed)


def test_event_repr_is_short() -> None:
    """repr shows the state by name, and only what is set beside it."""
    assert repr(Event(5, elapsed=0.5)) == "<Event #0 Authenticate at 0.500000 s>"
    assert repr(some_event()) == (
        "<Event #3 AuthNotify at 0.250000 s, error 691, extended error 7, link 2, from poll, failed>"
    )  # fmt: skip


def test_s8_26_event_shows_a_large_code_in_hex() -> None:
    """S8.26: a code above 0x7FFFFFFF is unsigned and shown in hex."""
    assert "error 0x80420112" in repr(Event(6, 0x80420112))
