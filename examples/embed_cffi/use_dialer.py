"""Calls C code of ours that dials through the core of ras_ext: see build_dialer.py.

SPDX-License-Identifier: MIT
"""

import sys

from embedded import ffi, lib

import ras_ext


def main() -> int:
    ras = ffi.cast("const rasx_api *", ras_ext.get_api_address())
    events = ffi.new("uint32_t *")
    code = lib.dial_once(ras, sys.argv[1].encode(), sys.argv[2].encode(), events)  # without the interpreter's lock
    print(f"{events[0]} events, code {code}")
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
