"""Planted rasapi32.dll files (current folder, beside the script, on PATH) are never loaded; only System32's is.

SPDX-License-Identifier: MIT
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import ras_ext
import ras_ext.sim

for place in (Path.cwd(), Path(sys.argv[0]).parent, *(Path(part) for part in os.environ["PATH"].split(";") if "rasx-" in part)):
    assert (place / "rasapi32.dll").is_file(), place
assert sum("rasx-" in part for part in os.environ["PATH"].split(";")) == 1
load: Any = vars(ctypes)["WinDLL"]
planted = load(str(Path(sys.argv[0]).parent / "rasapi32.dll"), winmode=8)
assert planted.rasx_sim_get_api  # a file that works, if only somebody loads it
del planted
if sys.argv[1] == "empty":
    try:
        ras_ext.open("system")
    except ras_ext.NotAvailableError:
        print("three planted files were not loaded")
    else:
        raise SystemExit("a planted DLL was loaded")
else:
    with ras_ext.open("system") as client:
        assert ras_ext.sim.control(client) is not None
    print("with one in System32 that one was")
