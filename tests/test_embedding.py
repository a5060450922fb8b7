"""The core in other people's projects: C, C++, cffi and the function table, from empty folders, against the installed wheel.

SPDX-License-Identifier: MIT

Each way of embedding gets a virtual environment of its own, into which pip installs the wheel as a user's pip would, except that
nothing is downloaded: cffi and setuptools come from wheels that are packed again from the environment of the tests.
`ci/run.py embed` runs this file; what it needs beside a C compiler is in that job's row.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
STRICT = "-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla -Werror"
STRICT_CPP = "-std=c++17 -Wall -Wextra -Wpedantic -Werror"
STATES = (0, 1, 2, 3, 4, 5, 6, 10, 6, 18, 14, 24, 8192)
CONNECTED = [f"state {state} error 0" for state in STATES]
MINGW = "x86_64-w64-mingw32-gcc"


def need(tool: str, package: str) -> None:
    """In CI a missing tool is a failure; elsewhere it is named."""
    if shutil.which(tool) is None:
        assert not os.environ.get("CI"), f"{tool} is missing (apt-get install {package})"
        pytest.skip(f"{tool} is missing (apt-get install {package})")


# --- Wheels and environments ------------------------------------------------------------------------------------------


def pack_again(name: str, folder: Path) -> None:
    """A wheel of what is installed here, so that pip can install the same elsewhere without a network."""
    wheels = importlib.import_module("wheels")
    installed = distribution(name)
    tag = re.findall(r"^Tag: (.*)$", installed.read_text("WHEEL") or "", re.MULTILINE)[0]
    left_out = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    files: dict[str, bytes] = {}
    for path in installed.files or []:
        if path.parts[0] != ".." and path.suffix != ".pyc" and path.name not in left_out:
            files[path.as_posix()] = Path(str(path.locate())).read_bytes()
    info = next(path for path in files if path.endswith(".dist-info/WHEEL")).removesuffix("/WHEEL")
    files[f"{info}/RECORD"] = wheels._record(files, f"{info}/RECORD")
    with zipfile.ZipFile(folder / f"{info.removesuffix('.dist-info')}-{tag}.whl", "w") as archive:
        for path_name, content in files.items():
            archive.writestr(path_name, content)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our wheel, those that it needs, and a pip that sees nothing of this environment."""
    folder = tmp_path_factory.mktemp("shop")
    path = list(sys.path)
    sys.path.insert(0, str(ROOT / "ci"))
    try:
        workshop, wheels = importlib.import_module("workshop"), importlib.import_module("wheels")
        with workshop.lock():
            shutil.copy(wheels.linux_wheel(Path(sys.executable)), folder)
        for name in ("cffi", "pycparser", "setuptools"):
            pack_again(name, folder)
    finally:
        sys.path[:] = path
    pip = importlib.import_module("pip").__file__
    assert pip is not None
    shutil.copytree(Path(pip).parent, folder / "tools" / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Room:
    """An empty folder, a fresh environment, and a shell that finds its python first."""

    def __init__(self, shop: Path, folder: Path, cache: Path, *projects: str) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        home = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        unset = ("CC", "AR", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "VIRTUAL_ENV")
        kept = {key: value for key, value in os.environ.items() if key not in unset and not key.startswith(("PYTHON", "RASX_"))}
        self.env = {**kept, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache)}
        options = f"--no-index --find-links {shlex.quote(str(shop))} --no-compile -q --disable-pip-version-check"
        self.shell(f"python {shlex.quote(str(shop / 'tools' / 'pip'))} install {options} {' '.join(projects)}")

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**self.env, **environment}
        return subprocess.run(["/bin/sh", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True, timeout=100)

    def shell(self, command: str, **environment: str) -> list[str]:
        """Runs a command that must succeed and say nothing on standard error: the lines of its standard output."""
        done = self.run("set -e; " + command, **environment)
        assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}{done.stderr}exit status {done.returncode}"
        return done.stdout.splitlines()

    def copy(self, *paths: str) -> None:
        for path in paths:
            shutil.copy(EXAMPLES / path, self.folder)

    def book(self) -> None:
        """The phone book that docs/c-api.md tells newcomers to make."""
        page = (ROOT / "docs" / "c-api.md").read_text(encoding="utf-8")
        found = re.search(r"^printf .* > office\.pbk$", page, re.MULTILINE)
        assert found
        self.shell(found[0])


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's cache, which all environments of a user share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def fresh(shop: Path, tmp_path: Path, cache: Path) -> Iterator[Callable[..., Room]]:
    """Makes a room with these projects (ras_ext when none is named)."""
    yield lambda *projects: Room(shop, tmp_path, cache, *(projects or ("ras_ext",)))
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


@pytest.fixture(scope="session")
def shared(shop: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Room:
    """One room for tests that look at what the commands print."""
    return Room(shop, tmp_path_factory.mktemp("shared"), cache, "ras_ext")


def failing(room: Room, command: str, **environment: str) -> str:
    """What a command says that ends with status 1 and prints nothing on standard output."""
    done = room.run(command, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


# --- The ways ---------------------------------------------------------------------------------------------------------


def test_c_by_flags(fresh: Callable[..., Room]) -> None:
    """The one command of the newcomer works from an empty folder, without a warning; success and failure are told."""
    room = fresh()
    room.copy("embed_c/main.c")
    room.book()
    room.shell(f"cc {STRICT} $(python -m ras_ext --cflags) main.c $(python -m ras_ext --libs) -o dialer")
    assert room.shell('./dialer office.pbk "Office VPN"') == [*CONNECTED, "hung up: 1"]
    done = room.run("./dialer office.pbk Nowhere")
    assert (done.returncode, done.stdout) == (1, "state 8193 error 623\n")
    assert done.stderr.startswith("623: ")
    assert failing(room, "./dialer office.pbk Nowhere system").startswith("3763470340: ")
    need("clang", "clang")
    assert room.shell(f"clang {STRICT} $(python -m ras_ext --cflags) main.c $(python -m ras_ext --libs) -o dialer") == []
    assert room.shell("./dialer office.pbk")[-1] == "hung up: 1"


def test_c_by_pkg_config(fresh: Callable[..., Room]) -> None:
    """pkg-config finds the library in the cache, and in a folder of the project's own, moved and with a space in its name."""
    need("pkg-config", "pkg-config")
    room = fresh()
    room.copy("embed_c/main.c")
    room.book()
    room.shell(
        'export PKG_CONFIG_PATH="$(python -m ras_ext --pkgconfigdir)"\n'
        f"cc {STRICT} main.c $(pkg-config --cflags --libs ras_ext) -o dialer\n"
    )
    assert room.shell("./dialer office.pbk")[-1] == "hung up: 1"
    assert room.shell("python -m ras_ext --build-static lib && mv lib 'third party' && ls 'third party'") == [
        "libras_ext.a",
        "ras_ext.h",
        "ras_ext.pc",
    ]
    environment = {"PKG_CONFIG_PATH": str(room.folder / "third party")}
    room.shell(f"eval cc {STRICT} main.c $(pkg-config --cflags --libs ras_ext) -o again", **environment)
    assert room.shell("./again office.pbk")[-1] == "hung up: 1"
    version = room.shell("pkg-config --modversion ras_ext && python -m ras_ext --version", **environment)
    assert version[1] == f"ras-ext {version[0]}"


def test_cpp(fresh: Callable[..., Room]) -> None:
    """The header is C++, and a C++ program links the C library."""
    need("c++", "g++")
    room = fresh()
    room.copy("embed_cpp/main.cpp")
    room.book()
    room.shell(f"c++ {STRICT_CPP} $(python -m ras_ext --cflags) main.cpp $(python -m ras_ext --libs) -o dialer")
    assert room.shell('./dialer office.pbk "Office VPN"') == CONNECTED
    assert room.run("./dialer nowhere.pbk").stderr == "error 621\n"


SAME = """\
import embedded, ras_ext, ras_ext.sim
from ras_ext import _native
assert embedded.ffi.typeof("rasx_event") is _native.ffi.typeof("rasx_event")
assert embedded.lib.rasx_get_api() == _native.lib.rasx_get_api()
assert int(embedded.ffi.cast("uintptr_t", embedded.lib.rasx_get_api())) == ras_ext.get_api_address()
machine = ras_ext.sim.control()
machine.script("Office VPN", "auth_fail")
ras = embedded.ffi.cast("const rasx_api *", ras_ext.get_api_address())
events = embedded.ffi.new("uint32_t *")
print(embedded.lib.dial_once(ras, b"office.pbk", b"Office VPN", events), machine.calls("RasDialW"))
"""


def test_cffi_include(fresh: Callable[..., Room]) -> None:
    """Another cffi project shares our types, our functions and our core: what Python tells the machine, its C code meets."""
    room = fresh("ras_ext", "setuptools")
    room.copy("embed_cffi/build_dialer.py", "embed_cffi/dialer.c", "embed_cffi/use_dialer.py")
    room.book()
    assert room.run("python build_dialer.py").returncode == 0
    assert room.shell('python use_dialer.py office.pbk "Office VPN"') == [f"{len(STATES)} events, code 0"]
    (room.folder / "same.py").write_text(SAME, encoding="utf-8")
    assert room.shell("python same.py") == ["691 1"]
    symbols = room.shell("nm --defined-only embedded*.so")
    assert not [line for line in symbols if "rasx_" in line], "the module brought a core of its own"


TABLE = """\
import ctypes, ras_ext, ras_ext.sim
module = ctypes.CDLL("./dialer.so")
table, events = ctypes.c_void_p(ras_ext.get_api_address()), ctypes.c_uint32()
code = module.dial_once(table, b"office.pbk", b"Office VPN", ctypes.byref(events))
print(code, events.value, ras_ext.sim.control().calls("RasDialW"))
older = ctypes.create_string_buffer(ctypes.string_at(table, 64))
older[0:4] = (64).to_bytes(4, "little")
print(hex(module.dial_once(older, b"office.pbk", b"Office VPN", ctypes.byref(events)) & 0xFFFFFFFF))
"""


def test_function_table(fresh: Callable[..., Room]) -> None:
    """C code that was linked with nothing of ours dials with the address alone, and notices a table that is too old."""
    room = fresh()
    room.copy("embed_cffi/dialer.c")
    room.book()
    room.shell(f"cc {STRICT} -shared -fPIC $(python -m ras_ext --cflags) dialer.c -o dialer.so")
    (room.folder / "table.py").write_text(TABLE, encoding="utf-8")
    assert room.shell("python table.py") == [f"0 {len(STATES)} 1", "0xe0520004"]


def test_sources(shared: Room) -> None:
    """A project with a build of its own compiles the shipped sources, with nothing but the include path."""
    shared.copy("embed_c/main.c")
    shared.book()
    sources = "$(python -c 'import ras_ext; print(*ras_ext.get_sources())')"
    shared.shell(f"cc -std=c11 -pthread $(python -m ras_ext --cflags) main.c {sources} -o whole")
    assert shared.shell("./whole office.pbk")[-1] == "hung up: 1"


# --- What the library shows -------------------------------------------------------------------------------------------


def header_functions() -> set[str]:
    """The public functions of the header."""
    text = (ROOT / "csrc" / "ras_ext.h").read_text(encoding="utf-8")
    return set(re.findall(r"^RASX_API [\w *]*?\b(rasx_\w+)\(", text, re.MULTILINE))


def names(room: Room, library: str, nm: str = "nm", options: str = "-g") -> set[str]:
    lines = room.shell(f"{nm} {options} --defined-only {shlex.quote(library)}")
    return {line.split()[-1] for line in lines if len(line.split()) == 3}


def test_names_of_the_library(shared: Room) -> None:
    """Every global name is a function of the header or begins with rasx__; all of the header's are there."""
    shared.shell("python -m ras_ext --build-static here")
    found = names(shared, "here/libras_ext.a")
    assert {name for name in found if not name.startswith("rasx__")} == header_functions()


def test_library_in_a_shared_library(shared: Room) -> None:
    """It is position independent, and a shared library that takes it in shows the header's functions and nothing internal."""
    shared.shell(
        'cc -shared -Wl,--whole-archive $(python -m ras_ext --libs | sed "s/-lras_ext/& -Wl,--no-whole-archive/") -o all.so'
    )
    assert {
        name for name in names(shared, "all.so", options="-D") if name.startswith(("ras", "sim", "pbk"))
    } == header_functions()


def test_library_for_windows(shared: Room) -> None:
    """A cross compiler in CC gives the library for its system: the example links with it, and no foreign name is in it."""
    need(MINGW, "gcc-mingw-w64-x86-64")
    shared.copy("embed_c/main.c")
    flags = "$(python -m ras_ext --cflags) main.c $(python -m ras_ext --libs)"
    shared.shell(f"{MINGW} {STRICT} {flags} -o dialer.exe", CC=MINGW)
    assert (shared.folder / "dialer.exe").read_bytes()[:2] == b"MZ"
    place = Path(shared.shell("python -m ras_ext --pkgconfigdir", CC=MINGW)[0])
    found = {
        name for name in names(shared, str(place / "libras_ext.a"), "x86_64-w64-mingw32-nm") if not name.startswith(".refptr.")
    }
    assert {name for name in found if not name.startswith("rasx__")} == header_functions()


def test_header_stands_alone(shared: Room) -> None:
    """Nothing else is on a user's include path: our error.h would hide the system's."""
    place = Path(shared.shell("python -m ras_ext --include")[0])
    assert [path.name for path in place.iterdir()] == ["ras_ext.h"]
    assert shared.shell("python -c 'import ras_ext; print(ras_ext.get_include())'") == [str(place)]


# --- The cache, and what can go wrong ---------------------------------------------------------------------------------


def test_library_is_built_once_for_each_compiler_and_flags(shared: Room, tmp_path: Path) -> None:
    """The second call builds nothing; other flags get a library of their own; of two calls at once both get the same."""
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: shared.shell("python -m ras_ext --pkgconfigdir", **env), range(2)))
    assert both[0] == both[1]
    place = Path(both[0][0])
    assert [path.name for path in place.parent.iterdir()] == [place.name], "something unfinished was left"
    before = (place / "libras_ext.a").stat()
    assert shared.shell("python -m ras_ext --libs", **env)[0].startswith(f"-L{place} -lras_ext ")
    after = (place / "libras_ext.a").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    other = shared.shell("python -m ras_ext --pkgconfigdir", CFLAGS="-O0", **env)
    assert Path(other[0]).parent == place.parent
    assert other != both[0]


@pytest.mark.parametrize("option", ["--libs", "--pkgconfigdir", "--build-static out"])
def test_missing_compiler_is_told(shared: Room, option: str) -> None:
    """A CC that is not there, or is no compiler, is named, with what to do; nothing reaches the command line of a build."""
    assert "CC=no-such-cc is not there" in failing(shared, f"python -m ras_ext --cflags {option}", CC="no-such-cc")
    assert "get_sources()" in failing(shared, f"python -m ras_ext --cflags {option}", CC="true")
    assert not (shared.folder / "out").exists()


def test_complaint_of_the_compiler_is_shown(shared: Room, tmp_path: Path) -> None:
    """The command and the compiler's words; no half library is left in the cache."""
    said = failing(shared, "python -m ras_ext --libs", CFLAGS="--no-such-flag", XDG_CACHE_HOME=str(tmp_path))
    assert "--no-such-flag" in said.splitlines()[0]
    assert "exit status 1" in said
    assert list((tmp_path / "ras_ext").iterdir()) == []


def test_folder_that_cannot_be_written_is_told(shared: Room, tmp_path: Path) -> None:
    """The cache's complaint names the way out."""
    (tmp_path / "file").touch()
    said = failing(shared, "python -m ras_ext --libs", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert "--build-static DIR" in said
    assert "cannot write the library" in failing(
        shared, f"python -m ras_ext --build-static {shlex.quote(str(tmp_path / 'file'))}"
    )


def test_options_and_commands_do_not_mix(shared: Room) -> None:
    """Flags stand in place of a command; the help tells them."""
    for arguments in ("--cflags list", "", "--cflags=x"):
        done = shared.run(f"python -m ras_ext {arguments}")
        assert (done.returncode, done.stdout) == (2, "")
        assert "error:" in done.stderr
    text = " ".join(shared.shell("python -m ras_ext --help"))
    for option in ("--cflags", "--libs", "--include", "--pkgconfigdir", "--build-static DIR"):
        assert option in text


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("embed_*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_example_is_short(path: Path) -> None:
    """Nobody reads a long example; each carries its licence."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert "SPDX-License-Identifier: MIT" in text
