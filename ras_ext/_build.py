"""The cffi builder: reads the public C header, declares it to cffi, names the sources; also writes the type stub.

SPDX-License-Identifier: MIT

setup.py uses `ffibuilder` from here. The module is importable after installation too, so that another cffi project can
`ffibuilder.include(ras_ext._build.ffibuilder)`; nothing here runs when ras_ext itself is imported.

    python ras_ext/_build.py            write ras_ext/_native.pyi
    python ras_ext/_build.py --check    fail when it is not what the header says

Environment, read when the extension is built: RASX_SANITIZE ("address,undefined" or "thread") builds with sanitizers,
RASX_WERROR=1 makes warnings errors.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi

_BEGIN = "/* cffi: begin */"
_END = "/* cffi: end */"
_HERE = Path(__file__).resolve().parent
_sources = runpy.run_path(str(_HERE / "_sources.py"))  # by path: the package cannot be imported before it is built
source_folder: Callable[[], Path] = _sources["folder"]
sources: Callable[[], list[Path]] = _sources["files"]


def declarations(header: str) -> str:
    """The part of ras_ext.h between the markers, in the dialect that cffi's parser takes."""
    _, begin, rest = header.partition(_BEGIN)
    inside, end, _ = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"ras_ext.h has no {_BEGIN} ... {_END}")
    inside = re.sub(r"/\*.*?\*/", " ", inside, flags=re.DOTALL)  # a #define's comment may span lines
    inside = re.sub(r"\bRASX_API\b\s*", "", inside)
    unusable = re.search(r"^\s*#\s*(?!define\s+\w+\s+(?:0[xX][0-9a-fA-F]+|\d+)\s*$).*", inside, flags=re.MULTILINE)
    if unusable:
        raise ValueError(f"cffi cannot take this line of ras_ext.h: {unusable.group().strip()!r}")
    return "\n".join(line.rstrip() for line in inside.splitlines() if line.strip()) + "\n"


# --- The type stub ------------------------------------------------------------------------------------------------------------

_STUB_HEAD = '''\
# Generated from csrc/ras_ext.h by `python ras_ext/_build.py`; do not edit.
# SPDX-License-Identifier: MIT
from collections.abc import Buffer, Callable
from typing import Any, overload

class CData:
    """A value of C. Members and elements are Any: cffi checks them when the program runs."""

    def __getitem__(self, index: Any, /) -> Any: ...
    def __setitem__(self, index: Any, value: Any, /) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __len__(self) -> int: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...

class _FFI:
    NULL: CData
    def new(self, declaration: str, initial: Any = ..., /) -> CData: ...
    def cast(self, declaration: str, value: Any, /) -> CData: ...
    def string(self, value: CData, most: int = ..., /) -> bytes: ...
    def unpack(self, value: CData, length: int, /) -> Any: ...
    def sizeof(self, value: str | CData, /) -> int: ...
    def addressof(self, value: Any, /, *members: str | int) -> CData: ...
    @overload
    def buffer(self, value: CData, /) -> memoryview: ...
    @overload
    def buffer(self, value: CData, size: int, /) -> memoryview: ...
    def memmove(self, target: CData | bytearray, source: CData | bytes | bytearray, count: int, /) -> None: ...
    def from_buffer(self, declaration: str, value: bytes | bytearray | memoryview, /) -> CData: ...
    def gc(self, value: CData, destructor: Callable[[CData], object] | None, /) -> CData: ...
    def release(self, value: CData, /) -> None: ...
    def typeof(self, value: str | CData, /) -> Any: ...
    def def_extern(self) -> Any: ...

'''

_INTEGERS = {"uint16_t", "uint32_t", "uint64_t", "int32_t", "int64_t", "rasx_dial", "size_t", "int"}


def _python_type(declaration: str) -> str:
    """What a C parameter or result is for Python: an int, or something that cffi made."""
    words = declaration.replace("*", " * ").replace("const", " ").split()
    if "*" not in words and words and words[0] in _INTEGERS:
        return "int"
    return "None" if words == ["void"] else "CData"


def _function(match: re.Match[str]) -> str:
    result, name, parameters = match.group(1), match.group(2), match.group(3)
    typed = []
    for number, parameter in enumerate(filter(None, (part.strip() for part in parameters.split(",")))):
        if parameter == "void":
            continue
        given = re.sub(r"\s+", " ", parameter)
        found = re.search(r"(\w+)$", given)
        label = found.group(1) if found and " " in given.replace("*", " ") else f"a{number}"
        kind = _python_type(given)
        if kind == "CData" and re.search(r"\bchar\b", given) and "const" in given:
            kind = "CData | bytes"
        typed.append(f"{label}: {kind}")
    arguments = ", ".join(["self", *typed, "/"] if typed else ["self"])
    return f"    def {name}({arguments}) -> {_python_type(result)}: ..."


def stub(header: str) -> str:
    """The text of _native.pyi for this header."""
    text = declarations(header)
    constants = re.findall(r"^\s*#\s*define\s+(\w+)", text, flags=re.MULTILINE)
    for body in re.findall(r"\benum\s+\w+\s*\{(.*?)\}", text, flags=re.DOTALL):
        constants += re.findall(r"\b(RASX_\w+)\s*=", body)
    bare = re.sub(r"\{[^{}]*\}", "", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE), flags=re.DOTALL)
    pattern = r"^([\w ]+?[ *]+)(rasx_\w+)\(([^()]*)\)\s*;"
    functions = [_function(match) for match in re.finditer(pattern, bare, flags=re.MULTILINE) if "typedef" not in match.group(1)]
    announced = len(re.findall(r"^RASX_API\b", header.partition(_BEGIN)[2].partition(_END)[0], flags=re.MULTILINE))
    if len(functions) != announced:
        raise ValueError(f"ras_ext.h announces {announced} functions, the stub generator understood {len(functions)}")
    lines = ["class _Lib:", *(f"    {name}: int" for name in constants), *functions, "", "ffi: _FFI", "lib: _Lib", ""]
    return _STUB_HEAD.replace("Buffer, ", "") + "\n".join(lines)


# --- The builder --------------------------------------------------------------------------------------------------------------


def _flags() -> tuple[list[str], list[str]]:
    """Flags for compiling and for linking, from the platform and the two environment switches."""
    sanitize = os.environ.get("RASX_SANITIZE", "")
    strict = os.environ.get("RASX_WERROR", "") not in ("", "0")
    if os.name == "nt" and not sysconfig.get_platform().startswith("mingw"):
        compiling = ["/std:c11", "/O2", "/utf-8"]
        if strict:
            compiling += ["/W3", "/WX"]
        if sanitize:
            raise ValueError("RASX_SANITIZE needs gcc or clang")
        return compiling, []
    compiling = ["-std=c11", "-O2", "-fvisibility=hidden"]
    linking: list[str] = []
    if os.name != "nt":
        compiling.append("-pthread")
        linking.append("-pthread")
    if strict:  # the strict set for our own files is ci/run.py's; cffi's generated file meets only this one
        compiling += ["-Wall", "-Wextra", "-Wvla", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
    if sanitize:
        if sanitize not in ("address,undefined", "thread"):
            raise ValueError(f'RASX_SANITIZE is "address,undefined" or "thread", not {sanitize!r}')
        compiling += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-g", "-O1"]
        linking.append(f"-fsanitize={sanitize}")
    return compiling, linking


def _make() -> cffi.FFI:
    folder = source_folder()
    builder = cffi.FFI()
    builder.cdef(declarations((folder / "ras_ext.h").read_text(encoding="utf-8")))
    compiling, linking = _flags()
    # setuptools wants paths relative to setup.py, which is where it runs; an installed copy is never built from.
    base = _HERE.parent if folder.parent == _HERE.parent else folder
    keywords: dict[str, Any] = {}
    if sysconfig.get_config_var("Py_GIL_DISABLED"):  # see setup.py
        keywords["py_limited_api"] = False
    builder.set_source(
        "ras_ext._native",
        '#include "ras_ext.h"',
        sources=[path.relative_to(base).as_posix() for path in sources()],
        depends=[path.relative_to(base).as_posix() for path in sorted(folder.rglob("*.h"))],
        include_dirs=[folder.relative_to(base).as_posix()],
        extra_compile_args=compiling,
        extra_link_args=linking,
        libraries=["user32", "advapi32", "bcrypt"] if os.name == "nt" else [],
        **keywords,
    )
    return builder


ffibuilder = _make()


def main(arguments: list[str]) -> int:
    """Writes the stub, or with --check compares it."""
    target = _HERE / "_native.pyi"
    text = stub((source_folder() / "ras_ext.h").read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            return 0
        print(f"{target.name} is not what ras_ext.h says; run: python ras_ext/_build.py", file=sys.stderr)
        return 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    target.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
