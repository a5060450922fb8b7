"""The job `pypy`: the extension built with Debian's PyPy in an environment that is thrown away, and one of everything run there.

SPDX-License-Identifier: MIT

Debian's PyPy 7.3.11 is a Python 3.9, and ras_ext asks for 3.10: pip is told to overlook that, which the sources bear
(docs/platforms.md).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from workshop import BUILD_INPUTS, CACHE, ROOT, FailedError, _mirror, clean_environment, run

LISTING = ROOT / "ci" / "pypy.txt"
MIRROR = CACHE / "pypy-source"


def _built_in(environment: Path) -> None:
    """Builds the wheel from a copy of the sources, with warnings as errors, and installs it."""
    MIRROR.mkdir(parents=True, exist_ok=True)
    for name in BUILD_INPUTS:
        if (ROOT / name).exists():
            _mirror(ROOT / name, MIRROR / name)
    shutil.rmtree(MIRROR / "build", ignore_errors=True)
    pip: list[str | Path] = [environment / "bin" / "pypy3", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", LISTING], env=clean_environment())
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--ignore-requires-python"]
    run([*pip, *options, MIRROR], env=clean_environment(RASX_WERROR="1"))


def run_pypy() -> str:
    """Builds, imports, dials; what tests/check_pypy.py found."""
    with tempfile.TemporaryDirectory(prefix="rasx-") as name:
        environment, folder = Path(name) / "environment", Path(name) / "empty"
        folder.mkdir()
        run(["pypy3", "-m", "venv", environment])
        _built_in(environment)
        found = run(
            [environment / "bin" / "pypy3", ROOT / "tests" / "check_pypy.py"], cwd=folder, env=clean_environment(), timeout=120
        )
    if not found.startswith("PyPy "):
        raise FailedError(f"tests/check_pypy.py printed\n{found}")
    return found.rstrip()
