"""The workshop that the jobs of run.py work in: what must be installed, the virtual environment, running commands.

SPDX-License-Identifier: MIT

Only the standard library, because this runs before anything is installed. Everything that is made stands in .venv and
.cache, which git ignores; the checkout itself is never built in, so that two runs and a developer's own build cannot meet.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
# A Windows Python (under Wine, say) must never find a POSIX environment in its way: deleting that, it would follow its links.
VENV = ROOT / ".venv" if os.name != "nt" else CACHE / "venv-windows"
REQUIREMENTS = ROOT / "ci" / "requirements.txt"
BUILD_INPUTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "csrc", "ras_ext")
ON_WINDOWS = os.name == "nt"


class FailedError(Exception):
    """A job failed; the text is what the reader needs to see."""


class NotRunError(Exception):
    """A job cannot run on this machine; the text says what is missing."""


# --- Running commands -------------------------------------------------------------------------------------------------


def command_line(command: Sequence[str | Path]) -> str:
    return shlex.join(str(part) for part in command)


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
    stream: bool = False,
) -> str:
    """Runs a command and returns its output, or raises FailedError with the command line and what it printed.

    `stream` lets it write to our own output instead, for jobs whose progress people want to see.
    """
    sys.stdout.flush()
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or ROOT,
            env=None if env is None else dict(env),
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise FailedError(f"{command_line(command)}\n{error}") from None
    except subprocess.TimeoutExpired as error:
        output = error.output.decode("utf-8", "replace") if isinstance(error.output, bytes) else error.output or ""
        raise FailedError(f"{command_line(command)}\n{output}\nstopped after {timeout:.0f} s") from None
    output = done.stdout or ""
    if done.returncode != 0:
        raise FailedError(f"{command_line(command)}\n{output}exit status {done.returncode}")
    return output


# --- What must be there first -----------------------------------------------------------------------------------------


def find_compiler(search_path: str | None = None) -> str | None:
    """The C compiler: $CC, else the first of cc, gcc, clang on the search path."""
    wanted = shlex.split(os.environ.get("CC", ""))[:1] or ["cc", "gcc", "clang"]
    return next((found for name in wanted if (found := shutil.which(name, path=search_path))), None)


@dataclass(frozen=True)
class Need:
    """One thing that a job cannot do without."""

    what: str
    package: str  # the Debian package that brings it


def missing_basics(
    *,
    include: Path | None = None,
    search_path: str | None = None,
    importable: Callable[[str], bool] | None = None,
) -> list[Need]:
    """What keeps this machine from building a C extension in a virtual environment; empty when nothing does.

    The arguments exist so that a test can hide each of the three.
    """
    importable = importable or (lambda name: importlib.util.find_spec(name) is not None)
    include = include or Path(sysconfig.get_path("include"))
    found = []
    if not (importable("ensurepip") and importable("venv")):
        found.append(Need("Python's modules ensurepip and venv are missing", "python3-venv"))
    if not (include / "Python.h").is_file():
        found.append(Need(f"Python.h is missing (looked in {include})", "python3-dev"))
    if not ON_WINDOWS and find_compiler(search_path) is None:
        looked = os.environ.get("CC") or "cc, gcc, clang"
        found.append(Need(f"a C compiler is missing (looked for {looked})", "gcc"))
    return found


def _links(compiler: str, *flags: str) -> bool:
    """Whether this compiler can build and link an empty program with these flags."""
    path = shutil.which(compiler)
    if path is None:
        return False
    program = "int main(void) { return 0; }\n"
    if any("fuzzer" in flag for flag in flags):
        program = (
            "#include <stddef.h>\n#include <stdint.h>\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\n"
            "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { return d == NULL && n > 0; }\n"
        )
    done = subprocess.run(
        [path, "-x", "c", "-", "-o", os.devnull, *flags], input=program, text=True, capture_output=True, check=False
    )
    return done.returncode == 0


def _pypy_has(condition: str) -> bool:
    """Whether pypy3 is there and this expression is true in it."""
    if shutil.which("pypy3") is None:
        return False
    program = f"import importlib.util, os, sys, sysconfig; sys.exit(not ({condition}))"
    return subprocess.run(["pypy3", "-c", program], capture_output=True, check=False).returncode == 0


# A job's `needs` are names from here: (is it there?, what is missing without it, the Debian package).
TOOLS: dict[str, tuple[Callable[[], bool], Need]] = {
    "wine": (
        lambda: bool(shutil.which("wine") and shutil.which("wineboot") and shutil.which("wineserver")),
        Need("Wine is missing", "wine"),
    ),
    "mingw": (
        lambda: shutil.which("x86_64-w64-mingw32-gcc") is not None,
        Need("mingw-w64 is missing", "gcc-mingw-w64-x86-64"),
    ),
    "mingw32": (
        lambda: shutil.which("i686-w64-mingw32-gcc") is not None,
        Need("mingw-w64 for 32-bit Windows is missing", "gcc-mingw-w64-i686"),
    ),
    "clang": (lambda: shutil.which("clang") is not None, Need("clang is missing", "clang")),
    "c++": (lambda: shutil.which("c++") is not None, Need("a C++ compiler is missing", "g++")),
    "pkg-config": (lambda: shutil.which("pkg-config") is not None, Need("pkg-config is missing", "pkg-config")),
    "gcc": (lambda: shutil.which("gcc") is not None, Need("gcc is missing", "gcc")),
    "asan": (
        lambda: _links("gcc", "-fsanitize=address,undefined"),
        Need("gcc cannot link with AddressSanitizer", "gcc"),
    ),
    "tsan": (lambda: _links("gcc", "-fsanitize=thread"), Need("gcc cannot link with ThreadSanitizer", "gcc")),
    "pypy": (lambda: shutil.which("pypy3") is not None, Need("PyPy is missing", "pypy3")),
    "pypy-dev": (
        lambda: _pypy_has("os.path.isfile(sysconfig.get_path('include') + '/Python.h')"),
        Need("PyPy's Python.h is missing", "pypy3-dev"),
    ),
    "pypy-venv": (lambda: _pypy_has("importlib.util.find_spec('ensurepip')"), Need("PyPy's ensurepip is missing", "pypy3-venv")),
    "fuzzer": (
        lambda: _links("clang", "-fsanitize=fuzzer,address,undefined"),
        Need("clang cannot link with libFuzzer", "libclang-rt-dev"),
    ),
}


def missing_tools(names: Iterable[str]) -> list[Need]:
    return [TOOLS[name][1] for name in names if not TOOLS[name][0]()]


def install_packages(packages: Sequence[str]) -> None:
    """Installs Debian packages; only called on request (--install or CI). FailedError when that does not work."""
    prefix = [] if ON_WINDOWS or os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") is None:
        raise FailedError(f"cannot install {', '.join(packages)}: this system has no apt-get")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run([*prefix, "apt-get", "-qq", "update"], env=env)
    run([*prefix, "apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages], env=env)


# --- One run at a time ------------------------------------------------------------------------------------------------


@contextmanager
def lock() -> Iterator[None]:
    """Keeps two runs in one checkout from changing the environment under each other."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w", encoding="ascii") as file:
        try:
            import fcntl
        except ImportError:  # Windows: two runs at once are the user's affair there
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is at work in this checkout; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- The virtual environment ------------------------------------------------------------------------------------------


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if ON_WINDOWS else "bin/python")


def digest(paths: Iterable[Path], *also: str) -> str:
    """A hash over the contents and names of files (folders are walked), and further text."""
    sha = hashlib.sha256()
    for text in also:
        sha.update(text.encode() + b"\0")
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.suffix not in {".pyc", ".so", ".pyd", ".o"} and "__pycache__" not in file.parts:
                sha.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return sha.hexdigest()


def _stamp(name: str) -> Path:
    return VENV / f".{name}.key"


def _is(name: str, key: str) -> bool:
    try:
        return _stamp(name).read_text(encoding="ascii") == key
    except OSError:
        return False


def make_venv() -> bool:
    """Makes .venv with the pinned tools, unless it stands already with this Python and these pins. True when it was made."""
    key = digest([REQUIREMENTS], sys.version, sys.executable, platform.machine())
    if _is("tools", key) and venv_python().is_file():
        return False
    if VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", VENV])
    run([venv_python(), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", REQUIREMENTS])
    _stamp("tools").write_text(key, encoding="ascii")
    return True


def _mirror(source: Path, target: Path) -> None:
    """Copies a file or folder, keeping time stamps, and leaves alone what is equal, so that a rebuild is incremental."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in source.iterdir() if path.name != "__pycache__" and path.suffix not in {".so", ".pyd"}}
        for stale in target.iterdir():
            if stale.name not in names:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        for name in names:
            _mirror(source / name, target / name)
    elif not target.is_file() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def install_project() -> bool:
    """Installs the checkout into .venv, unless the very same sources are installed already. True when it did.

    Built in a mirror of the sources, never in the checkout.
    """
    inputs = [ROOT / name for name in BUILD_INPUTS if (ROOT / name).exists()]
    key = digest(inputs, sys.version, os.environ.get("CC", ""), os.environ.get("CFLAGS", ""))
    if _is("project", key):
        return False
    mirror = CACHE / "source"
    mirror.mkdir(parents=True, exist_ok=True)
    for name in BUILD_INPUTS:
        if (ROOT / name).exists():
            _mirror(ROOT / name, mirror / name)
    shutil.rmtree(mirror / "build" / "lib", ignore_errors=True)
    for left in mirror.glob("build/lib*"):
        shutil.rmtree(left)  # a module that was deleted must not come back from the last build
    _stamp("project").unlink(missing_ok=True)
    options = ["-q", "--disable-pip-version-check", "--no-build-isolation", "--no-deps", "--no-index", "--force-reinstall"]
    run([venv_python(), "-m", "pip", "install", *options, mirror], env={**os.environ, "RASX_WERROR": "1"})
    _stamp("project").write_text(key, encoding="ascii")
    return True


def clean_environment(**more: str) -> dict[str, str]:
    """The environment for programs under test: nothing of the developer's own Python settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "RAS_EXT_", "RASX_"))}
    return {**env, **more}


class Clock:
    """Seconds since it was made, as the report shows them."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def __str__(self) -> str:
        return f"{time.monotonic() - self.start:6.1f} s"
