"""fork() in the middle of everything: the child is refused and ends, the parent goes on.

SPDX-License-Identifier: MIT

Each test is a program of its own, because pytest's process had better not be forked. In a forked child the library's native
threads do not exist, and a lock may have been copied while it was held: so nothing of the library may wait there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helping import write_book
from holding import SOAK, run_program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ROUNDS = 500 if SOAK else 100

# What every program begins with. A child has BOUND_S to end; the parent looks without blocking, and kills by id what hangs.
_PROLOGUE = """
import atexit, gc, os, random, signal, sys, threading, time, warnings
import faulthandler
import ras_ext, ras_ext.sim
from ras_ext import _ffi

BOUND_S = 30
book, journal, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
if sys.version_info >= (3, 12):  # CPython says that forking a process with threads is dangerous; that is what is tried here
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
client = ras_ext.open("sim", phonebook=book)
machine = ras_ext.sim.control(client)
machine.journal(journal)
pause = threading.Event()

def until(condition, what):
    end = time.monotonic() + BOUND_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(what + " did not come true")
        pause.wait(0.001)

def reap(pid, what):
    end = time.monotonic() + BOUND_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGABRT)  # faulthandler tells where it stood
            os.waitpid(pid, 0)
            sys.exit("a child hangs: " + what)
        pause.wait(0.0005)

def refused(calls):
    # The names of the calls that did not raise ForkedError.
    wrong = []
    for name, call in calls:
        try:
            call()
        except ras_ext.ForkedError as problem:
            if not isinstance(problem, RuntimeError):
                wrong.append(name + " raised no RuntimeError")
        except BaseException as problem:
            wrong.append(name + " raised " + repr(problem))
        else:
            wrong.append(name + " did not raise")
    return wrong

def public_calls(client, dial, connection, iterator):
    machine = MACHINE
    return [
        ("open", lambda: ras_ext.open("sim")),
        ("Client", lambda: ras_ext.Client("sim")),
        ("ras_ext.dial", lambda: ras_ext.dial("x", client=client)),
        ("ras_ext.wait", lambda: ras_ext.wait([dial], 1)),
        ("client.dial", lambda: client.dial("Lab", username="ada", password="lovelace")),
        ("client.connections", client.connections),
        ("client.entries", client.entries),
        ("client.devices", client.devices),
        ("client.validate_entry_name", lambda: client.validate_entry_name("x")),
        ("client.error_text", lambda: client.error_text(691)),
        ("client.close", client.close),
        ("dial.result", dial.result),
        ("dial.exception", dial.exception),
        ("dial.cancel", dial.cancel),
        ("dial.events", lambda: dial.events),
        ("dial.lost", lambda: dial.lost),
        ("dial.elapsed", lambda: dial.elapsed),
        ("dial.hang_up_result", lambda: dial.hang_up_result),
        ("dial.wait_closed", dial.wait_closed),
        ("dial.add_done_callback", lambda: dial.add_done_callback(print)),
        ("iter(dial)", lambda: next(iter(dial))),
        ("next(iterator)", lambda: next(iterator)),
        ("connection.status", connection.status),
        ("connection.hang_up", connection.hang_up),
        ("sim.control", lambda: ras_ext.sim.control(client)),
        ("machine.reset", lambda: machine.reset(True)),
        ("machine.seed", lambda: machine.seed(1)),
        ("machine.counters", lambda: machine.counters),
        ("machine.calls", lambda: machine.calls("RasDialW")),
        ("machine.journal", lambda: machine.journal(None)),
        ("machine.scripts", lambda: machine.scripts),
        ("machine.script", lambda: machine.script(None, "slow")),
        ("machine.account", lambda: machine.account("Lab", "ada", "lovelace")),
        ("machine.save_credentials", lambda: machine.save_credentials("Lab", "ada")),
        ("machine.knobs", lambda: machine.knobs),
        ("machine.knob", lambda: machine.knob("early", 1)),
        ("machine.fault", lambda: machine.fault("RasHangUpW", 5)),
        ("machine.ports", lambda: machine.ports("vpn", 1)),
        ("machine.add_device", lambda: machine.add_device("vpn", "x")),
        ("machine.drop", lambda: machine.drop(connection)),
        ("machine.release", machine.release),
        ("machine.clock", lambda: machine.clock("virtual")),
        ("machine.now", lambda: machine.now),
        ("machine.advance", lambda: machine.advance(1)),
        ("machine.settle", machine.settle),
        ("machine.load", lambda: machine.load({"clock": "real"})),
    ]

MACHINE = machine
"""

_REFUSED = (
    _PROLOGUE
    + """
machine.script("Home", [{"state": 0}, {"delay_ms": 1000, "state": 8192}])
connection = client.dial("Office VPN").result()
seen = []
dial = client.dial("Home", on_event=seen.append)
plain = client.dial("Lab")
iterator = iter(dial)
next(iterator)
before = len(open(journal).read().splitlines())
raw = sys.argv[4]
if raw == "raw":  # by C, past Python's own hooks, as a C library may do it
    import ctypes
    fork = ctypes.PyDLL(None).fork
else:
    fork = os.fork
pid = fork()
if pid == 0:
    problems = refused(public_calls(client, dial, connection, iterator))
    for harmless in (lambda: repr(dial), lambda: repr(client), lambda: repr(connection), lambda: repr(MACHINE),
                     lambda: dial.entry, lambda: client.api, lambda: client.closed, lambda: hash(connection),
                     lambda: connection == connection):
        try:
            harmless()
        except BaseException as problem:
            problems.append("a look raised " + repr(problem))
    for block in (client, plain, dial):
        try:
            with block:
                pass
        except BaseException as problem:
            problems.append("leaving a with block raised " + repr(problem))
    harmless = block = None
    client = dial = plain = connection = iterator = MACHINE = machine = None  # destructors must do nothing
    gc.collect()
    if raw != "raw":
        print(*problems, sep="\\n", flush=True)
        sys.exit(0)  # with the atexit hook
    os.write(1, "\\n".join(problems).encode())
    atexit._run_exitfuncs()
    os._exit(0)
assert reap(pid, "after being refused") == 0
assert len(open(journal).read().splitlines()) >= before
dial.result().hang_up()
plain.result().hang_up()
connection.hang_up()
assert seen[-1].state is ras_ext.State.Connected
client.close()
until(lambda: not any(_ffi.counters()), "nothing being left in the parent")
"""
)


@pytest.mark.parametrize("how", ["os.fork", "raw"])
def test_every_public_call_is_refused_in_the_child(book: Path, tmp_path: Path, how: str) -> None:
    """Every one raises ForkedError, a RuntimeError; leaving blocks, destructors and the exit hook do nothing."""
    ended = run_program(_REFUSED, book, tmp_path / "journal", "1", how, flags=["-X", "faulthandler"])
    assert not ended.killed
    assert (ended.code, ended.noise) == (0, "")
    assert ended.out.strip() == ""
    lines = (tmp_path / "journal").read_text().splitlines()
    assert sum("RasHangUpW" in line for line in lines) == 3
    assert sum("RasDialW" in line for line in lines) == 3


_STORM = (
    _PROLOGUE
    + """
sys.setswitchinterval(1e-5)  # threads are forked away from in many more places
chance = random.Random(int(sys.argv[4]))
machine.script(None, [{"state": s} for s in (0, 1, 2, 3, 4, 5)] + [{"delay_ms": 1, "state": 8192}])
machine.script("Blocked", "slow")
machine.knob("block_dial", 1, "Blocked")
machine.knob("silent", 1, "Blocked")
machine.knob("hangup_delay_ms", 1)
stop = threading.Event()
failed = []
blocked = client.dial("Blocked")
until(lambda: machine.calls("RasDialW") == 1, "RasDial being called")

def worker(body):
    def run():
        while not stop.is_set():
            try:
                body()
            except BaseException as problem:
                failed.append(repr(problem))
                return
    return threading.Thread(target=run)

def cycle(name):  # inside dial(), result(), iteration, hang_up(): all our locks are taken and released all the time
    dial = client.dial(name)
    list(dial)
    dial.result().hang_up()

def handled():
    done = threading.Event()
    dial = client.dial("Handled", on_event=lambda event: None)
    dial.add_done_callback(lambda dial: done.set())
    done.wait()
    dial.result().hang_up()

def blocked_wait():
    ras_ext.wait([blocked], 0.01)

def look():
    client.entries(); client.connections(); client.devices(); machine.counters; blocked.events

def open_and_close():
    with ras_ext.open("sim", phonebook=book) as another:
        another.dial("Another").result().hang_up()

threads = [worker(lambda: cycle("First")), worker(lambda: cycle("Second")), worker(handled), worker(blocked_wait), worker(look),
           worker(open_and_close)]
for thread in threads:
    thread.start()
forks_elsewhere = []

def child(number):
    # In the forked child. Everything that is refused, then the destructors, then one of the ways to end.
    faulthandler.enable()
    problems = []
    for name, call in [("dial", lambda: client.dial("Third")), ("result", blocked.result), ("events", lambda: blocked.events),
                       ("wait", lambda: ras_ext.wait([blocked])), ("cancel", blocked.cancel), ("entries", client.entries),
                       ("close", client.close), ("open", lambda: ras_ext.open("sim")), ("counters", lambda: machine.counters)]:
        problems += refused([(name, call)])
    globals()["blocked"] = globals()["client"] = globals()["machine"] = None
    gc.collect()
    if problems:
        os.write(2, repr(problems).encode())
        os._exit(1)
    if number % 2:
        atexit._run_exitfuncs()
    os._exit(0)

def fork_here(number):
    pid = os.fork()
    if pid == 0:
        child(number)
    return pid

for number in range(rounds):
    pause.wait(chance.uniform(0, 0.002))
    if number % 4 == 3:  # from a thread that is not the main one
        pids = []
        forker = threading.Thread(target=lambda: pids.append(fork_here(number)))
        forker.start()
        forker.join()
        pid = pids[0]
    else:
        pid = fork_here(number)
    code = reap(pid, f"round {number}")
    if code:
        sys.exit(f"round {number}: the child ended with {code}")
stop.set()
for thread in threads:
    thread.join(BOUND_S)
    if thread.is_alive():
        sys.exit("a thread of the parent hangs")
assert not failed, failed
assert not blocked.done()
machine.release()
assert blocked.cancel() and blocked.wait_closed(BOUND_S)
assert client.dial("Third").result().hang_up() is ras_ext.HangUp.GONE
client.close()
until(lambda: not any(_ffi.counters()), "nothing being left in the parent")
until(lambda: not any(machine.counters), "nothing being left in the machine")
print("through")
"""
)


@pytest.mark.parametrize("seed", [1, 2])
def test_fork_while_threads_are_inside_the_library(tmp_path: Path, seed: int) -> None:
    """100 forks while six threads dial, wait, hang up, open and close: no child hangs, and the parent is undisturbed."""
    book = write_book(tmp_path / "b.pbk", "Blocked", "First", "Second", "Third", "Handled", "Another")
    ended = run_program(_STORM, book, tmp_path / "journal", str(ROUNDS), str(seed), flags=["-X", "faulthandler"])
    assert not ended.killed, ended.err
    assert (ended.code, ended.noise, ended.out.strip()) == (0, "", "through")


_LOCKED = (
    _PROLOGUE
    + """
import contextlib
from ras_ext import client as module
machine.script("Home", [{"state": 0}, {"delay_ms": 3600000, "state": 8192}])
connection = client.dial("Office VPN").result()
dial = client.dial("Home", on_event=lambda event: None)
iterator = iter(dial)
next(iterator)
held, go_on = threading.Event(), threading.Event()

def hold():
    with contextlib.ExitStack() as stack:
        for lock in (module._clients_lock, module._default_lock, client._hub._lock, dial._handlers_lock, connection._lock):
            stack.enter_context(lock)
        held.set()
        go_on.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
for number in range(rounds):
    pid = os.fork()
    if pid == 0:
        problems = refused(public_calls(client, dial, connection, iterator))
        with client, dial:
            pass
        client = dial = connection = iterator = MACHINE = machine = None
        gc.collect()
        atexit._run_exitfuncs()
        os.write(2, "".join(problems).encode())
        os._exit(len(problems))
    code = reap(pid, f"round {number}")
    if code:
        sys.exit(f"the child ended with {code}")
go_on.set()
holder.join()
assert not dial.done() and dial.cancel() and dial.wait_closed(BOUND_S)
connection.hang_up()
client.close()
until(lambda: not any(_ffi.counters()) and not any(machine.counters), "nothing being left")
print("through")
"""
)


def test_fork_while_our_locks_are_held(book: Path, tmp_path: Path) -> None:
    """Every lock of the Python face is held by another thread, which does not exist in the child: no call there waits for it."""
    ended = run_program(_LOCKED, book, tmp_path / "journal", "10", flags=["-X", "faulthandler"])
    assert not ended.killed, ended.err
    assert (ended.code, ended.noise, ended.out.strip()) == (0, "", "through")


_POOL = (
    _PROLOGUE
    + """
import concurrent.futures, multiprocessing

def work(number):
    try:
        client.dial("Lab")
    except ras_ext.ForkedError:
        return number
    return -1

def fresh(path):
    with ras_ext.open("sim", phonebook=path) as own:
        return own.dial("Lab").result().hang_up().name

if __name__ == "__main__":
    dial = client.dial("Office VPN")
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    dial.result().hang_up()
    client.close()
    print("through")
"""
)


def test_a_process_pool_by_fork(book: Path, tmp_path: Path) -> None:
    """multiprocessing's workers that are forked are refused in plain words, and end; the parent goes on."""
    ended = run_program(_POOL, book, tmp_path / "journal", "1", flags=["-X", "faulthandler"])
    assert (ended.code, ended.noise, ended.out.strip()) == (0, "", "through")


def test_exec_in_the_child_starts_afresh(book: Path, tmp_path: Path) -> None:
    """fork and exec, as subprocess does it, while dials run: the new program dials by itself; no descriptor was inherited."""
    code = (
        _PROLOGUE
        + """
import subprocess
machine.script("Home", "slow")
dial = client.dial("Home", on_event=lambda event: None)
next(iter(dial))
program = '''
import sys, os, ras_ext
assert len(os.listdir("/proc/self/fd")) <= 4, os.listdir("/proc/self/fd")  # with the one that lists
with ras_ext.open("sim", phonebook=sys.argv[1]) as client:
    print(client.dial("Home").result().hang_up().name)
'''
done = subprocess.run([sys.executable, "-c", program, book], stdout=subprocess.PIPE, text=True, close_fds=False)
assert (done.returncode, done.stdout) == (0, "GONE\\n"), done
assert not dial.done()
dial.cancel()
client.close()
print("through")
"""
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    ended = run_program(code, book, tmp_path / "journal", "1", flags=["-X", "faulthandler"])
    assert (ended.code, ended.noise, ended.out.strip()) == (0, "", "through")


def test_the_warning_of_cpython_is_no_trouble(book: Path, tmp_path: Path) -> None:
    """Where CPython (3.12 and later) warns of forking with threads, the warning comes from os.fork and ends nothing."""
    code = """
import os, sys, warnings, ras_ext, ras_ext.sim
client = ras_ext.open("sim", phonebook=sys.argv[1])
ras_ext.sim.control(client).script(None, "slow")
dial = client.dial("Office VPN", on_event=lambda event: None)
next(iter(dial))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pid = os.fork()
    if pid == 0:
        try:
            dial.result()
        except ras_ext.ForkedError:
            os._exit(0)
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(*{warning.category.__name__ for warning in caught})
dial.cancel()
client.close()
"""
    ended = run_program(code, book, flags=["-X", "faulthandler"])
    assert (ended.code, ended.noise) == (0, "")
    assert ended.out.split() == (["DeprecationWarning"] if sys.version_info >= (3, 12) else [])
