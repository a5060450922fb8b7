"""What every test of the Python face shares: a fresh simulated machine, a phone book, and a check that nothing is left over.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helping import BOUND_S, ENTRIES, write_book

if TYPE_CHECKING:
    import ras_ext
    from ras_ext.sim import Machine


# tests/windows needs Windows, our rasapi32.dll in its System32, and pywin32: `ci/run.py windows` brings all three.
# tests/test_embedding.py builds with POSIX tools and installs a wheel of this machine: `ci/run.py embed` runs it, on Linux.
collect_ignore_glob = ["test_embedding.py"] if sys.platform == "win32" else ["windows/*"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaves_connections: the test ends with connections up, and says so on purpose")


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """After each test the core holds nothing: no native thread, slot, queue or client; no reference unless declared."""
    yield
    ffi = sys.modules.get("ras_ext._ffi")
    if ffi is None or ffi.forked():
        return

    def idle() -> bool:
        held = ffi.counters()
        return not (held.threads or held.slots or held.queues or held.clients)

    if not idle():
        gc.collect()  # a client in a cycle closes when that is collected
    from ras_ext.testing import rest

    assert rest(idle, bound_s=BOUND_S), f"the test left something behind: {ffi.counters()}"


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The simulated machine, fresh. After the test no handle, reference, worker or port is left, unless declared."""
    import ras_ext.sim
    from ras_ext.testing import rest

    machine = ras_ext.sim.control()
    machine.reset(force=True)
    yield machine
    machine.release()
    if request.node.get_closest_marker("leaves_connections") is None:
        gone = rest(lambda: not any(machine.counters), machine, BOUND_S)
        assert gone, f"the test left something behind: {machine.counters}"
    machine.journal(None)
    machine.reset(force=True)


@pytest.fixture
def virtual(sim: Machine) -> Machine:
    """The machine with its virtual clock."""
    sim.clock("virtual")
    return sim


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A phone book with ENTRIES."""
    return write_book(tmp_path / "office.pbk", *ENTRIES)


@pytest.fixture
def client(sim: Machine, book: Path) -> Iterator[ras_ext.Client]:
    """A client of the simulated machine with the phone book, closed after the test."""
    import ras_ext

    with ras_ext.open("sim", phonebook=book) as opened:
        yield opened
