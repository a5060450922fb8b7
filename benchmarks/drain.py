"""How events reach Python: draining a batch, waiting for one, importing the package.

SPDX-License-Identifier: MIT

The events come from simulated dials that have ended before the clock starts, so draining is all that is timed. One round
drains about a thousand events; the kinds take turns.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter_ns, sleep
from typing import Any

from benchmarks.book import entry_name, write_book
from benchmarks.figures import Figure, duration, median, percentile
from benchmarks.hold import Stage, compute, meanwhile

DIALS, EVENTS = 34, 30  # 30 is what a ring of 32 holds without its two reserved places
ROUNDS = 15
WAITS, WAIT_BLOCKS = 200, 5
IMPORTS = 15


class Source:
    """A client of the simulated RAS whose dials announce EVENTS states without delay."""

    def __init__(self, folder: Path) -> None:
        import ras_ext
        from ras_ext import _ffi

        self.counters = _ffi.counters
        path = folder / "drain.pbk"
        write_book(path, DIALS)
        self.client = ras_ext.open("sim", phonebook=path)
        self.machine = ras_ext.sim.control(self.client)
        self.machine.knob("hangup_delay_ms", 0)
        steps: list[Any] = [{"state": "ConnectDevice"}] * (EVENTS - 1) + [{"state": "Connected"}]
        self.machine.script(None, steps)
        self.hub: Any = self.client._hub
        self.queue = self.hub._queue

    def fill(self) -> list[Any]:
        """Dials, and waits until everything they will ever say is in the rings."""
        dials = [self.client.dial(entry_name(index), username="ada") for index in range(DIALS)]
        while self.counters().threads:
            sleep(0.001)
        return dials

    def empty(self, dials: list[Any]) -> None:
        """Lets the dials have what was drained, checks that nothing is missing, and hangs up."""
        self.hub._pump()
        for dial in dials:
            assert len(dial.events) == EVENTS, f"{len(dial.events)} of {EVENTS} events"
            assert dial.lost == 0
            dial.result(60).hang_up()


def timed(work: Callable[[], object]) -> int:
    start = perf_counter_ns()
    work()
    return perf_counter_ns() - start


def to_records(source: Source, records: list[Any]) -> None:
    """What the library does with a batch, short of routing: one native call, then all of it becomes tuples."""
    queue = source.queue
    while queue.drain():
        records += queue.drained()
        queue.forget()


def to_nothing(source: Source, copies: list[bytes]) -> int:
    """The native calls alone. The copies are made outside the time."""
    queue, ns = source.queue, 0
    while True:
        start = perf_counter_ns()
        count = queue.drain()
        ns += perf_counter_ns() - start
        if not count:
            return ns
        copies.append(bytes(queue._buffer[: count * 48]))
        queue.forget()


def draining(source: Source) -> list[Figure]:
    from ras_ext._ffi import _RECORD

    total = DIALS * (EVENTS + 1)  # with the record SETTLED of each
    ns: dict[str, list[float]] = {name: [] for name in ("popleft", "native", "tuples", "events", "routed")}
    for _ in range(ROUNDS):
        ready = deque([(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)] * total)
        start = perf_counter_ns()
        popleft = ready.popleft
        for _ in range(total):
            popleft()
        ns["popleft"].append(perf_counter_ns() - start)

        dials = source.fill()
        copies: list[bytes] = []
        ns["native"].append(to_nothing(source, copies))
        source.hub._inbox.extend(record for copy in copies for record in _RECORD.iter_unpack(copy))
        source.empty(dials)

        dials = source.fill()
        records: list[Any] = []
        ns["tuples"].append(timed(lambda: to_records(source, records)))  # noqa: B023 # called at once
        by_dial = [(dial, [record for record in records if record[0] == dial._id]) for dial in dials]
        start = perf_counter_ns()
        for dial, its in by_dial:
            take = dial._take
            for record in its:
                take(record)
        ns["events"].append(ns["tuples"][-1] + perf_counter_ns() - start)
        source.hub._inbox.extend(records)
        source.empty(dials)

        dials = source.fill()
        ns["routed"].append(timed(source.hub._pump))
        source.empty(dials)
    base = median(ns["popleft"])

    def figure(name: str, kind: str, aim: float | None = None) -> Figure:
        value = median(ns[kind])
        return Figure(name, f"{duration(value / total)} per event", value / base, aim)

    return [
        Figure("deque.popleft of ready-made tuples", f"{duration(base / total)} per event"),
        figure("batch call alone, no objects", "native", 0.25),
        figure("drain to tuples", "tuples", 2.4),
        figure("drain to Event objects, without routing", "events", 5.0),
        figure("drain to Event objects of their dials", "routed"),
    ]


def beside_computing(source: Source) -> Figure:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for index, work in enumerate((None, compute)):
            dials = source.fill()
            with meanwhile(work) if work else nullcontext():
                sleep(0.02)  # the thread is under way, and we have just been given the GIL
                times[index].append(timed(source.hub._pump))
            source.empty(dials)
    alone, beside = (median(values) for values in times)
    value = f"{duration(beside)} against {duration(alone)}"
    return Figure(f"draining {DIALS * EVENTS:,} events beside a computing thread / without", value, beside / alone, 3)


def waiting(stage: Stage) -> list[Figure]:
    """From the signal on a native thread to the next line of Python, which had been waiting."""
    lib = stage.lib
    ns: dict[str, list[int]] = {"queue": [], "eventfd": []}
    for _ in range(WAIT_BLOCKS):
        samples = stage.start(lib.BENCH_WAKE, stage.ffi.NULL, WAITS, 1000)
        numbers: list[int] = []
        while len(numbers) < WAITS:
            lib.rasx_queue_wait(stage.queue, 10_000, 0, stage.ready)
            now = perf_counter_ns()
            ns["queue"].append(now - lib.bench_signalled_ns())
            numbers += stage.drain()
        stage.check(numbers, WAITS)
        stage.finish(samples, WAITS)

        samples = stage.start(lib.BENCH_EVENTFD, stage.ffi.NULL, WAITS, 1000)
        numbers = []
        while len(numbers) < WAITS:
            os.eventfd_read(lib.bench_eventfd())
            now = perf_counter_ns()
            ns["eventfd"].append(now - lib.bench_signalled_ns())
            stage.count[0] = lib.bench_bare_drain(stage.events, 256)
            numbers += stage.decode()
        stage.check(numbers, WAITS)
        stage.finish(samples, WAITS)
    ours, bare = (sorted(ns[kind]) for kind in ("queue", "eventfd"))
    found = []
    for share, aim in ((0.5, 1.15), (0.99, None)):
        mine, theirs = percentile(ours, share), percentile(bare, share)
        value = f"{duration(mine)} against {duration(theirs)}"
        found.append(Figure(f"signal to running waiter / os.eventfd_read, p{share * 100:g}", value, mine / theirs, aim))
    return found


async def coroutines(stage: Stage) -> dict[str, list[int]]:
    """From the signal on a native thread to the next line of a coroutine, in two ways that take turns."""
    lib, loop = stage.lib, asyncio.get_running_loop()
    ns: dict[str, list[int]] = {"socket": [], "threadsafe": []}
    near, notify = socket.socketpair()
    near.setblocking(False)
    notify.setblocking(False)
    for _ in range(WAIT_BLOCKS):
        assert lib.rasx_queue_set_socket(stage.queue, notify.fileno()) == 0
        near.recv(64)  # setting it rings once
        stage.drain()
        samples = stage.start(lib.BENCH_RING, stage.ffi.NULL, WAITS, 1000)
        numbers: list[int] = []
        while len(numbers) < WAITS:
            await loop.sock_recv(near, 64)
            ns["socket"].append(perf_counter_ns() - lib.bench_signalled_ns())
            numbers += stage.drain()
        stage.check(numbers, WAITS)
        stage.finish(samples, WAITS)
        assert lib.rasx_queue_set_socket(stage.queue, (1 << 64) - 1) == 0

        landed: asyncio.Queue[int] = asyncio.Queue()

        def handler(*arguments: int) -> int:
            loop.call_soon_threadsafe(landed.put_nowait, arguments[2])  # noqa: B023 # of this block
            return 1

        lib.bench_set_callable(stage.ffi.cast("void *", id(handler)))
        samples = stage.start(lib.BENCH_CALL, stage.ffi.addressof(lib, "bench_on_gil"), WAITS, 1000)
        numbers = []
        while len(numbers) < WAITS:
            number = await landed.get()
            ns["threadsafe"].append(perf_counter_ns() - lib.bench_signalled_ns())
            numbers.append(number)
        stage.check(numbers, WAITS)
        stage.finish(samples, WAITS)
    near.close()
    notify.close()
    return ns


def in_a_loop(stage: Stage) -> list[Figure]:
    ns = asyncio.run(coroutines(stage))
    found = []
    for share, aim in ((0.5, 1.0), (0.99, None)):
        mine, theirs = (percentile(sorted(ns[kind]), share) for kind in ("socket", "threadsafe"))
        value = f"{duration(mine)} against {duration(theirs)}"
        name = f"signal to coroutine, by socket / call_soon_threadsafe from C, p{share * 100:g}"
        found.append(Figure(name, value, mine / theirs, aim))
    return found


def importing() -> list[Figure]:
    """The import statement alone, and the whole life of an interpreter that does nothing else; new processes, in turn."""
    program = "import time; t = time.perf_counter_ns(); import {}; print(time.perf_counter_ns() - t)"

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
        return done.stdout

    statement: dict[str, list[float]] = {"ras_ext": [], "_cffi_backend": []}
    process: dict[str, list[float]] = {"ras_ext": [], "_cffi_backend": []}
    for number in range(IMPORTS + 1):
        for name in statement:
            start = perf_counter_ns()
            ns = float(run(program.format(name)))
            if number:  # the first reads the files into memory
                statement[name].append(ns)
                process[name].append(perf_counter_ns() - start)
    watched = "{'asyncio', 'rich', 'typing', 'typing_extensions', 'logging', 'inspect', 'dataclasses'}"
    extra = run(f"import sys; b = set(sys.modules); import ras_ext; print(*sorted((set(sys.modules) - b) & {watched}))")
    found = []
    for what, values, aim in (("the statement", statement, 3), ("whole process", process, None)):
        ours, bare = (median(values[name]) for name in ("ras_ext", "_cffi_backend"))
        value = f"{duration(ours)} against {duration(bare)}"
        found.append(Figure(f"import ras_ext / import _cffi_backend, {what}", value, ours / bare, aim))
    return [*found, Figure("heavy modules that import ras_ext brings", extra.strip() or "none")]


def measure(folder: Path) -> list[Figure]:
    stage = Stage(folder)
    source = Source(folder)
    figures = [*draining(source), beside_computing(source)]
    source.client.close()
    stage.open(0)
    figures += waiting(stage)
    figures += in_a_loop(stage)
    stage.close()
    return figures + importing()
