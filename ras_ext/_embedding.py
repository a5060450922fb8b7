"""What a C or C++ project needs: compiler flags, and libras_ext.a, built from the shipped sources by the project's own compiler.

SPDX-License-Identifier: MIT

    cc $(python -m ras_ext --cflags) main.c $(python -m ras_ext --libs)

A wheel cannot know the compiler that its user links with, so it carries no library. `--libs` builds one into the user's cache
when it is first asked, under a name made of the version, the sources, the compiler and $CFLAGS: what stands there fits, and is
never built twice. `--build-static DIR` puts the same files where a project wants them. docs/c-api.md has the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import _sources

LIBRARY, PC_FILE, HEADER = "libras_ext.a", "ras_ext.pc", "ras_ext.h"


class EmbeddingError(Exception):
    """Something that the user has to mend; the text says what."""


# --- The compiler -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compiler:
    """A gcc, a clang, or one that takes their options."""

    command: tuple[str, ...]
    version: str
    target: str  # what -dumpmachine says: x86_64-linux-gnu, x86_64-w64-mingw32

    @property
    def for_windows(self) -> bool:
        return re.search("mingw|windows|cygwin|msys", self.target) is not None

    @property
    def flags(self) -> list[str]:
        """For our files. The user's $CFLAGS stand between what they may change and what they may not."""
        fixed = ["-std=c11"]
        if not self.for_windows:  # code for Windows is always position independent, and nothing is exported unless it says so
            fixed += ["-fPIC", "-pthread", "-fvisibility=hidden", '-DRASX_API=__attribute__((visibility("default")))']
        return ["-O2", *shlex.split(os.environ.get("CFLAGS", "")), *fixed]

    @property
    def libraries(self) -> list[str]:
        """What a program that links libras_ext.a links too."""
        if self.for_windows:
            return ["-luser32", "-ladvapi32", "-lbcrypt"]
        return ["-pthread", *(["-ldl"] if "linux" in self.target else [])]

    @property
    def archiver(self) -> list[str]:
        """$AR, else the ar that belongs to the compiler."""
        if os.environ.get("AR"):
            return shlex.split(os.environ["AR"])
        return [_output([*self.command, "-print-prog-name=ar"]) or "ar"]


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _find_compiler() -> Compiler:
    """$CC, else the compiler of this Python, else cc, gcc or clang."""
    wanted = os.environ.get("CC")
    words = [wanted] if wanted else [sysconfig.get_config_var("CC") or "", "cc", "gcc", "clang"]
    for command in (tuple(shlex.split(text, posix=os.name != "nt")) for text in words):
        if not command or shutil.which(command[0]) is None:
            continue
        if target := _output([*command, "-dumpmachine"]):
            return Compiler(command, _output([*command, "--version"]), target)
    told = f"CC={wanted} is not there, or is no gcc or clang" if wanted else "there is no C compiler (looked for cc, gcc, clang)"
    raise EmbeddingError(
        f"{told}. Set CC to a gcc or clang (on Windows mingw-w64's). With another compiler, MSVC for one, "
        "compile the files of ras_ext.get_sources() as C11 together with your own: they need no flags but the include path."
    )


# --- The library --------------------------------------------------------------------------------------------------------------


def _version() -> str:
    import ras_ext

    return ras_ext.__version__


def _names() -> str:
    """A header that gives the prefix rasx__ to every name that files of ours share and that lacks it.

    Inside the extension such names are hidden; in a static library sim_clock or pbk_open could meet a name of the user's.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(_sources.folder().rglob("*")) if path.suffix in {".c", ".h"}]
    found = {name for text in texts for name in re.findall(r"\b(?:sim|pbk|rasapi)_\w+", text)}
    found |= {f"sim_{name}" for text in texts for name in re.findall(r"\bX\(\w+, (Ras\w+)", text)}  # made by sim_##name
    return "".join(f"#define {name} rasx__{name}\n" for name in sorted(found))


def _pc(compiler: Compiler) -> str:
    """ras_ext.pc, for a folder that can be moved. pkgconf quotes ${pcfiledir} by itself, so it stands without quotes."""
    return (
        "Name: ras_ext\n"
        "Description: Dials and manages Windows RAS connections; with a simulated RAS\n"
        f"Version: {_version()}\n"
        "Cflags: -I${pcfiledir}\n"
        f"Libs: -L${{pcfiledir}} -lras_ext {' '.join(compiler.libraries)}\n"
    )


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise EmbeddingError(f"{shlex.join(command)}\n{error}") from None
    if done.returncode != 0:
        raise EmbeddingError(f"{shlex.join(command)}\n{done.stdout}exit status {done.returncode}")


def _make(compiler: Compiler, target: Path) -> None:
    """Compiles everything, and puts the library, the header and the pkg-config file into a folder."""
    root = _sources.folder()
    with tempfile.TemporaryDirectory(prefix="ras_ext-") as name:
        work = Path(name)
        (work / "names.h").write_text(_names(), encoding="ascii")

        def one(source: Path) -> str:
            made = work / ("-".join(source.relative_to(root).with_suffix("").parts) + ".o")
            options = ["-include", str(work / "names.h"), "-c", str(source), "-o", str(made)]
            _run([*compiler.command, *compiler.flags, *options])
            return str(made)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(one, _sources.files(compiler.for_windows)))
        _run([*compiler.archiver, "rcs", str(work / LIBRARY), *objects])
        shutil.copyfile(root / HEADER, work / HEADER)
        (work / PC_FILE).write_text(_pc(compiler), encoding="utf-8")
        for made in (LIBRARY, HEADER, PC_FILE):  # each is the old one or the new one at any moment
            unfinished = target / f".{made}.{os.getpid()}"
            shutil.copyfile(work / made, unfinished)
            unfinished.replace(target / made)


def build_static(target: Path) -> None:
    """Writes libras_ext.a, ras_ext.h and ras_ext.pc into a folder, which is made when it is not there.

    Args:
        target: The folder.

    Raises:
        EmbeddingError: no compiler, a compiler's complaint (with its words), or a folder that cannot be written.
    """
    compiler = _find_compiler()
    try:
        target.mkdir(parents=True, exist_ok=True)
        _make(compiler, target)
    except OSError as error:
        raise EmbeddingError(f"cannot write the library: {error}") from error


def _cache() -> Path:
    """The user's folder for things that can be made again."""
    if os.name == "nt" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "ras_ext" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ras_ext"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "ras_ext"


def library_folder() -> tuple[Path, Compiler]:
    """The folder of the cache with the library for this version and compiler, built now if that has not happened yet.

    Raises:
        EmbeddingError: as build_static.
    """
    compiler = _find_compiler()
    sha = hashlib.sha256(repr((compiler, compiler.flags, compiler.archiver)).encode())
    for path in (Path(__file__), *sorted(_sources.folder().rglob("*.*"))):
        if path.is_file():
            sha.update(path.name.encode() + b"\0" + path.read_bytes())
    try:
        place = _cache() / f"{_version()}-{sha.hexdigest()[:16]}"
        if not place.is_dir():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(dir=place.parent, prefix="unfinished-"))
            try:
                _make(compiler, unfinished)
                unfinished.rename(place)
            except OSError:
                if not place.is_dir():  # else another process was faster
                    raise
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        raise EmbeddingError(
            f"cannot write the user's cache: {error}. python -m ras_ext --build-static DIR takes any folder."
        ) from error
    return place, compiler


# --- The command line ---------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that stand in place of a command."""
    group = parser.add_argument_group("building C code with the core, in place of a command (docs/c-api.md)")
    group.add_argument("--cflags", action="store_true", help="print the flags for compiling with ras_ext.h")
    group.add_argument("--libs", action="store_true", help="print the flags for linking; builds libras_ext.a when first asked")
    group.add_argument("--include", action="store_true", help="print the folder with ras_ext.h")
    group.add_argument("--pkgconfigdir", action="store_true", help="print a folder for PKG_CONFIG_PATH; builds like --libs")
    group.add_argument("--build-static", metavar="DIR", help="build libras_ext.a, ras_ext.h and ras_ext.pc into DIR, with $CC")


def asked(options: argparse.Namespace) -> bool:
    """Whether one of the options was given."""
    return bool(options.cflags or options.libs or options.include or options.pkgconfigdir or options.build_static is not None)


def answer(options: argparse.Namespace) -> int:
    """Does what the options ask for, a line for each path and one for the flags, and returns an exit status."""
    lines: list[str] = []  # paths as they are, for "$(...)"; flags quoted as a shell wants them
    flags: list[str] = []
    try:
        if options.build_static is not None:
            build_static(Path(options.build_static))
        if options.include:
            lines.append(str(_sources.include()))
        if options.pkgconfigdir:
            lines.append(str(library_folder()[0]))
        if options.cflags:
            flags.append(f"-I{_sources.include()}")
        if options.libs:
            place, compiler = library_folder()
            flags += [f"-L{place}", "-lras_ext", *compiler.libraries]
    except EmbeddingError as error:
        sys.stderr.write(f"ras-ext: error: {error}\n")
        return 1
    if flags:
        lines.append(subprocess.list2cmdline(flags) if os.name == "nt" else shlex.join(flags))
    for line in lines:
        sys.stdout.write(line + "\n")
    return 0
