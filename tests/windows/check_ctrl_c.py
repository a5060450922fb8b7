"""Waits for a dial that never ends, until Ctrl-C comes through the console.

SPDX-License-Identifier: MIT
"""

import sys
import time

import ras_ext
import ras_ext.sim

with ras_ext.open("sim", phonebook=sys.argv[1]) as client:
    ras_ext.sim.control(client).script("Office VPN", [{"state": "OpenPort"}, {"delay_ms": 3_600_000, "state": "Connected"}])
    dial = client.dial("Office VPN")
    next(iter(dial))
    print("WAITING", flush=True)
    started = time.perf_counter()
    try:
        dial.result()
    except KeyboardInterrupt:
        print(f"INTERRUPTED after {time.perf_counter() - started:.3f} s", flush=True)
    assert not dial.done()  # an interrupt does not cancel
    assert dial.cancel()
print("DONE", flush=True)
