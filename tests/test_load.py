"""Very many dials: none waits for another, none loses an event, and nothing is left afterwards.

SPDX-License-Identifier: MIT

Each test is a process of its own, because it has tens of thousands of native threads: two for each dial in flight.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helping import VPN_OK, write_book
from holding import SOAK, run_program

if sys.platform == "win32":
    pytest.skip("counts the threads of a POSIX system", allow_module_level=True)
import resource

_PROLOGUE = """
import json, sys, threading, time
import ras_ext, ras_ext.sim
from ras_ext import _ffi
client = ras_ext.open("sim", phonebook=sys.argv[1])
machine = ras_ext.sim.control(client)
names = [entry.name for entry in client.entries()]
BOUND_S = 50
pause = threading.Event()

def until(condition):
    end = time.monotonic() + BOUND_S
    while not condition() and time.monotonic() < end:
        pause.wait(0.002)
    return condition()
"""


def affordable_dials() -> int:
    """How many dials this machine has native threads for: two each, whose stacks and guard pages are four mappings."""
    limits = [("/proc/sys/vm/max_map_count", 4), ("/proc/sys/kernel/pid_max", 2), ("/proc/sys/kernel/threads-max", 2)]
    found = [(int(Path(name).read_text()) - 2000) // share for name, share in limits if Path(name).is_file()]
    groups = Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").is_file() else []
    for line in groups:
        number, controllers, path = line.split(":", 2)
        folder = "pids" if "pids" in controllers else "" if number == "0" else None
        limit = Path("/sys/fs/cgroup", folder or "", path.lstrip("/"), "pids.max")
        if folder is not None and limit.is_file() and limit.read_text().strip() != "max":
            found.append((int(limit.read_text()) - 500) // 2)
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY:
        found.append((most - 2000) // 2)
    return max(100, min(found, default=100_000))


def report_of(code: str, book: Path, *arguments: str) -> dict[str, Any]:
    """What the program prints, a line of JSON, after it has ended well and in silence."""
    ended = run_program(_PROLOGUE + code, book, *arguments, flags=["-X", "faulthandler"])
    assert (ended.code, ended.noise, ended.killed) == (0, "", False)
    report: dict[str, Any] = json.loads(ended.out)
    return report


def test_200_blocked_dials_hold_up_none(tmp_path: Path) -> None:
    """200 dials whose RasDial blocks, and the 201st connects and hangs up; cancelled, all 200 are over while RasDial blocks."""
    report = report_of(
        """
for name in names[:200]:
    machine.knob("block_dial", 1, name)
    machine.knob("silent", 1, name)
machine.journal(sys.argv[2])
blocked = [client.dial(name) for name in names[:200]]
assert until(lambda: machine.calls("RasDialW") == 200)
last = client.dial(names[200])
states = [int(event.state) for event in last]
hang_up = last.result().hang_up().name
returned = open(sys.argv[2]).read().count("RasDialW")
still = sum(not dial.done() for dial in blocked)
for dial in blocked:
    dial.cancel()
done, not_done = ras_ext.wait(blocked, 30)
returned_after_cancelling = open(sys.argv[2]).read().count("RasDialW")
machine.release()
closed = sum(dial.wait_closed(BOUND_S) for dial in blocked)
client.close()
until(lambda: not any(_ffi.counters()) and not any(machine.counters))
print(json.dumps({
    "states": states, "hang_up": hang_up, "returned": returned, "still": still, "done": len(done),
    "returned_after_cancelling": returned_after_cancelling, "closed": closed, "hang_ups": machine.calls("RasHangUpW"),
    "core": _ffi.counters(), "machine": machine.counters,
}))
""",
        write_book(tmp_path / "b.pbk", *(f"Entry {number}" for number in range(201))),
        str(tmp_path / "journal"),
    )
    assert report == {
        "states": list(VPN_OK),
        "hang_up": "GONE",
        "returned": 1,  # of the 201 calls of RasDial: the last one's
        "still": 200,
        "done": 200,
        "returned_after_cancelling": 1,
        "closed": 200,
        "hang_ups": 201,
        "core": [0] * 6,
        "machine": [0] * 4,
    }


@pytest.mark.parametrize("handlers", [False, True], ids=["", "on_event"])
def test_ten_thousand_dials_at_once(tmp_path: Path, handlers: bool) -> None:
    """10,000 dials at once, on the real clock, each an entry of one phone book: all connect, no event is lost, all hang up."""
    count = min(200 if handlers else 10_000, affordable_dials())  # handlers cost a Python thread each
    report = report_of(
        """
machine.knob("hangup_delay_ms", 50)
handled = []
started = time.monotonic()
options = {"on_event": handled.append} if sys.argv[2] == "handlers" else {}
dials = [client.dial(name, **options) for name in names]
done, not_done = ras_ext.wait(dials, BOUND_S)
problems = sorted({problem.code for problem in (dial.exception() for dial in dials) if problem is not None})
if options:
    until(lambda: len(handled) == 13 * len(dials))
complete = sum([int(event.state) for event in dial.events] == json.loads(sys.argv[3]) for dial in dials)
in_order = sum([event.sequence for event in dial.events] == list(range(len(dial.events))) for dial in dials)
lost = sum(dial.lost for dial in dials)
handles = len({dial.result().handle for dial in dials})
references = _ffi.counters().references
results = [dial.result().hang_up(0).name for dial in dials]  # gives the reference up; the links go down together
gone = sum(dial.result().hang_up(BOUND_S).name == "GONE" for dial in dials)
client.close()
until(lambda: not any(_ffi.counters()) and not any(machine.counters))
print(json.dumps({
    "entries": len(names), "done": len(done), "problems": problems, "complete": complete, "in_order": in_order, "lost": lost,
    "handles": handles, "references": references, "gone": gone, "handled": len(handled),
    "dials": machine.calls("RasDialW"), "hang_ups": machine.calls("RasHangUpW"),
    "core": _ffi.counters(), "machine": machine.counters,
}))
""",
        write_book(tmp_path / "b.pbk", *(f"Entry {number}" for number in range(count))),
        "handlers" if handlers else "plain",
        json.dumps(VPN_OK),
    )
    assert report == {
        "entries": count,
        "done": count,
        "problems": [],
        "complete": count,
        "in_order": count,
        "lost": 0,
        "handles": count,
        "references": count,
        "gone": count,
        "handled": len(VPN_OK) * count if handlers else 0,
        "dials": count,
        "hang_ups": count,
        "core": [0] * 6,
        "machine": [0] * 4,
    }


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc how much is allocated")
def test_waves_of_dials_need_no_more(tmp_path: Path) -> None:
    """Slots, queues and memory are used again: after the first waves of dials, further ones leave nothing allocated."""
    waves = 60 if SOAK else 12
    report = report_of(
        """
import ctypes, gc

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
machine.script(None, [{"state": 0}, {"state": 8192}])
machine.knob("hangup_delay_ms", 0)
native, blocks = [], []
for wave in range(int(sys.argv[2])):
    dials = [client.dial(name) for name in names]
    ras_ext.wait(dials)
    for dial in dials:
        dial.result().hang_up()
        dial.wait_closed()
    del dials, dial
    with ras_ext.open("sim", phonebook=sys.argv[1]) as another:
        another.dial(names[0]).result().hang_up()
    assert until(lambda: not _ffi.counters().threads and not any(machine.counters))
    gc.collect()
    info = mallinfo2()
    native.append(info.uordblks + info.hblkhd)
    blocks.append(sys.getallocatedblocks())
client.close()
print(json.dumps({"native": native, "blocks": blocks}))
""",
        write_book(tmp_path / "b.pbk", *(f"Entry {number}" for number in range(200))),
        str(waves),
    )
    # In the middle everything is there that a wave takes. From then on: less than any structure of ours, or a block, a dial.
    dials = 200 * (waves - waves // 2)
    for name, limit in (("native", 64 * dials), ("blocks", dials)):
        sizes = report[name]
        assert min(sizes[-2:]) - sizes[waves // 2] < limit, (name, sizes)
