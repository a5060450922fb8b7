"""The C tests as pytest items: builds every tests/c/test_*.c with the system's compiler and runs each test in a process.

SPDX-License-Identifier: MIT

A program that does not build is one failing item with the compiler's words, so that a run can never lose C tests silently.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load_cbuild() -> ModuleType:
    """ci/cbuild.py by its path: ci is no package, and tests run where it is not importable."""
    spec = importlib.util.spec_from_file_location("_ras_ext_cbuild", ROOT / "ci" / "cbuild.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Builds at collection (what is built already is reused) and makes one item per C test, under the C test's name."""
    if "c_test" not in metafunc.fixturenames:
        return
    cbuild = _load_cbuild()
    kind = cbuild.default_kind()
    items: list[tuple[Path, str]] = []
    if kind is None or os.name == "nt":
        reason = "there is no C compiler" if kind is None else "the C tests of this platform are run by ci/run.py windows"
        metafunc.parametrize("c_test", [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="build")])
        return
    try:
        items = [(program, name) for program in cbuild.build(kind) for name in cbuild.list_tests(program)]
    except (cbuild.BuildError, subprocess.SubprocessError, OSError) as error:
        metafunc.parametrize("c_test", [pytest.param(error, id="build")])
        return
    ids = [f"{cbuild.program_name(program)}:{name.removeprefix('test_')}" for program, name in items]
    metafunc.parametrize("c_test", [pytest.param(item, id=label) for item, label in zip(items, ids, strict=True)])


def test_c(c_test: tuple[Path, str] | Exception, tmp_path: Path) -> None:
    """One C test passes: exit status 0; 77 is a skip, with the reason that it printed."""
    if isinstance(c_test, Exception):
        pytest.fail(str(c_test), pytrace=False)
    program, name = c_test
    try:
        done = subprocess.run(
            [program, name],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path), "RASX_TEST_DATA": str(ROOT / "tests" / "data")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=110,  # below pytest's faulthandler_timeout, so that the program's own output is what the reader sees
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        output = expired.output.decode(errors="replace") if isinstance(expired.output, bytes) else expired.output or ""
        pytest.fail(f"{output}stopped after {expired.timeout:g} s", pytrace=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    if done.returncode != 0:
        pytest.fail(f"{done.stdout}exit status {done.returncode}", pytrace=False)


def test_every_c_test_program_is_collected() -> None:
    """Each tests/c/test_*.c names at least one test, so an empty list cannot pass for a good one."""
    cbuild = _load_cbuild()
    kind = cbuild.default_kind()
    if kind is None or os.name == "nt":
        pytest.skip("there is no C compiler for these tests")
    sources = sorted((ROOT / "tests" / "c").glob("test_*.c"))
    programs = cbuild.build(kind)
    assert [cbuild.program_name(program) for program in programs] == [source.stem for source in sources]
    assert sources
    for program in programs:
        assert cbuild.list_tests(program), program
