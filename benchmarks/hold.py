"""How long a notification holds the dial: our handler against three that enter Python.

SPDX-License-Identifier: MIT

A native thread plays RAS: it calls a handler, on a processor of its own, and takes the time before and after. All kinds of
handlers take turns in small blocks within one run, while Python does nothing, computes in one thread, or sits in long C
calls that keep the GIL. What is measured is the native side: how long RAS stands still, not when Python code runs.

Each event carries a number, and the consumer checks that all of them arrive, in order.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import native
from benchmarks.figures import Figure, duration, percentile

DIALS = 16
RECORD = native.RECORD
LONG_CALL_US = 200_000
BATCH = 256
STREAM = 16384  # ring places per dial in the throughput part


class Stage:
    """The native driver, and a consumer in Python for what it delivers."""

    def __init__(self, folder: Path) -> None:
        self.ffi, self.lib = native.load(folder)
        self.events = self.ffi.new("rasx_event[]", BATCH)
        self.buffer = self.ffi.buffer(self.events)
        self.count = self.ffi.new("uint32_t *")
        self.ready = self.ffi.new("uint32_t *")
        self.queue: Any = None
        self.sent = 0
        self.seen: list[int] = []  # the numbers that the handlers in Python were called with
        places = native.processors()
        self.cpu_plus_1 = 0
        if places is not None:  # the driver pins itself; everything else that follows inherits this
            self.cpu_plus_1 = places[0] + 1
            os.sched_setaffinity(0, {places[1]})
        else:
            print("  only one processor: driver and Python share it, the ratios mean little")

    def open(self, capacity: int) -> None:
        queue = self.ffi.new("rasx_queue **")
        assert self.lib.bench_open(DIALS, capacity, queue) == 0
        self.queue = queue[0]

    def close(self) -> None:
        assert self.lib.bench_close() == 0

    def start(self, kind: int, handler: Any, count: int, pause_us: int) -> Any:
        samples = self.ffi.new("uint64_t[]", count)
        started = self.lib.bench_start(kind, handler, count, pause_us, self.cpu_plus_1, self.sent + 1, samples)
        assert started == 0
        return samples

    def finish(self, samples: Any, count: int) -> list[int]:
        self.lib.bench_join()
        return self.taken(samples, count)

    def taken(self, samples: Any, count: int) -> list[int]:
        self.sent += count
        times: list[int] = self.ffi.unpack(samples, count) if samples else []
        return times

    def decode(self) -> list[int]:
        """The numbers of the events that the last drain brought: all of each event becomes a tuple, as in the library."""
        size = self.count[0] * RECORD.size
        return [record[2] for record in RECORD.iter_unpack(self.buffer[:size])]

    def drain(self) -> list[int]:
        assert self.lib.rasx_queue_drain(self.queue, self.events, BATCH, self.count) == 0
        return self.decode()

    def check(self, numbers: list[int], count: int) -> None:
        expected = range(self.sent + 1, self.sent + 1 + count)
        assert numbers == list(expected), f"{count} events were sent, {len(numbers)} arrived, or not in order"

    # --- Blocks of calls ------------------------------------------------------------------------------------------------

    def call(self, handler: Any, count: int, pause_us: int) -> list[int]:
        """A handler that is Python. It is called `count` times and appends to `seen`."""
        self.seen.clear()
        samples = self.start(self.lib.BENCH_CALL, handler, count, pause_us)
        self.lib.bench_join()
        self.check(self.seen, count)
        return self.taken(samples, count)

    def push(self, count: int, pause_us: int) -> list[int]:
        """Ours, while the consumer is awake (it does not sleep on the queue): bursts of one event for each dial."""
        samples = self.start(self.lib.BENCH_PUSH, self.ffi.NULL, count, pause_us)
        numbers: list[int] = []
        while self.lib.bench_burst_wait():
            numbers += self.drain()
            self.lib.bench_burst_done()
        self.check(numbers, count)
        return self.finish(samples, count)

    def wake(self, count: int, pause_us: int) -> list[int]:
        """Ours, when it has to wake a Python consumer that sleeps in the queue."""
        samples = self.start(self.lib.BENCH_WAKE, self.ffi.NULL, count, pause_us)
        numbers: list[int] = []
        while len(numbers) < count:
            self.lib.rasx_queue_wait(self.queue, 10_000, 0, self.ready)
            numbers += self.drain()
        self.check(numbers, count)
        return self.finish(samples, count)

    def bare(self, kind: int, count: int, pause_us: int) -> list[int]:
        """The least that wakes a sleeping Python consumer: one push, one system call."""
        samples = self.start(kind, self.ffi.NULL, count, pause_us)
        numbers: list[int] = []
        while len(numbers) < count:
            self.lib.bench_bare_wait(kind)
            self.count[0] = self.lib.bench_bare_drain(self.events, BATCH)
            numbers += self.decode()
        self.check(numbers, count)
        return self.finish(samples, count)

    def stream(self, count: int) -> float:
        """Ours as fast as the consumer can take them: notifications per second."""
        begin = perf_counter()
        self.start(self.lib.BENCH_STREAM, self.ffi.NULL, count, 0)
        wait, drain = self.lib.rasx_queue_wait, self.lib.rasx_queue_drain
        total, checksum = 0, 0
        while total < count:
            wait(self.queue, 10_000, 0, self.ready)
            while drain(self.queue, self.events, BATCH, self.count) == 0 and self.count[0]:
                checksum += sum(self.decode())
                total += self.count[0]
                self.lib.bench_taken(total)
        rate = count / (perf_counter() - begin)
        assert checksum == sum(range(self.sent + 1, self.sent + 1 + count)), "events were lost"
        self.finish(None, count)
        return rate


# --- What Python does meanwhile ----------------------------------------------------------------------------------------------


@contextmanager
def meanwhile(work: Callable[[Callable[[], bool]], None] | None) -> Iterator[None]:
    """Runs work(going) in a thread for the time of the block."""
    going = True
    if work is None:
        yield
        return
    thread = threading.Thread(target=work, args=(lambda: going,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        going = False
        thread.join()


def compute(going: Callable[[], bool]) -> None:
    total = 0
    while going():
        for number in range(1000):
            total += number * number


def long_calls(going: Callable[[], bool]) -> None:
    usleep = ctypes.PyDLL(None).usleep  # PyDLL: the GIL stays held during the call
    while going():
        usleep(LONG_CALL_US)


# --- The run -------------------------------------------------------------------------------------------------------------------

Samples = dict[str, list[int]]
GIL, CFFI, CTYPES = "PyGILState_Ensure + call", "cffi extern \"Python\"", "ctypes callback"
PUSH, WAKE, EVENTFD, FUTEX = "ours, consumer awake", "ours, waking a sleeper", "push + eventfd write", "push + futex wake"
NOTHING = "two clock reads alone"

# State, work, rounds, pause before each call of a Python handler and before each event of ours, and the calls of each kind in
# a round. Beside a computing thread our consumer needs the GIL to come round, so that the pauses are alike in the end.
STATES: list[tuple[str, Callable[[Callable[[], bool]], None] | None, int, int, int, dict[str, int]]] = [
    ("Python idle", None, 5, 500, 5000,
     {NOTHING: 200, GIL: 400, CFFI: 200, CTYPES: 200, PUSH: 800, WAKE: 200, EVENTFD: 60, FUTEX: 60}),
    ("one thread computing", compute, 5, 500, 500,
     {NOTHING: 200, GIL: 200, CFFI: 30, CTYPES: 30, PUSH: 800, WAKE: 200, EVENTFD: 60, FUTEX: 60}),
    ("in a 200 ms C call", long_calls, 1, 5000, 500,
     {NOTHING: 50, GIL: 10, CFFI: 6, CTYPES: 6, PUSH: 96, WAKE: 6, EVENTFD: 4, FUTEX: 4}),
]  # fmt: skip


def rounds(
    stage: Stage, callers: dict[str, Any], count: int, pause_us: int, our_pause_us: int, blocks: dict[str, int]
) -> Samples:
    """All kinds in turn, beginning with another one in each round."""
    lib = stage.lib
    kinds: dict[str, Callable[[int], list[int]]] = {
        NOTHING: lambda n: stage.finish(stage.start(lib.BENCH_NOTHING, stage.ffi.NULL, n, pause_us), n),
        PUSH: lambda n: stage.push(n, our_pause_us),
        WAKE: lambda n: stage.wake(n, our_pause_us),
        EVENTFD: lambda n: stage.bare(lib.BENCH_EVENTFD, n, our_pause_us),
        FUTEX: lambda n: stage.bare(lib.BENCH_FUTEX, n, our_pause_us),
    }
    for name, handler in callers.items():
        kinds[name] = lambda n, handler=handler: stage.call(handler, n, pause_us)  # type: ignore[misc] # mypy sees no default
    samples: Samples = {name: [] for name in blocks}
    names = list(blocks)
    for number in range(count):
        shift = number * 3 % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name] += kinds[name](blocks[name])
    for values in samples.values():
        values.sort()
    return samples


def shown(values: list[int]) -> str:
    """p50 / p99 / p99.9, as far as there are samples for it."""
    shares = [0.5, *([0.99] if len(values) >= 100 else []), *([0.999] if len(values) >= 1000 else [])]
    return " / ".join(duration(percentile(values, share)) for share in shares) + f"  (n={len(values):,})"


def times(samples: Samples, name: str, than: str, share: float = 0.5) -> float:
    """How many times longer `than` took."""
    return percentile(samples[than], share) / percentile(samples[name], share)


def state_figures(state: str, samples: Samples, idle: Samples) -> list[Figure]:
    found = [Figure(f"{state}:", "p50 / p99 / p99.9")]
    found += [Figure(f"  {name}", shown(values)) for name, values in samples.items()]
    push_aim = {"Python idle": 50, "one thread computing": 20_000, "in a 200 ms C call": 500_000}[state]
    for other, aim in ((GIL, push_aim), (CFFI, None), (CTYPES, None)):
        found.append(Figure(f"  {other}: awake p50, times longer than ours", "", times(samples, PUSH, other), aim, True))
    if state == "one thread computing":
        found.append(Figure("  awake, p99.9, times shorter", "", times(samples, PUSH, GIL, 0.999), 1000, True))
        for share, aim in ((0.5, 150), (0.99, 100), (0.999, 40)):
            name = f"  waking a sleeper, p{share * 100:g}, times shorter"
            found.append(Figure(name, "", times(samples, WAKE, GIL, share), aim, True))
        found.append(Figure("  the same p99.9, stretch aim", "", times(samples, WAKE, GIL, 0.999), 500, True))
    else:
        found.append(Figure("  waking a sleeper, p50, times shorter", "", times(samples, WAKE, GIL)))
    found.append(Figure("  waking a sleeper against push + eventfd write, p50", "", 1 / times(samples, WAKE, EVENTFD), 1.2))
    found.append(Figure("  waking a sleeper against push + futex wake, p50", "", 1 / times(samples, WAKE, FUTEX), 1.2))
    if samples is not idle:
        for kind in (PUSH, WAKE):
            ratio = percentile(samples[kind], 0.5) / percentile(idle[kind], 0.5)
            found.append(Figure(f"  {kind}: p50 against Python idle", "", ratio, 1.5))
    return found


def throughput(stage: Stage, caller: Any, state: str, ours: int, theirs: int, aim: float) -> Figure:
    """Notifications per second, without pauses: one of each, three times, medians."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        rates[0].append(stage.stream(ours))
        begin = perf_counter()
        stage.call(caller, theirs, 0)
        rates[1].append(theirs / (perf_counter() - begin))
    fast, slow = (sorted(values)[1] for values in rates)
    return Figure(f"notifications per second, {state}", f"{fast:,.0f} against {slow:,.0f}", fast / slow, aim, True)


def flat(stage: Stage) -> list[Figure]:
    """The handler against its own steps written out, on one thread."""
    lib, per_round = stage.lib, stage.lib.bench_flat_per_round()
    assert per_round == DIALS
    found = []
    for name, ours, other, aim in (
        ("handler against its flat steps, first event of a dial", lib.BENCH_FIRST_OURS, lib.BENCH_FIRST_FLAT, 1.3),
        ("handler against its flat steps, dial already ready", lib.BENCH_MORE_OURS, lib.BENCH_MORE_FLAT, 1.3),
    ):
        values: tuple[list[int], list[int]] = ([], [])
        for _ in range(4000):
            values[0].append(lib.bench_flat(stage.queue, ours))
            values[1].append(lib.bench_flat(stage.queue, other))
        mine, theirs = (percentile(sorted(each), 0.5) / per_round for each in values)
        found.append(Figure(name, f"{duration(mine)} against {duration(theirs)}", mine / theirs, aim))
    return found


def measure(folder: Path) -> list[Figure]:
    stage = Stage(folder)
    ffi, lib = stage.ffi, stage.lib

    def on_event(_id: int, _subentry: int, connection: Any, _message: int, _state: int, _error: int, _extended: int) -> int:
        stage.seen.append(int(connection))
        return 1

    def on_cffi(_id: int, _subentry: int, connection: Any, _message: int, _state: int, _error: int, _extended: int) -> int:
        stage.seen.append(int(ffi.cast("uintptr_t", connection)))
        return 1

    ffi.def_extern("bench_on_cffi")(on_cffi)
    numbers = [ctypes.c_size_t, ctypes.c_uint32, ctypes.c_size_t, *[ctypes.c_uint32] * 4]
    through_ctypes = ctypes.CFUNCTYPE(ctypes.c_uint32, *numbers)(on_event)
    lib.bench_set_callable(ffi.cast("void *", id(on_event)))
    callers = {
        GIL: ffi.addressof(lib, "bench_on_gil"),
        CFFI: lib.bench_on_cffi,
        CTYPES: ffi.cast("bench_handler", ctypes.cast(through_ctypes, ctypes.c_void_p).value),
    }
    figures: list[Figure] = []
    stage.open(0)
    idle: Samples = {}
    for state, work, count, pause_us, our_pause_us, blocks in STATES:
        with meanwhile(work):
            samples = rounds(stage, callers, count, pause_us, our_pause_us, blocks)
        idle = idle or samples
        figures += state_figures(state, samples, idle)
    figures += flat(stage)
    stage.close()
    stage.open(STREAM)
    figures.append(throughput(stage, callers[GIL], "Python idle", 400_000, 10_000, 50))
    with meanwhile(compute):
        figures.append(throughput(stage, callers[GIL], "one thread computing", 400_000, 1000, 400))
    stage.close()
    return figures
