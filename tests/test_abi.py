"""The C interface is what tests/data/abi.txt lays down and docs/c-api.md tells; the extension exports nothing of it.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ras_ext import _native

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "c-api.md"

on_64_bit = pytest.mark.skipif(struct.calcsize("P") != 8, reason="the list holds the numbers of 64-bit processors")


@pytest.fixture(scope="module")
def abi() -> ModuleType:
    """ci/abi.py by its path: ci is no package."""
    spec = importlib.util.spec_from_file_location("_ras_ext_abi", ROOT / "ci" / "abi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def laid_down(abi: ModuleType) -> str:
    text: str = abi.LIST.read_text(encoding="utf-8")
    return text


# --- The list ---------------------------------------------------------------------------------------------------------


@on_64_bit
def test_header_keeps_what_is_laid_down(abi: ModuleType, laid_down: str) -> None:
    """Every function, constant and structure of the list is in the header unchanged, and the list lacks nothing."""
    breaks, additions = abi.compare(laid_down, abi.describe())
    assert not breaks, "this breaks programs that are compiled already; append only, size first:\n" + "\n".join(breaks)
    assert not additions, "run `python3 ci/abi.py --write` and commit tests/data/abi.txt:\n" + "\n".join(additions)


@on_64_bit
def test_built_extension_has_the_layout_of_the_list(abi: ModuleType, laid_down: str) -> None:
    """What the C compiler made of the structures and constants is what the list says."""
    lines = laid_down.splitlines()
    assert abi.structures(_native.ffi) == [line for line in lines if line.split()[0] in {"type", "opaque", "struct", "member"}]
    for name, value in (line.split()[1:] for line in lines if line.startswith("constant ")):
        assert getattr(_native.lib, name) == int(value, 0), name


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


SETTLED = "constant RASX_OUTCOME_SETTLED 0x3\n"
ERROR = "member rasx_answer.error at 4 size 4 uint32_t\n"
LAST = "member rasx_answer.callback_number at 32 size 8 char *\n"
WAKE = "function rasx_queue_wake void(*)(rasx_queue *)\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (SETTLED, "", "constant RASX_OUTCOME_SETTLED is gone"),
        (SETTLED, SETTLED.replace("3", "4"), "RASX_OUTCOME_SETTLED was 0x3 and is 0x4"),
        (WAKE, "", "function rasx_queue_wake is gone"),
        (WAKE, WAKE.replace("void(", "uint32_t("), "rasx_queue_wake was void"),
        (ERROR, "", "rasx_answer: member 1 was 'error at 4"),
        (ERROR, ERROR.replace(".error", ".code"), "is 'code at 4"),
        (ERROR, ERROR.replace("uint32_t", "int32_t"), "is 'error at 4 size 4 int32_t'"),
        (LAST, "", "rasx_answer: member 5 was"),
        ("struct rasx_answer size 40 align 8", "struct rasx_answer size 40 align 4", "its alignment was"),
        ("struct rasx_answer size 40", "struct rasx_answer size 48", "its size was"),
        (
            "struct rasx_device size 440 align 1\n",
            "struct rasx_device size 444 align 1\n",
            "struct rasx_device: its size was",
        ),
        (
            "member rasx_device.name at 52 size 388 char[388]\n",
            "member rasx_device.name at 52 size 388 char[388]\nmember rasx_device.flags at 440 size 1 uint8_t\n",
            "does not start with its size",
        ),
    ],
)
def test_what_breaks_programs_is_told(abi: ModuleType, laid_down: str, old: str, new: str, told: str) -> None:
    """Removing, reordering, changing, and growing a structure without a size are no additions."""
    breaks, _ = abi.compare(laid_down, changed(laid_down, old, new))
    assert len(breaks) == 1
    assert told in breaks[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (SETTLED, SETTLED + "constant RASX_OUTCOME_UNSURE 0x4\n", "constant RASX_OUTCOME_UNSURE is new"),
        (WAKE, WAKE + "function rasx_queue_yawn void(*)(rasx_queue *)\n", "function rasx_queue_yawn is new"),
        (
            LAST,
            LAST + "member rasx_answer.more at 40 size 8 char *\n",
            "struct rasx_answer has grown (the core must go on taking the old size)",
        ),
    ],
)
def test_what_is_appended_needs_a_new_list_only(abi: ModuleType, laid_down: str, old: str, new: str, told: str) -> None:
    """New functions and constants, and new last members of a structure that starts with its size, break nothing."""
    text = changed(laid_down, old, new).replace(
        "struct rasx_answer size 40", f"struct rasx_answer size {48 if old == LAST else 40}"
    )
    assert abi.compare(laid_down, text) == ([], [told])


def test_new_abi_number_allows_everything(abi: ModuleType, laid_down: str) -> None:
    """Programs compare RASX_ABI, so a raised one may break; a lowered one may not."""
    raised = changed(changed(laid_down, SETTLED, ""), "constant RASX_ABI 0x1\n", "constant RASX_ABI 0x2\n")
    assert abi.compare(laid_down, raised)[0] == []
    assert len(abi.compare(laid_down, raised)[1]) == 2
    assert len(abi.compare(raised, laid_down)[0]) == 1


def test_write_refuses_what_breaks(
    abi: ModuleType, laid_down: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--write` takes up additions, and a break only when told so."""
    copy = tmp_path / "abi.txt"
    monkeypatch.setattr(abi, "LIST", copy)
    monkeypatch.setattr(abi, "describe", lambda: laid_down)
    copy.write_text(changed(laid_down, WAKE, ""), encoding="utf-8", newline="\n")
    assert abi.main(["--check"]) == 1
    assert "run python3 ci/abi.py --write" in capsys.readouterr().err
    assert abi.main(["--write"]) == 0
    assert copy.read_text(encoding="utf-8") == laid_down
    more = laid_down + "function rasx_yawn void(*)()\n"
    copy.write_text(more, encoding="utf-8", newline="\n")
    assert abi.main(["--write"]) == 1
    assert copy.read_text(encoding="utf-8") == more
    assert "BREAKS compiled programs: function rasx_yawn is gone" in capsys.readouterr().err
    assert abi.main(["--write", "--break"]) == 0
    assert copy.read_text(encoding="utf-8") == laid_down


def test_a_table_carries_its_size_and_abi() -> None:
    """Both tables start with what their users compare before they call anything."""
    for table, name in ((_native.lib.rasx_get_api(), "rasx_api"), (_native.lib.rasx_sim_get_api(), "rasx_sim_api")):
        assert (table.size, table.abi) == (_native.ffi.sizeof(name), _native.lib.RASX_ABI)
        kind = _native.ffi.typeof(name)
        assert all(getattr(table, member) for member, _ in kind.fields), "a member is NULL"


# --- What is exported -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nm reads ELF here; ci/run.py windows lists the DLL's exports")
def test_extension_exports_its_entry_only() -> None:
    """Hidden visibility: two extensions with a core of their own in one process cannot bind to each other's."""
    nm = shutil.which("nm")
    if nm is None:
        assert not os.environ.get("CI"), "nm is missing (apt-get install binutils)"
        pytest.skip("nm is missing (apt-get install binutils)")
    listing = subprocess.run([nm, "-D", "--defined-only", _native.__file__], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in listing.stdout.splitlines()] == ["PyInit__native"]


# --- The page ---------------------------------------------------------------------------------------------------------


def entries() -> dict[str, str]:
    """Each `### rasx_name` of docs/c-api.md with the text of its entry."""
    parts = re.split(r"^##+ (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title.strip("`"): body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title.startswith("`rasx_")}


def test_every_function_has_its_entry(abi: ModuleType) -> None:
    """docs/c-api.md has an entry for each function of the header, with the very declaration, and for nothing else."""
    declared = abi.synopses(abi.declarations())
    found = entries()
    assert sorted(found) == sorted(declared)
    for name, text in found.items():
        block = re.search(r"```c\n(.*?)```", text, re.DOTALL)
        assert block, f"{name} has no synopsis"
        assert re.sub(r"\s+", " ", block[1]).strip() == declared[name], f"{name}: the synopsis is not the header's"


def test_every_entry_tells_the_same_things() -> None:
    """Effect, returns, threads and blocking stand in each entry; arguments too where there are any."""
    for name, text in entries().items():
        body = text.partition("```c")[2].partition("```")[2]
        assert re.match(r"\n\n[A-Z]", body), f"{name} does not tell its effect first"
        wanted = ["Returns", "Threads", "Blocks", "Owns", "Source"]
        if "(void)" not in text:
            wanted.insert(0, "Arguments")
        assert re.findall(r"^- \*\*(\w+):\*\*", body, re.MULTILINE) == wanted, name


def test_every_member_of_the_tables_is_told(abi: ModuleType) -> None:
    """A member of rasx_api is a function of the page under its name without rasx_; one of rasx_sim_api has a row."""
    found = entries()
    members = [name for name, _ in _native.ffi.typeof("rasx_api").fields if name not in {"size", "abi"}]
    assert {f"rasx_{name}" for name in members} <= set(found)
    lacking = set(found) - {f"rasx_{name}" for name in members}
    text = PAGE.read_text(encoding="utf-8")
    assert lacking == {"rasx_get_api"}, "functions that the table lacks"
    rows = re.findall(r"^\| `(\w+)` \|", text.partition("## The simulated machine's table")[2], re.MULTILINE)
    assert rows == [name for name, _ in _native.ffi.typeof("rasx_sim_api").fields if name not in {"size", "abi"}]
