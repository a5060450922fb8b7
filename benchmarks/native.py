"""Compiles the native side of the benchmarks together with the sources of the installed core, and loads it.

SPDX-License-Identifier: MIT

The same sources, compiled with the same flags as the extension; a second copy of the core in the process, which has slots,
queues and a simulated machine of its own (docs/design.md, "Embedding").
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

C_FILES = Path(__file__).resolve().parent / "c"
NAME = "_rasx_bench"
RECORD = struct.Struct("=QQQIIIIIHH")  # rasx_event
FLAGS = ("-std=c11", "-O2", "-fvisibility=hidden", "-pthread", "-fPIC")
OWN_FILES = ("fake.c", "driver.c", "gil.c", "flat.c")
CALLBACK = """
extern "Python" uint32_t bench_on_cffi(uintptr_t id, uint32_t subentry, void *connection, uint32_t message, uint32_t state,
                                       uint32_t error, uint32_t extended_error);
"""


def compiler() -> list[str]:
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    found = next((name for name in names if shutil.which(shlex.split(name)[0])), None)
    if found is None:
        raise SystemExit("the benchmarks need a C compiler")
    return shlex.split(found)


def build(folder: Path) -> Path:
    """Makes the extension in `folder`, unless it stands there already."""
    import cffi

    from ras_ext import _build, _sources

    target = folder / f"{NAME}.so"
    if target.is_file():
        return target
    core = _sources.folder()
    builder = cffi.FFI()
    builder.cdef(_build.declarations((core / "ras_ext.h").read_text(encoding="utf-8")))
    builder.cdef(_build.declarations((C_FILES / "bench.h").read_text(encoding="utf-8")))
    builder.cdef(CALLBACK)
    builder.set_source(NAME, '#include "bench.h"')
    glue = folder / f"{NAME}.c"
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it writes
        builder.emit_c_code(str(glue))
    sources = [glue, *(C_FILES / name for name in OWN_FILES), *_sources.files()]
    include = [f"-I{C_FILES}", f"-I{core}", f"-I{sysconfig.get_path('include')}"]
    command = [*compiler(), *FLAGS, *include, *map(str, sources), "-shared", "-Wl,--wrap=syscall", "-ldl", "-o"]
    unfinished = target.with_suffix(".part")
    done = subprocess.run([*command, str(unfinished)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    unfinished.replace(target)
    return target


def load(folder: Path) -> tuple[Any, Any]:
    """The extension's ffi and lib."""
    spec = importlib.util.spec_from_file_location(NAME, build(folder))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ffi, module.lib


def processors() -> tuple[int, int] | None:
    """A processor for the native driver and one for Python, so that neither moves; None when there are not two."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("the native benchmarks run on Linux only")
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None
