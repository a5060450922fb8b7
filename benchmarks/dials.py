"""Ten thousand dials at once on the simulated RAS, on the real clock; and 200 whose RasDial blocks.

SPDX-License-Identifier: MIT

Memory is resident memory of the process (VmRSS), read while everybody waits, and divided by the number of dials. Each stage
runs in a process of its own, and has one part more than the stage before; the differences are the parts:

    core      dials started from C on a RAS whose RasDial blocks: the core's threads, slots, rings
    machine   dials started from C on the simulated RAS, before their first state: plus what our own RAS holds
    all       dials started by ras_ext.Client.dial: plus Python's objects
    objects   what Python itself has allocated, by tracemalloc, for a thousand dials: without what its heap keeps for later

Kernel stacks (16 KiB a thread on x86-64 Linux) belong to no process and are printed apart.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import native
from benchmarks.book import entry_name, write_book
from benchmarks.figures import Figure, duration, kibibytes, median

DIALS = 10_000
FEW, FEW_ROUNDS = 10, 30
BLOCKED = 200
HOLD_MS = 8_000  # before the first state, so that all dials are in flight at once
STEP_MS = 10
STATES = (0, 1, 2, 3, 4, 5, 6, 10, 6, 18, 14, 24, 8192)  # a VPN that connects
ENTRIES = DIALS + FEW * FEW_ROUNDS
STAGES = ("core", "machine", "all", "objects")
ROOT = str(Path(__file__).resolve().parent.parent)
REFUSED = 8  # the outcome of a dial for which the system has no thread


def status(key: str, path: str = "/proc/self/status") -> int:
    """A line of a status file; kB become bytes."""
    with Path(path).open(encoding="ascii") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                words = line.split()
                return int(words[1]) * (1024 if words[-1] == "kB" else 1)
    raise LookupError(key)


def kernel_stacks() -> int:
    return status("KernelStack", "/proc/meminfo")


def resident() -> int:
    """VmRSS after everything that is free has gone back to the system."""
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def let_threads_end(base: int) -> int:
    """Threads that have been counted out still need a moment in the kernel. How many are left when no more end."""
    left, patience = status("Threads"), 20
    while left > base and patience:
        time.sleep(0.1)
        now = status("Threads")
        patience = 20 if now < left else patience - 1
        left = now
    return left


def steps(first_ms: int) -> Any:  # list[ras_ext.sim.Step]; this module runs without ras_ext, too
    return [{"delay_ms": STEP_MS if number else first_ms, "state": state} for number, state in enumerate(STATES)]


# --- Memory without Python: stages "core" and "machine" -----------------------------------------------------------------------


def core(folder: Path) -> dict[str, float]:
    ffi, lib = native.load(folder)
    queue = ffi.new("rasx_queue **")
    assert lib.bench_open(FEW, 0, queue) == 0  # what comes once: the first slots, the allocator
    assert lib.bench_close() == 0
    before, stacks = resident(), kernel_stacks()
    code = lib.bench_open(DIALS, 0, queue)
    started = lib.bench_inside()
    after, more = status("VmRSS"), kernel_stacks()
    if code != 0 and started < DIALS:
        print(f"  the system gave threads for {started:,} of {DIALS:,} dials only", flush=True)
    return {"in_flight": (after - before) / started, "kernel": (more - stacks) / started}


def machine(folder: Path) -> dict[str, float]:
    ffi, lib = native.load(folder)
    control = lib.rasx_sim_get_api()
    client, queue = ffi.new("rasx_client **"), ffi.new("rasx_queue **")
    assert lib.rasx_open(b"sim", str(folder / "dials.pbk").encode(), client) == 0
    assert lib.rasx_queue_open(client[0], ffi.NULL, ffi.NULL, queue) == 0
    events, got, ready = ffi.new("rasx_event[]", 256), ffi.new("uint32_t *"), ffi.new("uint32_t *")
    dial, counters = ffi.new("rasx_dial *"), ffi.new("rasx_counters *")
    sim_counters = ffi.new("rasx_sim_counters *")

    def script(first_ms: int) -> None:
        listed = [(step["delay_ms"], step["state"], 0, 0, 1, 0) for step in steps(first_ms)]
        assert control.script_steps(ffi.NULL, listed, len(listed)) == 0

    def start(indexes: range) -> None:
        options = ffi.new("rasx_dial_options *")
        user = ffi.new("char[]", b"ada")
        options.size, options.notifier, options.username = ffi.sizeof("rasx_dial_options"), lib.RASX_NOTIFIER_FUNC2, user
        options.timeout_ms = lib.RASX_FOREVER
        for index in indexes:
            entry = ffi.new("char[]", entry_name(index).encode())
            options.entry = entry
            assert lib.rasx_dial_start(queue[0], options, dial) == 0

    def settle(count: int) -> int:
        """Drains until all are settled; how many connected."""
        settled = connected = 0
        while settled < count:
            lib.rasx_queue_wait(queue[0], 10_000, 0, ready)
            lib.rasx_queue_drain(queue[0], events, 256, got)
            for index in range(got[0]):
                settled += events[index].outcome == lib.RASX_OUTCOME_SETTLED
                connected += events[index].outcome == lib.RASX_OUTCOME_CONNECTED
        return connected

    script(STEP_MS)
    start(range(DIALS, DIALS + FEW))  # reads the phone book, too
    settle(FEW)
    base_threads = status("Threads")
    before, stacks = resident(), kernel_stacks()
    script(HOLD_MS)
    start(range(DIALS))
    control.counters(sim_counters)
    lib.rasx_get_counters(counters)
    in_flight, more = status("VmRSS"), kernel_stacks()
    connected = settle(DIALS)
    while counters.threads or sim_counters.threads:
        time.sleep(0.01)
        lib.rasx_get_counters(counters)
        control.counters(sim_counters)
    let_threads_end(base_threads)
    established = resident()
    return {
        "in_flight": (in_flight - before) / DIALS,
        "kernel": (more - stacks) / DIALS,
        "established": (established - before) / max(connected, 1),
    }


# --- The whole: stage "all" -----------------------------------------------------------------------------------------------------


class Peak:
    """Watches the number of threads of this process until it is stopped."""

    def __init__(self) -> None:
        self.threads = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.threads = max(self.threads, status("Threads"))

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.threads


def is_complete(events: Any) -> bool:
    """Every state was announced, in order. Only the last may be missing where the core had found it out by asking."""
    told = tuple(int(event.state) for event in events if event.origin == 0)
    return told == STATES or (told == STATES[:-1] and int(events[-1].state) == STATES[-1])


def cost_of_few(client: Any) -> float:
    """Processor seconds per dial when ten are dialled at a time; the median over the rounds."""
    import ras_ext

    costs = []
    for number in range(FEW_ROUNDS):
        first = DIALS + number * FEW
        start = time.process_time()
        dials = [client.dial(entry_name(first + index), username="ada") for index in range(FEW)]
        ras_ext.wait(dials)
        for dial in dials:
            dial.result()
        costs.append((time.process_time() - start) / FEW)
    return median(costs)


def everything(folder: Path) -> dict[str, float]:
    import ras_ext
    from ras_ext import _ffi

    client = ras_ext.open("sim", phonebook=folder / "dials.pbk")
    control = ras_ext.sim.control(client)
    control.script(None, steps(STEP_MS))
    few = cost_of_few(client)
    kept = [None] * DIALS  # the list itself is the user's, not ours
    names = [entry_name(index) for index in range(DIALS)]
    peak = Peak()
    before, stacks, base_threads = resident(), kernel_stacks(), status("Threads")
    control.script(None, steps(HOLD_MS))

    cpu, begin = time.process_time(), time.perf_counter()
    dials: list[Any] = kept
    for index in range(DIALS):
        dials[index] = client.dial(names[index], username="ada")
    starting = time.perf_counter() - begin
    first_still_waits = not dials[0].events
    in_flight, more = status("VmRSS"), kernel_stacks()
    core_threads, link_threads = _ffi.counters().threads, control.counters.threads
    done = ras_ext.wait(dials, timeout=120).done
    begin_results = time.perf_counter()
    connections, outcomes = [], collections.Counter[int]()
    for dial in dials:
        problem = dial.exception(60)
        outcomes[0 if problem is None else problem.code] += 1
        if problem is None:
            connections.append(dial.result(60))
    many = (time.process_time() - cpu) / DIALS
    ended = begin_results - begin
    while _ffi.counters().threads or control.counters.threads:
        time.sleep(0.01)
    threads = peak.stop()
    left = let_threads_end(base_threads - 1)  # without the watcher
    assert len(done) == DIALS, f"{DIALS - len(done)} dials have no outcome"
    assert sum(outcomes.values()) == DIALS
    lost = sum(dial.lost for dial in dials)
    complete = sum(is_complete(dial.events) for dial in dials)
    polled = sum(event.is_outcome and event.origin == ras_ext.Origin.Poll for dial in dials for event in dial.events)
    with_dials = resident()
    dials.clear()
    kept.clear()
    del dial, done
    established = resident()
    return {
        "few": few,
        "many": many,
        "starting": starting,
        "ended": ended,
        "all_at_once": first_still_waits,
        "threads": threads - base_threads,
        "core_threads": core_threads,
        "link_threads": link_threads,
        "left_threads": left - (base_threads - 1),
        "connected": outcomes[0],
        "refused": outcomes[REFUSED],
        "other": DIALS - outcomes[0] - outcomes[REFUSED],
        "lost": lost,
        "complete": complete,
        "polled": polled,
        "in_flight": (in_flight - before) / DIALS,
        "kernel": (more - stacks) / DIALS,
        "with_dials": (with_dials - before) / max(len(connections), 1),
        "established": (established - before) / max(len(connections), 1),
    }


OBJECTS = 1000


def objects(folder: Path) -> dict[str, float]:
    """What Python has allocated and not freed, per dial: exact, where resident memory also shows what a heap keeps for later."""
    import tracemalloc

    import ras_ext

    client = ras_ext.open("sim", phonebook=folder / "dials.pbk")
    control = ras_ext.sim.control(client)
    control.script(None, steps(STEP_MS))
    cost_of_few(client)
    control.script(None, steps(1000))
    dials: list[Any] = [None] * OBJECTS
    names = [entry_name(index) for index in range(OBJECTS)]
    connections = list(dials)

    def size() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / OBJECTS

    tracemalloc.start()
    before = size()
    for index, name in enumerate(names):
        dials[index] = client.dial(name, username="ada")
    in_flight = size()
    ras_ext.wait(dials)
    for index in range(OBJECTS):
        connections[index] = dials[index].result(60)
    kept = size()
    dials.clear()
    return {"in_flight": in_flight - before, "kept": kept - before, "established": size() - before}


def run_stage(name: str, folder: Path) -> dict[str, float]:
    """A stage in a new process, which ends without hanging up ten thousand connections."""
    code = "import sys; sys.path.append(sys.argv[1]); from benchmarks import dials; dials.stage(*sys.argv[2:])"
    command = [sys.executable, "-c", code, ROOT, name, str(folder)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300, cwd=folder)
    found: dict[str, float] = json.loads((folder / f"dials-{name}.json").read_text(encoding="utf-8"))
    return found


def stage(name: str, folder: str) -> None:
    work = {"core": core, "machine": machine, "all": everything, "objects": objects}[name]
    found = work(Path(folder))
    Path(folder, f"dials-{name}.json").write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)


# --- Dials that block ----------------------------------------------------------------------------------------------------------


def blocked(folder: Path) -> list[Figure]:
    """While RasDial of 200 dials does not return, one more dial connects as fast as alone."""
    import ras_ext
    from ras_ext import _ffi

    client = ras_ext.open("sim", phonebook=folder / "dials.pbk")
    control = ras_ext.sim.control(client)
    control.script(None, steps(STEP_MS))

    def one(index: int) -> float:
        start = time.perf_counter_ns()
        client.dial(entry_name(index), username="ada").result(60)
        return time.perf_counter_ns() - start

    def free(indexes: range) -> float:
        for index in indexes:
            control.knob("block_dial", 0, entry_name(index))
        return median(one(index) for index in indexes)

    alone = free(range(BLOCKED, BLOCKED + 9))
    control.knob("block_dial", 1)
    held = [client.dial(entry_name(index), username="ada") for index in range(BLOCKED)]
    beside = free(range(BLOCKED + 9, BLOCKED + 18))
    assert _ffi.counters().threads >= BLOCKED, "RasDial was to block meanwhile"
    control.release()
    assert len(ras_ext.wait(held, timeout=60).done) == BLOCKED
    assert all(dial.exception(60) is None for dial in held)
    client.close()
    name = f"one dial beside {BLOCKED} whose RasDial blocks / alone"
    return [Figure(name, f"{duration(beside)} against {duration(alone)}", beside / alone)]


# --- The report ----------------------------------------------------------------------------------------------------------------


def measure(folder: Path) -> list[Figure]:
    write_book(folder / "dials.pbk", ENTRIES)
    native.build(folder)
    found = {name: run_stage(name, folder) for name in STAGES}
    c, m, a, o = (found[name] for name in STAGES)
    assert a["other"] == 0, f"{a['other']} dials failed, and not for want of a thread"
    assert a["lost"] == 0, f"{a['lost']} events lost"
    assert a["complete"] == a["connected"], "a dial that connected misses states"
    per_dial = f"{DIALS:,} dials: "
    refused = f", {a['refused']:,.0f} refused by the system for want of a thread (error 8)" if a["refused"] else ""
    together = "all in flight at once" if a["all_at_once"] else "NOT all in flight at once: starting took too long"
    times = f"{a['starting']:.2f} s / {a['ended']:.2f} s, {HOLD_MS / 1000:g} s of it by script"
    threads = f"{a['core_threads']:,.0f} of the core, {a['link_threads']:,.0f} of our RAS"

    live = " / ".join(kibibytes(o[when]) for when in ("in_flight", "kept", "established"))

    def memory(name: str, size: float, kib: float) -> Figure:
        return Figure(name, kibibytes(size), size / 1024 / kib, 1)

    return [
        Figure(per_dial + "outcomes", f"{a['connected']:,.0f} connected{refused}; {together}"),
        Figure(per_dial + "notification came over 250 ms late, status told first", f"{a['polled']:,.0f}"),
        Figure(per_dial + "events lost", f"{a['lost']:,.0f} of {a['connected'] * len(STATES):,.0f}"),
        Figure(per_dial + "starting / until the last outcome", times),
        Figure(per_dial + "peak native threads", f"{a['threads']:,.0f}: {threads}"),
        Figure("core threads per dial in flight", f"{a['core_threads']:,.0f}", a["core_threads"] / DIALS, 1),
        Figure("threads left when all are established", f"{a['left_threads']:,.0f}", a["left_threads"], 0),
        memory("resident per dial in flight, core (of 16 KiB)", c["in_flight"], 16),
        memory("resident per dial in flight, our RAS (of 16 KiB)", m["in_flight"] - c["in_flight"], 16),
        memory("resident per dial in flight, Python (of 4 KiB)", a["in_flight"] - m["in_flight"], 4),
        Figure("kernel stacks per dial in flight, core / with our RAS", f"{kibibytes(c['kernel'])} / {kibibytes(m['kernel'])}"),
        Figure("resident per established connection, core + our RAS", kibibytes(m["established"])),
        memory("resident per established connection, all (of 6 KiB)", a["established"], 6),
        Figure("the same while the Dial objects are kept", kibibytes(a["with_dials"])),
        Figure("Python's live objects: in flight / connected / Dial dropped", live),
        Figure(
            f"processor time per dial, {DIALS:,} dials / {FEW} dials",
            f"{duration(a['many'] * 1e9)} against {duration(a['few'] * 1e9)}",
            a["many"] / a["few"],
            1.5,
        ),
        *blocked(folder),
    ]
