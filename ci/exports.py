"""Writes the export list of our rasapi32.dll, a .def file, from the one list of functions in csrc/rasapi.h.

SPDX-License-Identifier: MIT

Each function is exported under the vendor's name, the W form and the A form; csrc/rasapi32/dll.c has those that only the DLL has
or wraps, as dll_NAME, and everything else is sim_NAME. rasx_sim_get_api is the marker that proves whose DLL answers.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFINITION = re.compile(r"^(?:uint32_t|void) RASAPI_CALL (sim|dll)_(Ras\w+)\(([^)]*)\)\s*;", re.MULTILINE)


def api_functions() -> dict[str, str]:
    """Each function of RASAPI_FUNCTIONS with its arguments, as csrc/rasapi.h writes them."""
    text = (ROOT / "csrc" / "rasapi.h").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"\bX\(\w+, (Ras\w+),\s*\(([^)]*)\)", text)
    if len(found) < 9:
        raise ValueError("csrc/rasapi.h: RASAPI_FUNCTIONS was not understood")
    return dict(found)


def exports() -> dict[str, tuple[str, str]]:
    """Exported name -> (internal name, arguments)."""
    folder = ROOT / "csrc" / "rasapi32"
    table = {name: (f"sim_{name}", arguments) for name, arguments in api_functions().items()}
    for header in ("ansi.h", "dll.c"):
        for prefix, name, arguments in DEFINITION.findall((folder / header).read_text(encoding="utf-8")):
            table[name] = (f"{prefix}_{name}", arguments)
    lacking = [name for name in api_functions() if name.endswith("W") and name[:-1] + "A" not in table]
    if lacking:
        raise ValueError(f"no A form of {', '.join(lacking)} in csrc/rasapi32/ansi.h")
    return table


def definition(*, x86: bool = False) -> str:
    """The text of the .def file. x86: internal names carry the stdcall suffix of 32-bit Windows, exported ones do not (S0.2)."""
    lines = ["LIBRARY rasapi32", "EXPORTS"]
    for name, (internal, arguments) in sorted(exports().items()):
        count = 0 if arguments.strip() in ("", "void") else arguments.count(",") + 1
        lines.append(f"    {name} = {internal}{f'@{4 * count}' if x86 else ''}")
    return "\n".join([*lines, "    rasx_sim_get_api", ""])


if __name__ == "__main__":
    print(definition(), end="")
