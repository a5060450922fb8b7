"""How long one notification holds the dial: pywin32's handler, in Python, against ras_ext's, in C.

SPDX-License-Identifier: MIT

Run by `ci/run.py windows` with c/metronome.c as System32's rasapi32.dll, which calls the handler and takes the time itself. RAS
stands still for that long (S1.5). "awake": nobody sleeps on the queue, so the handler need not wake anybody. "sleeping": a
thread sleeps on it and has to be woken; beside a computing thread it needs some milliseconds to come back to its sleep, so the
notifications come further apart there.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ras_ext._ffi import ffi, lib

COUNT = 1000
PACE_US = 300
SLEEPERS_PACE_US = 12_000  # more than two switch intervals of the interpreter
BOUND_S = 120.0
WINDOW_MS = 50

win32ras: Any = importlib.import_module("win32ras")
metronome: Any = vars(ctypes)["WinDLL"]("rasapi32.dll", winmode=0x800)


def times_us() -> list[float]:
    room = (ctypes.c_uint32 * COUNT)()
    assert metronome.metronome_times(room, COUNT) == COUNT
    return sorted(value / 1000 for value in room)


def with_pywin32() -> list[float]:
    """A handler that does as little as a handler in Python can that tells anybody anything."""
    seen: list[int] = []
    over = threading.Event()

    def on_event(handle: int, message: int, state: int, error: int, extended: int) -> None:
        seen.append(state)
        if state == 8192:
            over.set()

    handle, code = win32ras.Dial(None, None, ("Office", "", "", "", "", ""), on_event)
    assert code == 0 and over.wait(BOUND_S)
    win32ras.HangUp(handle)
    assert len(seen) == COUNT + 1
    return times_us()


def with_ras_ext(sleeping: bool) -> list[float]:
    """The handler of the core; the ring has room for all, so none is dropped, which would be cheaper still."""
    client, queue, dial = ffi.new("rasx_client **"), ffi.new("rasx_queue **"), ffi.new("rasx_dial *")
    number, ready, result = ffi.new("uint32_t *"), ffi.new("uint32_t *"), ffi.new("uint32_t *")
    assert lib.rasx_open(b"system", ffi.NULL, client) == 0
    assert lib.rasx_queue_open(client[0], ffi.NULL, ffi.NULL, queue) == 0
    entry = ffi.new("char[]", b"Office")
    options = ffi.new("rasx_dial_options *", {"notifier": 2, "entry": entry, "timeout_ms": 0xFFFFFFFF, "capacity": 2048})
    options.size = ffi.sizeof("rasx_dial_options")
    events, seen, handle = ffi.new("rasx_event[]", 4096), 0, 0
    assert lib.rasx_dial_start(queue[0], options, dial) == 0
    pause, settled = threading.Event(), False
    while not settled:
        if sleeping:
            assert lib.rasx_queue_wait(queue[0], 10_000, 0, ready) == 0
        else:
            pause.wait(WINDOW_MS / 1000)
        assert lib.rasx_queue_drain(queue[0], events, 4096, number) == 0
        for i in range(number[0]):
            settled = settled or events[i].outcome == lib.RASX_OUTCOME_SETTLED
            seen += events[i].outcome != lib.RASX_OUTCOME_SETTLED
            handle = events[i].handle or handle
    assert seen == COUNT + 1, seen
    assert lib.rasx_hang_up(client[0], handle, 0, 0, 5000, result) == 0
    lib.rasx_queue_close(queue[0])
    assert lib.rasx_close(client[0], 5000) == 0
    return times_us()


@contextmanager
def computing() -> Iterator[None]:
    """Another thread of Python computes."""
    stop = False

    def compute() -> None:
        value = 1
        while not stop:
            value = value * 1103515245 % 2147483647

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()


@contextmanager
def idle() -> Iterator[None]:
    yield


def percentile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))]


ways: list[tuple[str, Callable[[], list[float]]]] = [
    ("pywin32", with_pywin32),
    ("ras_ext, awake", lambda: with_ras_ext(False)),
    ("ras_ext, sleeping", lambda: with_ras_ext(True)),
]
for what, circumstance in (("Python idle", idle), ("Python computing", computing)):
    base: list[float] = []
    for name, measure in ways:
        pace_us = SLEEPERS_PACE_US if circumstance is computing and name.endswith("sleeping") else PACE_US
        assert metronome.metronome_set(COUNT, pace_us) == COUNT
        with circumstance():
            found = measure()
        base = base or found
        p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
        ratio = f"pywin32/ours: p50 {percentile(base, 0.5) / p50:.1f}, p99 {percentile(base, 0.99) / p99:.2f}"
        ratio = "" if found is base else ratio
        print(f"      {what:<17} {name:<18} p50 {p50:9.1f} us  p99 {p99:9.1f} us  {ratio}")
