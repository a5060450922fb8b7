"""Builds the C tests and fuzzers against the sources of the core, for run.py and for tests/test_c.py.

SPDX-License-Identifier: MIT

A build of one kind (compiler and flags) stands in .cache/c/KIND. Each object's name carries a hash of its source, of every
header and of the command, so nothing is compiled twice and nothing stale is ever linked.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
TESTS = ROOT / "tests" / "c"
NOT_ON_POSIX = {"os_win.c", "dll.c"}
NOT_ON_WINDOWS = {"os_posix.c", "dll.c"}
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror")


class BuildError(Exception):
    """The compiler or linker refused; the text is the command and its output."""


@dataclass(frozen=True)
class Kind:
    """One way to build: the folder's name, the compiler, and flags for compiling and linking."""

    name: str
    compiler: str
    flags: tuple[str, ...] = ("-O1", "-g")


def default_kind() -> Kind | None:
    """The system's compiler ($CC, cc, gcc, clang) without a sanitizer; None where there is none."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    compiler = next((name for name in names if shutil.which(shlex.split(name)[0])), None)
    return None if compiler is None else Kind("plain", compiler)


def core_sources() -> list[Path]:
    """Every source of the core and of our own RAS, for this platform."""
    left_out = NOT_ON_WINDOWS if os.name == "nt" else NOT_ON_POSIX
    found = [*CSRC.glob("*.c"), *(CSRC / "rasapi32").glob("*.c")]
    return sorted(path for path in found if path.name not in left_out)


def headers() -> list[Path]:
    return sorted([*CSRC.rglob("*.h"), *TESTS.glob("*.h"), *CSRC.rglob("*.inc")])


def compile_flags(source: Path) -> list[str]:
    return [*WARNINGS, "-pthread", f"-I{CSRC}", f"-I{TESTS}", "-c", str(source)]


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def _version(compiler: Sequence[str]) -> str:
    done = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def check_syntax(compiler: str, sources: Sequence[Path]) -> None:
    """Compiles without output; raises BuildError with everything that any file brought up."""

    def one(source: Path) -> str:
        try:
            _call([*shlex.split(compiler), "-O1", "-fsyntax-only", *compile_flags(source)])
        except BuildError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        complaints = [text for text in pool.map(one, sources) if text]
    if complaints:
        raise BuildError("\n".join(complaints))


def build(kind: Kind, pattern: str = "test_*.c", program_flags: Sequence[str] = ()) -> list[Path]:
    """Builds every tests/c program that the pattern matches, and returns their paths in the order of their names.

    program_flags are added for the programs alone (libFuzzer's main must not be linked into a test's objects).
    """
    folder = ROOT / ".cache" / "c" / kind.name
    folder.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(kind.compiler)
    base = hashlib.sha256(repr((kind, tuple(program_flags), WARNINGS, _version(compiler))).encode())
    for header in headers():
        base.update(header.name.encode() + header.read_bytes())

    def place(parts: Sequence[bytes], name: str) -> Path:
        sha = base.copy()
        for part in parts:
            sha.update(part)
        return folder / f"{name}-{sha.hexdigest()[:16]}"

    def make(command: Sequence[str], target: Path) -> Path:
        if not target.is_file():
            unfinished = target.with_name(f"{target.name}.{os.getpid()}")
            try:
                _call([*command, "-o", str(unfinished)])
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        return target

    def compile_one(source: Path) -> Path:
        name = "-".join(source.relative_to(ROOT).with_suffix("").parts)
        return make([*compiler, *kind.flags, *compile_flags(source)], place([source.read_bytes()], name).with_suffix(".o"))

    def program(source: Path) -> Path:
        name = source.stem
        own = place([source.read_bytes()], name).with_suffix(".o")
        own = make([*compiler, *kind.flags, *program_flags, *compile_flags(source)], own)
        libraries = ["-pthread", *(["-ldl"] if sys.platform.startswith("linux") else [])]
        target = place([path.name.encode() for path in (own, *objects)], name)
        return make([*compiler, *kind.flags, *program_flags, str(own), *map(str, objects), *libraries], target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, core_sources()))
        return list(pool.map(program, sorted(TESTS.glob(pattern))))


def list_tests(program: Path) -> list[str]:
    """The names of the tests that a program holds."""
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def program_name(program: Path) -> str:
    """test_ring for .../test_ring-0123456789abcdef."""
    return program.name.rsplit("-", 1)[0]
