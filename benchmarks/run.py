"""Runs the benchmarks and prints what they measured, with the aims beside the ratios.

SPDX-License-Identifier: MIT

    python benchmarks/run.py                     all of them
    python benchmarks/run.py hold drain          some of them
    python benchmarks/run.py --json FILE         the figures in a file too

Needs the project installed in this interpreter, and a C compiler. Each benchmark runs in a process of its own. A missed aim
is printed and changes nothing; the exit status is 1 when a benchmark fails: an event is lost, a dial has no outcome.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # last: `ras_ext` is the installed one, not the folder of the checkout

from benchmarks.figures import Figure, table  # noqa: E402 # found only now

ABOUT = {
    "hold": "how long a notification holds the dial",
    "ring": "the ring against what the hardware must do anyway",
    "dials": "10,000 dials at once; 200 that block",
    "drain": "how events reach Python; importing",
}


def child(name: str, folder: Path) -> int:
    """One benchmark, in the process that was started for it; the figures go to a file."""
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").measure(folder)
    text = json.dumps([figure.plain() for figure in figures])
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return 0


def run(name: str, folder: Path) -> list[Figure] | None:
    print(f"\n{name}: {ABOUT[name]}", flush=True)
    start = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--folder", str(folder)]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False, timeout=600)
    if done.returncode != 0:
        print(f"{name} FAILED with exit status {done.returncode}", flush=True)
        return None
    rows = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    figures = [Figure(**{key: value for key, value in row.items() if key != "verdict"}) for row in rows]
    print(table(figures))
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ABOUT))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child, arguments.folder)
    unknown = [name for name in arguments.names if name not in ABOUT]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ABOUT)}")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    print(f"{platform.python_implementation()} {platform.python_version()}, {machine}. Compare ratios, not times.")
    found: dict[str, list[Figure] | None] = {}
    with tempfile.TemporaryDirectory(prefix="rasx-bench-") as folder:
        for name in arguments.names or ABOUT:
            found[name] = run(name, Path(folder))
    if arguments.json:
        plain = {name: None if figures is None else [figure.plain() for figure in figures] for name, figures in found.items()}
        report = {"python": platform.python_version(), "machine": machine, "figures": plain}
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    aims = [figure for figures in found.values() for figure in figures or () if figure.verdict]
    failed = [name for name, figures in found.items() if figures is None]
    print(f"\n{sum(figure.verdict == 'met' for figure in aims)} of {len(aims)} aims met")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
