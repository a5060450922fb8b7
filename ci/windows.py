"""The job `windows`: the wheel, our rasapi32.dll and everything that Windows can be asked, on Windows CPython under Wine.

SPDX-License-Identifier: MIT

    python3 ci/windows.py shell ARGUMENTS...     the CPython of the last run, with the wheel installed, on these arguments
    python3 ci/windows.py STEP...                single steps of the job (the table STEPS)

Wine's own rasapi32.dll is a stub. That ours answered is proved by an export that only ours has, in every step that needs it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cbuild
import wheels
import winbox
from winbox import BOX, CFFI, MINGW, PYCPARSER, PYTEST, PYWIN32, TEST_TOOLS, Pin, cloned, windows_path, wine, wine_environment
from workshop import ROOT, Clock, FailedError

WINDOWS_TESTS = ROOT / "tests" / "windows"
DATA = ROOT / "tests" / "data"
# C programs that hold contract tests: they run against the table inside the program, and again through rasapi32.dll.
CONTRACT_PROGRAMS = ("test_query.c", "test_engine.c")
NOT_UNDER_WINE = {
    "test_secret.c": "reads its own memory through /proc, which Wine shows with the addresses of Linux",
    "test_socket.c": "needs the socket pairs of POSIX; on Windows the tests of asyncio wait on sockets",
}
INTERLOCKED = "-DRASX_FORCE_INTERLOCKED"


# --- The installation that the tests run in ---------------------------------------------------------------------------


def install_cpython(version: str = "3.11", tools: Sequence[Pin] = (*TEST_TOOLS, PYWIN32)) -> Path:
    """A CPython of this run: the store's, sharing files by links, with the wheel under test and the tools on its path."""
    source, target = winbox.cpython(version), BOX / f"cpython-{version}"
    site = BOX / "site"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=winbox._copy_or_link)
    place_of_tools = winbox.packages(f"tools-{version}", [CFFI[version], PYCPARSER, *tools])
    places = [site, place_of_tools]
    if PYWIN32 in tools:
        places += [place_of_tools / "win32", place_of_tools / "win32" / "lib"]
        for dll in (place_of_tools / "pywin32_system32").glob("*.dll"):
            shutil.copyfile(dll, target / dll.name)
    folder = target / "Lib" / "site-packages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "box.pth").write_text("".join(f"{windows_path(place)}\n" for place in places), encoding="utf-8")
    return target / "python.exe"


def unpack_wheel() -> Path:
    """The wheel, unpacked as pip would: the very file that the job `wheels` checks."""
    site = BOX / "site"
    shutil.rmtree(site, ignore_errors=True)
    with zipfile.ZipFile(wheels.windows_wheel()) as wheel:
        wheel.extractall(site)
    return site


def empty_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder to run in, where a Windows program can see it."""
    return tempfile.TemporaryDirectory(prefix="rasx-", dir=BOX)


class Box:
    """A Wine prefix with our rasapi32.dll, and a Windows CPython with the wheel."""

    def __init__(self) -> None:
        self.dll = winbox.build_dll()
        unpack_wheel()
        winbox.copy_clone()
        self.python = install_cpython()
        self.prefix = winbox.make_prefix("prefix")
        winbox.put_into_system32(self.prefix, self.dll)
        # Starts the services, once, and proves first of all that no program can reach what is not its own.
        wine(self.prefix, [self.python, cloned(WINDOWS_TESTS / "check_enclosed.py")])

    def environment(self, **more: str) -> dict[str, str]:
        return wine_environment(self.prefix, **({"CI": "1"} if os.environ.get("CI") else {}), **more)

    def run(
        self,
        *arguments: str | Path,
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> str:
        with empty_folder() as folder:
            command = [python or self.python, *(cloned(part) if isinstance(part, Path) else part for part in arguments)]
            return wine(self.prefix, command, cwd=Path(folder), env=self.environment(**(environment or {})), timeout=timeout)


# --- C tests ----------------------------------------------------------------------------------------------------------


def _programs(kind: str, names: Sequence[str] | None, flags: Sequence[str] = ()) -> list[Path]:
    """The C test programs of one kind: "plain", "interlocked", or "dll" (whose RAS is our rasapi32.dll in System32)."""
    sources = sorted([*cbuild.TESTS.glob("test_*.c"), *(WINDOWS_TESTS / "c").glob("test_*.c")])
    sources = [path for path in sources if path.name in (names or [path.name]) and path.name not in NOT_UNDER_WINE]
    core = winbox.windows_sources()
    if kind == "dll":
        core = [path for path in core if path.parent.name != "rasapi32"] + [WINDOWS_TESTS / "c" / "through_dll.c"]
    objects = winbox.compile_all(MINGW, core, *flags)
    own = winbox.compile_all(MINGW, sources, *flags)
    return [
        winbox.link(MINGW, [test, *objects], BOX / f"c-{kind}" / f"{source.stem}.exe")
        for source, test in zip(sources, own, strict=True)
    ]


def run_c_tests(box: Box, kind: str, names: Sequence[str] | None = None, flags: Sequence[str] = ()) -> str:
    """Builds and runs C test programs; counts what they say of each test."""
    passed, skipped = 0, list(NOT_UNDER_WINE.items()) if names is None else []
    programs = _programs(kind, names, flags)
    for program in programs:
        with empty_folder() as folder:
            env = box.environment(RASX_TEST_DATA=windows_path(cloned(DATA)))
            output = wine(box.prefix, [program], cwd=Path(folder), env=env, timeout=200, accept=(0, 77))
        passed += len(re.findall(r"^ok ", output, re.MULTILINE))
        skipped += re.findall(r"^skip (\S+): (.*)$", output, re.MULTILINE)
    told = "".join(f"\n      skipped {name}: {reason}" for name, reason in skipped)
    return f"{len(programs)} programs, {passed} tests ok{told}"


def c_plain(box: Box) -> str:
    return run_c_tests(box, "plain")


def c_interlocked(box: Box) -> str:
    """The atomics of MSVC, executed: everything that depends on them."""
    names = ("test_ring.c", "test_core.c", "test_os.c", "test_clock.c", "test_threads.c")
    return run_c_tests(box, "interlocked", names, [INTERLOCKED])


def c_dll(box: Box) -> str:
    return f"{run_c_tests(box, 'dll', CONTRACT_PROGRAMS)}; {other_program(box)}"


def other_program(box: Box) -> str:
    """A program that knows nothing of ras_ext, the rasapi32.dll that is given away beside it, scenarios by a variable."""
    with empty_folder() as name:
        folder = Path(name)
        wheels.strip(MINGW, box.dll, folder / "rasapi32.dll")
        flags = ("-municode", "-Wall", "-Wextra", "-Werror", "-lrasapi32")
        winbox.link(MINGW, [ROOT / "examples" / "rasapi32_dll.c"], folder / "dial.exe", *flags)
        shutil.copyfile(DATA / "office.pbk", folder / "office.pbk")
        journal = folder / "calls.txt"

        def dials(scenario: str, status: int) -> list[str]:
            (folder / "scenario.json").write_text(scenario, encoding="utf-8")
            journal.unlink(missing_ok=True)
            env = box.environment(RASX_SIM_SCENARIO=windows_path(folder / "scenario.json"))
            command: list[str | Path] = [folder / "dial.exe", "Office VPN", "office.pbk"]
            return wine(box.prefix, command, cwd=folder, env=env, timeout=60, accept=(status,)).splitlines()

        first, *states, code = dials('{"journal": "calls.txt"}', 0)
        if (first, states[-1], code) != ("the simulated RAS", "state 8192, error 0", "code 0"):
            raise FailedError("\n".join(["not as it should be:", first, *states, code]))
        steps = '{"journal": "calls.txt", "entries": {"Office VPN": {"script": "auth_fail"}}}'
        if (failed := dials(steps, 1))[-1] != "code 691" or len(re.findall(" RasHangUpW ", journal.read_text("utf-8"))) != 1:
            raise FailedError("\n".join(["not 691 and hung up once:", *failed, journal.read_text("utf-8")]))
        complaint = folder / "scenario.json.error.txt"
        if (wrong := dials('{"entires": {}}', 1))[1:] != ["code 13"] or "entires" not in complaint.read_text("utf-8"):
            raise FailedError("\n".join(["a wrong scenario is not refused:", *wrong]))
    return f"a program in C beside our DLL: {len(states)} states, 691 by a scenario, 13 for a wrong one"


# --- Python tests -----------------------------------------------------------------------------------------------------


def _pytest(
    box: Box, *arguments: str | Path, timeout: float = 400, version: str = "3.11", python: Path | None = None, **more: str
) -> str:
    """pytest on Windows CPython; a summary with counts, and the reasons of what was skipped.

    Taken from what it prints: its XML report asks for the name of the machine, and so CPython 3.12 asks WMI, which crashes Wine.
    """
    options: list[str | Path] = ["-q", "--tb=short", "-p", "no:cacheprovider", "--color=no"]
    options += ["-c", ROOT / "pyproject.toml", f"--rootdir={windows_path(winbox.CLONE)}"]
    clock = Clock()
    output = box.run("-m", "pytest", *options, *arguments, timeout=timeout, environment=more, python=python)
    passed = re.search(r"^=* *(\d+) passed\b.* in [\d.]+s", output, re.MULTILINE)
    if passed is None:
        raise FailedError(f"pytest on Windows CPython {version} did not come to its end:\n{output}")
    reasons: dict[str, int] = {}
    for count, reason in re.findall(r"^SKIPPED \[(\d+)\] .*?: (.*)$", output, re.MULTILINE):
        reasons[reason] = reasons.get(reason, 0) + int(count)
    told = "".join(f"\n      skipped {count}: {reason}" for reason, count in sorted(reasons.items()))
    skipped = f"{sum(reasons.values())} skipped ({str(clock).strip()})"
    return f"{passed[1]} tests ran on Windows CPython {version}, {skipped}{told}"


# The whole suite in two parts that run beside each other.
LOOP_TESTS = [ROOT / "tests" / f"test_{name}.py" for name in ("aio", "pollable", "pytest_plugin")]


def python_suite(box: Box) -> str:
    """Every other Python test, unchanged, with the simulated machine inside the extension, and those of tests/windows."""
    others = [f"--ignore={windows_path(cloned(path))}" for path in LOOP_TESTS]
    return _pytest(box, *others, ROOT / "tests", timeout=600)


def python_loops(box: Box) -> str:
    """Those of event loops and of the pytest plugin, likewise."""
    return _pytest(box, *LOOP_TESTS)


CONTRACT_TESTS = ("dial", "client", "pauses", "multilink", "redial", "pitfalls_hangup", "watch")


def python_dll(box: Box) -> str:
    """The tests of the Python face that are contract tests, unchanged, through rasapi32.dll."""
    names = [ROOT / "tests" / f"test_{name}.py" for name in CONTRACT_TESTS]
    own_name = "--deselect=tests/test_client.py::test_closing_twice_and_use_after_close"  # asks for the name "sim"
    return _pytest(box, "-p", "through_dll", own_name, *names, PYTHONPATH=windows_path(cloned(WINDOWS_TESTS)))


# --- What has to be seen from outside ---------------------------------------------------------------------------------


def stub(box: Box) -> str:
    """With Wine's own stub in our place, nothing spins and nothing crashes (S4.16, S8.44)."""
    prefix = winbox.make_prefix("stub")
    try:
        env = wine_environment(prefix, WINEDLLOVERRIDES="rasapi32=b;mscoree,mshtml=")
        output = wine(prefix, [box.python, cloned(WINDOWS_TESTS / "check_stub.py")], env=env, timeout=60)
    finally:
        winbox.end_prefix(prefix)
    return output.strip()


def lacking(box: Box) -> str:
    """With a rasapi32.dll that lacks an optional function, that feature alone is not available (S8.77)."""
    listing = BOX / "lacking.def"
    whole = (BOX / "exports.def").read_text(encoding="ascii").splitlines()
    kept = [line for line in whole if "RasValidateEntryName" not in line and "RasGetEntryDialParams" not in line]
    listing.write_text("\n".join([*kept, ""]), encoding="ascii")
    dll = winbox.link(MINGW, winbox.compile_all(MINGW, winbox.dll_sources()), BOX / "lacking.dll", "-shared", listing)
    listing.write_text("\n".join([*(line for line in whole if "RasHangUp" not in line), ""]), encoding="ascii")
    unusable = winbox.link(MINGW, winbox.compile_all(MINGW, winbox.dll_sources()), BOX / "unusable.dll", "-shared", listing)
    told = []
    prefix = winbox.make_prefix("lacking")
    try:
        for what, file in (("optional", dll), ("required", unusable)):
            winbox.put_into_system32(prefix, file)
            script = windows_path(cloned(WINDOWS_TESTS / "check_lacking.py"))
            env = wine_environment(prefix)
            told.append(wine(prefix, [box.python, script, what, windows_path(cloned(DATA))], env=env, timeout=60).strip())
    finally:
        winbox.end_prefix(prefix)
    return "; ".join(told)


def planting(box: Box) -> str:
    """A rasapi32.dll in the current folder, beside the script, or on PATH is not loaded: with System32 empty there is no RAS."""
    prefix = winbox.make_prefix("planting")
    winbox.put_into_system32(prefix, None)
    told = []
    try:
        with empty_folder() as name:
            folder = Path(name)
            places = [folder / place for place in ("here", "script", "path")]
            for place in places:
                place.mkdir()
                shutil.copyfile(box.dll, place / "rasapi32.dll")
            script = places[1] / "check_planting.py"
            shutil.copyfile(WINDOWS_TESTS / "check_planting.py", script)
            env = wine_environment(prefix, WINEPATH=windows_path(places[2]))
            command: list[str | Path] = [box.python, script]
            told.append(wine(prefix, [*command, "empty"], cwd=places[0], env=env, timeout=60).strip())
            winbox.put_into_system32(prefix, box.dll)
            told.append(wine(prefix, [*command, "installed"], cwd=places[0], env=env, timeout=60).strip())
    finally:
        winbox.end_prefix(prefix)
    return "; ".join(told)


def ctrl_c(box: Box) -> str:
    """Ctrl-C ends a blocking wait: byte 3 through a pseudo-terminal, as a console of Windows would deliver it."""
    ours, theirs = pty.openpty()
    parts = [box.python, cloned(WINDOWS_TESTS / "check_ctrl_c.py"), cloned(DATA / "office.pbk")]
    command = winbox.wine_command(parts)
    text, sent, deadline = b"", False, time.monotonic() + 60
    process = subprocess.Popen(
        command,
        cwd=BOX,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=box.environment(TERM="xterm"),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        while time.monotonic() < deadline and b"DONE" not in text:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                text += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not sent and b"WAITING" in text:
                os.write(ours, b"\x03")
                sent = True
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise FailedError(f"Ctrl-C ended nothing:\n{text.decode('utf-8', 'replace')}") from None
    finally:
        os.close(ours)
    found = re.search(rb"INTERRUPTED after ([\d.]+) s", text)
    if found is None or process.returncode != 0:
        raise FailedError(f"Ctrl-C, exit status {process.returncode}:\n{text.decode('utf-8', 'replace')}")
    return f"KeyboardInterrupt {float(found[1]) * 1000:.0f} ms after the byte; the dial went on and was then cancelled"


def smoke(box: Box) -> str:
    """The same wheel on later versions of CPython: import, dial, hang up, through our rasapi32.dll and in the process; then the
    tests of asyncio with the Proactor loop, which changes from version to version."""
    told = []
    for version in ("3.12", "3.13"):
        python = install_cpython(version, PYTEST)
        script, book = windows_path(cloned(WINDOWS_TESTS / "smoke.py")), windows_path(cloned(DATA / "office.pbk"))
        told.append(wine(box.prefix, [python, script, book], env=box.environment(), timeout=60).strip().splitlines()[-1])
        told.append(
            "asyncio: " + _pytest(box, "-k", "not selector", ROOT / "tests" / "test_aio.py", version=version, python=python)
        )
    return "\n      ".join(told)


def bench(box: Box) -> str:
    """How long one notification holds the dial, with pywin32 and with ras_ext, through one rasapi32.dll that takes the time."""
    source, listing = WINDOWS_TESTS / "c" / "metronome.c", BOX / "metronome.def"
    exported = sorted(set(re.findall(r"RASAPI_CALL ((?:Ras|metronome)\w+)\(", source.read_text(encoding="utf-8"))))
    listing.write_text("\n".join(["LIBRARY rasapi32", "EXPORTS", *exported, ""]), encoding="ascii")
    dll = winbox.link(MINGW, winbox.compile_all(MINGW, [source]), BOX / "metronome.dll", "-shared", listing)
    prefix = winbox.make_prefix("bench")
    try:
        winbox.put_into_system32(prefix, dll)
        wine(prefix, [box.python, "-c", "pass"])
        script = cloned(WINDOWS_TESTS / "measure_holding.py")
        return "\n" + wine(prefix, [box.python, script], timeout=200).rstrip()
    finally:
        winbox.end_prefix(prefix)


# --- The job ----------------------------------------------------------------------------------------------------------

# The long ones first, so that the short ones fill the gap.
STEPS: dict[str, tuple[Callable[[Box], str], str]] = {
    "python": (python_suite, "all Python tests but the next"),
    "python-loops": (python_loops, "Python tests of event loops and of the plugin"),
    "smoke": (smoke, "CPython 3.12 and 3.13"),
    "c": (c_plain, "C tests"),
    "interlocked": (c_interlocked, "C tests with the atomics of MSVC"),
    "c-dll": (c_dll, "C contract tests through rasapi32.dll"),
    "python-dll": (python_dll, "Python contract tests through rasapi32.dll"),
    "ctrl-c": (ctrl_c, "Ctrl-C"),
    "stub": (stub, "Wine's stub"),
    "lacking": (lacking, "missing exports"),
    "planting": (planting, "planted DLLs"),
    "bench": (bench, "holding the dial"),
}
TIMED = ("bench",)  # alone, after everything else


def run_windows(names: Sequence[str] | None = None) -> str:
    """All steps, two at a time; FailedError with everything that failed."""
    box = Box()
    wanted = [name for name in STEPS if names is None or name in names]
    failures: list[str] = []

    def one(name: str) -> None:
        clock = Clock()
        try:
            result = STEPS[name][0](box)
            print(f"   {STEPS[name][1]}: {result} [{str(clock).strip()}]", flush=True)
        except FailedError as error:
            failures.append(f"{STEPS[name][1]}:\n{error}")

    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, [name for name in wanted if name not in TIMED]))
        for name in wanted:
            if name in TIMED:
                one(name)
    finally:
        winbox.end_prefix(box.prefix)
    if failures:
        raise FailedError("\n".join(failures))
    return f"{len(wanted)} steps under {winbox._version_of('wine')}"


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["shell"]:
        prefix = BOX / "prefix"
        command = winbox.wine_command([BOX / "cpython-3.11" / "python.exe", *arguments[1:]])
        return subprocess.run(command, cwd=BOX, env=wine_environment(prefix), check=False).returncode
    if not arguments or any(name not in STEPS for name in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(run_windows(arguments))
    except FailedError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
