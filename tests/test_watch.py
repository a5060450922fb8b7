"""Watching connections, and why one is gone.

SPDX-License-Identifier: MIT

On the virtual clock where time matters: `get` with a time-out lets it pass.
"""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from helping import BOUND_S, python, run_threads, until
from holding import is_ours

import ras_ext
from ras_ext import Change, ChangeKind, Client, Connection, HangUp, Watch, _ffi
from ras_ext.sim import Machine

CONNECTED, DISCONNECTED = ChangeKind.CONNECTED, ChangeKind.DISCONNECTED
NEVER_POLLS = 86_400.0


def up(client: Client, entry: str = "Office VPN") -> Connection:
    return client.dial(entry).result()


def story(changes: list[Change]) -> list[tuple[ChangeKind, str]]:
    return [(change.kind, change.connection.entry) for change in changes]


def take(watch: Watch, count: int, timeout: float = 10.0) -> list[Change]:
    """So many changes, and then no more within that time."""
    changes: list[Change] = []
    for _ in range(count):
        change = watch.get(timeout)
        assert change is not None, f"only {story(changes)}"
        changes.append(change)
    assert watch.get(timeout) is None
    return changes


def is_waiting(watch: Watch) -> bool:
    """Whether another thread waits inside the core."""
    return watch._handle.wait(0, passive=True)[0] == _ffi.E_BUSY


# --- What is reported -------------------------------------------------------------------------------------------------


def test_connected_and_disconnected_of_other_clients_too(virtual: Machine, client: Client, book: Path) -> None:
    """A connection that another program makes and ends is reported, with its identity, at once and in order."""
    with ras_ext.open("sim", phonebook=book) as other, client.watch(poll=NEVER_POLLS) as watch:
        connection = up(other)
        came = watch.get(10)
        assert came is not None
        assert (came.kind, came.connection, came.reason, came.link) == (CONNECTED, connection, None, None)
        assert came.connection.correlation_id is not None
        assert came.connection.dropped is None
        connection.hang_up()
        went = watch.get(10)
        assert went is not None
        assert went.kind is DISCONNECTED
        assert went.connection is came.connection
        assert went.time >= came.time > 0
        assert watch.get(10) is None


def test_existing_connections(virtual: Machine, client: Client) -> None:
    """What stands already is reported on request only; its end is reported in any case."""
    first, second = up(client), up(client, "Home")
    with client.watch() as quiet, client.watch(existing=True) as full:
        assert story(take(full, 2)) == [(CONNECTED, "Office VPN"), (CONNECTED, "Home")]
        assert take(quiet, 0) == []
        first.hang_up()
        for watch in (quiet, full):
            assert story(take(watch, 1)) == [(DISCONNECTED, "Office VPN")]
    second.hang_up()


def test_nothing_between_two_takes_is_lost(virtual: Machine, client: Client) -> None:
    """Changes while nobody waits are reported afterwards: first what went, then what came."""
    gone = up(client)
    with client.watch() as watch:
        gone.hang_up()
        stands = up(client, "Lab")
        assert story(take(watch, 2)) == [(DISCONNECTED, "Office VPN"), (CONNECTED, "Lab")]
    stands.hang_up()


def test_s8_13_quick_reconnection_with_a_reused_handle(virtual: Machine, client: Client) -> None:
    """The same entry and handle, another connection: reported as gone and come; the old objects know that they are gone."""
    virtual.knob("reuse_handles", 1)
    old = up(client)
    with client.watch() as watch:
        listed = client.connections()[0]
        virtual.drop(old)
        fresh = up(client)
        assert fresh.handle == old.handle
        went, came = take(watch, 2)
        assert (went.kind, came.kind) == (DISCONNECTED, CONNECTED)
        assert went.connection.handle == came.connection.handle
        assert went.connection.correlation_id != came.connection.correlation_id
        for connection in (old, listed, went.connection):
            assert connection.dropped is not None
            assert connection.dropped.code == 668
        assert old.hang_up() is HangUp.GONE  # without touching the handle
        for connection in (fresh, came.connection):
            assert connection.dropped is None
        virtual.drop(fresh)
        (last,) = take(watch, 1)
        assert last.connection is came.connection
        assert fresh.dropped is not None


def test_s8_13_reused_handle_is_seen_without_a_watch(virtual: Machine, client: Client) -> None:
    """A listed Connection compares identities when it is asked; one of a dial knows its handle only."""
    virtual.knob("reuse_handles", 1)
    first = up(client)
    (listed,) = client.connections()
    virtual.drop(first)
    second = up(client)
    assert listed.dropped is not None
    assert listed.dropped.code == 668
    second.hang_up()


def test_links_that_join_and_leave(virtual: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links of a multilink connection are reported one by one; the first ones belong to CONNECTED; unknown changes nothing."""
    links = [1, 2]

    def ask(connection: Connection) -> list[SimpleNamespace]:
        if not links:
            raise ras_ext.RasError(6)
        return [SimpleNamespace(subentry=subentry, up=subentry in links) for subentry in (1, 2, 3)]

    monkeypatch.setattr(Connection, "links", ask)
    connection = up(client)
    with client.watch(poll=1, existing=True) as watch:
        assert story(take(watch, 1)) == [(CONNECTED, "Office VPN")]
        links[:] = [2, 3]
        changes = take(watch, 2)
        assert [(change.kind, change.link) for change in changes] == [(ChangeKind.LINK_REMOVED, 1), (ChangeKind.LINK_ADDED, 3)]
        links.clear()
        assert take(watch, 0) == []
        links[:] = [2]
        assert [(change.kind, change.link) for change in take(watch, 1)] == [(ChangeKind.LINK_REMOVED, 3)]
    connection.hang_up()


def test_links_of_a_multilink_connection(virtual: Machine, client: Client) -> None:
    """A link that is lost is told at once, by notification; the last one takes the connection with it."""
    office = Path(__file__).parent / "data" / "office.pbk"
    connection = client.dial("Branch Multilink", phonebook=office).result()
    with client.watch(poll=NEVER_POLLS) as watch:
        first, second = connection.links()
        virtual.drop(second.handle)
        (change,) = take(watch, 1)
        assert (change.kind, change.connection, change.link) == (ChangeKind.LINK_REMOVED, connection, 2)
        virtual.drop(first.handle)
        assert story(take(watch, 1)) == [(DISCONNECTED, "Branch Multilink")]


# --- Notification and polling -----------------------------------------------------------------------------------------


def test_s8_50_dropped_is_reported_at_once(virtual: Machine, client: Client) -> None:
    """The event fires although nobody polls; status says 6, and that the reason is not known is said honestly."""
    connection = up(client)
    assert connection.dropped is None
    with client.watch(poll=NEVER_POLLS) as watch:
        virtual.drop(connection, 829)
        change = watch.get(1)
        assert change is not None
        assert change.kind is DISCONNECTED
        assert isinstance(change.reason, ras_ext.DisconnectedError)
        assert change.reason.code == 668
        assert "does not keep the reason" in change.reason.text
    with pytest.raises(ras_ext.DisconnectedError) as caught:
        connection.status()
    assert caught.value.code == 6
    assert connection.dropped is not None
    assert connection.dropped.code == 668


def test_link_that_breaks_by_itself_is_told_when_it_does(virtual: Machine, client: Client) -> None:
    """On the virtual clock the notification comes at the very time of the break."""
    virtual.script("Office VPN", "drop")
    with client.watch(poll=NEVER_POLLS) as watch:
        up(client)
        came = watch.get(10)
        went = watch.get(10)
        assert came is not None
        assert went is not None
        assert went.kind is DISCONNECTED
        assert went.time - came.time == pytest.approx(1.0, abs=0.05)


def test_s8_72_coalesced_and_spurious_signals(virtual: Machine, client: Client) -> None:
    """Many happenings in one signal are all found, and signals for nothing yield nothing."""
    virtual.knob("watch_spurious", 1)
    with client.watch(poll=NEVER_POLLS) as watch:
        connections = [up(client, entry) for entry in ("Office VPN", "Home", "Lab")]
        assert story(take(watch, 3)) == [(CONNECTED, "Office VPN"), (CONNECTED, "Home"), (CONNECTED, "Lab")]
        looked = virtual.calls("RasEnumConnectionsW")
        with pytest.raises(ras_ext.RasError):
            virtual.script("Büro №5", "unreachable")
            client.dial("Büro №5").result()
        assert take(watch, 0) == []
        assert virtual.calls("RasEnumConnectionsW") > looked
        for connection in connections:
            connection.hang_up()
        assert [change.kind for change in take(watch, 3)] == [DISCONNECTED] * 3


def test_s8_72_registers_again_after_each_signal(virtual: Machine, client: Client) -> None:
    """A system whose registrations fire once (S4.13, DotRas #105) loses nothing, without polling."""
    virtual.knob("watch_fires_once", 1)
    with client.watch(poll=NEVER_POLLS) as watch:
        for _ in range(3):
            connection = up(client)
            assert story(take(watch, 1, 1.0)) == [(CONNECTED, "Office VPN")]
            virtual.drop(connection)
            assert story(take(watch, 1, 1.0)) == [(DISCONNECTED, "Office VPN")]
        assert virtual.calls("RasConnectionNotificationW") > 6


def _fires_once_for_ever(machine: Machine) -> None:
    machine.knob("watch_fires_once", 2)


def _never_fires(machine: Machine) -> None:
    machine.knob("watch_silent", 1)


def _refuses(machine: Machine) -> None:
    machine.fault("RasConnectionNotificationW", 711)


@pytest.mark.parametrize("habit", [_fires_once_for_ever, _never_fires, _refuses])
def test_polling_finds_what_is_not_notified(virtual: Machine, client: Client, habit: Callable[[Machine], None]) -> None:
    """With a RAS that notifies once, never, or not at all, every change is found within the poll interval."""
    habit(virtual)
    with client.watch(poll=2) as watch:
        for _ in range(2):
            connection = up(client)
            before = virtual.now
            change = watch.get(10)
            assert change is not None
            assert change.kind is CONNECTED
            assert virtual.now - before <= 2.1
            virtual.drop(connection)
            change = watch.get(10)
            assert change is not None
            assert change.kind is DISCONNECTED


def test_failing_lists(virtual: Machine, client: Client) -> None:
    """Two looks in a row may fail unseen; the third is raised, and the watch goes on."""
    with client.watch(poll=1) as watch:
        connection = up(client)
        virtual.fault("RasEnumConnectionsW", 711, times=2)
        assert story(take(watch, 1)) == [(CONNECTED, "Office VPN")]
        virtual.fault("RasEnumConnectionsW", 711, times=3)
        with pytest.raises(ras_ext.ServiceError):
            watch.get(10)
        connection.hang_up()
        assert story(take(watch, 1)) == [(DISCONNECTED, "Office VPN")]
    virtual.fault("RasEnumConnectionsW", 711)
    with pytest.raises(ras_ext.ServiceError):
        client.watch()
    virtual.fault("RasEnumConnectionsW", 0)


def test_a_watch_in_the_background_does_not_move_a_virtual_clock(virtual: Machine, client: Client) -> None:
    """Iteration waits without letting time pass; it is woken all the same."""
    with client.watch() as watch:
        got: list[Change] = []
        thread = threading.Thread(target=lambda: got.extend(watch), daemon=True)
        thread.start()
        until(lambda: is_waiting(watch))
        before = virtual.now
        for _ in range(3):
            virtual.settle()
        assert virtual.now == before
        connection = up(client)
        until(lambda: len(got) == 1)
        connection.hang_up()
        until(lambda: len(got) == 2)
        watch.close()
        thread.join(BOUND_S)
        assert not thread.is_alive()
        assert [change.kind for change in got] == [CONNECTED, DISCONNECTED]


def test_real_clock_and_several_takers(sim: Machine, client: Client) -> None:
    """Each change goes to exactly one of the threads that take from a watch."""
    sim.script(None, "connect_now")
    rounds = 5
    with client.watch(poll=0.5) as watch:

        def taker() -> list[Change]:
            return list(watch)

        def maker() -> list[Change]:
            for _ in range(rounds):
                seen = watch._state[0]
                connection = up(client)
                until(lambda seen=seen: watch._state[0] is not seen and len(watch._state[0]) == 1)  # type: ignore[misc]
                connection.hang_up()
                until(lambda: not watch._state[0])
            until(lambda: all(parcel.taken for parcel in watch._state[1]))
            watch.close()
            return []

        parts = run_threads(taker, taker, maker)
    changes = [change for part in parts if isinstance(part, list) for change in part]
    kinds = [change.kind for change in sorted(changes, key=lambda change: change.time)]
    assert kinds == [CONNECTED, DISCONNECTED] * rounds


# --- The end of a watch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_client", [False, True])
def test_close_from_another_thread_ends_iteration(sim: Machine, client: Client, whole_client: bool) -> None:
    """Closing the watch, or its client, ends a loop that waits; afterwards `get` says so."""
    watch = client.watch()

    def closer() -> None:
        until(lambda: is_waiting(watch))
        (client if whole_client else watch).close()

    assert run_threads(lambda: list(watch), closer)[0] == []
    assert watch.closed
    assert "closed" in repr(watch)
    with pytest.raises(ras_ext.ClosedError):
        watch.get(0)
    watch.close()


def test_interrupt_leaves_a_watch_that_works(sim: Machine, client: Client) -> None:
    """Ctrl-C ends the wait within a slice; what happens then is reported by the next call."""
    sim.script(None, "connect_now")
    with client.watch() as watch:

        def interrupt() -> None:
            until(lambda: is_waiting(watch))
            _thread.interrupt_main()

        thread = threading.Thread(target=interrupt, daemon=True)
        with pytest.raises(KeyboardInterrupt):
            thread.start()
            watch.get()
        thread.join(BOUND_S)
        connection = up(client)
        change = watch.get(BOUND_S)
        assert change is not None
        assert change.kind is CONNECTED
        connection.hang_up()


def test_interrupted_look_is_made_up_for(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a signal handler in the middle of a look costs no change and doubles none."""
    sim.script(None, "connect_now")
    with client.watch(poll=NEVER_POLLS) as watch:
        connection = up(client)
        compare = watch._compare

        def struck(*arguments: Any) -> Any:
            compare(*arguments)
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(watch, "_compare", struck)
        with pytest.raises(KeyboardInterrupt):
            watch.get(BOUND_S)
        assert story(take(watch, 1, 0.5)) == [(CONNECTED, "Office VPN")]
        connection.hang_up()


def test_an_interrupt_at_every_point_of_a_watch(sim: Machine, client: Client) -> None:
    """KeyboardInterrupt at one point after the other of taking a change: each change comes exactly once all the same."""
    sim.script(None, "connect_now")
    sim.knob("hangup_delay_ms", 0)
    with client.watch(poll=NEVER_POLLS) as watch:

        def play(strike_at: int) -> int:
            points = 0

            def profile(frame: FrameType, event: str, argument: object) -> None:
                nonlocal points
                if event not in ("call", "c_return") or not is_ours(frame.f_code.co_filename):
                    return
                if frame.f_code.co_name in ("__del__", "profile"):  # what is raised in a destructor, Python drops
                    return
                points += 1
                if points == strike_at:
                    raise KeyboardInterrupt

            got: list[Change | None] = []
            for kind in (CONNECTED, DISCONNECTED):
                if kind is CONNECTED:
                    up(client)
                else:
                    sim.drop(client.connections()[0])
                for _ in range(2):
                    sys.setprofile(profile)
                    try:
                        change = watch.get(BOUND_S)
                    except KeyboardInterrupt:
                        continue
                    finally:
                        sys.setprofile(None)
                    got.append(change)
                    break
            assert [change and change.kind for change in got] == [CONNECTED, DISCONNECTED], f"struck at {strike_at}"
            return points

        total = play(0)
        assert total > 20
        for strike_at in range(1, total + 1):
            play(strike_at)
        assert watch.get(0.6) is None


def test_program_ends_while_a_thread_watches(book: Path) -> None:
    """A daemon thread in a watch does not hold up the end of the program."""
    code = """
import sys, threading
import ras_ext
client = ras_ext.open("sim", phonebook=sys.argv[1])
watch = client.watch()
threading.Thread(target=lambda: list(watch), daemon=True).start()
print(watch)
"""
    done = python(code, book)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<ras_ext.Watch of 'sim', 0 up, 0 not taken>\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_in_a_forked_child(book: Path) -> None:
    """Taking from the parent's watch is refused, and its destruction is harmless."""
    code = """
import os, sys
import ras_ext
client = ras_ext.open("sim", phonebook=sys.argv[1])
watch = client.watch()
child = os.fork()
if child == 0:
    try:
        watch.get(0)
    except ras_ext.ForkedError:
        watch.close()
        del watch
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done: subprocess.CompletedProcess[str] = python(code, book)
    assert done.stdout == "7\n", done.stderr


# --- Why a connection is gone -----------------------------------------------------------------------------------------


def test_dropped_by_this_program(virtual: Machine, client: Client) -> None:
    """631 after an own hang-up, for each object of the connection and in the watch, whether or not the object is kept."""
    kept = up(client)
    with client.watch() as watch:
        assert kept.hang_up() is HangUp.GONE
        assert kept.dropped is not None
        assert kept.dropped.code == 631
        (change,) = take(watch, 1)
        assert change.reason is not None
        assert (change.reason.code, change.reason.entry) == (631, "Office VPN")
        other = up(client, "Home")
        take(watch, 1)
        client.connections()[0].hang_up()
        (change,) = take(watch, 1)
        assert change.reason is not None
        assert change.reason.code == 631
        assert other.dropped is not None
        assert other.dropped.code == 631
    client.close()
    assert kept.dropped.code == 631


def test_dropped_after_the_reference_was_given_up(virtual: Machine, client: Client) -> None:
    """A hang-up that others outlived was not the end of the connection."""
    first, second = up(client), up(client)
    assert first.hang_up() is HangUp.SHARED
    assert first.dropped is None
    virtual.drop(second)
    for connection in (first, second):
        assert connection.dropped is not None
        assert connection.dropped.code == 668


def test_dropped_tells_an_error_that_a_status_showed(virtual: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where RAS still showed the error when somebody looked, that is the reason, for the watch as well."""
    connection = up(client)
    with client.watch() as watch:
        ask = _ffi.get_status
        monkeypatch.setattr(_ffi, "get_status", lambda *which: (0, _ffi.RawStatus(8193, 829, 0, (0, b""), (0, b""), "", "", "")))
        assert connection.status().error == 829
        monkeypatch.setattr(_ffi, "get_status", ask)
        virtual.drop(connection)
        (change,) = take(watch, 1)
        assert change.reason is not None
        assert change.reason.code == 829
        assert "the last status that was seen" in change.reason.text
        assert connection.dropped is not None
        assert connection.dropped.code == 829


def test_dropped_when_ras_cannot_tell(virtual: Machine, client: Client) -> None:
    """A status call that fails otherwise is no end; a closed client cannot ask."""
    connection = up(client)
    virtual.fault("RasGetConnectStatusW", 711, times=1)
    with pytest.raises(ras_ext.ServiceError):
        _ = connection.dropped
    assert connection.dropped is None
    virtual.drop(connection)
    client.close()
    with pytest.raises(ras_ext.ClosedError):
        _ = connection.dropped


# --- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poll", [0, -1, 0.001, 1e9, float("nan"), float("inf")])
def test_poll_out_of_bounds(sim: Machine, client: Client, poll: float) -> None:
    """The interval has bounds, and the message names them."""
    with pytest.raises(ValueError, match=r"between 0\.01 and 86400"):
        client.watch(poll=poll)


def test_wrong_types(sim: Machine, client: Client) -> None:
    """What is no number is a TypeError; a time-out is checked as everywhere."""
    for wrong in (None, "2", True, b"1"):
        with pytest.raises(TypeError, match="poll"):
            client.watch(poll=wrong)  # type: ignore[arg-type]
    with client.watch() as watch:
        with pytest.raises(TypeError, match="timeout"):
            watch.get("1")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="negative"):
            watch.get(-1)
    client.close()
    with pytest.raises(ras_ext.ClosedError):
        client.watch()


def test_module_level_watch(virtual: Machine, client: Client) -> None:
    """ras_ext.watch is the system's, or that of a client; a Change cannot be altered."""
    with ras_ext.watch(client=client, existing=True) as watch:
        assert watch.get(0.1) is None
        connection = up(client)
        change = watch.get(5)
        assert change is not None
        with pytest.raises(AttributeError):
            change.kind = DISCONNECTED  # type: ignore[misc]
        connection.hang_up()
    with pytest.raises(TypeError, match="Client"):
        ras_ext.watch(client="sim")  # type: ignore[arg-type]
    if sys.platform != "win32":
        with pytest.raises(ras_ext.NotAvailableError):
            ras_ext.watch()
