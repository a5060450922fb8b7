"""The five statements that the project stands on (docs/design.md, section 1), each proved over the simulated machine.

SPDX-License-Identifier: MIT

What was called stands in the machine's journal, a line per call when it returns; so a second process, or a program that has
ended, proves its hang-ups. Nothing here is timed.
"""

from __future__ import annotations

import gc
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, run_threads, until
from proving import (
    FAILING,
    ON_WINDOWS,
    PENDING,
    PROLOGUE,
    STORIES,
    RDEOPT_PausedStates,
    calls,
    finish,
    handles_of,
    hang_ups,
    program,
    story,
    until_idle,
    until_released,
)

import ras_ext
from ras_ext import Client, Dial, Event, HangUp, Origin, State
from ras_ext.sim import Machine

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("func", "func1", "func2")
KINDS = (
    *FUNCTIONS,
    pytest.param("window", marks=pytest.mark.skipif(not ON_WINDOWS, reason="windows exist on Windows only")),
)


@pytest.fixture
def journal(sim: Machine, tmp_path: Path) -> Path:
    """The machine's journal, from here to the end of the test."""
    path = tmp_path / "journal.txt"
    sim.journal(path)
    return path


# --- 1. An asynchronous dial returns at once --------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", KINDS)
@pytest.mark.parametrize("handler", [False, True])
def test_1_dial_returns_while_ras_dial_blocks(sim: Machine, client: Client, journal: Path, notifier: Any, handler: bool) -> None:
    """RasDial has been entered once and has not returned when dial() has: only this thread, after it, lets it go on."""
    sim.knob("block_dial", 1)
    sim.script("Office VPN", PENDING)
    dial = client.dial("Office VPN", notifier=notifier, on_event=(lambda event: None) if handler else None)
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    assert calls(journal, "RasDialW") == [], "RasDial has returned"
    assert not dial.done() and not dial.wait_closed(0)
    until_released(sim, lambda: calls(journal, "RasDialW"), "RasDial returning")
    assert not dial.done()
    assert dial.cancel()
    assert dial.wait_closed(BOUND_S)
    assert sim.calls("RasDialW") == 1


def test_1_the_module_level_dial_returns_too(sim: Machine, client: Client, journal: Path) -> None:
    """ras_ext.dial is no different, and several dials do not wait for each other's RasDial."""
    sim.knob("block_dial", 1)
    sim.script(None, PENDING)
    dials = [ras_ext.dial(name, client=client) for name in ("Office VPN", "Home", "Lab")]
    until(lambda: sim.calls("RasDialW") == 3, "three RasDials at once")
    assert calls(journal, "RasDialW") == []
    for dial in dials:
        dial.cancel()
        finish(sim, dial)


# --- 2. Every state change and every error arrives --------------------------------------------------------------------


def test_2_the_stories_are_those_of_the_machine(sim: Machine) -> None:
    """Each default script has its line in STORIES."""
    assert set(sim.scripts) == set(STORIES)


@pytest.mark.parametrize("notifier", KINDS)
@pytest.mark.parametrize("script", STORIES)
def test_2_all_events_arrive_in_order_with_one_outcome(virtual: Machine, client: Client, script: str, notifier: Any) -> None:
    """By iteration and by on_event alike: what RAS announces, in its order, and one event that decides, the last one."""
    seen: list[Event] = []
    told = threading.Event()
    virtual.script("Office VPN", script)
    dial = client.dial("Office VPN", notifier=notifier, on_event=seen.append)
    dial.add_done_callback(lambda decided: told.set())
    events = list(dial)
    expected = STORIES[script]
    if script == "multilink2" and notifier != "func2":
        expected = expected[: expected.index("/676") + 4]  # no subentry is told, so the error counts as the dial's (S1.4)
    assert story(events) == expected
    assert [event.is_outcome for event in events] == [False] * (len(events) - 1) + [True]
    assert [event.sequence for event in events] == list(range(len(events)))
    assert all(event.origin is Origin.Notifier for event in events)
    assert told.wait(BOUND_S)
    assert seen == events
    if events[-1].failed:
        assert dial.wait_closed()
    else:
        assert dial.result().hang_up() is HangUp.GONE
    assert sum(event.is_outcome for event in dial.events) == 1
    assert dial.lost == 0


@pytest.mark.parametrize("notifier", FUNCTIONS)
@pytest.mark.parametrize("knobs", [{"early": 1000}, {"threads": 1, "early": 3}, {"dial_delay_ms": 60}, {"slow_device": 1}])
def test_2_whatever_thread_and_moment_ras_chooses(sim: Machine, client: Client, notifier: Any, knobs: dict[str, int]) -> None:
    """Real threads, three dials at once: each gets its own events, whole and in order."""
    names = ("Office VPN", "Home", "Lab")
    for name, value in knobs.items():
        sim.knob(name, value)
    sim.script("Home", "auth_fail")
    dials = [client.dial(name, notifier=notifier) for name in names]
    stories = run_threads(*[lambda dial=dial: story(dial) for dial in dials])
    assert stories == [STORIES["vpn_ok"], STORIES["auth_fail"], STORIES["vpn_ok"]]
    for dial in dials:
        assert sum(event.is_outcome for event in dial.events) == 1
        if dial.exception() is None:
            dial.result().hang_up()


@pytest.mark.skipif(ON_WINDOWS, reason="Windows has windows")
def test_2_the_window_form_says_that_it_is_not_available(sim: Machine, client: Client, journal: Path) -> None:
    """Elsewhere than on Windows: NotAvailableError from dial() itself, which RAS never hears of."""
    with pytest.raises(ras_ext.NotAvailableError, match="Windows") as caught:
        client.dial("Office VPN", notifier="window")
    assert isinstance(caught.value, NotImplementedError)
    assert calls(journal, "RasDialW") == []


# --- 3. The thread that calls RasDial outlives whoever asked ----------------------------------------------------------


@pytest.mark.parametrize("notifier", KINDS)
@pytest.mark.parametrize("script", ["vpn_ok", "auth_fail"])
def test_3_the_thread_that_called_dial_may_end(sim: Machine, client: Client, journal: Path, script: str, notifier: Any) -> None:
    """It is dead before RasDial has returned; the dial completes none the less."""
    sim.script("Office VPN", script)
    sim.knob("block_dial", 1)
    started: list[Dial] = []
    thread = threading.Thread(target=lambda: started.append(client.dial("Office VPN", notifier=notifier)))
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive()
    (dial,) = started
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    assert calls(journal, "RasDialW") == []
    sim.release()
    assert story(dial) == STORIES[script]
    finish(sim, dial)
    if script == "vpn_ok":
        assert dial.result().hang_up() is HangUp.GONE
    assert hang_ups(journal) == 1


def test_3_nobody_is_left_but_the_handler(sim: Machine, client: Client) -> None:
    """Neither the thread nor a reference: the dial with on_event goes through to its outcome."""
    seen: list[Event] = []
    connected = threading.Event()

    def on_event(event: Event) -> None:
        seen.append(event)
        if event.is_outcome:
            connected.set()

    def body() -> None:
        client.dial("Office VPN", on_event=on_event)

    run_threads(body)
    gc.collect()
    assert connected.wait(BOUND_S)
    assert story(seen) == STORIES["vpn_ok"]
    (connection,) = client.connections()
    connection.hang_up()


# --- 4. Once connected, the program may exit --------------------------------------------------------------------------

ENDINGS = {
    "returns": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "an exception": ("raise ZeroDivisionError", 1, "ZeroDivisionError"),
}


def check_outlived(book: Path, tmp_path: Path, notifier: str, ending: str) -> None:
    last, status, complaint = ENDINGS[ending]
    code = PROLOGUE + f'connection = client.dial("Office VPN", notifier="{notifier}").result()\n{last}\n'
    done = program(code, book, tmp_path / "journal.txt", folder=tmp_path)
    assert (done.returncode, complaint in done.stderr) == (status, True)
    assert complaint or done.stderr == ""
    assert calls(tmp_path / "journal.txt", "RasDialW")[0].endswith("-> 0")
    assert hang_ups(tmp_path / "journal.txt") == 0


@pytest.mark.parametrize("notifier", KINDS)
def test_4_a_connection_outlives_the_program(book: Path, tmp_path: Path, notifier: Any) -> None:
    """The interpreter ends after Connected, and nobody hangs up."""
    check_outlived(book, tmp_path, notifier, "returns")


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != "returns"])
def test_4_however_the_program_ends(book: Path, tmp_path: Path, ending: str) -> None:
    """The same when it ends early, or by an exception."""
    check_outlived(book, tmp_path, "func2", ending)


UNFINISHED = {
    "blocked in RasDial": f"""
machine.knob("block_dial", 1)
machine.script(None, {PENDING})
dial = client.dial("Office VPN", HANDLER)
def let_go():
    while not dial.cancelled():
        threading.Event().wait(0.001)
    machine.release()
threading.Thread(target=let_go, daemon=True).start()
while machine.calls("RasDialW") == 0:
    threading.Event().wait(0.001)
""",
    "in mid-script": f"""
machine.script(None, {PENDING})
dial = client.dial("Office VPN", HANDLER)
next(iter(dial))
""",
    "paused": f"""
machine.script(None, "retry")
dial = client.dial("Office VPN", options={RDEOPT_PausedStates}, HANDLER)
for event in dial:
    if event.state.is_paused:
        break
assert event.state.is_paused
""",
    "beside a connection": f"""
machine.script("Home", {PENDING})
connection = client.dial("Office VPN").result()
dial = client.dial("Home", HANDLER)
next(iter(dial))
print("kept", hex(connection.handle))
""",
}


@pytest.mark.parametrize("handler", ["", "on_event=lambda event: None"])
@pytest.mark.parametrize("where", UNFINISHED)
def test_4_an_unfinished_dial_is_hung_up_once_at_exit(book: Path, tmp_path: Path, where: str, handler: str) -> None:
    """The exit hook cancels it, its native thread calls RasHangUp and waits until the handle is invalid; then it ends."""
    path = tmp_path / "journal.txt"
    done = program(PROLOGUE + UNFINISHED[where].replace("HANDLER", handler), book, path, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = calls(path, "RasHangUpW")
    (handle,) = handles_of([line])
    assert line.endswith("-> 0")
    assert f"kept {handle}" not in done.stdout
    after = [status for status in calls(path, "RasGetConnectStatusW") if f"h={handle} " in status]
    assert after[-1].endswith("-> 6"), "the program ended before the link was down"


def test_4_the_exit_is_bounded_while_ras_dial_never_returns(book: Path, tmp_path: Path) -> None:
    """Then there is nothing that could be hung up, and the program ends all the same."""
    code = PROLOGUE + UNFINISHED["in mid-script"].replace("HANDLER", "").replace(
        "dial = ", 'machine.knob("block_dial", 1)\ndial = '
    )
    done = program(code, book, tmp_path / "journal.txt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert calls(tmp_path / "journal.txt", "RasDialW") == []


# --- 5. After an error the operation is shut down ---------------------------------------------------------------------


def check_shut_down(machine: Machine, dial: Dial, journal: Path) -> None:
    """RasHangUp once, of the dial's own handle, and then a look at the status that found the handle invalid."""
    assert dial.wait_closed() and dial.hang_up_result is HangUp.GONE
    (line,) = calls(journal, "RasHangUpW")
    (handle,) = handles_of([line])
    statuses = [status for status in calls(journal, "RasGetConnectStatusW") if f"h={handle} " in status]
    assert statuses[-1].endswith("-> 6")
    assert not any(machine.counters)


@pytest.mark.parametrize("notifier", KINDS)
@pytest.mark.parametrize("script", FAILING)
def test_5_every_failing_script_is_hung_up_once(
    virtual: Machine, client: Client, journal: Path, script: str, notifier: Any
) -> None:
    """result() raises with the code of the script when the link is down, so that the next dial finds it free."""
    virtual.script("Office VPN", script)
    dial = client.dial("Office VPN", notifier=notifier)
    with pytest.raises(ras_ext.RasError) as caught:
        dial.result()
    assert caught.value.code == int(STORIES[script].partition("/")[2])
    assert not caught.value.still_closing
    check_shut_down(virtual, dial, journal)


def test_5_a_link_that_breaks_while_dialling(virtual: Machine, client: Client, journal: Path) -> None:
    """The other side drops it in mid-dial, by the script or by itself."""
    virtual.script("Office VPN", [{"state": "OpenPort"}, {"state": "ConnectDevice"}, {"drop": True, "error": 829}])
    dial = client.dial("Office VPN")
    error = dial.exception()
    assert error is not None and (error.code, error.state) == (829, State.ConnectDevice)
    check_shut_down(virtual, dial, journal)


def test_5_dropped_from_outside_while_dialling(virtual: Machine, client: Client, journal: Path) -> None:
    """The same with a drop that no script foresaw."""
    virtual.script("Office VPN", PENDING)
    dial = client.dial("Office VPN")
    virtual.drop(next(iter(dial)).handle, 629)
    error = dial.exception()
    assert error is not None and error.code == 629
    check_shut_down(virtual, dial, journal)


def test_5_callback_number_that_cannot_be_asked_for(virtual: Machine, client: Client, journal: Path) -> None:
    """ "*" without paused states is error 704 (S1.2)."""
    virtual.script("Office VPN", "callback")
    dial = client.dial("Office VPN", callback_number="*")
    error = dial.exception()
    assert error is not None and error.code == 704
    check_shut_down(virtual, dial, journal)


@pytest.mark.parametrize("script", ["retry", "expired", "interactive", "eap_ui"])
def test_5_giving_up_in_a_pause(virtual: Machine, client: Client, journal: Path, script: str) -> None:
    """With paused states on and no answer given, leaving the `with` block hangs up."""
    virtual.script("Office VPN", script)
    with client.dial("Office VPN", options=RDEOPT_PausedStates) as dial:
        for event in dial:
            assert event.error == 0
            if event.state.is_paused:
                break
    assert dial.cancelled()
    check_shut_down(virtual, dial, journal)


@pytest.mark.parametrize("end", ["timeout", "cancel", "forgotten", "closed"])
def test_5_ends_that_are_our_own(virtual: Machine, book: Path, journal: Path, end: str) -> None:
    """Time-out, cancel, a Dial that nobody holds any more, a closed client: hung up once too."""
    virtual.script(None, PENDING)
    with ras_ext.open("sim", phonebook=book) as client:
        dial = client.dial("Office VPN", timeout=60 if end == "timeout" else None)
        next(iter(dial))
        if end == "timeout":
            error = dial.exception()
            assert error is not None and error.code == 638
        elif end == "cancel":
            assert dial.cancel()
        elif end == "forgotten":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del dial
                gc.collect()
        if end != "closed":
            until_idle(virtual)
    until_idle(virtual)
    assert hang_ups(journal) == 1


# Every knob of the machine with the values under which a failing dial is tried; "dial_code" brings a failure of its own.
KNOBS: dict[str, tuple[dict[str, int], ...]] = {
    "early": ({"early": 1}, {"early": 1000}),
    "early_on_caller": ({"early": 1000, "early_on_caller": 1},),
    "threads": ({"threads": 1}, {"threads": 2}),
    "repeat_percent": ({"repeat_percent": 50}, {"repeat_percent": 100, "threads": 2}),
    "skip_percent": ({"skip_percent": 50}, {"skip_percent": 100}),
    "late": ({"late": 3},),
    "silent": ({"silent": 1}, {"silent": 8}),
    "error_then": ({"error_then": 1}, {"error_then": 2}),
    "final_on_hangup": ({"final_on_hangup": 1}, {"final_on_hangup": 2}),
    "dial_code": ({"dial_code": 711},),
    "dial_code_handle": ({"dial_code": 711, "dial_code_handle": 1}, {"dial_code": 711, "dial_code_handle": 1, "early": 1000}),
    "dial_code_notify": (
        {"dial_code": 711, "dial_code_notify": 1},
        {"dial_code": 711, "dial_code_notify": 1, "dial_code_handle": 1},
    ),
    "by_callback": ({"by_callback": 1},),
    "block_dial": ({"block_dial": 1}, {"block_dial": 1, "early": 1000}),
    "dial_delay_ms": ({"dial_delay_ms": 5}, {"dial_delay_ms": 5000}),
    "block_status": ({"block_status": 1},),
    "block_hangup": ({"block_hangup": 1},),
    "hangup_delay_ms": ({"hangup_delay_ms": 0}, {"hangup_delay_ms": 9_000}, {"hangup_delay_ms": 60_000}),
    "hangup_code": ({"hangup_code": 753},),
    "gone_code": ({"gone_code": 668},),
    "never_gone": ({"never_gone": 1},),
    "status_stub": ({"status_stub": 1},),
    "closing_state": ({"closing_state": 0},),
    "watch_fires_once": ({"watch_fires_once": 1},),
    "watch_spurious": ({"watch_spurious": 1},),
    "watch_silent": ({"watch_silent": 1},),
    "reuse_handles": ({"reuse_handles": 1},),
    "known_notify": ({"known_notify": 0},),
    "list_dialing": ({"list_dialing": 1},),
    "list_grows": ({"list_grows": 3},),
    "empty_touches": ({"empty_touches": 0},),
    "link_gone": ({"link_gone": 0}, {"link_gone": 2}),
    "entry_size": ({"entry_size": 1},),
    "slow_device": ({"slow_device": 1},),
    "message": ({"message": 0xC123},),
}
NO_HANDLE = ({"dial_code": 711}, {"dial_code": 711, "dial_code_notify": 1})
"""RasDial refuses and gives no handle: nothing to hang up (S8.2)."""


def test_5_every_knob_is_tried(sim: Machine) -> None:
    """A new knob must say here how a failing dial fares with it."""
    assert set(KNOBS) == {knob.name for knob in sim.knobs}


@pytest.mark.parametrize("knobs", [knobs for variants in KNOBS.values() for knobs in variants], ids=str)
@pytest.mark.parametrize("notifier", ["func", "func2"])
def test_5_whatever_the_machine_does(
    virtual: Machine, client: Client, journal: Path, knobs: dict[str, int], notifier: Any
) -> None:
    """A failing dial calls RasHangUp exactly once, however nasty the machine is, and the next dial of it is no worse."""
    virtual.seed(5)
    virtual.script(None, "auth_fail")
    for name, value in knobs.items():
        virtual.knob(name, value)
    expected = 0 if knobs in NO_HANDLE else 1
    for entry in ("Office VPN", "Home"):
        before = hang_ups(journal)
        dial = client.dial(entry, notifier=notifier)
        finish(virtual, dial)
        assert hang_ups(journal) - before == expected
        error = dial.exception()
        assert error is not None and error.code in (691, 711)
        assert sum(event.is_outcome for event in dial.events) == 1
    virtual.reset(force=True)  # never_gone, hangup_code and the like leave something behind


@pytest.mark.parametrize("entry", ["Office VPN", "No such entry"])
def test_5_failures_by_return_and_by_notification(
    virtual: Machine, client: Client, journal: Path, entry: str, tmp_path: Path
) -> None:
    """621, 623, 633, 756: by return they own no handle, by notification they do (S1.12)."""
    virtual.ports("vpn", 0)
    book = tmp_path / "missing.pbk" if entry == "Office VPN" else None
    expected = 0
    for by_callback in (0, 1):
        virtual.knob("by_callback", by_callback)
        codes = []
        for phonebook in (book, None):
            dial = client.dial(entry, phonebook=phonebook)
            error = dial.exception()
            assert error is not None
            codes.append(error.code)
            expected += by_callback
            assert hang_ups(journal) == expected
        assert codes == ([621, 633] if entry == "Office VPN" else [623, 623])


# --- The table of the pitfalls ----------------------------------------------------------------------------------------


def test_the_table_of_pitfalls_names_tests_that_exist() -> None:
    """docs/pitfalls.md has each number once, names only tests that exist, and all of those that carry a number in these files."""
    page = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    rows = {int(row[1]): row[2] for row in re.finditer(r"^\| *(\d+) *\|(.*)\|$", page, re.MULTILINE)}
    assert list(rows) == list(range(1, 81)), "one row for each number, in order"
    tests: dict[str, set[str]] = {}
    folder = ROOT / "tests"
    for path in [*folder.glob("test_*.py"), *(folder / "windows").glob("test_*.py"), *(folder / "c").glob("test_*.c")]:
        pattern = r"^TEST\((\w+)\)" if path.suffix == ".c" else r"^def (test_\w+)"
        tests[path.relative_to(folder).as_posix()] = set(re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE))
    named: set[tuple[str, str]] = set()
    for number, row in rows.items():
        found = re.findall(r"`([\w/.]+)::(\w+)`", row)
        assert found or row.rstrip().endswith("to come"), f"S8.{number} names no test"
        for file, test in found:
            assert test in tests.get(file, set()), f"S8.{number}: there is no {test} in tests/{file}"
            numbers = re.match(r"test_((?:(?:(?:s8_)?\d+|and)_)+)", test)
            carried = re.findall(r"\d+", numbers[1].replace("s8_", "")) if numbers else []
            assert number in map(int, carried), f"S8.{number}: {test} is of another"
            named.add((file, test))
    ours = ("test_pitfalls_handle.py", "test_pitfalls_notify.py", "test_pitfalls_hangup.py", "c/test_pitfalls.c")
    missing = {(file, test) for file in ours for test in tests[file] if test.startswith("test_s8_")} - named
    assert not missing, f"docs/pitfalls.md does not name {sorted(missing)}"
