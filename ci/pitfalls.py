# SPDX-License-Identifier: MIT
"""Writes the last column of docs/pitfalls.md from the tests: the eighty pitfalls of docs/ras-semantics.md, section 8.

    python ci/pitfalls.py            writes it
    python ci/pitfalls.py --check    writes nothing; says what differs and exits with 1

A test carries its pitfall's number in its name: test_s8_17_an_error_in_any_state_is_the_failure, or several of them. What
happens here, the second column, is written by hand. A pitfall without a test says which function is still to come; once
csrc/rasapi.h has all the functions that it is about, it must have a test, and this script fails until it does.

docs/features.md is checked too: each of its rows names tests that exist, or says "to come".
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "pitfalls.md"
FEATURES = ROOT / "docs" / "features.md"
TESTS = ROOT / "tests"
SEAM = ROOT / "csrc" / "rasapi.h"
COUNT = 80

ABOUT: dict[int, tuple[str, ...]] = {
    38: ("Dial.resume",),
    48: ("RasGetSubEntryHandleW",),
    61: ("RasGetEntryPropertiesW",),
    62: ("RasGetProjectionInfoW", "RasGetProjectionInfoEx"),
    63: ("RasGetEntryPropertiesW",),
    65: ("RasGetCredentialsW", "RasSetCredentialsW"),
    66: ("RasGetCredentialsW",),
    67: ("RasSetCredentialsW",),
    69: ("RasDeleteEntryW",),
    70: ("RasGetProjectionInfoW",),
    71: ("RasGetConnectionStatistics",),
    72: ("RasConnectionNotificationW",),
    78: ("RasUpdateConnection",),
    79: ("RasGetEapUserIdentityW",),
}
"""The functions, beyond those of dialling, without which a pitfall cannot be met."""

SHORT = ("test_client.py", "test_dial.py", "test_bad_input.py")
"""Where a test_55_ is a test_s8_55_. Elsewhere a number may be of something else."""

ROW = re.compile(r"^\| *(\d+) *\|(.*)\|([^|]*)\|$")
NUMBERS = re.compile(r"test_((?:(?:s8_)?\d{1,2}_|and_)+)")


def numbers_of(test: str) -> list[int]:
    """The pitfalls that a test's name tells: 35 and 46 for test_s8_35_46_connected_entry_gets_a_reference."""
    found = NUMBERS.match(test)
    return [] if found is None else [int(number) for number in re.findall(r"\d+", found[1].replace("s8_", ""))]


def test_files() -> list[Path]:
    folders = ((TESTS, "py"), (TESTS / "windows", "py"), (TESTS / "c", "c"))
    return [path for folder, kind in folders for path in sorted(folder.glob(f"test_*.{kind}"))]


def tests_in(path: Path) -> list[str]:
    pattern = r"^TEST\((\w+)\)" if path.suffix == ".c" else r"^(?:async )?def (test_\w+)"
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)


def tests_by_pitfall() -> dict[int, list[str]]:
    """`file::test` for each pitfall: the Python tests first, then those in C; in the order in which they stand."""
    found: dict[int, list[str]] = {number: [] for number in range(1, COUNT + 1)}
    for path in test_files():
        for test in tests_in(path):
            if not test.startswith("test_s8_") and path.name not in SHORT:
                continue
            for number in numbers_of(test):
                if number not in found:
                    raise ValueError(f"{path.name}: {test} names pitfall {number}; there are {COUNT}")
                found[number].append(f"`{path.relative_to(TESTS).as_posix()}::{test}`")
    return found


def functions_here() -> set[str]:
    """Those of the seam, and the methods of a Dial."""
    methods = re.findall(r"^    def (\w+)\(", (ROOT / "ras_ext" / "dial.py").read_text(encoding="utf-8"), re.MULTILINE)
    calls = re.findall(r"X\([\w ]+\*?, (Ras\w+), ", SEAM.read_text(encoding="utf-8"))
    return {*calls, *(f"Dial.{name}" for name in methods)}


def column(number: int, tests: list[str], functions: set[str]) -> str:
    """What stands in the last column. ValueError when a test is missing that could be there."""
    if tests:
        return ", ".join(tests)
    lacking = [name for name in ABOUT.get(number, ()) if name not in functions]
    if not lacking:
        raise ValueError(f"S8.{number} has no test, although all that it is about is here")
    return f"with {' and '.join(f'`{name}`' for name in lacking)}: to come"


def rewritten(page: str) -> str:
    """The page with its last column made anew."""
    tests, functions = tests_by_pitfall(), functions_here()
    lines: list[str] = []
    seen: list[int] = []
    problems: list[str] = []
    for line in page.splitlines():
        row = ROW.match(line)
        if row is None:
            lines.append(line)
            continue
        number = int(row[1])
        seen.append(number)
        try:
            lines.append(f"| {number} |{row[2]}| {column(number, tests.get(number, []), functions)} |")
        except ValueError as problem:
            problems.append(str(problem))
    if seen != list(range(1, COUNT + 1)):
        problems.append(f"one row for each number from 1 to {COUNT}, in order; there are {seen}")
    if problems:
        raise ValueError("\n".join(problems))
    return "\n".join(lines) + "\n"


def wrong_features(page: str) -> list[str]:
    """What is wrong with the tests that docs/features.md names for its rows."""
    known = {f"{path.relative_to(TESTS).as_posix()}::{test}" for path in test_files() for test in tests_in(path)}
    rows: dict[str, list[str]] = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] and not cells[0].startswith("-"):
            rows.setdefault(cells[0], []).append(" | ".join(cells[1:]))
    problems: list[str] = []
    for name, parts in rows.items():
        tests = re.findall(r"`([\w/.]+::\w+)`", parts[-1])
        problems += [f"{name}: there is no {test}" for test in tests if test not in known]
        if len(parts) != 2 or not (tests or parts[-1].endswith("to come")):
            problems.append(f"{name}: one row about it, and one with its tests")
    return problems


def main(arguments: list[str]) -> int:
    problems = wrong_features(FEATURES.read_text(encoding="utf-8")) if FEATURES.is_file() else []
    for line in problems:
        print(f"{FEATURES.relative_to(ROOT)}: {line}", file=sys.stderr)
    old = PAGE.read_text(encoding="utf-8")
    try:
        new = rewritten(old)
    except ValueError as problem:
        print(f"{PAGE.relative_to(ROOT)}: {problem}", file=sys.stderr)
        return 1
    if "--check" not in arguments:
        PAGE.write_text(new, encoding="utf-8", newline="\n")
        return 1 if problems else 0
    difference = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "as it is", "as the tests say", lineterm="", n=0))
    if difference:
        print("\n".join(difference))
        print(f"{PAGE.relative_to(ROOT)} is stale: run python ci/pitfalls.py", file=sys.stderr)
    return 1 if difference or problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
