"""The interpreter ends while dials are in every phase: each program ends by itself, as it wanted to, and without a word.

SPDX-License-Identifier: MIT

A scenario is drawn from a seed and printed as JSON when it fails; RASX_SEED=7 pytest tests/test_exit.py runs that one alone.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from helping import write_book
from holding import in_parallel, run_program, seeds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends programs with POSIX signals")

ENTRIES = tuple(f"Entry {number}" for number in range(12))

# Phases that a dial may be in when the interpreter ends, each with what the program does to bring it there.
PHASES = (
    "none",  # a client, no dial
    "before",  # dial() has just returned: RasDial may not have been entered
    "blocked",  # inside RasDial
    "script",  # some states have been announced
    "pause",  # in a paused state that nobody resumes
    "hangup",  # failed, and the hang-up does not end
    "block_hangup",  # failed, and RasHangUp blocks
    "block_status",  # failed or connected, and RasGetConnectStatus blocks
    "slow_handler",  # a handler runs and does not return
    "busy_handler",  # a handler computes without end
    "connected",  # a connection that nobody hangs up
    "late",  # hung up, and notifications still come
    "cancelled",  # cancelled while RasDial blocks
)

# Ways to end, and the exit code of each.
ENDS = {
    "return": 0,
    "sys.exit": 3,
    "os._exit": 4,
    "exception": 1,
    "sigterm": -signal.SIGTERM,
    "sigint": -signal.SIGINT,
    "thread os._exit": 5,
    "closing": 0,  # while another thread is inside client.close()
    "close then exit": 6,
    "with": 7,  # sys.exit inside the with block
}

WAITERS = ("result", "iterate", "wait", "wait_closed", "exception", "hang_up")


def draw(seed: int) -> dict[str, Any]:
    """The scenario of a seed. Every phase and every end come round whatever the number of seeds."""
    chance = random.Random(seed)
    phases = list(PHASES)
    ends = list(ENDS)
    return {
        "seed": seed,
        "phases": [phases[seed % len(phases)], *chance.sample(phases, chance.choice([0, 0, 1, 2]))],
        "end": ends[(seed // len(phases) + seed) % len(ends)],
        "dials": chance.choice([1, 1, 2, 4]),
        "notifier": chance.choice(["func2", "func2", "func", "func1"]),
        "handlers": chance.random() < 0.5,
        "callbacks": chance.random() < 0.3,
        "daemons": [chance.choice(WAITERS) for _ in range(chance.choice([0, 1, 3]))],
        "threads": chance.choice([0, 0, 1, 2]),  # not daemons: the interpreter waits for them, so they wait with a bound
        "virtual": chance.random() < 0.15,
        "knobs": {
            name: chance.choice(values)
            for name, values in {
                "early": [0, 0, 3, 1000],
                "threads": [0, 0, 1, 2],
                "repeat_percent": [0, 0, 50],
                "slow_device": [0, 0, 1],
                "dial_delay_ms": [0, 0, 20],
            }.items()
        },
        "switch": chance.choice([0.005, 0.00001]),
        "clients": chance.choice([1, 1, 2]),
        "collect": chance.random() < 0.3,
        "pause_ms": chance.choice([0, 0, 1, 10, 100]),
    }


_PROGRAM = """
import gc, json, os, random, signal, sys, threading, time
import ras_ext, ras_ext.sim
from ras_ext import RasError, StillDialing

scenario = json.loads(sys.argv[2])
names = json.loads(sys.argv[3])
sys.setswitchinterval(scenario["switch"])
clients = [ras_ext.open("sim", phonebook=sys.argv[1]) for _ in range(scenario["clients"])]
machine = ras_ext.sim.control()
machine.seed(scenario["seed"])
if scenario["virtual"]:
    machine.clock("virtual")
for name, value in scenario["knobs"].items():
    machine.knob(name, value)
END = scenario["end"]
pause = threading.Event()
kept = []
BOUND_S = 20

def until(condition):
    end = time.monotonic() + BOUND_S
    while not condition():
        if time.monotonic() > end:
            os.write(2, b"the scenario could not be set up\\n")
            os._exit(99)
        if scenario["virtual"]:
            try:
                machine.advance(0.01)
            except RasError:
                pass
        pause.wait(0.001)

entered = threading.Event()

def bring(phase, client, name):
    # Dials the entry and waits until the dial is in the phase.
    def handler(event):
        if phase == "slow_handler":
            entered.set()
            threading.Event().wait()
        if phase == "busy_handler":
            entered.set()
            while True:
                pass
    options = {"notifier": scenario["notifier"]}
    if scenario["handlers"] or phase in ("slow_handler", "busy_handler"):
        options["on_event"] = handler
    if phase == "none":
        return None
    if phase in ("blocked", "cancelled"):
        machine.knob("block_dial", 1, name)
        machine.knob("silent", 1, name)
    if phase == "script":
        machine.script(name, [{"state": 0}, {"state": 1}, {"delay_ms": 3600000, "state": 8192}])
    if phase == "pause":
        machine.script(name, [{"state": 0}, {"state": 4096}, {"delay_ms": 3600000, "state": 8192}])
        options["options"] = 2  # RDEOPT_PausedStates
        options["notifier"] = "func2"
    if phase in ("hangup", "block_hangup", "block_status"):
        machine.script(name, "auth_fail")
        machine.knob({"hangup": "never_gone"}.get(phase, phase), 1, name)
    if phase in ("slow_handler", "busy_handler"):
        entered.clear()
        machine.script(name, [{"state": 0}, {"delay_ms": 3600000, "state": 8192}])
    if phase == "connected":
        machine.script(name, "connect_now")
    if phase == "late":
        machine.knob("late", 20, name)
        machine.script(name, "auth_fail")
    before = machine.calls("RasDialW")
    dial = client.dial(name, **options)
    if phase in ("blocked", "cancelled"):
        until(lambda: machine.calls("RasDialW") > before)
    if phase in ("script", "pause", "hangup"):
        until(lambda: len(dial.events) > 1)
    if phase in ("block_hangup", "hangup"):
        hang_ups = lambda: machine.calls("RasHangUpW")
        until(lambda: hang_ups() > 0)
    if phase == "block_status":
        until(lambda: machine.calls("RasGetConnectStatusW") > 0)
    if phase in ("slow_handler", "busy_handler"):
        until(entered.is_set)
    if phase == "connected":
        until(dial.done)
        kept.append(dial.result())
    if phase == "late":
        until(dial.done)
    if phase == "cancelled":
        dial.cancel()
    if scenario["callbacks"]:
        dial.add_done_callback(lambda dial: None)
    return dial

dials = []
number = 0
for phase in scenario["phases"]:
    for _ in range(scenario["dials"] if phase not in ("slow_handler", "busy_handler") else 1):
        dial = bring(phase, clients[number % len(clients)], names[number % len(names)])
        number += 1
        if dial is not None:
            dials.append(dial)

def wait_somehow(way, dial, timeout):
    try:
        if way == "result":
            dial.result(timeout)
        elif way == "iterate":
            list(dial)
        elif way == "wait":
            ras_ext.wait(dials, timeout)
        elif way == "wait_closed":
            dial.wait_closed(timeout)
        elif way == "exception":
            dial.exception(timeout)
        else:
            dial.result(timeout).hang_up(timeout)
    except (RasError, StillDialing):
        pass

for index, way in enumerate(scenario["daemons"]):
    if dials:
        threading.Thread(target=wait_somehow, args=(way, dials[index % len(dials)], None), daemon=True).start()
for index in range(scenario["threads"]):
    if dials and END not in ("sigterm", "sigint", "os._exit", "thread os._exit"):
        way = ("result", "wait", "wait_closed")[index]
        threading.Thread(target=wait_somehow, args=(way, dials[index % len(dials)], 0.2)).start()
if scenario["virtual"] and dials:  # somebody must let time pass, for the threads that wait with a bound
    def drive():
        while True:
            try:
                machine.advance(0.05)
            except RasError:
                pass
            pause.wait(0.01)
    threading.Thread(target=drive, daemon=True).start()
if scenario["collect"]:
    gc.collect()
pause.wait(scenario["pause_ms"] / 1000)

if END == "sys.exit":
    sys.exit(3)
if END == "os._exit":
    os._exit(4)
if END == "exception":
    raise RuntimeError("on purpose")
if END in ("sigterm", "sigint"):
    number = signal.SIGTERM if END == "sigterm" else signal.SIGINT
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    pause.wait(BOUND_S)
if END == "thread os._exit":
    threading.Thread(target=lambda: os._exit(5), daemon=True).start()
    ras_ext.wait(dials, 3600) if dials else pause.wait()
    pause.wait(BOUND_S)
if END == "closing":
    closers = [threading.Thread(target=client.close, args=(timeout,), daemon=daemon)
               for client, timeout, daemon in zip(clients * 2, (5, 2, 1, 0), (True, False, True, False))]
    for closer in closers:
        closer.start()
if END == "close then exit":
    clients[0].close(0.05)
    sys.exit(6)
if END == "with":
    with clients[0]:
        sys.exit(7)
"""


def complaint(book: Path, seed: int) -> str | None:
    """Runs the scenario of a seed; what was wrong, or None."""
    scenario = draw(seed)
    ended = run_program(_PROGRAM, book, json.dumps(scenario), json.dumps(ENTRIES), flags=["-X", "faulthandler"])
    wrong = []
    if ended.killed:
        wrong.append("it did not end by itself")
    if ended.code != ENDS[scenario["end"]]:
        wrong.append(f"exit code {ended.code} instead of {ENDS[scenario['end']]}")
    noise = ended.noise
    expected = noise.count("Traceback") == 1 and noise.endswith("RuntimeError: on purpose") and "Fatal" not in noise
    if scenario["end"] == "exception" and expected:
        noise = ""
    if noise:
        wrong.append(f"stderr: {noise[-3000:]}")
    if not wrong:
        return None
    return f"RASX_SEED={seed} after {ended.took_s:.1f} s: {'; '.join(wrong)}\n    {json.dumps(scenario)}"


def test_the_interpreter_ends_in_the_middle_of_everything(tmp_path: Path) -> None:
    """Random programs (50, or 200 in a soak): each ends by itself with its own exit code, no signal, nothing on stderr."""
    book = write_book(tmp_path / "b.pbk", *ENTRIES)
    complaints = in_parallel(lambda seed: complaint(book, seed), seeds(50, 200), threads=12)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("seed", range(0, 200, 40))
def test_a_seed_means_one_scenario(seed: int) -> None:
    """A failure can be seen again: the same seed draws the same scenario; all phases and ends come round in fifty."""
    assert draw(seed) == draw(seed)
    drawn = [draw(number) for number in range(50)]
    assert {phase for scenario in drawn for phase in scenario["phases"]} == set(PHASES)
    assert {scenario["end"] for scenario in drawn} == set(ENDS)
