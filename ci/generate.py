# SPDX-License-Identifier: MIT
"""Writes the files that are made from others: now ras_ext/_codes.py, from csrc/ras_errors.def.

    python ci/generate.py            writes them
    python ci/generate.py --check    writes nothing; says what differs and exits with 1

The results are committed, so that neither a build nor an import needs this script.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "csrc" / "ras_errors.def"
TARGET = ROOT / "ras_ext" / "_codes.py"

LINE = re.compile(r"""X\((0x[0-9A-F]{8}|\d+), ([A-Z][A-Z0-9_]+), "([^"\\]+\.)", '([A-PWX])', ([01]), ([01])\)""")

HEAD = '''# SPDX-License-Identifier: MIT
"""Generated from csrc/ras_errors.def by `python ci/generate.py`. Do not edit: change the list and run that again.

code -> (name, text, group, transient); what the columns mean is told in the head of the list.
"""

# fmt: off
CODES: dict[int, tuple[str, str, str, bool]] = {
'''


def read_list(text: str) -> list[tuple[int, str, str, str, bool]]:
    """The rows of ras_errors.def; ValueError for a line that is not of the one form, or out of order."""
    rows: list[tuple[int, str, str, str, bool]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("X("):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{SOURCE.name}:{number}: not of the form X(code, NAME, \"Text.\", 'G', 0, 0)")
        code = int(found[1], 0)
        if rows and code <= rows[-1][0]:
            raise ValueError(f"{SOURCE.name}:{number}: {found[1]} is out of order; lookups search by halving")
        rows.append((code, found[2], found[3], found[4], found[5] == "1"))
    names = [row[1] for row in rows]
    if len(set(names)) != len(names):
        raise ValueError(f"{SOURCE.name}: a name stands there twice")
    return rows


def codes_module(rows: list[tuple[int, str, str, str, bool]]) -> str:
    """The text of ras_ext/_codes.py."""
    lines = [HEAD]
    for code, name, text, group, transient in rows:
        number = f"0x{code:08X}" if code >= 0x80000000 else str(code)
        one = f'    {number}: ("{name}", "{text}", "{group}", {transient}),\n'
        if len(one) > 131:
            one = f'    {number}: ("{name}",\n        "{text}", "{group}", {transient}),\n'
        lines.append(one)
    lines.append("}\n")
    return "".join(lines)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = codes_module(read_list(SOURCE.read_text(encoding="utf-8")))
    present = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if present == wanted:
        return 0
    if arguments:
        name = TARGET.relative_to(ROOT).as_posix()
        sys.stdout.writelines(
            difflib.unified_diff(present.splitlines(True), wanted.splitlines(True), name, f"{name} as generated", n=0)
        )
        print(f"{name} is not what {SOURCE.name} says; run python ci/generate.py")
        return 1
    TARGET.write_text(wanted, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
