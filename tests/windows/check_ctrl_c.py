"""Waits for a dial that never ends, until Ctrl-C comes through the console.

SPDX-License-Identifier: MIT
"""

import sys
import threading
import time

import ras_ext
import ras_ext.sim

with ras_ext.open("sim", phonebook=sys.argv[1]) as client:
    ras_ext.sim.control(client).script("Office VPN", [{"state": "OpenPort"}, {"delay_ms": 3_600_000, "state": "Connected"}])
    dial = client.dial("Office VPN")
    next(iter(dial))

    def tell() -> None:
        while not dial._waiters:  # the main thread is not inside result() yet
            time.sleep(0.001)
        print("WAITING", flush=True)

    threading.Thread(target=tell, daemon=True).start()
    started = time.perf_counter()
    try:
        dial.result()
    except KeyboardInterrupt:
        print(f"INTERRUPTED after {time.perf_counter() - started:.3f} s", flush=True)
    assert not dial.done()  # an interrupt does not cancel
    assert dial.cancel()
print("DONE", flush=True)
