"""A client: opening and closing, lists, texts, connections, and the control of the simulated machine.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from helping import BOUND_S, ENTRIES, run_threads, until, write_book

import ras_ext
import ras_ext.sim
from ras_ext import Client, HangUp, NameCheck, State, _ffi
from ras_ext.sim import Machine

# --- Opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nonsense", "", "SIM", "pppd", None, 3, b"sim"])
def test_open_lists_what_there_is(name: Any) -> None:
    """Any other name is a ValueError that names "system" and "sim"."""
    with pytest.raises(ValueError, match="'system' and 'sim'"):
        ras_ext.open(name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has RAS")
def test_no_ras_here_names_both_ways_out() -> None:
    """Where there is no RAS, dial() and open("system") say what to do instead."""
    for call in (lambda: ras_ext.dial("Office VPN"), lambda: ras_ext.open("system")):
        with pytest.raises(ras_ext.NotAvailableError) as caught:
            call()
        assert isinstance(caught.value, NotImplementedError)
        assert "Windows" in str(caught.value) and 'ras_ext.open("sim")' in str(caught.value)


def test_module_level_dial_takes_a_client(virtual: Machine, client: Client) -> None:
    """ras_ext.dial(client=...) is that client's dial."""
    ras_ext.dial("Office VPN", client=client).result().hang_up()
    with pytest.raises(TypeError, match="Client"):
        ras_ext.dial("Office VPN", client="sim")  # type: ignore[arg-type]


def test_two_clients_see_the_same_machine(virtual: Machine, client: Client, book: Path) -> None:
    """As two programs on one computer do."""
    with ras_ext.open("sim", phonebook=str(book)) as other:
        connection = client.dial("Office VPN").result()
        assert other.connections() == [connection]
        assert other.connections()[0].hang_up() is HangUp.GONE
        assert client.connections() == []
        assert ras_ext.sim.control(other) == ras_ext.sim.control()


def test_closing_twice_and_use_after_close(sim: Machine, book: Path) -> None:
    """close() may be called again, from several threads; everything else raises ClosedError."""
    client = ras_ext.open("sim", phonebook=book)
    run_threads(*[client.close] * 4)
    client.close()
    assert client.closed and "closed" in repr(client)
    calls: list[Callable[[], object]] = [
        lambda: client.dial("Office VPN"),
        client.connections,
        client.entries,
        client.devices,
        lambda: client.validate_entry_name("x"),
        lambda: client.error_text(691),
    ]
    for call in calls:
        with pytest.raises(ras_ext.ClosedError):
            call()
    assert client.api == "sim" and client.phonebook == str(book)


def test_close_wakes_waiting_threads(sim: Machine, book: Path) -> None:
    """Threads in result() of a client that another thread closes get DialCancelledError."""
    client = ras_ext.open("sim", phonebook=book)
    sim.script("Office VPN", "slow")
    dial = client.dial("Office VPN")

    def result() -> object:
        with pytest.raises(ras_ext.DialCancelledError):
            dial.result()
        return None

    def close() -> None:
        until(lambda: len(client._hub._waiting) == 3, "three threads waiting")
        client.close()

    run_threads(result, result, result, close)


def test_a_collected_client_is_closed(sim: Machine, book: Path) -> None:
    """Nothing of it stays behind in the core."""
    client = ras_ext.open("sim", phonebook=book)
    assert _ffi.counters().clients == 1
    reference = weakref.ref(client)
    del client
    gc.collect()
    assert reference() is None
    assert (_ffi.counters().clients, _ffi.counters().queues) == (0, 0)


def test_closing_while_others_call(sim: Machine, book: Path) -> None:
    """Calls that meet the closing client raise ClosedError or work; nothing crashes (run it with a sanitizer)."""
    for _ in range(10):
        client = ras_ext.open("sim", phonebook=book)
        go = threading.Barrier(5)

        def call(client: Client = client, go: threading.Barrier = go) -> None:
            go.wait(BOUND_S)
            try:
                for _ in range(1000):
                    client.entries()
                    client.error_text(691)
                    client.connections()
                    dial = client.dial("Office VPN")
                    dial.cancel()
                    assert dial.done() and dial.elapsed >= 0
            except ras_ext.ClosedError:
                pass

        def close(client: Client = client, go: threading.Barrier = go) -> None:
            go.wait(BOUND_S)
            client.close()

        run_threads(*[call] * 4, close)


# --- Lists and texts --------------------------------------------------------------------------------------------------


def test_entries_of_the_phone_book(client: Client, book: Path, tmp_path: Path) -> None:
    """In order, with names beyond ASCII (S8.60), of the client's book or another."""
    assert [entry.name for entry in client.entries()] == list(ENTRIES)
    assert {entry.phonebook for entry in client.entries()} == {str(book)}
    assert not any(entry.all_users for entry in client.entries())
    many = [f"Entry {number}" for number in range(300)]
    assert [entry.name for entry in client.entries(write_book(tmp_path / "many.pbk", *many))] == many
    with pytest.raises(ras_ext.PhonebookError):
        client.entries(tmp_path / "missing.pbk")


def test_55_lists_that_grow(sim: Machine, client: Client) -> None:
    """S8.55: a list that is longer at the second call is read again, within a bound."""
    sim.knob("list_grows", 3)
    assert len(client.entries()) == len(ENTRIES)
    assert client.devices()


def test_devices(sim: Machine, client: Client) -> None:
    """Type and name of each; an added one with a translated name (S8.76)."""
    sim.add_device("modem", "Модем №1")
    devices = client.devices()
    assert ("modem", "Модем №1") in devices
    assert {device.type for device in devices} >= {"vpn", "PPPoE", "modem"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("New one", NameCheck.NEW),
        ("Office VPN", NameCheck.PRESENT),
        ("a|b", NameCheck.MALFORMED),
        (".hidden", NameCheck.MALFORMED),
        ("x" * 257, NameCheck.MALFORMED),
        ("nul\0", NameCheck.MALFORMED),
        ("\ud800", NameCheck.MALFORMED),
        ("", NameCheck.MALFORMED),
    ],
)
def test_68_validate_entry_name(client: Client, name: str, expected: NameCheck) -> None:
    """S8.68: present is good news for "exists"; what no RAS could take is malformed."""
    assert client.validate_entry_name(name) is expected


def test_validate_entry_name_without_a_book(client: Client, tmp_path: Path) -> None:
    """A missing phone book is an error, not an answer."""
    with pytest.raises(ras_ext.PhonebookError):
        client.validate_entry_name("x", tmp_path / "missing.pbk")


def test_27_error_texts(client: Client) -> None:
    """S8.27: every code has a text; unknown ones a number, hexadecimal from 0x80000000 on."""
    assert len(client.error_text(691)) > 10
    assert client.error_text(3_999_999) == "error 3999999"
    assert "0x80420199" in client.error_text(0x80420199).replace("X", "x")
    for wrong in (-1, 1 << 32):
        with pytest.raises(ValueError, match="between"):
            client.error_text(wrong)
    with pytest.raises(TypeError):
        client.error_text("691")  # type: ignore[arg-type]


# --- Connections ------------------------------------------------------------------------------------------------------


def test_connections_tell_what_they_are(virtual: Machine, client: Client, book: Path) -> None:
    """The list gives the same Connection class as result(), equal to it, with more known about it."""
    dialled = client.dial("Büro №5").result()
    (listed,) = client.connections()
    assert listed == dialled and {listed, dialled} == {dialled}
    assert (listed.entry, listed.device_type, listed.phonebook) == ("Büro №5", "vpn", str(book))
    assert (dialled.device_type, dialled.phonebook) == ("vpn", "")
    assert dialled.device_name == listed.device_name == "WAN Miniport (IKEv2)"
    assert isinstance(listed.correlation_id, UUID) and dialled.correlation_id is None
    assert listed != 5
    status = dialled.status()
    assert (status.state, status.error, status.phone_number) == (State.Connected, 0, "vpn.example.com")
    assert status.local is not None and status.local.version == 4
    assert listed.hang_up() is HangUp.GONE
    assert dialled.hang_up() is HangUp.GONE
    assert client.connections() == []


def test_73_listed_only_when_connected(virtual: Machine, client: Client) -> None:
    """S8.73: a connection that is being dialled is not listed."""
    dial = client.dial("Office VPN")
    next(iter(dial))
    assert client.connections() == []
    dial.result().hang_up()


def test_12_hanging_up_twice(virtual: Machine, client: Client) -> None:
    """S8.12: the second call says the same and does not call RAS, whose handle value may be another's by now (S8.13)."""
    virtual.knob("reuse_handles", 1)
    first = client.dial("Office VPN").result()
    assert first.hang_up() is HangUp.GONE
    second = client.dial("Home").result()
    assert first.hang_up() is HangUp.GONE
    assert second.status().state is State.Connected
    second.hang_up()


def test_hang_up_all_references(virtual: Machine, client: Client) -> None:
    """all=True gives up every reference at once."""
    first = client.dial("Office VPN").result()
    client.dial("Office VPN").result()
    client.dial("Office VPN").result()
    assert first.hang_up() is HangUp.SHARED
    assert first.hang_up(all=True) is HangUp.GONE
    assert virtual.counters.references == 0


def test_hang_up_that_takes_longer(virtual: Machine, client: Client) -> None:
    """CLOSING when the time was over; the next call goes on waiting, without a second RasHangUp."""
    virtual.knob("hangup_delay_ms", 5000)
    connection = client.dial("Office VPN").result()
    before = virtual.now
    assert connection.hang_up(timeout=2) is HangUp.CLOSING
    assert virtual.now - before == pytest.approx(2, abs=0.1)
    assert connection.hang_up(timeout=0) is HangUp.CLOSING
    assert "closing" in repr(connection)
    assert connection.hang_up(timeout=None) is HangUp.GONE
    assert virtual.now - before == pytest.approx(5, abs=0.2)
    assert virtual.calls("RasHangUpW") == 1


def test_hang_up_in_several_threads(sim: Machine, client: Client) -> None:
    """One RasHangUp, and the same answer for everybody."""
    connection = client.dial("Office VPN").result()
    assert run_threads(*[connection.hang_up] * 6) == [HangUp.GONE] * 6
    assert sim.calls("RasHangUpW") == 1


def test_49_the_routers_connection(virtual: Machine, client: Client) -> None:
    """S8.49: RasHangUp refuses with 753; nothing was given up, and the next call tries again."""
    connection = client.dial("Office VPN").result()
    virtual.knob("hangup_code", 753)
    with pytest.raises(ras_ext.RasError) as caught:
        connection.hang_up()
    assert caught.value.code == 753 and caught.value.entry == "Office VPN"
    virtual.knob("hangup_code", 0)
    assert connection.hang_up() is HangUp.GONE


def test_with_hangs_up_and_keeps_the_first_exception(virtual: Machine, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Leaving the block hangs up; when that fails too, what happened inside matters more, and the other is logged."""
    with client.dial("Office VPN").result() as connection:
        pass
    assert connection.hang_up() is HangUp.GONE
    with pytest.raises(ZeroDivisionError), client.dial("Office VPN").result() as connection:
        virtual.knob("hangup_code", 753)
        raise ZeroDivisionError
    assert "753" in caplog.text
    virtual.knob("hangup_code", 0)
    with pytest.raises(ras_ext.RasError), client.dial("Office VPN").result():  # a second reference
        virtual.knob("hangup_code", 753)
    virtual.knob("hangup_code", 0)
    connection.hang_up(all=True)


# --- The simulated machine --------------------------------------------------------------------------------------------


def test_control_knows_its_scripts_and_knobs(sim: Machine) -> None:
    """Both are listed by the machine itself, each knob with the section that it comes from."""
    assert {"vpn_ok", "auth_fail", "drop"} <= set(sim.scripts)
    knobs = {knob.name: knob for knob in sim.knobs}
    assert knobs["hangup_delay_ms"].initial == 100
    assert all(knob.about.startswith("S") for knob in knobs.values())


@pytest.mark.parametrize("script", ras_ext.sim.control().scripts)
def test_every_default_script_ends(virtual: Machine, client: Client, script: str) -> None:
    """Each leads to an outcome, the same one each time."""
    virtual.script("Office VPN", script)
    outcomes = []
    for _ in range(2):
        dial = client.dial("Office VPN")
        error = dial.exception(3600)
        outcomes.append((error.code if error else 0, [event.state for event in dial]))
        if error is None:
            dial.result().hang_up()
    assert outcomes[0] == outcomes[1]


def test_faults(virtual: Machine, client: Client) -> None:
    """A function fails from the chosen call on, as often as chosen."""
    virtual.fault("RasValidateEntryNameW", 711, after=1, times=2)
    assert client.validate_entry_name("x") is NameCheck.NEW
    for _ in range(2):
        with pytest.raises(ras_ext.ServiceError) as caught:
            client.validate_entry_name("x")
        assert caught.value.code == 711
    assert client.validate_entry_name("x") is NameCheck.NEW
    with pytest.raises(ValueError, match="RasNothing"):
        virtual.fault("RasNothing", 5)


def test_saved_credentials_are_used(virtual: Machine, client: Client) -> None:
    """No user name given: the saved ones (S4.7); "" is the Windows logon instead."""
    virtual.account("Office VPN", "ada", "lovelace")
    virtual.save_credentials("Office VPN", "ada", "lovelace")
    client.dial("Office VPN").result().hang_up()
    with pytest.raises(ras_ext.AuthenticationError):
        client.dial("Office VPN", username="").result()


def test_ports(virtual: Machine, client: Client) -> None:
    """A second dial finds no port: 633, transient."""
    virtual.ports("vpn", 1)
    with client.dial("Office VPN").result():
        error = client.dial("Home").exception()
    assert error is not None and error.code == 633 and error.transient


def test_reset_refuses_while_in_use(virtual: Machine, client: Client) -> None:
    """Unless forced; the message says what is in use."""
    connection = client.dial("Office VPN").result()
    with pytest.raises(ras_ext.RasError, match="1 handles"):
        virtual.reset()
    connection.hang_up()
    dial = client.dial("Home")
    with pytest.raises(ras_ext.RasError, match="in use"):
        virtual.clock("real")
    dial.result().hang_up()
    assert dial.wait_closed()
    virtual.reset()
    with pytest.raises(ras_ext.RasError):
        virtual.advance(1)  # reset has brought the real clock back


def test_replay_is_exact(virtual: Machine, client: Client) -> None:
    """The same seed gives the same events at the same times, driven from one thread."""
    virtual.knob("skip_percent", 30)
    virtual.knob("repeat_percent", 30)
    runs = []
    for _ in range(2):
        virtual.seed(11)
        dials = []
        for name in ENTRIES:
            dials.append(client.dial(name))
            virtual.settle()  # the native threads of dials that start together draw lots in any order
        ras_ext.wait(dials)
        runs.append([[(e.state, round(e.elapsed, 9), e.sequence) for e in dial] for dial in dials])
        for dial in dials:
            dial.result().hang_up()
    assert runs[0] == runs[1]


def test_control_needs_a_simulated_client() -> None:
    """What is no client is a TypeError."""
    with pytest.raises(TypeError, match="Client"):
        ras_ext.sim.control("sim")  # type: ignore[arg-type]


SCENARIO: dict[str, Any] = {
    "seed": 7,
    "clock": "virtual",
    "knobs": {"hangup_delay_ms": 300},
    "faults": [{"function": "RasEnumConnectionsW", "code": 711, "times": 1}],
    "accounts": [{"entry": "Home", "username": "ada", "password": "lovelace"}],
    "ports": {"modem": 1},
    "devices": [{"type": "vpn", "name": "Tunnel"}],
    "entries": {
        "Office VPN": {"script": "auth_fail", "knobs": {"early": 1}},
        "Lab": {"script": [{"state": "OpenPort"}, {"delay_ms": 20, "state": 8192, "subentry": 1}]},
    },
}


def load_by_c(machine: Machine, path: Path) -> tuple[int, str]:
    """What the control table's own reader of scenario files says, which rasapi32.dll uses: a code and a message."""
    message = _ffi.ffi.new("char[]", 512)
    code = machine._table.load(str(path).encode(), message, 512)
    return code, _ffi.ffi.string(message).decode()


@pytest.mark.parametrize("how", ["mapping", "file", "control table"])
def test_scenario(sim: Machine, client: Client, tmp_path: Path, how: str) -> None:
    """A scenario says in JSON what the methods say, whoever reads it."""
    path, journal = tmp_path / "scenario.json", tmp_path / "calls.txt"
    scenario = {**SCENARIO, "journal": str(journal)}
    path.write_text(json.dumps(scenario, indent=1), encoding="utf-8")
    if how == "control table":
        assert load_by_c(sim, path) == (0, "")
    else:
        sim.load(path if how == "file" else scenario)
    assert client.dial("Office VPN").exception().code == 691  # type: ignore[union-attr]
    assert client.dial("Home", username="ada", password="x").exception().code == 691  # type: ignore[union-attr]
    with pytest.raises(ras_ext.ServiceError):
        client.connections()
    assert ("vpn", "Tunnel") in client.devices()
    dial = client.dial("Lab")
    with dial.result():
        assert [event.state for event in dial] == [State.OpenPort, State.Connected]
        assert dial.events[-1].elapsed == pytest.approx(0.02)
    assert " RasEnumConnectionsW fault -> 711\n" in journal.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ([], "object"),
        ({"colour": 1}, "'colour'"),
        ({"seed": "x"}, "seed"),
        ({"seed": True}, "seed"),
        ({"clock": "lunar"}, "lunar"),
        ({"knobs": {"nothing": 1}}, "'nothing'"),
        ({"knobs": {"early": "x"}}, "early"),
        ({"knobs": 3}, '"knobs"'),
        ({"faults": {}}, '"faults" must be a list'),
        ({"faults": [{"code": 1}]}, "'function'"),
        ({"faults": [{"function": "RasDialW", "code": -1}]}, "code"),
        ({"faults": [{"function": "RasDialW", "code": 1, "when": 1}]}, "'when'"),
        ({"accounts": [{"entry": "x", "username": "y"}]}, "'password'"),
        ({"accounts": [7]}, r'"accounts"\[0\]'),
        ({"entries": {"x": {"scripts": 1}}}, "'scripts'"),
        ({"entries": {"x": {"script": "nothing"}}}, "'nothing'"),
        ({"entries": {"x": {"script": []}}}, "no steps"),
        ({"entries": {"x": {"script": 5}}}, "list of steps"),
        ({"entries": {"x": {"script": [{"delay_ms": 1}]}}}, '"state" nor "drop"'),
        ({"entries": {"x": {"script": [{"state": "Konnected"}]}}}, "Konnected"),
        ({"entries": {"x": {"script": [{"state": 0, "wait": 1}]}}}, "'wait'"),
        ({"entries": {"x": {"script": [{"state": 0, "error": -5}]}}}, "error"),
        ({"entries": {"x\0": {"script": "vpn_ok"}}}, "NUL"),
        ({"journal": 5}, "journal"),
    ],
    ids=str,
)
def test_scenario_errors_name_what_is_wrong(sim: Machine, scenario: Any, message: str, tmp_path: Path) -> None:
    """Every wrong key and value is a ValueError that names it, and the file."""
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(scenario), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        sim.load(path)
    assert "scenario.json" in str(caught.value)
    sim.reset()
    code, told = load_by_c(sim, path)
    assert code == 13
    assert told.startswith("line 1: ")


def test_scenario_that_is_no_json(sim: Machine, tmp_path: Path) -> None:
    """The message has the file and the place."""
    path = tmp_path / "scenario.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not JSON.*line 1"):
        sim.load(str(path))
    with pytest.raises(FileNotFoundError):
        sim.load(tmp_path / "missing.json")
    assert load_by_c(sim, path) == (13, "line 1: expected a text in quotes")
    assert load_by_c(sim, tmp_path / "missing.json") == (2, "the file cannot be read")


def test_journal(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """One line per API call while it is on."""
    path = tmp_path / "journal"
    virtual.journal(path)
    client.dial("Office VPN").result().hang_up()
    virtual.journal(None)
    lines = path.read_text().splitlines()
    client.devices()
    assert path.read_text().splitlines() == lines
    assert sum("RasDialW" in line for line in lines) == sum("RasHangUpW" in line for line in lines) == 1
    with pytest.raises(ras_ext.RasError):
        virtual.journal(tmp_path / "missing" / "journal")


# --- The package ------------------------------------------------------------------------------------------------------


def test_headers_and_sources_are_there() -> None:
    """get_include() and get_sources() name files that exist, for building the core into other code."""
    assert (Path(ras_ext.get_include()) / "ras_ext.h").is_file()
    sources = [Path(path) for path in ras_ext.get_sources()]
    assert sources and all(path.is_file() for path in sources)
    assert {path.name for path in sources} >= {"dial.c", "queue.c", "engine.c"}


def test_names_of_the_package() -> None:
    """Everything in __all__ exists, and ras_ext.sim needs no import of its own."""
    for name in ras_ext.__all__:
        assert getattr(ras_ext, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = ras_ext.nothing


def test_stub_is_what_the_header_says() -> None:
    """_native.pyi is generated and current."""
    builder = Path(__file__).resolve().parent.parent / "ras_ext" / "_build.py"
    done = subprocess.run([sys.executable, str(builder), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_builder_is_importable() -> None:
    """Another cffi project can include ours."""
    import cffi

    from ras_ext._build import ffibuilder

    other = cffi.FFI()
    other.include(ffibuilder)
    other.cdef("uint32_t use(rasx_client *client);")
