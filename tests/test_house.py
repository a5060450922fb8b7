"""The house of docs/design.md, section 3: which file may include or import which, and which words may stand where.

SPDX-License-Identifier: MIT

The tables below are the picture. An arrow that they lack fails here: then either the change is wrong, or the picture, the
design page and these tables change together.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "ras_ext"

# --- C: each file's room, and the rooms that a room may look into (its own always) ---------------------------------------

C_ROOMS = {
    "ras_ext.h": "public",
    "os.h": "os",
    "os_interlocked.h": "os",
    "os_posix.c": "os",
    "os_win.c": "os",
    "text.h": "text",
    "text.c": "text",
    "ring.h": "ring",
    "ring.c": "ring",
    "clock.h": "clock",
    "clock.c": "clock",
    "error.h": "error",
    "error.c": "error",
    "ras_errors.def": "error",
    "rasapi.h": "seam",
    "rasapi_types.h": "seam",
    "rasapi_structs.inc": "seam",
    "rasapi_layout.c": "seam",
    "rasapi_dll.c": "loader",
    "notify_win.c": "window",
}  # every other file in csrc/ is the core, everything in csrc/rasapi32/ the machine

C_ARROWS = {
    "public": set[str](),
    "os": set[str](),
    "text": {"os"},
    "ring": {"os", "public"},
    "clock": {"os"},
    "error": {"public"},
    "seam": {"text"},
    "loader": {"os", "seam"},
    "core": {"public", "os", "text", "ring", "clock", "error", "seam"},
    "window": {"core", "public", "os", "seam"},
    "machine": {"public", "os", "text", "clock", "error", "seam"},  # never the ring, never the core
}

# Standard C11 headers that anybody may use, and the others with the files that may.
C11 = {"assert", "inttypes", "limits", "stdarg", "stddef", "stdint", "stdio", "stdlib", "string"}
OTHER_HEADERS = {
    "uchar.h": {"text.h"},
    "stdatomic.h": {"os.h"},
    "intrin.h": {"os_interlocked.h"},
    "pthread.h": {"os.h", "os_posix.c"},
    "windows.h": {"os_win.c", "rasapi_dll.c", "notify_win.c"},
    "process.h": {"os_win.c"},
}
MAY_KNOW_THE_PLATFORM = {"os.h", "os_interlocked.h", "os_posix.c", "os_win.c", "rasapi_dll.c", "notify_win.c", "rasapi_types.h"}


def c_files() -> list[Path]:
    return sorted(path for path in CSRC.rglob("*") if path.suffix in {".c", ".h", ".inc", ".def"})


def c_room(path: Path) -> str:
    if path.parent.name == "rasapi32":
        return "machine"
    return C_ROOMS.get(path.name, "core")


def c_code(path: Path) -> str:
    """The file without comments and string contents, line numbers kept."""
    text = path.read_text(encoding="utf-8")

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        return '""' if found.startswith('"') else "''" if found.startswith("'") else "\n" * found.count("\n")

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.DOTALL)


def includes(path: Path) -> Iterator[tuple[str, bool]]:
    """Each #include of the file: the name, and whether it stands in <>."""
    pattern = r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)'
    for ours, theirs in re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
        yield (ours, False) if ours else (theirs, True)


@pytest.mark.parametrize("path", c_files(), ids=lambda path: str(path.relative_to(CSRC)))
def test_includes_follow_the_picture(path: Path) -> None:
    """Arrows between the rooms of the C side go one way, and foreign headers stay in the files that may know them."""
    room, wrong = c_room(path), []
    for name, foreign in includes(path):
        if foreign:
            stem = name.removesuffix(".h")
            allowed = stem in C11 or path.name in OTHER_HEADERS.get(name, set())
            if name not in OTHER_HEADERS and stem not in C11:
                allowed = path.name == "os_posix.c" or (path.name == "os_win.c" and "/" not in name)
            if not allowed:
                wrong.append(f"<{name}>")
            continue
        target = (path.parent / name).resolve()
        assert target.is_file(), f"{path.name} includes {name}, which is not there"
        other = c_room(target)
        if other != room and other not in C_ARROWS[room]:
            wrong.append(f"{name} ({room} -> {other})")
    assert not wrong, f"{path.relative_to(ROOT)} may not include {', '.join(wrong)}"


BANNED_EVERYWHERE = {
    r"\b__builtin_\w+": "GNU builtins: MSVC lacks them",
    r"\b__attribute__\b": "GNU attributes: MSVC lacks them",
    r"\btypeof\b": "a GNU extension",
    r"\balloca\b": "like a VLA: no bound and no failure",
    r"\b(?:strcpy|strcat|sprintf|vsprintf|gets)\s*\(": "writes without a bound",
    r"\batomic_thread_fence\b": "stand-alone fences: ThreadSanitizer does not model them",
}
BANNED_ABOVE_THE_PLATFORM = {
    r"\bwchar_t\b": "16-bit text is char16_t: wchar_t has another width on other systems",
    r"\b_Atomic\b|\batomic_\w+": "atomics go through os.h",
    r"\bInterlocked\w+": "atomics go through os.h",
    r"\bpthread_\w+": "threads go through os.h",
    r"\b(?:HANDLE|DWORD|HWND|LPVOID)\b": "no Microsoft typedefs above the platform",
    r"\b(?:usleep|nanosleep|clock_gettime)\b": "time goes through os.h and clock.h",
    r"^\s*#\s*if.*\b_WIN32\b": "only the platform files, the loader and the window know the system",
}


@pytest.mark.parametrize("path", c_files(), ids=lambda path: str(path.relative_to(CSRC)))
def test_banned_words(path: Path) -> None:
    """What would not compile everywhere, or belongs to the platform files, stands nowhere else."""
    banned = dict(BANNED_EVERYWHERE)
    if path.name not in MAY_KNOW_THE_PLATFORM:
        banned |= BANNED_ABOVE_THE_PLATFORM
    code = c_code(path)
    found = [
        f"{path.relative_to(ROOT)}:{code.count(chr(10), 0, match.start()) + 1}: {match.group().strip()}: {why}"
        for pattern, why in banned.items()
        for match in re.finditer(pattern, code, re.MULTILINE)
    ]
    assert not found, "\n".join(found)


def test_public_header_between_the_markers_is_plain() -> None:
    """What cffi reads has no Microsoft type, no #if and no atomics."""
    text = (CSRC / "ras_ext.h").read_text(encoding="utf-8")
    inside = text.partition("/* cffi: begin */")[2].partition("/* cffi: end */")[0]
    inside = re.sub(r"/\*.*?\*/", "", inside, flags=re.DOTALL)
    assert inside.strip()
    assert not re.search(r"^\s*#\s*(?:if|else|endif|include|pragma)", inside, re.MULTILINE)
    assert not re.search(r"\b(?:DWORD|HRASCONN|WCHAR|HANDLE|BOOL|_Atomic|char16_t)\b", inside)


# --- Python: which modules of the package a module may import -----------------------------------------------------------

PY_ARROWS = {
    "_codes": set[str](),
    "errors": {"_codes"},
    "_ffi": {"_native", "errors"},
    "events": {"_codes"},
    "_build": set[str](),
}


def module_files() -> list[Path]:
    return sorted(path for pattern in ("*.py", "aio/*.py", "pytest_plugin/*.py") for path in PACKAGE.glob(pattern))


def py_room(path: Path) -> str:
    """A module of the package, or "aio" or "pytest_plugin" for each file of that folder."""
    return path.parent.name if path.parent != PACKAGE else path.stem


def label(path: Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix(""))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each import of the file: ("errors", True) for a module of the package, ("asyncio", False) for a foreign one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                yield (parts[1] if len(parts) > 1 else "", True) if parts[0] == "ras_ext" else (parts[0], False)
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if node.level > (path.parent != PACKAGE):
                names = [parts[0]] if node.module else [alias.name for alias in node.names]
            elif node.level:  # of its own room
                continue
            elif parts[0] == "ras_ext":
                names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            else:
                yield parts[0], False
                continue
            for name in names:
                is_module = (PACKAGE / f"{name}.py").is_file() or name in ("_native", "aio")
                yield (name if is_module else "", True)


@pytest.mark.parametrize("path", module_files(), ids=label)
def test_imports_follow_the_picture(path: Path) -> None:
    """The low modules look at nothing above them, and only the right modules know cffi, asyncio, rich and each other."""
    inside = {name for name, ours in imports(path) if ours}
    outside = {name for name, ours in imports(path) if not ours}
    module = py_room(path)
    wrong = []
    if module in PY_ARROWS:
        wrong += [f"{name or 'the package'}" for name in inside - PY_ARROWS[module]]
    if "_native" in inside and module != "_ffi":
        wrong.append("_native: only _ffi imports it")
    if "_ffi" in inside and module in {"__main__", "_cli", "_faces", "aio", "pytest_plugin"}:
        wrong.append("_ffi: the top of the house goes through the public face")
    if inside & {"_cli", "_faces", "__main__"} and module not in {"_cli", "__main__"}:
        wrong.append("the command line: nothing imports it")
    if "aio" in inside and module not in {"__init__", "_cli"}:
        wrong.append("aio: only its users import it")
    if inside & {"sim", "testing", "pytest_plugin"} and module not in {"_cli", "testing", "pytest_plugin", "__init__"}:
        wrong.append("sim: the product knows nothing of the simulation")
    if "asyncio" in outside and module != "aio":
        wrong.append("asyncio: only aio")
    if "rich" in outside and module != "_faces":
        wrong.append("rich: only the command line's faces")
    if "cffi" in outside and module != "_build":
        wrong.append("cffi: only the builder")
    if outside & {"pytest", "hypothesis"} and module != "pytest_plugin":
        wrong.append("test tools in the package")
    if module == "pytest_plugin":  # at each start of pytest, wherever ras_ext is installed
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        names = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        wrong += [f"{name} at its top" for name in set(names) - {"__future__", "collections.abc", "pathlib", "typing", "pytest"}]
    assert not wrong, f"ras_ext/{path.name} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", module_files(), ids=label)
def test_only_ffi_and_sim_touch_lib(path: Path) -> None:
    """`lib.` calls stand where the error check stands, so that none is forgotten."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "lib"]
    assert not found or py_room(path) in {"_ffi", "sim"}, f"ras_ext/{path.name} uses lib in lines {found}"


def test_leaves_are_leaves() -> None:
    """Nothing in the package imports docs, examples, benchmarks, tests or ci."""
    leaves = {"docs", "examples", "benchmarks", "tests", "ci", "run", "workshop", "cbuild"}
    for path in module_files():
        assert not leaves & {name for name, ours in imports(path) if not ours}, path


def test_every_file_names_its_licence() -> None:
    """Each source file carries its SPDX line."""
    places = [*c_files(), *(ROOT / "tests" / "c").glob("*.[ch]")]
    for folder in ("ras_ext", "tests", "ci", "examples", "benchmarks"):
        places += (ROOT / folder).rglob("*.py")
    missing = [str(path.relative_to(ROOT)) for path in places if "SPDX-License-Identifier: MIT" not in path.read_text("utf-8")]
    assert not missing
