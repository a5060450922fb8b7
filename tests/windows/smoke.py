"""One round trip on any CPython: run by `ci/run.py windows` with the wheel that 3.11 was tested with.

SPDX-License-Identifier: MIT
"""

import sys

import ras_ext
import ras_ext.sim

states = {}
for api in ("sim", "system"):
    with ras_ext.open(api, phonebook=sys.argv[1]) as client:
        assert ras_ext.sim.control(client) is not None  # ours, not another rasapi32.dll
        dial = client.dial("Office VPN")
        states[api] = [event.state.name for event in dial]
        connection = dial.result(30)
        assert connection.hang_up() is ras_ext.HangUp.GONE
assert states["sim"] == states["system"], states
assert states["sim"][-1] == "Connected", states
print(f"CPython {sys.version.split()[0]}: {len(states['sim'])} states in the process, the same through rasapi32.dll")
