"""What the tests of interruption, fork, exit and load share: how much to do, from which seed, and what "nothing is held" means.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from helping import BOUND_S

import ras_ext
from ras_ext import _ffi

SOAK = os.environ.get("RASX_SOAK", "") not in ("", "0")
"""Long runs: RASX_SOAK=1, which the job `soak` sets."""

KILL_S = 60.0
"""A process that has not ended by itself after that many real seconds has failed, and is killed."""

PACKAGE = str(Path(ras_ext.__file__).parent)


def seeds(usual: int, soak: int) -> list[int]:
    """The seeds of a random test: so many, or the one in RASX_SEED, to see a failure again."""
    chosen = os.environ.get("RASX_SEED")
    return [int(chosen)] if chosen else list(range(soak if SOAK else usual))


def is_ours(filename: str) -> bool:
    """Whether code stands in the package."""
    return filename.startswith(PACKAGE)


def waits_in_core(thread_id: int | None) -> bool:
    """Whether a thread is inside a call of the core that may block (rasx_queue_wait, rasx_hang_up), or waits for its turn."""
    frame = sys._current_frames().get(thread_id or 0)
    while frame is not None:
        where = (Path(frame.f_code.co_filename).name, frame.f_code.co_name)
        if where in (("_ffi.py", "wait"), ("_ffi.py", "hang_up"), ("_hub.py", "_wait")):
            return True
        frame = frame.f_back
    return False


def held_by(client: ras_ext.Client, *dials: ras_ext.Dial) -> list[str]:
    """What is held although nobody waits: the consumer's turn, waiters, pins. The names are those of _hub.py."""
    hub = client._hub
    found = []
    if hub._turn is not None:
        found.append("the consumer's turn")
    if hub._waiting:
        found.append(f"{len(hub._waiting)} waiting callers")
    if not _is_free(hub._lock):
        found.append("the hub's lock")
    if hub._pinned:
        found.append(f"{len(hub._pinned)} pinned dials")
    for dial in dials:
        waiters = sum(reference() is not None for reference in dial._waiters)
        if waiters:
            found.append(f"{waiters} waiters of {dial!r}")
        if not _is_free(dial._handlers_lock):
            found.append(f"the handlers' lock of {dial!r}")
    return found


def _is_free(lock: Any) -> bool:
    """Whether another thread can take an RLock."""
    answer: list[bool] = []

    def look() -> None:
        got = lock.acquire(blocking=False)
        if got:
            lock.release()
        answer.append(got)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return answer[0]


def core_is_empty() -> bool:
    """Whether the core holds nothing of this process but its references to connections."""
    held = _ffi.counters()
    return not (held.threads or held.slots or held.queues or held.clients)


def open_descriptors() -> set[str]:
    """The files that this process has open, as /proc tells them."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{path.name} {path.readlink()}")
        except FileNotFoundError:  # the listing's own
            pass
    return found


# --- Processes --------------------------------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a program ended. `code` is negative for a signal; `killed`: it did not end by itself."""

    code: int
    out: str
    err: str
    killed: bool
    took_s: float

    @property
    def noise(self) -> str:
        return self.err.strip()


def run_program(code: str, *arguments: str | Path, flags: Sequence[str] = (), send: int | None = None) -> Ended:
    """Runs a program in an interpreter of its own and waits, bounded, until it ends.

    Args:
        send: A signal for it, sent as soon as it has printed its first line.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    command = [sys.executable, *flags, "-c", code, *map(str, arguments)]
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        first, killed = "", False
        watchdog = threading.Timer(KILL_S, process.send_signal, (signal.SIGABRT,))  # faulthandler, where on, shows the threads
        watchdog.daemon = True
        watchdog.start()
        try:
            if send is not None:
                assert process.stdout is not None
                first = process.stdout.readline()
                process.send_signal(send)
            out, err = process.communicate(timeout=KILL_S + BOUND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            killed = True
        finally:
            watchdog.cancel()
    took_s = time.monotonic() - started
    return Ended(process.returncode, first + out, err, killed or process.returncode == -signal.SIGABRT, took_s)


def in_parallel(work: Callable[[int], str | None], items: Sequence[int], threads: int = 10) -> list[str]:
    """work(item) for each, several at once; what they complain about."""
    with ThreadPoolExecutor(threads) as pool:
        return [complaint for complaint in pool.map(work, items) if complaint]
