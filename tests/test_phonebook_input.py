"""Phone books that are missing, unreadable, damaged, huge or random: a clear error or a right list, and nothing left open.

SPDX-License-Identifier: MIT

The reader itself has C tests and a fuzzer of its own; here bad files come in through the Python face, into entries() and dial().
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import write_book
from holding import SOAK, open_descriptors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ras_ext
from ras_ext import Client, HangUp, NameCheck
from ras_ext.sim import Machine

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")

CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
ANY = settings(max_examples=1000 if SOAK else 120, deadline=None, suppress_health_check=CHECKS)
BODY = b"MEDIA=rastapi\r\nPort=VPN2-0\r\nDevice=WAN Miniport (IKEv2)\r\nDEVICE=vpn\r\nPhoneNumber=vpn.example.com\r\n"
MIB = 1 << 20


def code_of_entries(client: Client, path: Path) -> int:
    """0, or the code that entries() fails with; the error must say what to do."""
    try:
        client.entries(path)
    except ras_ext.PhonebookError as problem:
        assert isinstance(problem, LookupError) and problem.hint and problem.name.startswith("ERROR_")
        return problem.code
    return 0


def code_of_dial(client: Client, path: Path, entry: str = "Office VPN") -> int:
    """0 for a dial that connects (and is hung up), else the code of its failure."""
    dial = client.dial(entry, phonebook=path)
    problem = dial.exception()
    if problem is not None:
        assert problem.entry == entry and problem.hint
        return problem.code
    assert dial.result().hang_up() is HangUp.GONE
    return 0


# --- Files that cannot be read ----------------------------------------------------------------------------------------


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may be no longer than 107 bytes
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def _forbidden(path: Path) -> None:
    write_book(path, "Office VPN").chmod(0)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": _missing,
    "a directory": Path.mkdir,
    "a dangling link": _link_to_nothing,
    "a link to itself": _link_to_itself,
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
}
if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may read everything
    UNREADABLE["forbidden"] = _forbidden


@pytest.mark.parametrize("kind", UNREADABLE)
def test_64_unreadable_books(virtual: Machine, client: Client, tmp_path: Path, kind: str) -> None:
    """621 for what is missing, unreadable or no file, at once (a pipe must not block), from entries() and as a dial's outcome."""
    path = tmp_path / "bad.pbk"
    UNREADABLE[kind](path)
    before = open_descriptors()
    for _ in range(5):
        assert code_of_entries(client, path) == 621
        assert code_of_dial(client, path) == 621
        with pytest.raises(ras_ext.PhonebookError):
            client.validate_entry_name("New", path)
    assert open_descriptors() == before


def test_a_path_through_a_file(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """A file where a folder should be, and a name that is too long for the file system: 621."""
    book = write_book(tmp_path / "b.pbk", "Office VPN")
    for path in (book / "rasphone.pbk", tmp_path / ("n" * 300), tmp_path / "no" / "such" / "folder.pbk"):
        assert code_of_entries(client, path) == code_of_dial(client, path) == 621


# --- Files that are no phone book -------------------------------------------------------------------------------------

GOOD = b"[Office VPN]\r\n" + BODY

DAMAGED: dict[str, bytes] = {
    "NUL bytes": GOOD.replace(b"MEDIA", b"ME\0IA"),
    "a NUL at the end": GOOD + b"\0",
    "nothing but NUL": bytes(4096),
    "UTF-16": b"\xff\xfe" + GOOD.decode().encode("utf-16-le"),
    "every byte": bytes(range(256)) * 16,
    "a key before the first section": b"Encoding=1\r\n" + GOOD,
    "an unclosed header": GOOD.replace(b"]", b"", 1),
    "a huge line": GOOD + b"Custom=" + b"x" * 65_537 + b"\r\n",
    "a huge line without end": GOOD + b"x" * (4 * MIB),
    "a huge name": b"[" + b"x" * 65_537 + b"]\r\n" + GOOD,
    "a program": b"\x7fELF\x02\x01\x01" + bytes(60),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_65_damaged_books(virtual: Machine, client: Client, tmp_path: Path, kind: str) -> None:
    """622, and the next good file under the same name is read afresh."""
    path = tmp_path / "bad.pbk"
    path.write_bytes(DAMAGED[kind])
    before = open_descriptors()
    assert code_of_entries(client, path) == code_of_dial(client, path) == 622
    path.write_bytes(GOOD)
    assert [entry.name for entry in client.entries(path)] == ["Office VPN"]
    assert code_of_dial(client, path) == 0
    path.write_bytes(DAMAGED[kind])
    assert code_of_entries(client, path) == code_of_dial(client, path) == 622
    assert open_descriptors() == before


HARMLESS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", []),
    "only line ends": (b"\r\n\n\r\r\n", []),
    "only a mark": (b"\xef\xbb\xbf", []),
    "with a mark": (b"\xef\xbb\xbf" + GOOD, ["Office VPN"]),
    "LF": (GOOD.replace(b"\r\n", b"\n"), ["Office VPN"]),
    "CR": (GOOD.replace(b"\r\n", b"\r"), ["Office VPN"]),
    "no end of the last line": (GOOD[:-2], ["Office VPN"]),
    "Windows-1252": (b"[B\xfcro]\r\n" + BODY, ["Büro"]),
    "the same name twice": (GOOD + GOOD.replace(b"Office", b"OFFICE"), ["Office VPN", "OFFICE VPN"]),
    "unknown keys": (GOOD + b"Nobody=knows\r\n=\r\nnothing\r\n" + b"[Second]\r\n" + BODY, ["Office VPN", "Second"]),
    "the longest line": (GOOD + b"Custom=" + b"x" * (65_536 - 7) + b"\r\n", ["Office VPN"]),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_odd_but_good_books(virtual: Machine, client: Client, tmp_path: Path, kind: str) -> None:
    """What other programs write is read: marks, line ends, code pages, unknown keys; a missing entry is 623."""
    content, names = HARMLESS[kind]
    path = tmp_path / "odd.pbk"
    path.write_bytes(content)
    assert [entry.name for entry in client.entries(path)] == names
    assert all(entry.phonebook == str(path) for entry in client.entries(path))
    assert code_of_dial(client, path, "No such entry") == 623
    for name in names:
        assert code_of_dial(client, path, name) == 0
        assert client.validate_entry_name(name, path) is NameCheck.PRESENT


def test_an_entry_without_a_device(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """It is listed, and dialling it fails with 608: the device does not exist."""
    path = tmp_path / "b.pbk"
    path.write_bytes(b"[Office VPN]\r\nEncoding=1\r\n")
    assert [entry.name for entry in client.entries(path)] == ["Office VPN"]
    assert code_of_dial(client, path) == 608


# --- Huge files -------------------------------------------------------------------------------------------------------


def test_limits_on_entries(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """65,536 entries are read and the last one dialled; one more, and a million, are 622."""
    path = tmp_path / "many.pbk"
    path.write_bytes(b"".join(b"[Entry %d]\r\n" % number for number in range(65_535)) + GOOD)
    entries = client.entries(path)
    assert len(entries) == 65_536 and entries[0].name == "Entry 0" and entries[-1].name == "Office VPN"
    assert code_of_dial(client, path) == 0
    for count in (65_536, 1_000_000):
        path.write_bytes(b"".join(b"[Entry %d]\r\n" % number for number in range(count)) + GOOD)
        assert code_of_entries(client, path) == code_of_dial(client, path) == 622


@pytest.mark.parametrize("size", [64 * MIB, 64 * MIB + 1, 1 << 40])
def test_limits_on_size(virtual: Machine, client: Client, tmp_path: Path, size: int) -> None:
    """Files over 64 MiB are refused without being read; a terabyte of nothing (a sparse file) too."""
    path = tmp_path / "large.pbk"
    if size == 64 * MIB:  # lines of 64 KiB, just under the limit on each
        line = b"X=" + b"y" * (65_536 - 4) + b"\r\n"
        head = GOOD + b"X=" + b"y" * (65_534 - len(GOOD) - 2) + b"\r\n"
        path.write_bytes(head + line * (64 * MIB // 65_536 - 1))
        assert path.stat().st_size == size
        assert code_of_entries(client, path) == code_of_dial(client, path) == 0
    else:
        with path.open("wb") as file:
            try:
                file.truncate(size)
            except OSError:
                pytest.skip("the file system holds no file of that size")
        assert code_of_entries(client, path) == code_of_dial(client, path) == 622
    path.unlink()


def test_a_million_lines(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """An entry with a million lines of unknown keys dials as any other."""
    path = tmp_path / "long.pbk"
    path.write_bytes(GOOD + b"".join(b"Key%d=%d\r\n" % (number, number) for number in range(1_000_000)))
    assert [entry.name for entry in client.entries(path)] == ["Office VPN"]
    assert code_of_dial(client, path) == 0


def test_a_book_that_changes_all_the_time(virtual: Machine, client: Client, tmp_path: Path) -> None:
    """Replaced, cut, damaged, removed between calls, with the same size too: each call tells what stands there then."""
    path = tmp_path / "b.pbk"
    before = open_descriptors()
    for number in range(200 if SOAK else 40):
        name = f"Entry {number % 10}"
        other = tmp_path / "next.pbk"
        other.write_bytes(f"[{name}]\r\n".encode() + BODY)
        other.replace(path)  # another inode, the same size, perhaps the same time
        assert [entry.name for entry in client.entries(path)] == [name]
        assert code_of_dial(client, path, name) == 0
        path.write_bytes(path.read_bytes()[: 3 + number % 5])  # within the header
        assert code_of_entries(client, path) == 622
        path.unlink()
        assert code_of_entries(client, path) == 621
    assert open_descriptors() == before


# --- Random files -----------------------------------------------------------------------------------------------------


def check_anything(client: Client, content: bytes) -> None:
    """Whatever the bytes: entries() gives a list or 622, dial() agrees with it, nothing stays open."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.pbk"
        path.write_bytes(content)
        before = open_descriptors()
        try:
            entries = client.entries(path)
        except ras_ext.PhonebookError as problem:
            assert problem.code == 622
            assert code_of_dial(client, path, "x") == 622
        else:
            assert len(entries) <= content.count(b"[")
            for entry in entries[:3]:
                assert entry.phonebook == str(path) and not entry.all_users and "\0" not in entry.name
                if entry.name and len(entry.name.encode("utf-16-le")) < 512:
                    assert code_of_dial(client, path, entry.name) in (0, 608, 609, 623, 633, 755)
                    assert client.validate_entry_name(entry.name, path) in (NameCheck.PRESENT, NameCheck.MALFORMED)
            assert code_of_dial(client, path, "no such entry") == 623
        assert open_descriptors() == before


@ANY
@given(content=st.binary(max_size=2000))
@example(content=b"[")
@example(content=b"[]")
@example(content=b"[\xff\xfe]\r\n")
@example(content=b"\xef\xbb[a]")
@example(content=b"[a]\r\nMEDIA=\r\nDEVICE=\r\n")
def test_any_bytes(virtual: Machine, client: Client, content: bytes) -> None:
    """Random bytes never crash the reader."""
    check_anything(client, content)


PIECES = st.sampled_from(
    [
        *(b"[Office VPN]", b"[", b"]", b"[]", b"[a]", b"=", b" ", b";"),
        *(b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc3\xbc", b"\xfc"),
        *(b"Encoding=1", b"Type=2", b"MEDIA=rastapi", b"MEDIA=", b"Port=VPN2-0", b"Device=WAN Miniport (IKEv2)", b"DEVICE=vpn"),
        *(b"DEVICE=modem", b"PhoneNumber=vpn.example.com", b"NETCOMPONENTS=", b"ms_msclient=1", b"DialMode=2", b"x" * 300),
        *(b"CustomDialDll=evil.dll", BODY, GOOD, b"MEDIA=rastapi\r\n" * 40, b"DEVICE=vpn\r\n" * 9),
    ]
)


@ANY
@given(pieces=st.lists(PIECES, max_size=60))
def test_any_pieces(virtual: Machine, client: Client, pieces: list[bytes]) -> None:
    """Pieces of real phone books in any order never crash the reader, nor a dial of what was read."""
    check_anything(client, b"".join(pieces))


@ANY
@given(position=st.integers(0, len(GOOD) * 3), replacement=st.binary(max_size=3), cut=st.integers(0, 10))
def test_any_damage(virtual: Machine, client: Client, position: int, replacement: bytes, cut: int) -> None:
    """A good phone book of three entries with one place damaged."""
    whole = GOOD + GOOD.replace(b"Office", b"Second") + GOOD.replace(b"Office", b"Third")
    check_anything(client, whole[:position] + replacement + whole[position + cut :])


NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="[]"), min_size=1, max_size=60)


@ANY
@given(
    names=st.lists(NAME, max_size=20),
    end=st.sampled_from(["\r\n", "\n", "\r"]),
    mark=st.booleans(),
    extra=st.lists(st.sampled_from(["", "Custom=1", "=", "text", "; remark"]), max_size=4),
)
def test_any_good_book(virtual: Machine, client: Client, names: list[str], end: str, mark: bool, extra: list[str]) -> None:
    """A well-formed book with any names: exactly these, in order; the first one dials."""
    lines: list[str] = []
    for name in names:
        lines += [f"[{name}]", "Encoding=1", *extra, *BODY.decode().split("\r\n")]
    content = ("\ufeff" if mark else "") + end.join(lines) + end
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.pbk"
        path.write_bytes(content.encode())
        assert [entry.name for entry in client.entries(path)] == names
        for name in names[:2]:
            assert code_of_dial(client, path, name) == 0
