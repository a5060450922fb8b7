"""The wheels: one for Linux, built by setuptools, one for Windows, cross-compiled; and compile checks for other processors.

SPDX-License-Identifier: MIT

The Windows wheel holds the same Python files and metadata, from setuptools too, and an extension from the same C sources.
`ci/run.py windows` unpacks and tests that very file.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import platform
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import cbuild
import exports
import winbox
from winbox import BOX, MINGW, MINGW_32
from workshop import BUILD_INPUTS, CACHE, ROOT, FailedError, _mirror, clean_environment, digest, run, venv_python

ZIG = winbox.Pin(
    "ziglang==0.17.0",
    "ziglang-0.17.0-py3-none-manylinux_2_12_x86_64.manylinux2010_x86_64.musllinux_1_1_x86_64.whl",
    "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b",
    for_windows=False,
)
DIST = CACHE / "wheels"
MIRROR = CACHE / "wheel-source"
WINDOWS_TAG = "cp310-abi3-win_amd64"
RASAPI32_FILES = {
    "README.md": "docs/rasapi32-dll.md",
    "LICENSE": "LICENSE",
    "ras_ext.h": "csrc/ras_ext.h",
    "rasapi32_dll.c": "examples/rasapi32_dll.c",
}
# Systems of which no test has one: their sources are compiled only.
POSIX_TARGETS = ("aarch64-linux-gnu", "aarch64-macos", "x86_64-macos")
# What every Windows that runs CPython 3.10 has, and CPython itself. Another name here would be a DLL that users lack.
ALLOWED_IMPORTS = {"python3.dll", "kernel32.dll", "user32.dll", "msvcrt.dll", "advapi32.dll"}


def _mirrored() -> Path:
    """A copy of the sources to build in, because setuptools leaves things behind."""
    MIRROR.mkdir(parents=True, exist_ok=True)
    for name in BUILD_INPUTS:
        if (ROOT / name).exists():
            _mirror(ROOT / name, MIRROR / name)
    shutil.rmtree(MIRROR / "build", ignore_errors=True)
    return MIRROR


def sources_key(*also: str) -> str:
    inputs = [ROOT / name for name in (*BUILD_INPUTS, "ci/wheels.py", "ci/winbox.py") if (ROOT / name).exists()]
    return digest(inputs, sys.version, *also)


def _current(folder: str, key: str) -> Path | None:
    """The one wheel in a folder, if it was made from these sources."""
    stamp = DIST / folder / "key"
    found = sorted((DIST / folder).glob("*.whl"))
    return found[0] if len(found) == 1 and stamp.is_file() and stamp.read_text(encoding="ascii") == key else None


def _emptied(folder: str) -> Path:
    place = DIST / folder
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


# --- Linux ------------------------------------------------------------------------------------------------------------


def linux_wheel(python: Path | None = None) -> Path:
    """The wheel of this machine, as pip builds it for a user; with .venv's Python, unless another is given."""
    key = sources_key()
    if found := _current("linux", key):
        return found
    place = _emptied("linux")
    options = ["-q", "--disable-pip-version-check", "--no-build-isolation", "--no-deps", "--no-index"]
    run(
        [python or venv_python(), "-m", "pip", "wheel", *options, "-w", place, _mirrored()],
        env=clean_environment(RASX_WERROR="1"),
    )
    (place / "key").write_text(key, encoding="ascii")
    return next(place.glob("*.whl"))


# --- Windows ----------------------------------------------------------------------------------------------------------


def _record(files: dict[str, bytes], name: str) -> bytes:
    """RECORD: each file with its sha256 and size, itself without."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for path, content in sorted(files.items()):
        sha = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={sha}", len(content)])
    rows.writerow([name, "", ""])
    return text.getvalue().encode()


def windows_wheel() -> Path:
    """The wheel for 64-bit Windows, with one extension for CPython 3.10 and later."""
    key = sources_key()
    if found := _current("windows", key):
        return found
    mirror, module = _mirrored(), winbox.build_module()
    tree = BOX / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    run([venv_python(), "setup.py", "-q", "build_py", "--build-lib", tree], cwd=mirror, env=clean_environment())
    program = "import sys; from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel(sys.argv[1])"
    run([venv_python(), "-c", program, tree], cwd=mirror, env=clean_environment())
    info = next(tree.glob("*.dist-info"))
    files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    files = {path: content for path, content in files.items() if not path.endswith((".so", ".o", "_native.c", ".egg-info"))}
    files = {path: content for path, content in files.items() if ".egg-info/" not in path}
    files["ras_ext/_native.pyd"] = module.read_bytes()
    about = f"Wheel-Version: 1.0\nGenerator: ci/wheels.py\nRoot-Is-Purelib: false\nTag: {WINDOWS_TAG}\n"
    files[f"{info.name}/WHEEL"] = about.encode()
    files[f"{info.name}/RECORD"] = _record(
        {path: content for path, content in files.items() if not path.endswith("/RECORD")}, f"{info.name}/RECORD"
    )
    place = _emptied("windows")
    wheel = place / f"{info.name.removesuffix('.dist-info')}-{WINDOWS_TAG}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items(), key=lambda item: (".dist-info/" in item[0], item[0])):
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    (place / "key").write_text(key, encoding="ascii")
    return wheel


# --- rasapi32.dll ------------------------------------------------------------------------------------------------------


def strip(compiler: str, dll: Path, target: Path) -> Path:
    """A copy without symbols, as it is given away."""
    run([compiler.removesuffix("gcc") + "strip", "-o", target, dll])
    return target


def rasapi32_zip() -> Path:
    """Our RAS as a DLL, for programs in any language: x64 and x86, with what one needs to know (docs/rasapi32-dll.md)."""
    key = sources_key((ROOT / "docs" / "rasapi32-dll.md").read_text(encoding="utf-8"))
    place, stamp = DIST / "rasapi32", DIST / "rasapi32" / "key"
    found = sorted(place.glob("*.zip"))
    if len(found) == 1 and stamp.is_file() and stamp.read_text(encoding="ascii") == key:
        return found[0]
    _emptied("rasapi32")
    files = {name: ROOT / source for name, source in RASAPI32_FILES.items()}
    for folder, prefix, dll in (("x64", MINGW, winbox.build_dll()), ("x86", MINGW_32, compile_for_32_bit())):
        check_imports(dll)
        files[f"{folder}/rasapi32.dll"] = strip(prefix, dll, place / f"{folder}.dll")
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if version is None:
        raise FailedError("pyproject.toml names no version")
    archive = place / f"rasapi32-simulated-{version[1]}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, path in sorted(files.items()):
            out.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), path.read_bytes(), zipfile.ZIP_DEFLATED)
    stamp.write_text(key, encoding="ascii")
    return archive


# --- Checks -----------------------------------------------------------------------------------------------------------


def check_tags(wheel: Path, ending: str) -> None:
    """The file's name and its WHEEL agree, the extension is there, and the RECORD is complete."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.*)$", archive.read(info).decode(), re.MULTILINE)
        record = {row[0] for row in csv.reader(io.StringIO(archive.read(info.replace("/WHEEL", "/RECORD")).decode())) if row}
    native = [name for name in names if name.startswith("ras_ext/_native.") and name.endswith((".so", ".pyd"))]
    if not re.search(ending, wheel.name) or not all(wheel.name.endswith(f"-{tag}.whl") for tag in tags):
        raise FailedError(f"{wheel.name} has the tags {tags}; wanted is {ending}")
    if len(native) != 1 or set(names) != record:
        raise FailedError(f"{wheel.name}: extension {native}; RECORD and contents differ in {sorted(set(names) ^ record)}")


def check_imports(binary: Path) -> list[str]:
    needed = winbox.imports_of(binary)
    if strange := set(needed) - ALLOWED_IMPORTS:
        raise FailedError(f"{binary.name} needs {', '.join(sorted(strange))}, which users may not have")
    if "rasapi32.dll" in needed:
        raise FailedError(f"{binary.name} links rasapi32.dll, which is to be loaded at run time")
    return needed


def audit(wheels: list[Path]) -> None:
    """abi3audit: nothing outside the stable ABI of CPython 3.10."""
    tools = winbox.STORE / "abi3audit-0.0.26"
    program = tools / "bin" / "abi3audit"
    if not program.is_file():
        shutil.rmtree(tools, ignore_errors=True)
        run([sys.executable, "-m", "venv", tools])
        listing = ROOT / "ci" / "abi3audit.txt"
        run([tools / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", listing])
    run([program, "--strict", "--assume-minimum-abi3", "3.10", *wheels], cwd=CACHE, timeout=300)


def stand_in_for_msvc() -> None:
    """What MSVC would meet: the Interlocked branch of the atomics, compiled strictly; ci/run.py windows runs it too."""
    winbox.compile_all(MINGW, winbox.windows_sources(), "-DRASX_FORCE_INTERLOCKED")


def compile_for_32_bit() -> Path:
    """32-bit x86: stdcall, the sizes of S5.2 (static assertions), and a rasapi32.dll with undecorated exports that links."""
    dll = winbox.build_dll("rasapi32-x86.dll", "-DRASX_FORCE_INTERLOCKED", compiler=MINGW_32, x86=True)
    winbox.compile_all(MINGW_32, winbox.windows_sources())
    listing = run(["i686-w64-mingw32-objdump", "-p", dll])
    missing = [name for name in exports.exports() if not re.search(rf"\b{name}$", listing, re.MULTILINE)]
    if missing:
        raise FailedError(f"{dll.name} does not export {', '.join(missing)}")
    return dll


def zig() -> list[str]:
    """The clang of PyPI's ziglang, which has the headers of every Windows, of glibc and of macOS."""
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(winbox.STORE / "zig-cache"))
    os.environ.setdefault("ZIG_LOCAL_CACHE_DIR", str(BOX / "zig-cache"))
    winbox.fetch([ZIG])
    program = winbox.packages("zig", [ZIG]) / "ziglang" / "zig"
    program.chmod(0o755)
    return [str(program), "cc"]


def compile_for_arm64() -> Path:
    """ARM64 Windows: every source compiled with the strict warnings, both kinds of atomics, and a DLL that links."""
    compiler = shlex.join([*zig(), "-target", "aarch64-windows-gnu"])
    objects = winbox.compile_all(compiler, winbox.windows_sources())
    dll = BOX / "ras_ext-arm64.dll"
    run([*shlex.split(compiler), "-O2", "-shared", *objects, "-luser32", "-o", dll])
    return dll


def compile_for_posix() -> None:
    """Linux and macOS on other processors: every source compiled with the strict warnings, a library that links; never run."""
    for target in POSIX_TARGETS:
        compiler = shlex.join([*zig(), "-target", target, "-pthread"])
        objects = winbox.compile_all(compiler, cbuild.core_sources())
        run([*shlex.split(compiler), "-O2", "-shared", *objects, "-o", BOX / f"libras_ext-{target}.so"])


def run_wheels() -> str:
    """Both wheels with all checks, and the compile checks."""
    linux, windows = linux_wheel(), windows_wheel()
    check_tags(linux, r"-cp310-abi3-(?:linux|manylinux)\w*_(?:x86_64|aarch64)\.whl$")
    check_tags(windows, rf"-{WINDOWS_TAG}\.whl$")
    imports = check_imports(winbox.build_module())
    check_imports(winbox.build_dll())
    audit([linux, windows])
    stand_in_for_msvc()
    archive = rasapi32_zip()  # compiles for 32-bit x86
    told = "32-bit x86"
    if platform.machine() == "x86_64":  # ziglang is pinned for this machine
        compile_for_arm64()
        compile_for_posix()
        told = ", ".join([told, "ARM64 Windows", *POSIX_TARGETS])
    return f"{linux.name}, {archive.name}, {windows.name} (needs {', '.join(imports)}); abi3audit agrees; {told} compile and link"
