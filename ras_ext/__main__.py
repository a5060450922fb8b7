"""`python -m ras_ext` and `ras-ext`: the command line, which _cli.py holds.

SPDX-License-Identifier: MIT
"""

import sys

from ras_ext._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
