"""What several test files use: bounded waiting, threads whose failures count, phone books.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

BOUND_S = 20.0
"""Real seconds after which a test that waits for another thread gives up. Long, because machines are slow sometimes."""

ENTRIES = ("Office VPN", "Home", "Lab", "Büro №5")

VPN_OK = (0, 1, 2, 3, 4, 5, 6, 10, 6, 18, 14, 24, 8192)
"""The states of the default script (docs/ras-semantics.md, 10.2)."""


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Waits, bounded, until something that another thread does has happened."""
    deadline = time.monotonic() + BOUND_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {BOUND_S:g} s"
        pause.wait(0.001)


def run_threads(*bodies: Callable[[], object]) -> list[object]:
    """Runs each body on a thread of its own, and returns what they returned; what one raised is raised here."""
    results: list[object] = [None] * len(bodies)
    failures: list[BaseException] = []

    def run(index: int, body: Callable[[], object]) -> None:
        try:
            results[index] = body()
        except BaseException as problem:
            failures.append(problem)

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(bodies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S * 2)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if failures:
        raise failures[0]
    return results


def write_book(path: Path, *names: str) -> Path:
    """A phone book with VPN entries of these names."""
    lines = []
    for name in names:
        lines += [
            f"[{name}]",
            "Encoding=1",
            "Type=2",
            "MEDIA=rastapi",
            "Port=VPN2-0",
            "Device=WAN Miniport (IKEv2)",
            "DEVICE=vpn",
            "PhoneNumber=vpn.example.com",
            "",
        ]
    path.write_bytes("\r\n".join(lines).encode())
    return path


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own."""
    command = [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S * 3, check=False)
