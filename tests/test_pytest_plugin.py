"""The pytest plugin, in pytests of its own (a fresh process each), and ras_ext.testing, which stands behind it.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from helping import BOUND_S, ENTRIES, python, run_threads, write_book

import ras_ext
import ras_ext.aio
import ras_ext.sim
import ras_ext.testing
from ras_ext.sim import Machine, Step
from ras_ext.testing import LeftoverError, RasSim, entry_text

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "testing-your-code.md"

PROGRAM = '''
"""A program that knows nothing of the simulation."""
import ras_ext

def connect(entry="Office VPN", **more):
    return ras_ext.dial(entry, **more).result(timeout=60)

def names():
    with ras_ext.open("system") as client:
        return sorted(entry.name for entry in client.entries())
'''


def run(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """Runs a test module beside PROGRAM, as a user would: the plugin comes by its entry point."""
    pytester.makepyfile(program=PROGRAM, test_it="import pytest, ras_ext, program\n" + tests)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *options, timeout=BOUND_S * 6)


def told(result: pytest.RunResult) -> str:
    """What it printed, without the summary at the end, which tells everything again where CI is set."""
    return "\n".join(result.outlines).partition(" short test summary info ")[0]


# --- The plugin -----------------------------------------------------------------------------------------------------------------


def test_nothing_is_imported_until_the_fixture_is_used(pytester: pytest.Pytester) -> None:
    """With the plugin at work, neither ras_ext nor cffi is loaded by tests that do not dial; one that does loads both."""
    pytester.makepyfile(
        """
        import sys

        def loaded():
            return [name for name in sys.modules if name.split(".")[0] in ("ras_ext", "cffi", "_cffi_backend")]

        def test_without(request):
            assert request.config.pluginmanager.has_plugin("ras_ext") and "ras_ext_pytest" in sys.modules
            assert loaded() == []

        def test_with(ras_sim):
            assert "ras_ext._native" in loaded()
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error").assert_outcomes(passed=2)
    result = pytester.runpytest_subprocess("--fixtures", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.ras_sim(clock='virtual'*"])


def test_a_program_is_steered_and_each_test_starts_fresh(pytester: pytest.Pytester) -> None:
    """`ras_ext.dial` and open("system") are the simulation; scripts, knobs, faults and entries of a test end with it."""
    result = run(
        pytester,
        """
def test_first(ras_sim):
    ras_sim.add_entry("Home", kind="pppoe")
    ras_sim.script("Office VPN", "auth_fail")
    ras_sim.fault("RasHangUpW", 753, times=1)
    ras_sim.knob("dial_code", 633, entry="Home")
    assert program.names() == ["Home", "Office VPN"]
    with pytest.raises(ras_ext.AuthenticationError):
        program.connect()
    with pytest.raises(ras_ext.RasError, match="633"):
        program.connect("Home")

def test_second(ras_sim):
    assert program.names() == ["Office VPN"]
    assert ras_sim.calls("RasDialW") == 0
    connection = program.connect()
    assert connection in ras_sim.connections() and ras_sim.calls("RasDialW") == 1
    assert connection.hang_up() is ras_ext.HangUp.GONE

def test_steps_and_virtual_time(ras_sim):
    ras_sim.script("Office VPN", [{"state": "OpenPort"}, {"state": "Connected", "delay_ms": 50_000}])
    before = ras_sim.now
    program.connect().hang_up()
    assert ras_sim.now - before >= 50

def test_advance(ras_sim):
    ras_sim.script("Office VPN", [{"state": "OpenPort"}, {"state": "Connected", "delay_ms": 50_000}])
    dial = ras_ext.dial("Office VPN")
    ras_sim.advance(49)
    assert not dial.done()
    ras_sim.advance(1)
    assert dial.result().hang_up() is ras_ext.HangUp.GONE

def test_drop(ras_sim):
    connection = program.connect()
    ras_sim.drop("Office VPN", 829)
    assert isinstance(connection.dropped, ras_ext.DisconnectedError)

@pytest.mark.skipif("sys.platform == 'win32'", reason="there is a real one")
@pytest.mark.ras_sim(as_system=False)
def test_not_steered(ras_sim):
    with pytest.raises(ras_ext.NotAvailableError):
        program.connect()
    with ras_sim.client.dial("Office VPN").result() as connection:
        assert connection.entry == "Office VPN"

@pytest.mark.skipif("sys.platform == 'win32'", reason="there is a real one")
def test_system_is_itself_again():
    with pytest.raises(ras_ext.NotAvailableError):
        program.connect()
""",
    )
    skipped = 2 if sys.platform == "win32" else 0
    result.assert_outcomes(passed=7 - skipped, skipped=skipped)


def test_markers(pytester: pytest.Pytester) -> None:
    """The marker sets the fixture up, alone asks for it, and the nearest one wins; what it does not know is refused."""
    write_book(pytester.path / "own.pbk", *ENTRIES)
    (pytester.path / "scene.json").write_text('{"entries": {"Lab": {"script": "auth_fail"}}}', encoding="utf-8")
    result = run(
        pytester,
        """
pytestmark = pytest.mark.ras_sim(entries=["Branch", "Lab"], scenario="scene.json")

def test_module(ras_sim):
    assert program.names() == ["Branch", "Lab"]
    with pytest.raises(ras_ext.AuthenticationError):
        program.connect("Lab")

@pytest.mark.ras_sim(entries=None, phonebook="own.pbk", scenario={"entries": {"Home": {"script": "connect_now"}}})
def test_function():
    assert len(program.names()) == 4
    program.connect("Home").hang_up()

@pytest.mark.ras_sim(clock="real")
def test_real(ras_sim):
    program.connect("Branch").hang_up()
    with pytest.raises(ras_ext.RasError) as refused:
        ras_sim.advance(1)
    assert refused.value.code == 50

@pytest.mark.ras_sim(clocks="real")
def test_unknown(ras_sim): ...

@pytest.mark.ras_sim("real")
def test_positional(ras_sim): ...

@pytest.mark.ras_sim(clock="lunar")
def test_wrong_value(ras_sim): ...

def test_after_wrong_ones(ras_sim):
    program.connect("Branch").hang_up()
""",
    )
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*takes the keywords entries, *, and not clocks*",
            "*and not an argument without a name*",
            '*"real" or "virtual", not \'lunar\'*',
        ]
    )


LEFT = {
    "test_handle": "a handle: the connection to 'Office VPN' (0x*) is up. Hang it up, or *may_stay_up*leaves='Office VPN'*",
    "test_reference": "a reference: 2 are held to 1 connection. *",
    "test_thread": "a native thread: the dial of 'Office VPN' is in flight (last state OpenPort). *",
    "test_event": "a pending event: the handler of the dial of 'Office VPN' has not come to its last one.",
    "test_notification": "a pending notification: <ras_ext.Watch of 'sim', 1 up, 1 not taken> is open. *",
    "test_client": "a client: <ras_ext.Client of 'sim'> of *ras_sim.pbk is open. *",
}


def test_what_is_left_fails_the_test_and_not_the_next_one(pytester: pytest.Pytester) -> None:
    """Each kind of leftover is an error of the teardown that names it; the next test finds nothing of it."""
    result = run(
        pytester,
        """
import threading
import ras_ext.testing

ras_ext.testing._HANDLERS_S = 0.5
kept, go = [], threading.Event()

def test_handle(ras_sim):
    program.connect()

def test_reference(ras_sim):
    program.connect(), program.connect()

def test_thread(ras_sim):
    ras_sim.script("Office VPN", [{"state": "OpenPort"}, {"state": "Connected", "delay_ms": 50_000}])
    kept.append(ras_ext.dial("Office VPN"))
    ras_sim.settle()

def test_event(ras_sim):
    program.connect(on_event=lambda event: go.wait()).hang_up()

def test_notification(ras_sim):
    kept.append(ras_ext.watch())
    with program.connect():
        assert kept[-1].get(timeout=5)
        ras_sim.knob("early", 0)
    with program.connect():
        kept.append(ras_ext.watch(existing=True))
        kept[-2].close()

def test_client(ras_sim):
    kept.append(ras_ext.open("system"))

def test_fresh(ras_sim):
    go.set()
    assert not any(ras_sim.machine.counters)
    program.connect().hang_up()
""",
    )
    result.assert_outcomes(passed=7, errors=6)
    for name, message in LEFT.items():
        result.stdout.fnmatch_lines(
            [f"*ERROR at teardown of {name} *", "The test ended, but this of RAS is left:", f"  - {message}"]
        )
    assert told(result).count("  - ") == 7, "one line each, and test_reference has its handle too"


def test_declared_and_ended_things_are_no_leftovers(pytester: pytest.Pytester) -> None:
    """What was declared may stay; what is over, cancelled, closing, dropped or held by the machine alone is nothing."""
    run(
        pytester,
        """
@pytest.mark.ras_sim(leaves="Office VPN")
def test_by_marker(ras_sim):
    program.connect()

@pytest.mark.ras_sim(leaves=["Office VPN"], entries=["Office VPN", "Lab"])
def test_by_list(ras_sim):
    program.connect()

@pytest.mark.ras_sim(leaves=True)
def test_all(ras_sim):
    program.connect()
    ras_sim.script("Office VPN", "slow")
    globals()["kept"] = ras_ext.open("system"), ras_ext.watch()

def test_by_method(ras_sim):
    ras_sim.may_stay_up(program.connect())

def test_cancelled(ras_sim):
    ras_sim.script("Office VPN", "slow")
    ras_sim.knob("hangup_delay_ms", 30_000)
    ras_ext.dial("Office VPN").cancel()

def test_closing(ras_sim):
    ras_sim.knob("hangup_delay_ms", 30_000)
    program.connect().hang_up(timeout=0)

def test_dropped(ras_sim):
    program.connect()
    ras_sim.drop("Office VPN")

def test_blocked(ras_sim):
    ras_sim.knob("block_dial", 1)
    ras_ext.dial("Office VPN").cancel()

def test_cycle(ras_sim):
    cycle = [ras_ext.open("system")]
    cycle.append(cycle)
""",
    ).assert_outcomes(passed=9)


def test_a_blinded_check_still_sees(pytester: pytest.Pytester) -> None:
    """Faults and knobs that the test has set do not hide what it leaves."""
    result = run(
        pytester,
        """
def test_faults(ras_sim):
    program.connect()
    ras_sim.fault("RasEnumConnectionsW", 711)
    ras_sim.fault("RasHangUpW", 753)
    ras_sim.knob("list_grows", 3)
    ras_sim.knob("hangup_code", 753)

def test_fresh(ras_sim):
    program.connect().hang_up()
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*a handle: the connection to 'Office VPN'*"])


def test_a_failure_is_not_masked(pytester: pytest.Pytester) -> None:
    """The failure of the test and what it leaves are both reported, each with its text."""
    result = run(
        pytester,
        """
def test_it(ras_sim):
    connection = program.connect()
    assert connection.entry == "Elsewhere", "the claim of the test"

def test_fresh(ras_sim):
    program.connect().hang_up()
""",
    )
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "*a handle: *"])
    result.stdout.fnmatch_lines(["*FAILURES*", "*AssertionError: the claim of the test*"])
    assert "During handling" not in told(result)


def test_plugin_can_be_left_out(pytester: pytest.Pytester) -> None:
    """-p no:ras_ext leaves it out; -p ras_ext_pytest loads it where entry points are off."""
    result = run(pytester, "def test_it(ras_sim): ...", "-p", "no:ras_ext")
    result.stdout.fnmatch_lines(["*fixture 'ras_sim' not found*"])
    pytester.makeini("[pytest]\naddopts = --disable-plugin-autoload -p ras_ext_pytest --strict-markers")
    run(pytester, "@pytest.mark.ras_sim()\ndef test_it(): program.connect().hang_up()").assert_outcomes(passed=1)


def test_pytest_started_by_a_program_that_has_imported_ras_ext(tmp_path: Path) -> None:
    """No warning tells that pytest cannot rewrite the assertions of the package."""
    (tmp_path / "test_it.py").write_text("def test_it(ras_sim): pass", encoding="utf-8")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    done = python(f"import ras_ext, pytest, sys; sys.exit(pytest.main({options!r}))")
    assert done.returncode == 0, done.stdout + done.stderr


# --- Beside other runners -------------------------------------------------------------------------------------------------------


def test_xdist(pytester: pytest.Pytester) -> None:
    """Two workers dial at the same time, each on the machine of its own process."""
    run(
        pytester,
        """
import os, pathlib

@pytest.mark.parametrize("me", [0, 1])
def test_it(ras_sim, me):
    here = pathlib.Path(__file__).parent
    with program.connect() as connection:
        (here / f"up-{me}").write_text(str(os.getpid()))
        ras_sim.until(lambda: (here / f"up-{1 - me}").exists() and (here / f"up-{1 - me}").read_text())
        assert (here / f"up-{1 - me}").read_text() != str(os.getpid())
        assert ras_sim.connections() == [connection]
""",
        "-n",
        "2",
    ).assert_outcomes(passed=2)


def test_thread_parallel_runs(pytester: pytest.Pytester) -> None:
    """pytest-run-parallel takes one thread for a test with the fixture; two RasSims at once are refused with the reason."""
    result = run(
        pytester,
        """
import threading
import ras_ext.testing

hidden = {"RasSim": ras_ext.testing.RasSim}  # the runner reads the test, and would take one thread for what it finds in RasSim
ran, refusals, barrier = [], [], threading.Barrier(2)

def test_fixture(ras_sim):
    ran.append(threading.get_ident())
    program.connect().hang_up()

def test_by_hand(tmp_path):
    try:
        with hidden["RasSim"](tmp_path):
            barrier.wait(20)
    except RuntimeError as refused:
        refusals.append(str(refused))
        barrier.wait(20)

def test_result():
    assert (len(ran), len(refusals)) == (1, 1)
    assert "in use by a RasSim (thread " in refusals[0] and "pytest -n auto" in refusals[0]
""",
        "--parallel-threads=2",
        "-v",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*there is one simulated RAS in a process*"])
    result.stdout.fnmatch_lines(["*test_by_hand*PARALLEL PASSED*"])


def test_a_second_one_is_refused(ras_sim: RasSim, tmp_path: Path) -> None:
    """On another thread or on the same one; the message names the test that has it, which goes on undisturbed."""

    def open_another() -> str:
        with pytest.raises(RuntimeError) as refused:
            RasSim(tmp_path)
        return str(refused.value)

    connection = ras_ext.dial("Office VPN").result()
    for message in (open_another(), *run_threads(open_another, open_another)):
        assert "in use by the test tests/test_pytest_plugin.py::test_a_second_one_is_refused (thread 'MainThread')" in str(
            message
        )
    assert connection.hang_up() is ras_ext.HangUp.GONE


# --- RasSim itself --------------------------------------------------------------------------------------------------------------


def test_entries_of_each_kind(ras_sim: RasSim) -> None:
    """Each kind has its device, multilink its links, and an entry its script; the names may be any that RAS takes."""
    for kind, device in (("vpn", "vpn"), ("pppoe", "PPPoE"), ("modem", "modem")):
        ras_sim.add_entry(f"one {kind}", kind=kind)  # type: ignore[arg-type]
        ras_sim.add_entry(f"two {kind}", kind=kind, links=2)  # type: ignore[arg-type]
        with ras_ext.dial(f"one {kind}").result() as connection:
            assert (connection.device_type, len(connection.links())) == (device, 1)
        with ras_ext.dial(f"two {kind}").result() as connection:
            assert len(connection.links()) == 2
    ras_sim.add_entry("Büro №5", phone_number="10.0.0.1", script="busy")
    with pytest.raises(ras_ext.LineError):
        ras_ext.dial("Büro №5").result()
    assert len(ras_sim.client.entries()) == 8


def test_wrong_entries_are_refused(ras_sim: RasSim) -> None:
    """And leave the phone book as it was."""
    before = ras_sim.phonebook.read_bytes()
    wrong: list[tuple[dict[str, object], str]] = [
        ({"name": "office vpn"}, "already"),
        ({"name": "a|b"}, "no name that RAS takes"),
        ({"name": ""}, "needs a name"),
        ({"name": "a\nb"}, "line break"),
        ({"name": "Lab", "phone_number": "1\r\n[Home]"}, "line break"),
        ({"name": "Lab", "kind": "isdn"}, "kind must be one of 'vpn', 'pppoe', 'modem'"),
        ({"name": "Lab", "links": 0}, "between 1 and 64"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=re.escape(message)):
            ras_sim.add_entry(**arguments)  # type: ignore[arg-type]
    assert ras_sim.phonebook.read_bytes() == before
    with pytest.raises(LookupError, match="no connection to 'Office VPN' is up"):
        ras_sim.drop("Office VPN")


def test_own_phone_book(ras_sim: RasSim) -> None:
    """It is copied; entries can be added, in the encoding that it has."""
    own = ROOT / "tests" / "data" / "cp1252.pbk"
    before = own.read_bytes()
    ras_sim.load_phonebook(own)
    names = {entry.name for entry in ras_sim.client.entries()}
    ras_sim.add_entry("Café")
    assert {entry.name for entry in ras_sim.client.entries()} == names | {"Café"}
    ras_ext.dial("Café").result().hang_up()
    assert own.read_bytes() == before


def test_until_waits_for_other_threads(ras_sim: RasSim) -> None:
    """For what a handler does, in real time; a condition that never comes is a TimeoutError."""
    seen: list[str] = []
    dial = ras_ext.dial("Office VPN", on_event=lambda event: seen.append(event.state.name))
    ras_sim.advance(10)
    ras_sim.until(lambda: "Connected" in seen)
    dial.result().hang_up()
    before = ras_sim.now
    with pytest.raises(TimeoutError, match=r"within 0\.01 real seconds"):
        ras_sim.until(lambda: False, seconds=0.01)
    assert ras_sim.now == before


def test_asyncio_is_steered(ras_sim: RasSim) -> None:
    """The default client of ras_ext.aio is the simulation too; awaiting lets virtual time pass, and leftovers are seen."""

    async def program() -> None:
        async with ras_ext.aio.dial("Office VPN") as dial:
            connection = await dial
        assert await connection.hang_up() is ras_ext.HangUp.GONE
        kept.append(ras_ext.aio.dial("Office VPN"))

    kept: list[ras_ext.aio.Dial] = []
    ras_sim.script("Office VPN", [{"state": "OpenPort"}, {"state": "Connected", "delay_ms": 3_600_000}])
    before = ras_sim.now
    asyncio.run(program())
    assert ras_sim.now - before >= 3600
    with pytest.raises(LeftoverError, match="a native thread: the dial of 'Office VPN' is in flight"):
        ras_sim.close()


def test_redial_and_watch_are_steered(ras_sim: RasSim) -> None:
    """What else uses the default client."""
    steps: list[Step] = [{"state": "OpenPort"}, {"state": "ConnectDevice", "error": 676}]
    ras_sim.script("Office VPN", steps)
    with pytest.raises(ras_ext.LineError):
        ras_ext.redial(None, "Office VPN", attempts=3)
    assert ras_sim.calls("RasDialW") == 3
    ras_sim.script("Office VPN", "vpn_ok")
    with ras_ext.watch() as watch, ras_ext.dial("Office VPN").result() as connection:
        change = watch.get(timeout=10)
        assert change is not None and change.connection == connection


def test_clients_and_connections_are_those_of_the_machine(ras_sim: RasSim, tmp_path: Path) -> None:
    """A steered client says honestly what it is, and a phone book that the program names is used."""
    other = write_book(tmp_path / "other.pbk", "Lab")
    with ras_ext.open("system") as steered, ras_ext.open("system", phonebook=other) as own:
        assert (steered.api, steered.phonebook) == ("sim", str(ras_sim.phonebook))
        assert [entry.name for entry in own.entries()] == ["Lab"]
        assert ras_ext.sim.control(steered) == ras_sim.machine
        with steered.dial("Office VPN").result() as connection:
            assert ras_sim.client.connections() == [connection]


def test_a_default_client_from_before_comes_back(tmp_path: Path) -> None:
    """What the process used as its default client is untouched, and no client of others is closed or checked."""
    from ras_ext import client as module

    assert module._default is None
    with ras_ext.open("sim", phonebook=write_book(tmp_path / "own.pbk", "Lab")) as mine:
        module._default = mine
        try:
            with RasSim(tmp_path):
                ras_ext.dial("Office VPN").result().hang_up()
                assert module._default is not mine
            assert module._default is mine and not mine.closed and module._stand_in is None
        finally:
            module._default = None


def test_without_pytest(tmp_path: Path) -> None:
    """As a context manager: LeftoverError names what is left; a failure of the block goes first and carries it as a note."""
    with pytest.raises(LeftoverError, match="a handle: the connection to 'Office VPN'"), RasSim(tmp_path):
        ras_ext.dial("Office VPN").result()
    with pytest.raises(KeyError, match="mine") as failed, RasSim(tmp_path):
        ras_ext.dial("Office VPN").result()
        raise KeyError("mine")
    if sys.version_info >= (3, 11):
        assert "a handle: the connection" in failed.value.__notes__[0]
    sim = RasSim(tmp_path)
    sim.client.close()  # even so
    sim.close()
    sim.close()
    assert not any(Machine().counters)


def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    """Wrong arguments are told, and the next one can be opened."""
    with pytest.raises(TypeError, match="list of names"):
        RasSim(tmp_path, entries="Office VPN")
    with pytest.raises(ValueError, match="there is no script 'nonsense'"):
        RasSim(tmp_path, scenario={"entries": {"Office VPN": {"script": "nonsense"}}})
    with pytest.raises(FileNotFoundError):
        RasSim(tmp_path, phonebook=tmp_path / "nowhere.pbk")
    with RasSim(tmp_path, clock="real", entries=[]) as sim:
        assert sim.client.entries() == []


def test_a_thread_of_the_program_that_waits_is_let_go(tmp_path: Path) -> None:
    """A test that ends while the program's own thread still waits for a dial is told so, and the thread comes back."""
    ended: list[str] = []

    def work() -> None:
        try:
            ras_ext.dial("Office VPN").result()
        except ras_ext.RasError as problem:
            ended.append(type(problem).__name__)

    steps: list[Step] = [{"state": "OpenPort", "silent": True}, {"state": "Connected", "delay_ms": 4_000_000_000}]
    thread = threading.Thread(target=work)
    sim = RasSim(tmp_path)
    sim.script(None, steps)
    sim.knob("block_dial", 1)  # nothing moves before the end of the test
    thread.start()
    sim.until(lambda: sim.calls("RasDialW") == 1)
    with pytest.raises(LeftoverError, match="in flight"):
        sim.close()
    thread.join(BOUND_S)
    assert ended == ["DialCancelledError"]


def test_entry_text() -> None:
    """The smallest entry that Windows takes (S7.4), with the links one after the other."""
    assert entry_text("Lab", "modem", "123", links=2).split("\r\n") == [
        "[Lab]",
        "Encoding=1",
        "Type=1",
        *("MEDIA=serial", "Port=COM3", "Device=Standard Modem", "DEVICE=modem", "PhoneNumber=123"),
        *("MEDIA=serial", "Port=COM4", "Device=Standard Modem", "DEVICE=modem", "PhoneNumber=123"),
        "",
        "",
    ]


@pytest.mark.parametrize("owner", [RasSim, Machine, ras_ext.testing, ras_ext.sim], ids=lambda owner: owner.__name__)
def test_docstrings_are_complete(owner: type | ModuleType) -> None:
    """Every public function names each of its arguments, and says who may call it and whether it blocks."""
    lacking = []
    for name, member in vars(owner).items():
        if isinstance(member, property):
            lacking += [name] if not member.__doc__ else []
        elif inspect.isfunction(member) and not name.startswith("_") and member.__module__ in ("ras_ext.testing", "ras_ext.sim"):
            text = inspect.getdoc(member) or ""
            arguments = [argument for argument in inspect.signature(member).parameters if argument != "self"]
            wanted = ["Threads:", *(["Args:"] if arguments else []), *(f"    {argument}: " for argument in arguments)]
            lacking += [f"{name}: {what.strip()}" for what in wanted if what not in text]
    assert lacking == []


# --- The page -------------------------------------------------------------------------------------------------------------------


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_page_lists_every_method() -> None:
    """And no other."""
    public = {name for name in {*vars(RasSim), *RasSim.__annotations__} if not name.startswith("_")}
    assert {re.split(r"\W", row[0].strip("`"), maxsplit=1)[0] for row in rows("Everything on `ras_sim`")} == public


def test_page_lists_every_script_and_knob() -> None:
    """As the machine itself lists them."""
    machine = Machine()
    assert [row[0].strip("`") for row in rows("Scripts by name")] == list(machine.scripts)
    assert rows("Knobs") == [[f"`{knob.name}`", str(knob.initial), knob.about] for knob in machine.knobs]


def test_page_lists_every_option_of_the_marker() -> None:
    """The keywords of the marker."""
    from ras_ext_pytest import _OPTIONS

    assert {row[0].strip("`").partition("=")[0] for row in rows("The marker")} == set(_OPTIONS)
