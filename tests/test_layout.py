# SPDX-License-Identifier: MIT
"""The tables that are made from others are fresh, and agree with the semantics reference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ras_ext._codes import CODES
from ras_ext.events import State, Substate

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "ras-semantics.md"
HEADER = ROOT / "csrc" / "rasapi_types.h"
PUBLIC = ROOT / "csrc" / "ras_ext.h"
LAYOUT = ROOT / "csrc" / "rasapi_layout.c"


def section(start: str, end: str) -> str:
    text = REFERENCE.read_text(encoding="utf-8")
    return text[text.index(start) : text.index(end)]


def documented_codes() -> dict[int, tuple[str, str]]:
    """S6: number -> (name, group)."""
    group = ""
    found: dict[int, tuple[str, str]] = {}
    for line in section("# 6. Error codes", "# 7. Phone-book file").splitlines():
        if heading := re.match(r"\*\*([A-P])\. ", line):
            group = heading[1]
        if row := re.match(r"\| (\d+) \| `(\w+)` \|", line):
            found[int(row[1])] = (row[2], group)
    return found


def test_generated_files_are_fresh() -> None:
    """ci/generate.py would write what is committed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "ci" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_code_of_the_reference_is_in_the_table() -> None:
    """S6: each number stands in our list with the same name and the same group, and the RAS ranges hold nothing else."""
    documented = documented_codes()
    assert len(documented) > 330
    ours = {code: (name, group) for code, (name, _, group, _) in CODES.items() if 600 <= code <= 956}
    assert ours == documented


def test_texts_are_sentences() -> None:
    """Each text starts like one, ends in a full stop and is short enough for a line."""
    for code, (_, text, _, _) in CODES.items():
        assert re.fullmatch(r"[A-Z0-9][^\r\n]{5,99}\.", text), code
    assert list(CODES) == sorted(CODES)


def test_our_own_codes_are_those_of_the_header() -> None:
    """RASX_E_ in ras_ext.h and in the list are the same."""
    defined = re.findall(r"#define (RASX_E_\w+)\s+(0x[0-9A-F]+)", PUBLIC.read_text(encoding="utf-8"))
    assert len(defined) >= 7
    assert {int(number, 16): name for name, number in defined} == {
        code: name for code, (name, *_) in CODES.items() if name.startswith("RASX_")
    }


def test_states_of_python_c_and_reference_agree() -> None:
    """S2.2: the table of the reference, enum RASCONNSTATE and State have the same names and values."""
    documented: dict[str, int] = {}
    for line in section("## 2.2 Values", "`RASCONNSUBSTATE`").splitlines():
        if row := re.match(r"\| (?:0x\w+ = )?(\d+) \| (\w+) \|", line):
            documented[row[2]] = int(row[1])
    assert {state.name: int(state) for state in State} == documented
    header = HEADER.read_text(encoding="utf-8")
    declared = header[header.index("enum RASCONNSTATE {") : header.index("enum RASCONNSUBSTATE {")]
    constants = {"RASCS_PAUSED": 0x1000, "RASCS_DONE": 0x2000}
    values: dict[str, int] = {}
    for name, base, plus in re.findall(r"RASCS_(\w+)\s*= (\w+)(?: \+ (\d+))?", declared):
        values[name] = (constants[base] if base in constants else int(base)) + int(plus or 0)
    assert values == documented
    assert {substate.name.rstrip("_") for substate in Substate} == set(re.findall(r"RASCSS_(\w+)\s*=", header))


def test_s8_57_every_documented_size_is_asserted() -> None:
    """S8.57: each number of the size table of S5.2 stands in an assertion that every build compiles."""
    asserted = LAYOUT.read_text(encoding="utf-8")
    rows = 0
    for line in section("### 5.2 Size of each structure", "### 5.3 Field offsets").splitlines():
        row = re.match(r"\| `(\w+)` \|(.*)\|$", line)
        if row is None:
            continue
        rows += 1
        lines = [text for text in asserted.splitlines() if re.match(rf"(SIZE|UPTO)\w*\({row[1]}[AW]?(_602)?,", text)]
        cells = [cell.strip() for cell in row[2].split("|")]
        versions = [cell for cell in cells if cell not in ("=", "·")]
        assert len(lines) == len(versions), row[1]
        for cell, text in zip(versions, lines, strict=True):
            assert set(re.findall(r"\d+", cell)) <= set(re.findall(r"\b\d+\b", text)), (row[1], cell)
    assert rows == 33
