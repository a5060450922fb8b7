"""Pauses: a dial that needs something stands still, is answered, and goes on (S1.7); or is given up.

SPDX-License-Identifier: MIT

All on the virtual clock: a paused dial's time passes only where a test waits or advances.
"""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import BOUND_S, until

import ras_ext
from ras_ext import Answer, AuthenticationError, Client, Dial, DialCancelledError, Event, HangUp, NotPausedError, Origin, State
from ras_ext.sim import Machine

SECRET = "Gräfin-1815-0x2B3"  # searched for in everything that is written
RETRY = (0, 1, 2, 3, 4, 5, 6, 4097, 7, 6, 10, 6, 18, 14, 8192)
EXPIRED = (0, 1, 2, 3, 4, 5, 6, 4099, 9, 6, 10, 6, 18, 14, 8192)


def states(dial: Dial) -> tuple[int, ...]:
    return tuple(int(event.state) for event in dial.events)


def to_pause(dial: Dial) -> Event:
    """Iterates up to the next pause."""
    for event in dial:
        if event.wants is not None:
            return event
    raise AssertionError("the dial did not pause")


def collect(problems: list[BaseException]) -> Callable[[sys.UnraisableHookArgs], None]:
    def hook(args: sys.UnraisableHookArgs) -> None:
        assert args.exc_value is not None
        problems.append(args.exc_value)

    return hook


# --- Pauses off -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("retry", 691), ("expired", 648), ("interactive", 703), ("eap_ui", 703)])
def test_s8_36_without_paused_states_it_is_a_plain_failure(virtual: Machine, client: Client, script: str, code: int) -> None:
    """What would pause fails as RAS itself says it, and no event wants anything."""
    virtual.script(None, script)
    dial = client.dial("Home")
    with pytest.raises(ras_ext.RasError) as raised:
        dial.result()
    assert raised.value.code == code
    assert all(event.wants is None for event in dial.events)
    assert not dial.paused
    assert virtual.calls("RasDialW") == 1


# --- By hand --------------------------------------------------------------------------------------------------------------------


def test_s8_37_resume_by_hand(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """Iterating shows the pause; after resume the same iteration goes on, to a connection with the same handle."""
    virtual.journal(tmp_path / "journal")
    virtual.account("Home", "ada", "right")
    virtual.script("Home", "retry")
    dial = client.dial("Home", username="ada", password="wrong", paused_states=True)
    seen = []
    for event in dial:
        seen.append(int(event.state))
        if event.wants is not None:
            assert event.state is State.RetryAuthentication
            assert event.wants == "credentials"
            assert dial.paused
            dial.resume(username="ada", password="right")
    assert tuple(seen) == RETRY
    connection = dial.result()
    assert not dial.paused
    assert connection.hang_up() is HangUp.GONE
    lines = [line for line in (tmp_path / "journal").read_text(encoding="utf-8").splitlines() if "RasDialW" in line]
    assert len(lines) == 2
    assert " resume " not in lines[0]
    assert " resume " in lines[1]
    assert f"h={connection.handle:#x}" in lines[1]
    assert virtual.calls("RasHangUpW") == 1


def test_s8_37_expired_password(virtual: Machine, client: Client) -> None:
    """PasswordExpired wants a new password; only that is given, the user name stays."""
    virtual.script("Home", "expired")
    dial = client.dial("Home", username="ada", password="old", paused_states=True)
    assert to_pause(dial).wants == "new_password"
    dial.resume(password="new")
    assert dial.result().hang_up() is HangUp.GONE
    assert states(dial) == EXPIRED


def test_s8_38_resume_is_always_by_the_dials_own_thread_and_notifier(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """Answered from inside on_event, the second RasDial still is that of the native thread, with the same notifier."""
    virtual.journal(tmp_path / "journal")
    virtual.script("Home", "retry")
    refused: list[BaseException] = []

    def on_event(event: Event) -> None:
        if event.wants is not None:
            box[0].resume()
        elif event.state is State.AuthProject:
            try:
                box[0].resume()
            except NotPausedError as problem:
                refused.append(problem)

    box: list[Dial] = []
    for notifier in ("func2", "func1"):
        refused.clear()
        go = threading.Event()
        box[:] = []

        def gated(event: Event, go: threading.Event = go) -> None:
            assert go.wait(BOUND_S)
            on_event(event)

        box.append(client.dial("Home", paused_states=True, on_event=gated, notifier=notifier))
        go.set()
        assert box[0].result().hang_up() is HangUp.GONE
        until(lambda: len(refused) == 1, "the refusal")
    kinds = [line.partition("kind=")[2][0] for line in (tmp_path / "journal").read_text().splitlines() if "RasDialW" in line]
    assert kinds == ["2", "2", "1", "1"]


def test_s8_39_cancel_instead_of_resume(virtual: Machine, client: Client) -> None:
    """Given up with cancel: one RasHangUp, and the entry can be dialled again."""
    virtual.script("Home", "retry")
    dial = client.dial("Home", paused_states=True)
    to_pause(dial)
    assert dial.cancel()
    with pytest.raises(DialCancelledError):
        dial.result()
    with pytest.raises(NotPausedError, match="Home"):
        dial.resume()
    assert dial.wait_closed()
    assert virtual.calls("RasHangUpW") == 1
    assert virtual.calls("RasDialW") == 1
    with client.dial("Lab").result():
        pass


def test_s8_40_a_pause_with_an_error_is_a_pause(virtual: Machine, client: Client) -> None:
    """RetryAuthentication with 691 is not the end when pauses were asked for."""
    virtual.script("Home", [{"state": 6}, {"state": 4097, "error": 691}, {"state": 8192}])
    dial = client.dial("Home", paused_states=True)
    event = to_pause(dial)
    assert (event.error, event.wants, event.failed) == (691, "credentials", False)
    dial.resume()
    with dial.result():
        assert states(dial) == (6, 4097, 8192)


def test_s8_41_star_as_callback_number(virtual: Machine, client: Client) -> None:
    """'*' pauses for the number with paused states, and is 704 without."""
    with pytest.raises(ras_ext.UsageError) as raised:
        client.dial("Home", callback_number="*").result()
    assert raised.value.code == 704
    dial = client.dial("Home", callback_number="*", paused_states=True)
    assert to_pause(dial).wants == "callback_number"
    dial.resume(callback_number="555 0100")
    with dial.result():
        assert State.WaitForCallback in [event.state for event in dial.events]


def test_s8_42_several_pauses_in_one_dial(virtual: Machine, client: Client) -> None:
    """Two wrong passwords, then an expired one, all in one dial with one handle."""
    steps = [{"state": state} for state in (5, 4097, 7, 4097, 7, 6, 4099, 9, 6, 8192)]
    virtual.script("Home", steps)  # type: ignore[arg-type]
    asked: list[str | None] = []
    dial = client.dial("Home", username="ada", password="1", paused_states=True)
    for event in dial:
        if event.wants:
            asked.append(event.wants)
            dial.resume(password=str(len(asked)))
    assert asked == ["credentials", "credentials", "new_password"]
    with dial.result():
        assert {event.handle for event in dial.events} == {dial.result().handle}
        assert virtual.calls("RasDialW") == 4


def test_an_account_refuses_until_the_password_is_right(virtual: Machine, client: Client) -> None:
    """The server decides how often: each wrong pair is another pause."""
    virtual.account("Home", "ada", "right")
    tries = iter(["wrong", "wronger", "right"])
    dial = client.dial("Home", username="ada", password="?", interactive=lambda event, dial: Answer(password=next(tries)))
    with dial.result():
        assert states(dial).count(4097) == 3
        assert next(tries, None) is None


def test_result_waits_through_a_pause_and_is_bounded(virtual: Machine, client: Client) -> None:
    """result() while paused keeps waiting, in the end for 703 with origin timeout."""
    virtual.script("Home", "retry")
    dial = client.dial("Home", paused_states=True, pause_timeout=120)
    event = to_pause(dial)
    with pytest.raises(ras_ext.StillDialing):
        dial.result(timeout=100)
    assert dial.paused
    with pytest.raises(AuthenticationError) as raised:
        dial.result()
    assert (raised.value.code, raised.value.origin) == (703, Origin.Timeout)
    assert dial.events[-1].elapsed == pytest.approx(event.elapsed + 120, abs=0.01)
    assert dial.wait_closed()


def test_a_pause_that_nobody_announces_is_bounded_too(virtual: Machine, client: Client) -> None:
    """The notification of the pause is lost (S8.28): the status shows it, and after its time the dial ends with 703."""
    virtual.script("Home", "retry")
    virtual.knob("silent", RETRY.index(4097) + 1)
    dial = client.dial("Home", paused_states=True, pause_timeout=30)
    problem = dial.exception()
    assert problem is not None
    assert (problem.code, problem.origin) == (703, Origin.Timeout)
    assert dial.elapsed >= 30
    assert all(event.wants is None for event in dial.events)


def test_each_pause_has_a_bound_of_its_own(virtual: Machine, client: Client) -> None:
    """Answering starts the time anew; None never ends it."""
    virtual.script("Home", [{"state": 4097}, {"state": 4097}, {"state": 8192}])
    dial = client.dial("Home", paused_states=True, pause_timeout=10)
    for _ in range(2):
        to_pause(dial)
        virtual.advance(9)
        dial.resume()
        virtual.advance(1)
    dial.result().hang_up()
    dial = client.dial("Home", paused_states=True, pause_timeout=None)
    to_pause(dial)
    virtual.advance(10_000)  # the bound is 300 s where none is given
    assert dial.paused
    dial.cancel()


@pytest.mark.parametrize(("script", "code"), [("retry", 691), ("expired", 648), ("interactive", 703), ("eap_ui", 703)])
def test_giving_up_by_hand_is_the_plain_failure(virtual: Machine, client: Client, script: str, code: int) -> None:
    """give_up ends a paused dial with what it would have failed with without paused states."""
    virtual.script("Home", script)
    dial = client.dial("Home", paused_states=True)
    with pytest.raises(NotPausedError):
        dial.give_up()
    to_pause(dial)
    dial.give_up()
    with pytest.raises(AuthenticationError) as raised:
        dial.result()
    assert (raised.value.code, raised.value.origin) == (code, Origin.Core)
    assert virtual.calls("RasHangUpW") == 1
    with pytest.raises(NotPausedError):
        dial.give_up()


# --- Interactive ----------------------------------------------------------------------------------------------------------------


def test_an_interactive_handler_answers(virtual: Machine, client: Client) -> None:
    """It runs on the dial's handler thread, after on_event with the same event, and its Answer lets the dial go on."""
    virtual.account("Home", "ada", "right")
    order: list[tuple[str, int]] = []
    threads = set()

    def on_event(event: Event) -> None:
        order.append(("event", int(event.state)))
        threads.add(threading.current_thread())

    def ask(event: Event, dial: Dial) -> Answer:
        order.append(("ask", int(event.state)))
        threads.add(threading.current_thread())
        assert dial.paused
        return Answer(username="ada", password=bytearray(b"right"))

    dial = client.dial("Home", username="ada", password="wrong", on_event=on_event, interactive=ask)
    assert [int(event.state) for event in dial] == list(RETRY)  # iteration goes on, too
    with dial.result():
        until(lambda: order[-1] == ("event", 8192), "the last event")
    expected = [("event", state) for state in RETRY]
    expected.insert(8, ("ask", 4097))
    assert order == expected
    assert len(threads) == 1
    assert threading.main_thread() not in threads


def test_time_stands_still_while_the_handler_thinks(virtual: Machine, client: Client) -> None:
    """Whoever waits meanwhile does not run a virtual clock into the time-out of the pause."""
    virtual.script("Home", "retry")
    entered, go = threading.Event(), threading.Event()

    def ask(event: Event, dial: Dial) -> Answer:
        entered.set()
        assert go.wait(BOUND_S)
        return Answer()

    dial = client.dial("Home", interactive=ask, pause_timeout=1)
    results: list[ras_ext.Connection] = []
    waiter = threading.Thread(target=lambda: results.append(dial.result()), daemon=True)
    waiter.start()
    assert entered.wait(BOUND_S)
    for _ in range(20):
        dial.done()
    go.set()
    waiter.join(BOUND_S)
    assert len(results) == 1
    results[0].hang_up()


@pytest.mark.parametrize("script", ["retry", "expired"])
def test_s8_39_none_gives_up(virtual: Machine, client: Client, script: str) -> None:
    """None from the handler cancels the dial."""
    virtual.script("Home", script)
    dial = client.dial("Home", interactive=lambda event, dial: None)
    with pytest.raises(DialCancelledError):
        dial.result()
    assert dial.cancelled()
    assert dial.wait_closed()


@pytest.mark.parametrize(("script", "want"), [("eap_ui", "eap_ui"), ("interactive", "terminal")])
def test_s8_43_a_pause_that_needs_a_window_ends_cleanly_without_one(
    virtual: Machine, client: Client, script: str, want: str
) -> None:
    """InvokeEapUI with nobody to show a dialog: 703, hung up once, nothing left."""
    virtual.script("Home", script)
    wanted: list[str | None] = []

    def ask(event: Event, dial: Dial) -> None:
        wanted.append(event.wants)

    dial = client.dial("Home", interactive=ask)
    with pytest.raises(AuthenticationError) as raised:
        dial.result()
    assert wanted == [want]
    assert (raised.value.code, raised.value.origin, raised.value.still_closing) == (703, Origin.Core, False)
    assert not dial.cancelled()
    assert virtual.calls("RasHangUpW") == 1


def test_an_exception_in_the_handler_gives_up_and_is_reported(
    virtual: Machine, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So does an answer that is none, or one that RAS could not take."""
    problems: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", collect(problems))
    virtual.script("Home", "retry")

    def fails(event: Event, dial: Dial) -> Answer:
        raise ZeroDivisionError("mine")

    wrong: list[Callable[[Event, Dial], object]] = [
        fails,
        lambda event, dial: "secret",
        lambda event, dial: Answer(password="x" * 257),
    ]
    for handler, kind in zip(wrong, (ZeroDivisionError, TypeError, ValueError), strict=True):
        problems.clear()
        dial = client.dial("Home", interactive=handler)  # type: ignore[arg-type]
        with pytest.raises(DialCancelledError):
            dial.result()
        until(lambda: len(problems) == 1, "the report")
        assert isinstance(problems[0], kind)
        assert dial.wait_closed()
    assert "interactive handler" in caplog.text


def test_a_handler_may_resume_by_hand(virtual: Machine, client: Client) -> None:
    """None after a resume of its own is no giving up."""
    virtual.script("Home", "retry")

    def ask(event: Event, dial: Dial) -> None:
        dial.resume(username="ada")

    with client.dial("Home", interactive=ask).result():
        pass


def test_an_answer_that_comes_too_late_is_harmless(virtual: Machine, client: Client) -> None:
    """The dial was cancelled while the handler was thinking; its answer changes nothing and is no error."""
    virtual.script("Home", "retry")
    entered, go, done = threading.Event(), threading.Event(), threading.Event()

    def ask(event: Event, dial: Dial) -> Answer:
        entered.set()
        assert go.wait(BOUND_S)
        return Answer(password="late")

    dial = client.dial("Home", interactive=ask)
    dial.add_done_callback(lambda dial: done.set())
    waiter = threading.Thread(target=dial.wait_closed, daemon=True)
    waiter.start()
    assert entered.wait(BOUND_S)
    assert dial.cancel()
    waiter.join(BOUND_S)
    assert dial.wait_closed()
    go.set()
    assert done.wait(BOUND_S)
    assert virtual.calls("RasDialW") == 1


def test_s8_18_a_repeated_announcement_is_asked_once(virtual: Machine, client: Client) -> None:
    """RAS announces everything twice; the handler is asked once a pause."""
    virtual.knob("repeat_percent", 100)
    virtual.script("Home", "retry")
    asked = []

    def ask(event: Event, dial: Dial) -> Answer:
        asked.append(event)
        return Answer()

    dial = client.dial("Home", interactive=ask)
    with dial.result():
        assert len(asked) == 1
        assert states(dial).count(4097) == 2
        assert virtual.calls("RasDialW") == 2


def test_closing_the_client_while_a_handler_thinks(virtual: Machine, book: Path) -> None:
    """Close does not wait for a handler; the dial is cancelled."""
    virtual.script("Home", "retry")
    entered, go = threading.Event(), threading.Event()

    def ask(event: Event, dial: Dial) -> Answer:
        entered.set()
        assert go.wait(BOUND_S)
        return Answer()

    client = ras_ext.open("sim", phonebook=book)
    dial = client.dial("Home", interactive=ask)
    for _ in range(1000):  # not on and on: the pause would time out while the handler's thread starts
        if dial.paused:
            break
        virtual.advance(1)
    assert entered.wait(BOUND_S)
    client.close()
    assert dial.cancelled()
    go.set()


# --- Wrong uses, secrecy --------------------------------------------------------------------------------------------------------


def test_resume_in_the_wrong_state_says_what_state_it_is(virtual: Machine, client: Client) -> None:
    """Not paused yet, answered already, connected, over: NotPausedError, which is a RuntimeError, with the dial in its text."""
    virtual.script("Home", "retry")
    dial = client.dial("Home", paused_states=True)
    with pytest.raises(NotPausedError, match=r"'Home', .*does not wait for an answer"):
        dial.resume()
    to_pause(dial)
    dial.resume()
    with pytest.raises(NotPausedError):
        dial.resume()
    connection = dial.result()
    with pytest.raises(RuntimeError, match="connected"):
        dial.resume()
    connection.hang_up()
    plain = client.dial("Lab")
    plain.result().hang_up()
    with pytest.raises(NotPausedError):
        plain.resume(username="x")


def test_wrong_arguments(virtual: Machine, client: Client) -> None:
    """Types and lengths are told at once, and the pause still waits."""
    virtual.script("Home", "retry")
    with pytest.raises(TypeError, match="interactive"):
        client.dial("Home", interactive=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="paused_states"):
        client.dial("Home", paused_states=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pause_timeout"):
        client.dial("Home", paused_states=True, pause_timeout=-1)
    dial = client.dial("Home", paused_states=True)
    to_pause(dial)
    with pytest.raises(TypeError, match="username"):
        dial.resume(username=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="domain"):
        dial.resume(domain="x" * 16)
    with pytest.raises(ValueError, match="password"):
        dial.resume(password="a\0b")
    with pytest.raises(TypeError, match="password"):
        dial.resume(password=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="UTF-8"):
        dial.resume(password=b"\xff")
    assert dial.paused
    dial.resume(password=lambda: "fine")
    with dial.result():
        pass


def test_no_answer_shows_its_password(
    virtual: Machine, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither repr, log, journal, pickle nor the local variables in a traceback of ours."""
    caplog.set_level(logging.DEBUG)
    virtual.journal(tmp_path / "journal")
    virtual.script("Home", "retry")
    answer = Answer(username="ada", password=SECRET, domain="LAB")
    assert repr(answer) == "Answer(username='ada', password=<hidden>, domain='LAB')"
    assert repr(Answer()) == "Answer()"
    with pytest.raises(TypeError):
        pickle.dumps(answer)
    with client.dial("Home", interactive=lambda event, dial: answer).result() as connection:
        virtual.script("Lab", "retry")
        dial = client.dial("Lab", paused_states=True)
        to_pause(dial)
        for wrong in (SECRET + "\0", SECRET + "\ud800", SECRET * 20):
            with pytest.raises(ValueError, match="password") as raised:
                dial.resume(password=wrong)
            frames = traceback.walk_tb(raised.value.__traceback__)
            ours = [
                frame for frame, _ in frames if "ras_ext" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename
            ]
            assert ours
            assert not any(SECRET in repr(value) for frame in ours for value in frame.f_locals.values())
        dial.cancel()
        assert connection.entry == "Home"
        assert dial.wait_closed()
    virtual.journal(None)
    for text in (caplog.text, *capsys.readouterr(), (tmp_path / "journal").read_text(encoding="utf-8")):
        assert SECRET not in text


def test_an_answer_can_be_given_again(virtual: Machine, client: Client) -> None:
    """The same Answer serves several pauses."""
    virtual.script("Home", [{"state": 4097}, {"state": 4097}, {"state": 8192}])
    answer = Answer(password="same")
    dial = client.dial("Home", username="ada", password="x", interactive=lambda event, dial: answer)
    with dial.result():
        assert virtual.calls("RasDialW") == 3


def test_what_events_want() -> None:
    """Each paused state has its word; a pause without a name is unknown; progress and outcomes want nothing."""
    wants = {state.name: Event(state).wants for state in State if Event(state).wants}
    assert wants == {
        "Interactive": "terminal",
        "RetryAuthentication": "credentials",
        "CallbackSetByCaller": "callback_number",
        "PasswordExpired": "new_password",
        "InvokeEapUI": "eap_ui",
    }
    assert Event(4101).wants == "unknown"
    assert Event(0x3000).wants is None
    assert Event(State.RetryAuthentication, outcome=2).wants is None


def test_the_clock_of_a_real_machine(sim: Machine, client: Client) -> None:
    """The same without a virtual clock."""
    sim.account("Home", "ada", "right")
    dial = client.dial("Home", username="ada", password="wrong", interactive=lambda event, dial: Answer(password="right"))
    with dial.result(timeout=BOUND_S):
        assert states(dial) == RETRY
