"""The Windows machine sees its own disc and two folders, and nothing of the user's: run before anything else does.

SPDX-License-Identifier: MIT
"""

import os
import sys
from pathlib import Path

drives = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if os.path.exists(letter + ":\\")]  # noqa: PTH110 - a drive is no file
assert drives == ["C", "S", "W"], drives
# Wine's own \\\\?\\unix\\ names stay: nothing says them by accident, and this encloses mistakes, not attackers.
assert not Path("/etc/passwd").exists()
home = Path.home()
assert home.drive == "C:", home
for folder in home.iterdir():
    assert folder.is_dir() is False or not any(folder.glob("*.bashrc")), folder
print("drives", ", ".join(drives), "under CPython", sys.version.split()[0])
