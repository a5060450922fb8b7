"""The ring against what the hardware must do anyway; arming; wake-up calls.

SPDX-License-Identifier: MIT

The ratios of c/bench_ring.c come from a program of its own that prints JSON lines. Arming and wake-up calls are measured with
the core around the ring.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks import native
from benchmarks.figures import Figure, duration, percentile
from benchmarks.hold import Stage, compute, meanwhile

AIMS = {"push + pop / (copy + locked add)": 1.15, "ring one way / bare cache line one way": 1.8}
ROUNDS = 31


def program(folder: Path) -> list[Figure]:
    """Builds bench_ring.c with the ring and the platform layer, runs it, and turns its lines into figures."""
    from ras_ext import _sources

    core = _sources.folder()
    target = folder / "bench_ring"
    source = folder / "bench_ring.c"
    text = (native.C_FILES / "bench_ring.c").read_text(encoding="utf-8")
    source.write_text(text.replace('"../../csrc/', '"'), encoding="utf-8")  # the installed sources, wherever they stand
    command = [*native.compiler(), "-std=c11", "-O2", "-pthread", f"-I{core}", str(source), str(core / "ring.c")]
    command += [str(core / "os_posix.c"), "-ldl", "-o", str(target)]
    subprocess.run(command, check=True)
    done = subprocess.run([str(target), str(ROUNDS)], check=True, capture_output=True, text=True)
    figures = []
    for line in map(json.loads, done.stdout.splitlines()):
        if "ratio" in line:
            figures.append(Figure(line["ratio"], "", line["value"], AIMS.get(line["ratio"])))
        else:
            figures.append(Figure(line["name"], duration(line["ns"])))
    return figures


def arming(stage: Stage) -> Figure:
    """A push that also asks whether somebody sleeps, which nobody does, against a push that does not ask."""
    lib = stage.lib
    values: tuple[list[int], list[int]] = ([], [])
    for _ in range(4000):
        values[0].append(lib.bench_flat(stage.queue, lib.BENCH_ARMED_PUSH))
        values[1].append(lib.bench_flat(stage.queue, lib.BENCH_PLAIN_PUSH))
    armed, plain = (percentile(sorted(each), 0.5) / lib.bench_flat_per_round() for each in values)
    value = f"{duration(armed)} against {duration(plain)}"
    return Figure("push with arming, consumer awake / plain push", value, armed / plain, 1.5)


def wake_ups(stage: Stage, name: str, events: int) -> Figure:
    """How often producers called the kernel for each time that the consumer went to sleep."""
    ffi, lib = stage.ffi, stage.lib
    calls = ffi.new("uint64_t[4]")
    lib.bench_futex_calls(calls, calls + 1)
    stage.stream(events)
    lib.bench_futex_calls(calls + 2, calls + 3)
    sleeps, wakes = calls[2] - calls[0], calls[3] - calls[1]
    value = f"{wakes:,} for {sleeps:,} sleeps, {events:,} events"
    return Figure(f"wake-up calls per sleep of the consumer, {name}", value, wakes / max(sleeps, 1), 1)


def measure(folder: Path) -> list[Figure]:
    figures = program(folder)
    stage = Stage(folder)
    stage.open(1024)
    figures.append(arming(stage))
    figures.append(wake_ups(stage, "Python idle", 100_000))
    with meanwhile(compute):
        figures.append(wake_ups(stage, "one thread computing", 50_000))
    stage.close()
    return figures
