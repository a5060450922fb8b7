#!/usr/bin/env python3
"""Every job of the project by name: python3 ci/run.py test, demo, bench ... (python3 ci/run.py --list shows them all).

SPDX-License-Identifier: MIT

Needs nothing but Python 3.10, its venv module and headers, and a C compiler; says what to install when one is missing. Tools
from PyPI go into .venv, pinned by sha256. Debian packages are installed only with --install or when CI is set; otherwise a
job that lacks one is reported NOT RUN, which is no failure here and one in CI.

To add a job: write a function that returns a short summary (or raises FailedError, NotRun), and give it a row in JOBS.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - the interpreter that starts this file may be any
    sys.exit(f"Python 3.10 or later is needed; this is {platform.python_version()} ({sys.executable})")

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cbuild
from workshop import (
    ROOT,
    Clock,
    FailedError,
    Need,
    NotRunError,
    clean_environment,
    command_line,
    install_packages,
    install_project,
    lock,
    make_venv,
    missing_basics,
    missing_tools,
    run,
    venv_python,
)

# C tests that may be skipped in CI, each with its reason: always, and under a sanitizer. Another skip fails there.
AGREED_SKIPS: dict[str, str] = {}
AGREED_SANITIZER_SKIPS = {
    "test_no_copy_of_a_password_is_left": "it reads all memory, of which a sanitizer has terabytes",
}

ASAN = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TSAN = ("-O1", "-g", "-fsanitize=thread")
SANITIZED_LOAD = "10"  # per cent of the usual load of stress tests: sanitizers are about that much slower
EMBEDDING = ROOT / "tests" / "test_embedding.py"  # a job of its own: it needs more tools, and builds more, than the other tests
# What every POSIX system but Linux waits with (os_posix.c), executed on Linux: the programs that stand on it.
POSIX_EVENTS = "-DRASX_FORCE_POSIX_EVENTS"
WAITING_PROGRAMS = ("test_os.c", "test_clock.c", "test_core.c", "test_ring.c", "test_threads.c")
FUZZ = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --- The jobs ---------------------------------------------------------------------------------------------------------


def lint() -> str:
    """ruff over all Python, every C file with gcc and clang and -Werror, generated files up to date."""
    run([venv_python(), "-m", "ruff", "check", "--no-cache", "."])
    sources = [*cbuild.core_sources(), *sorted(cbuild.TESTS.glob("*.c")), *sorted((ROOT / "examples").glob("*/*.c"))]
    try:
        for compiler in ("gcc", "clang"):
            cbuild.check_syntax(compiler, sources)
    except cbuild.BuildError as error:
        raise FailedError(str(error)) from None
    names = ("ci/generate.py", "ci/pitfalls.py", "ras_ext/_build.py")
    generators = [path for name in names if (path := ROOT / name).is_file()]
    for generator in generators:
        run([venv_python(), generator, "--check"])
    return f"ruff; {plural(len(sources), 'C file')} with gcc and clang; {plural(len(generators), 'generator')}"


def types() -> str:
    """mypy --strict over all Python."""
    names = [name for name in ("ras_ext", "tests", "ci", "examples", "benchmarks") if any((ROOT / name).glob("*.py"))]
    with tempfile.TemporaryDirectory() as cache:
        output = run([venv_python(), "-m", "mypy", "--strict", "--cache-dir", cache, *names])
    return "mypy --strict: " + output.strip().splitlines()[-1]


def run_c_tests(
    kind: cbuild.Kind, wrapper: Sequence[str] = (), patterns: Sequence[str] = ("test_*.c",), **environment: str
) -> str:
    """Builds the C test programs in one kind and runs each as a whole."""
    try:
        programs = [program for pattern in patterns for program in cbuild.build(kind, pattern)]
    except cbuild.BuildError as error:
        raise FailedError(str(error)) from None
    passed, skipped, failures = 0, [], []
    for program in programs:
        try:
            output = run_program([*wrapper, program], clean_environment(**environment))
        except FailedError as error:
            failures.append(str(error))
            continue
        passed += len(re.findall(r"^ok ", output, re.MULTILINE))
        skipped += re.findall(r"^skip (\S+): (.*)$", output, re.MULTILINE)
    if failures:
        raise FailedError("\n\n".join(failures))
    sanitized = any(flag.startswith("-fsanitize") for flag in kind.flags)
    agreed = {*AGREED_SKIPS, *(AGREED_SANITIZER_SKIPS if sanitized else ())}
    unagreed = [f"{name}: {reason}" for name, reason in skipped if name not in agreed]
    if unagreed and in_ci():
        raise FailedError("skipped, and not on the list of agreed skips:\n" + "\n".join(unagreed))
    more = f", {len(skipped)} skipped" if skipped else ""
    return f"{plural(len(programs), 'program')} built with {kind.compiler}, {plural(passed, 'test')} ok{more}"


def run_program(command: Sequence[str | Path], env: dict[str, str]) -> str:
    """Runs a C test program in an empty folder; exit status 77 means that all of its tests were skipped."""
    with tempfile.TemporaryDirectory(prefix="rasx-") as folder:
        env = {**env, "TMPDIR": folder, "RASX_TEST_DATA": str(ROOT / "tests" / "data")}
        try:
            done = subprocess.run(
                [str(part) for part in command],
                cwd=folder,
                env=env,
                timeout=600,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            output = error.output.decode("utf-8", "replace") if isinstance(error.output, bytes) else error.output or ""
            raise FailedError(f"{command_line(command)}\n{output}\nstopped after 600 s") from None
    if done.returncode not in (0, 77):
        raise FailedError(f"{command_line(command)}\n{done.stdout}\nexit status {done.returncode}")
    return done.stdout


def c() -> str:
    """The C tests, built with clang (the Python job runs them one by one, built with the system's compiler).

    Those that wait run once more with the conditions of other POSIX systems.
    """
    told = run_c_tests(cbuild.Kind("clang", "clang", ("-O2", "-g")))
    with_conditions = cbuild.Kind("clang-posix-events", "clang", ("-O2", "-g", POSIX_EVENTS))
    return f"{told}; with POSIX conditions: {run_c_tests(with_conditions, patterns=WAITING_PROGRAMS)}"


def python() -> str:
    """pytest over everything, the C tests included, from an empty folder and against the installed package."""
    run_pytest(ROOT / "tests", f"--ignore={EMBEDDING}")
    return f"pytest with Python {platform.python_version()}"


def embed() -> str:
    """The wheel in other people's projects, each in an environment of its own: see tests/test_embedding.py."""
    run_pytest(EMBEDDING)
    return "C by flags and by pkg-config, C++, cffi, the function table, the sources"


def run_pytest(*tests: Path | str, timeout: int = 1200, **environment: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rasx-") as folder:
        options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}"]
        command: list[str | Path] = [venv_python(), "-m", "pytest", *options, *tests]
        run(command, cwd=Path(folder), env=clean_environment(**ci_mark(), **environment), timeout=timeout, stream=True)


def ci_mark() -> dict[str, str]:
    return {"CI": "1"} if in_ci() else {}


def asan() -> str:
    """The C tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    options = "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1"
    return run_c_tests(
        cbuild.Kind("asan", "gcc", ASAN), RASX_STRESS=SANITIZED_LOAD, ASAN_OPTIONS=options, UBSAN_OPTIONS="print_stacktrace=1"
    )


def without_address_randomisation() -> list[str]:
    """A wrapper for ThreadSanitizer, whose memory layout some kernels' address randomisation breaks."""
    wrapper = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") and subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode == 0:
        return wrapper
    return []


def tsan() -> str:
    """The C tests under ThreadSanitizer; those that wait once more with the conditions of other POSIX systems."""
    options = {"RASX_STRESS": SANITIZED_LOAD, "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
    wrapper = without_address_randomisation()
    told = run_c_tests(cbuild.Kind("tsan", "gcc", TSAN), wrapper, **options)
    with_conditions = cbuild.Kind("tsan-posix-events", "gcc", (*TSAN, POSIX_EVENTS))
    return f"{told}; with POSIX conditions: {run_c_tests(with_conditions, wrapper, WAITING_PROGRAMS, **options)}"


def fuzz_for(seconds: int) -> str:
    """Every tests/c/fuzz_*.c with libFuzzer; what it learns stays in .cache/corpus, a crash file in .cache/crashes."""
    kind = cbuild.Kind("fuzz", "clang", FUZZ)
    try:
        fuzzer_less = cbuild.Kind(kind.name, kind.compiler, (*kind.flags, "-fsanitize=fuzzer-no-link"))
        programs = cbuild.build(fuzzer_less, "fuzz_*.c", ("-fsanitize=fuzzer",))
    except cbuild.BuildError as error:
        raise FailedError(str(error)) from None
    if not programs:
        raise NotRunError("there is no tests/c/fuzz_*.c")
    crashes = ROOT / ".cache" / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    runs = 0
    for program in programs:
        name = cbuild.program_name(program)
        corpus = ROOT / ".cache" / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = [path for path in [ROOT / "tests" / "data" / f"{name.removeprefix('fuzz_')}-corpus"] if path.is_dir()]
        limits = [f"-max_total_time={max(1, seconds // len(programs))}", "-timeout=10", "-rss_limit_mb=2048"]
        output = run(
            [program, *limits, "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-", corpus, *seeds],
            env=clean_environment(),
            timeout=seconds + 120,
        )
        runs += sum(int(number) for number in re.findall(r"stat::number_of_executed_units:\s*(\d+)", output))
    return f"{plural(len(programs), 'fuzzer')}, {runs:,} runs in {seconds} s, nothing found"


def fuzz() -> str:
    return fuzz_for(20)


def demo() -> str:
    """The two scenes of a demonstration, on our own RAS: see ci/demo.py."""
    run([venv_python(), ROOT / "ci" / "demo.py"], cwd=ROOT, env=demo_environment(), timeout=120, stream=True)
    return "one dial that connects, one that is refused"


def demo_environment() -> dict[str, str]:
    return clean_environment(**{name: value for name in ("NO_COLOR", "PYTHONIOENCODING") if (value := os.environ.get(name))})


def bench() -> str:
    """The benchmarks, against the installed package; they fail when something is lost, never for being slow."""
    script = ROOT / "benchmarks" / "run.py"
    with tempfile.TemporaryDirectory(prefix="rasx-") as folder:
        run([venv_python(), script], cwd=Path(folder), env=clean_environment(), timeout=3600, stream=True)
    return "the figures are above; compare ratios, not times"


# The files whose tests draw from seeds, and draw more often with RASX_SOAK=1.
SOAKED = ("signals", "fork", "exit", "lifetime", "threads", "load", "phonebook_input", "machine", "faults", "aio", "pollable")


def soak() -> str:
    """The random Python tests with many more seeds; the C tests at twenty times their usual load; ten minutes of fuzzing."""
    run_pytest(*(ROOT / "tests" / f"test_{name}.py" for name in SOAKED), timeout=3600, RASX_SOAK="1")
    plain = run_c_tests(cbuild.Kind("plain-soak", "gcc", ("-O2", "-g")), RASX_STRESS="2000")
    run_c_tests(cbuild.Kind("tsan", "gcc", TSAN), without_address_randomisation(), RASX_STRESS="2000")
    return f"{plain}; {fuzz_for(600)}"


def windows() -> str:
    """The wheel and our rasapi32.dll on Windows CPython, under Wine: see ci/windows.py."""
    from windows import run_windows

    return run_windows()


def wheels() -> str:
    """The wheels for Linux and Windows, checked, and compile checks for other processors: see ci/wheels.py."""
    from wheels import run_wheels

    return run_wheels()


def pypy() -> str:
    """The extension on PyPy: built in an environment of its own, imported, dialled with. See ci/pypy.py."""
    from pypy import run_pypy

    return run_pypy()


# --- The table of jobs, and running them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A row of the report. needs: names from workshop.TOOLS. venv: whether .venv and the installed project are needed."""

    work: Callable[[], str]
    about: str
    needs: tuple[str, ...] = ()
    venv: bool = True


JOBS: dict[str, Job] = {
    "lint": Job(lint, "style and warnings: ruff, gcc and clang with -Werror, generated files", ("gcc", "clang")),
    "types": Job(types, "mypy --strict"),
    "c": Job(c, "the C tests, built with clang", ("clang",), venv=False),
    "python": Job(python, "pytest: everything, the C tests included, against the installed package"),
    "embed": Job(embed, "the wheel in C, C++ and cffi projects", ("gcc", "clang", "c++", "pkg-config", "mingw")),
    "asan": Job(asan, "the C tests under AddressSanitizer and UndefinedBehaviorSanitizer", ("asan",), venv=False),
    "tsan": Job(tsan, "the C tests under ThreadSanitizer", ("tsan",), venv=False),
    "fuzz": Job(fuzz, "libFuzzer on what reads foreign bytes, 20 seconds", ("clang", "fuzzer"), venv=False),
    "demo": Job(demo, "a dial that connects and one that is refused, on our own RAS"),
    "windows": Job(windows, "everything on Windows CPython, under Wine, with our rasapi32.dll", ("wine", "mingw")),
    "wheels": Job(wheels, "the wheels for Linux and Windows, checked; other processors compiled", ("mingw", "mingw32")),
    "pypy": Job(
        pypy, "the extension built with PyPy, and one of everything run", ("gcc", "pypy", "pypy-dev", "pypy-venv"), venv=False
    ),
    "bench": Job(bench, "the benchmarks"),
    "soak": Job(soak, "the long random runs (over twenty minutes)", ("tsan", "clang", "fuzzer")),
}
TEST = ("lint", "types", "c", "python", "embed", "asan", "tsan", "fuzz", "pypy", "windows")
GROUPS: dict[str, tuple[str, ...]] = {"test": TEST, "all": (*TEST, "wheels", "demo", "bench", "soak")}
QUICK = ("c", "python")


def colour(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def report(name: str, result: str, clock: Clock, detail: str) -> None:
    paint = {"ok": "32", "FAILED": "1;31", "NOT RUN": "33"}[result]
    print(f"{name:<7} {colour(f'{result:<7}', paint)} {clock}  {detail}", flush=True)


def provide(needs: Sequence[Need], install: bool) -> None:
    """Installs what is missing when that was asked for."""
    if needs and install:
        packages = sorted({need.package for need in needs})
        print(f"installing {', '.join(packages)}", flush=True)
        install_packages(packages)


def check_basics(install: bool) -> bool:
    """The first thing of all: can this machine build a C extension in a virtual environment?"""
    needs = missing_basics()
    try:
        provide(needs, install)
    except FailedError as error:
        print(error, file=sys.stderr)
    needs = missing_basics()
    for need in needs:
        print(f"{need.what}; on Debian and Ubuntu: apt-get install {need.package}", file=sys.stderr)
    return not needs


def prepare_venv() -> None:
    """.venv with the tools and with this checkout's ras_ext; a line only when something had to be done."""
    with lock():
        clock = Clock()
        if made := make_venv():
            report("venv", "ok", clock, "made .venv with the pinned tools")
        clock = Clock()
        if install_project() or made:
            report("install", "ok", clock, "built and installed this checkout into .venv")


def run_job(name: str, install: bool) -> str:
    """Runs one job and prints its line: "ok", "FAILED" or "NOT RUN"."""
    job, clock = JOBS[name], Clock()
    try:
        provide(missing_tools(job.needs), install)
        if lacking := missing_tools(job.needs):
            raise NotRunError("; ".join(f"{need.what} (apt-get install {need.package})" for need in lacking))
        if job.venv:
            prepare_venv()
            clock = Clock()
        detail = job.work()
    except NotRunError as reason:
        print(f"NOT RUN {name}: {reason}", flush=True)
        return "NOT RUN"
    except FailedError as error:
        print(error, flush=True)
        report(name, "FAILED", clock, "see above")
        return "FAILED"
    report(name, "ok", clock, detail)
    return "ok"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 ci/run.py", description="Runs jobs of the project by name.")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="a job, or a group of them: test, all")
    parser.add_argument("--list", action="store_true", help="name the jobs and groups, and end")
    parser.add_argument("--quick", action="store_true", help="with test: only " + " and ".join(QUICK))
    parser.add_argument("--install", action="store_true", help="install missing Debian packages (always on when CI is set)")
    options = parser.parse_args(arguments)
    if options.list:
        for name, job in JOBS.items():
            print(f"{name:<8} {job.about}")
        for name, members in GROUPS.items():
            print(f"{name:<8} = {', '.join(members)}")
        print(f"test --quick = {', '.join(QUICK)}")
        return 0
    unknown = [name for name in options.jobs if name not in JOBS and name not in GROUPS]
    if unknown or not options.jobs:
        parser.error((f"no job named {shlex.join(unknown)}" if unknown else "name a job") + "; --list shows them")
    if options.quick and options.jobs != ["test"]:
        parser.error("--quick goes with test")

    clock, install = Clock(), options.install or in_ci()
    if not check_basics(install):
        return 1
    names = list(QUICK) if options.quick else [n for name in options.jobs for n in GROUPS.get(name, (name,))]
    results = {name: run_job(name, install) for name in dict.fromkeys(names)}
    failed = [name for name, result in results.items() if result == "FAILED"]
    left_out = [name for name, result in results.items() if result == "NOT RUN"]
    if len(results) > 1 or failed:
        summary = [f"FAILED: {', '.join(failed)}"] if failed else []
        summary += [f"not run: {', '.join(left_out)}"] if left_out else []
        print(f"\n{'; '.join(summary) or 'all ok'} ({str(clock).strip()})")
    return 1 if failed or (left_out and in_ci()) else 0


if __name__ == "__main__":
    sys.exit(main())
