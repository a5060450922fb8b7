"""With Wine's own rasapi32.dll, whose functions do nothing (S4.16), nothing spins, hangs or crashes.

SPDX-License-Identifier: MIT
"""

import time

import ras_ext
import ras_ext.sim

with ras_ext.open("system") as client:
    try:
        ras_ext.sim.control(client)
    except ras_ext.NotAvailableError:
        pass
    else:
        raise SystemExit("this is our DLL, not Wine's")
    before = time.process_time()
    for _ in range(3):  # RasDialW returns 1 and no handle
        dial = client.dial("Office VPN")
        try:
            dial.result(20)
        except ras_ext.RasError as error:
            assert error.code == 1, error
        else:
            raise SystemExit("a dial that nobody makes succeeded")
    lists = [client.connections(), client.devices(), client.entries()]  # 0 and an untouched count
    assert lists == [[], [], []], lists
    assert client.error_text(691)  # RasGetErrorStringW returns 1: the text comes from elsewhere
    # A handle from nowhere: the status is 0 for ever, so a hang-up must give up by itself (S8.44).
    from ras_ext._ffi import ffi, lib

    pointer, result = ffi.new("rasx_client **"), ffi.new("uint32_t *")
    assert lib.rasx_open(b"system", ffi.NULL, pointer) == 0
    assert lib.rasx_hang_up(pointer[0], 0x1234, 0, 0, 500, result) == 0
    assert result[0] == 3, result[0]
    assert lib.rasx_close(pointer[0], 1000) == 0
    spent = time.process_time() - before
assert spent < 1, f"{spent} s of processor time: something spins"
print(f"dials fail with code 1, lists are empty, a hang-up gives up, {spent * 1000:.0f} ms of processor time")
