"""Where the C sources of the core stand, in a checkout and in an installed package; which of them a platform needs.

SPDX-License-Identifier: MIT

Used by the cffi builder and by get_include and get_sources; imports nothing of ras_ext, because it runs before there is one.
"""

from __future__ import annotations

import os
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_NOT_ON_POSIX = ("os_win.c", "dll.c")
_NOT_ON_WINDOWS = ("os_posix.c", "dll.c")


def folder() -> Path:
    """The folder with the C files and every header."""
    for candidate in (_HERE / "csrc", _HERE.parent / "csrc"):
        if (candidate / "ras_ext.h").is_file():
            return candidate
    raise FileNotFoundError(f"ras_ext.h is neither in {_HERE / 'csrc'} nor in {_HERE.parent / 'csrc'}")


def include() -> Path:
    """The folder with ras_ext.h for other people's include paths: where installed, nothing else is in it, because an internal
    header such as error.h would hide a system's.
    """
    alone = _HERE / "include"
    return alone if (alone / "ras_ext.h").is_file() else folder()


def files(windows: bool = os.name == "nt") -> list[Path]:
    """The C files that make up the core and the simulated RAS on this platform, or on the one asked for."""
    left_out = _NOT_ON_WINDOWS if windows else _NOT_ON_POSIX
    found = [*folder().glob("*.c"), *(folder() / "rasapi32").glob("*.c")]
    return sorted(path for path in found if path.name not in left_out)
