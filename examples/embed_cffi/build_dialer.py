"""Builds the extension module `embedded`: C code of our own that dials through the core of ras_ext, with no second copy of it.

SPDX-License-Identifier: MIT

    pip install ras_ext setuptools
    python build_dialer.py && python use_dialer.py office.pbk "Office VPN"
"""

import cffi

import ras_ext
from ras_ext import _build

DECLARATION = "uint32_t dial_once(const rasx_api *ras, const char *phonebook, const char *entry, uint32_t *events);"

ffibuilder = cffi.FFI()
ffibuilder.include(_build.ffibuilder)  # rasx_event and the like are the same types here as in ras_ext
ffibuilder.cdef(DECLARATION)
ffibuilder.set_source(
    "embedded",
    f'#include "ras_ext.h"\n{DECLARATION}',
    sources=["dialer.c"],
    include_dirs=[ras_ext.get_include()],  # the header only: nothing of ras_ext is compiled or linked
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
