#!/usr/bin/env python3
"""The C interface as it is laid down in tests/data/abi.txt, compared with csrc/ras_ext.h: python3 ci/abi.py --write or --check.

SPDX-License-Identifier: MIT

The rule: append only, size first. New functions and constants, and new members at the end of a structure that starts with its
size, are additions: `--write` takes them up. Everything else would break programs that are compiled already; `--write` refuses
it unless RASX_ABI has been raised (or with --break, while nothing has been released).
The numbers are those of 64-bit processors, the same on all of them, because the header has no long and no bit-field.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "ras_ext.h"
LIST = ROOT / "tests" / "data" / "abi.txt"
HEAD = "# The C interface of csrc/ras_ext.h. Written by `python3 ci/abi.py --write`; do not edit. SPDX-License-Identifier: MIT\n"
FUNCTION = re.compile(r"^([\w ]+?[ *]+)(rasx_\w+)\(([^()]*)\)\s*;", re.MULTILINE)


def declarations() -> str:
    """What cffi reads of the header."""
    text: str = runpy.run_path(str(ROOT / "ras_ext" / "_build.py"))["declarations"](HEADER.read_text(encoding="utf-8"))
    return text


def synopses(text: str) -> dict[str, str]:
    """Each public function with its declaration in one line."""
    return {match[2]: re.sub(r"\s+", " ", match[0]) for match in FUNCTION.finditer(text) if "typedef" not in match[1]}


def constants(text: str) -> dict[str, int]:
    """Each #define and enumerator with its value."""
    found = re.findall(r"^\s*#\s*define\s+(\w+)\s+(\w+)", text, re.MULTILINE)
    for body in re.findall(r"\benum\s+\w+\s*\{(.*?)\}", text, re.DOTALL):
        found += re.findall(r"\b(RASX_\w+)\s*=\s*(\w+)", body)
    return {name: int(value, 0) for name, value in found}


def structures(ffi: Any) -> list[str]:
    """Each public structure with size, alignment and members, as this ffi sees them, a declared or a compiled one."""

    def spelled(kind: Any) -> str:
        return str(kind.cname).replace("struct ", "")  # compiled types are called by their tags

    lines = []
    for name in sorted(ffi.list_types()[0]):
        kind = ffi.typeof(name)
        if kind.kind != "struct":
            lines.append(f"type {name} {spelled(kind)}")
            continue
        try:
            size = ffi.sizeof(name)
        except (
            ValueError,
            getattr(ffi, "error", ValueError),
        ):  # asking for `fields` of an opaque type aborts some versions of cffi
            lines.append(f"opaque {name}")
            continue
        lines.append(f"struct {name} size {size} align {ffi.alignof(name)}")
        for member, field in kind.fields:
            lines.append(f"member {name}.{member} at {field.offset} size {ffi.sizeof(field.type)} {spelled(field.type)}")
    return lines


def describe() -> str:
    """The list for the header as it stands."""
    import cffi

    text = declarations()
    ffi = cffi.FFI()
    ffi.cdef(text)
    lines = [f"constant {name} {value:#x}" for name, value in sorted(constants(text).items())]
    lines += structures(ffi)
    for match in sorted(FUNCTION.finditer(text), key=lambda found: found[2]):
        if "typedef" not in match[1]:
            lines.append(f"function {match[2]} {ffi.typeof(f'{match[1]}(*)({match[3]})').cname}")
    return HEAD + "\n".join(lines) + "\n"


# --- Comparing --------------------------------------------------------------------------------------------------------


def _entries(text: str) -> dict[str, list[str]]:
    """What each line says about which name; the members of a structure stand in its entry, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        kind, name, *rest = line.split(" ", 2)
        if kind == "member":
            structure, _, member = name.partition(".")
            found[f"struct {structure}"].append(f"{member} {' '.join(rest)}")
        else:
            found[f"{kind} {name}"] = [" ".join(rest)]
    return found


def _structure_breaks(name: str, old: list[str], new: list[str]) -> list[str]:
    before, after = old[1:], new[1:]
    for index, member in enumerate(before):
        if index >= len(after) or after[index] != member:
            now = after[index] if index < len(after) else "nothing"
            return [f"{name}: member {index} was {member!r} and is {now!r}"]
    if old[0].split("align")[1] != new[0].split("align")[1]:
        return [f"{name}: its alignment was {old[0]!r} and is {new[0]!r}"]
    if len(after) > len(before) and not before[0].startswith("size at 0 size 4 "):
        return [f"{name} does not start with its size, so it cannot grow: {after[len(before)]!r}"]
    return [] if len(after) > len(before) or old[0] == new[0] else [f"{name}: its size was {old[0]!r} and is {new[0]!r}"]


def compare(old: str, new: str) -> tuple[list[str], list[str]]:
    """What breaks compiled programs, and what is merely new."""
    before, after = _entries(old), _entries(new)
    breaks, additions = [], [f"{name} is new" for name in after if name not in before]
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            breaks.append(f"{name} is gone")
        elif name.startswith("struct "):
            wrong = _structure_breaks(name, was, now)
            breaks += wrong
            additions += [f"{name} has grown (the core must go on taking the old size)"] if not wrong and was != now else []
        elif was != now:
            breaks.append(f"{name} was {was[0]} and is {now[0]}")
    raised = [text for text in breaks if text.startswith("constant RASX_ABI was ")]
    if raised and abi_of(new) > abi_of(old):  # a new ABI: everything may be different, and is to be laid down anew
        return [], breaks + additions
    return breaks, additions


def abi_of(text: str) -> int:
    """The ABI number that a list was written for."""
    found = re.search(r"^constant RASX_ABI (\w+)$", text, re.MULTILINE)
    return int(found[1], 0) if found else 0


def main(arguments: list[str]) -> int:
    new = describe()
    old = LIST.read_text(encoding="utf-8") if LIST.is_file() else HEAD
    breaks, additions = compare(old, new)
    for text in breaks:
        print(f"BREAKS compiled programs: {text}", file=sys.stderr)
    if arguments == ["--check"]:
        for text in additions:
            print(f"{text}: run python3 ci/abi.py --write", file=sys.stderr)
        return 1 if breaks or additions else 0
    if arguments not in (["--write"], ["--write", "--break"]):
        print(__doc__, file=sys.stderr)
        return 2
    if breaks and "--break" not in arguments:
        print("Mend the header; or raise RASX_ABI; or, before the first release, add --break.", file=sys.stderr)
        return 1
    LIST.write_text(new, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    try:
        import cffi as _cffi  # noqa: F401 - for the declarations; where Python lacks it, run.py's environment has it
    except ImportError:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        import subprocess

        import workshop

        if not workshop.venv_python().is_file():
            sys.exit("ci/abi.py needs cffi: pip install cffi, or let `python3 ci/run.py lint` make .venv")
        sys.exit(subprocess.call([workshop.venv_python(), *sys.argv]))
    sys.exit(main(sys.argv[1:]))
