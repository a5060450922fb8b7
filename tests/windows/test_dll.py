"""Our rasapi32.dll under the declarations of a C program: the A forms, every historical size, the codes of wrong ones.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rasdll
import receiver
from rasdll import HRASCONN, SIZES
from receiver import BOUND_S, ENTRY, STATES

import ras_ext
import ras_ext.sim

BOOK = str(receiver.BOOK)
GUARD = 64
FILL = 0xA5


@pytest.fixture
def machine() -> Iterator[ras_ext.sim.Machine]:
    """The machine inside the DLL, fresh; its marker export proves that the DLL is ours."""
    with ras_ext.open("system") as client:
        machine = ras_ext.sim.control(client)
        machine.reset(force=True)
        yield machine
        machine.reset(force=True)


@pytest.fixture
def dll(machine: ras_ext.sim.Machine) -> Any:
    return rasdll.load()


class Room:
    """Bytes with a dwSize in front and guard bytes behind, all of one value, so that every write shows."""

    def __init__(self, size: int, elements: int = 1) -> None:
        self.size, self.length = size, size * elements
        self.bytes = (ctypes.c_uint8 * (self.length + GUARD))(*[FILL] * (self.length + GUARD))
        ctypes.memmove(self.bytes, size.to_bytes(4, "little"), 4)

    def intact(self) -> bool:
        return bytes(self.bytes)[self.length :] == bytes([FILL]) * GUARD

    def word(self, offset: int) -> int:
        return int.from_bytes(bytes(self.bytes)[offset : offset + 4], "little")


def text_of(letter: str) -> Callable[[str], Any]:
    return (lambda text: text.encode("cp1252")) if letter == "A" else (lambda text: text)


def params_of(letter: str, size: int, entry: str = ENTRY, user: str = "", password: str = "") -> Room:
    """RASDIALPARAMS of any version."""
    kind, convert = (rasdll.RASDIALPARAMSA, rasdll.RASDIALPARAMSW)[letter == "W"], text_of(letter)
    whole: Any = kind()
    whole.szEntryName, whole.szUserName, whole.szPassword = convert(entry), convert(user), convert(password)
    room = Room(size)
    ctypes.memset(room.bytes, 0, size)
    ctypes.memmove(room.bytes, ctypes.byref(whole), min(size, ctypes.sizeof(whole)))
    ctypes.memmove(room.bytes, size.to_bytes(4, "little"), 4)
    return room


def dial(dll: Any, letter: str, size: int, **keywords: str) -> tuple[int, Any]:
    """A synchronous dial (S1.3)."""
    handle = HRASCONN()
    params = params_of(letter, size, **keywords)
    code = getattr(dll, f"RasDial{letter}")(None, text_of(letter)(BOOK), params.bytes, 0, None, ctypes.byref(handle))
    assert params.intact()
    return code, handle


@pytest.fixture
def handle(dll: Any) -> Iterator[Any]:
    """A connection that stands."""
    code, handle = dial(dll, "W", 2112)
    assert code == 0 and handle.value
    yield handle
    assert dll.RasHangUpW(handle) == 0


def test_the_marker_export_proves_whose_dll_answers(dll: Any) -> None:
    """rasx_sim_get_api exists, and the text behind it is ours; neither Microsoft's DLL nor Wine's has it."""
    table = dll.rasx_sim_get_api()
    marker = ctypes.cast(table + 8, ctypes.POINTER(ctypes.c_char_p))[0]
    assert marker == b"ras_ext simulated rasapi32"


def test_s8_57_layout_of_64_bit_windows() -> None:
    """The packing of 4 puts hrasconn at 4, and dwCallbackId at 1056 and 2100 (S5.3)."""
    for kind, offset in ((rasdll.RASDIALPARAMSA, 1056), (rasdll.RASDIALPARAMSW, 2100)):
        assert getattr(kind, "dwCallbackId").offset == offset  # noqa: B009 - made by type(), unknown to checkers
    for kind in (rasdll.RASCONNA, rasdll.RASCONNW):
        assert getattr(kind, "hrasconn").offset == 4  # noqa: B009


@pytest.mark.parametrize("letter", ["A", "W"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_each_kind_of_callback(dll: Any, letter: str, kind: int) -> None:
    """RasDialFunc, 1 and 2 of a foreign program tell all states in order, kind 2 with the caller's id (S1.4)."""
    seen: list[int] = []
    ids: list[Any] = []
    over = threading.Event()

    def tell(state: int, error: int) -> int:
        seen.append(state)
        if state == 8192 or error:
            over.set()
        return 1

    def on_func2(identity: Any, subentry: int, handle: Any, message: int, state: int, error: int, extended: int) -> int:
        ids.append(identity)
        return tell(state, error)

    function: Any = (
        rasdll.RASDIALFUNC(lambda message, state, error: tell(state, error) and None),
        rasdll.RASDIALFUNC1(lambda handle, message, state, error, extended: tell(state, error) and None),
        rasdll.RASDIALFUNC2(on_func2),
    )[kind]
    size = SIZES["RASDIALPARAMS"][letter == "W"][2]
    params = params_of(letter, size)
    identity = 0x1234_5678_9ABC  # above 2**32 (S8.30)
    ctypes.memmove(ctypes.byref(params.bytes, (1056, 2100)[letter == "W"]), identity.to_bytes(8, "little"), 8)
    handle = HRASCONN()
    ras_dial = getattr(dll, f"RasDial{letter}")
    pointer = ctypes.cast(function, ctypes.c_void_p)
    assert ras_dial(None, text_of(letter)(BOOK), params.bytes, kind, pointer, ctypes.byref(handle)) == 0
    assert over.wait(BOUND_S)
    assert seen == STATES
    assert set(ids) <= {identity}
    assert getattr(dll, f"RasHangUp{letter}")(handle) == 0


# --- Sizes -----------------------------------------------------------------------------------------------------------------


def each_size(name: str) -> list[tuple[str, int]]:
    return [(letter, size) for i, letter in enumerate("AW") for size in SIZES[name][i]]


@pytest.mark.parametrize(("letter", "size"), each_size("RASDIALPARAMS"))
def test_s8_52_every_size_of_dial_params(dll: Any, letter: str, size: int) -> None:
    """RasDial takes each; RasGetEntryDialParams writes no further than the version goes (S5.2)."""
    code, handle = dial(dll, letter, size)
    assert code == 0 and handle.value
    assert dll.RasHangUpW(handle) == 0
    params, flag = params_of(letter, size), ctypes.c_int32(7)
    get = getattr(dll, f"RasGetEntryDialParams{letter}")
    assert get(text_of(letter)(BOOK), params.bytes, ctypes.byref(flag)) == 0
    assert params.intact() and flag.value == 0 and params.word(0) == size


@pytest.mark.parametrize("size", SIZES["RASDIALEXTENSIONS"][0])
def test_s8_52_every_size_of_extensions(dll: Any, size: int) -> None:
    """RasDial takes each version of RASDIALEXTENSIONS, and 632 every other size."""
    room, handle = Room(size), HRASCONN()
    ctypes.memset(ctypes.byref(room.bytes, 4), 0, size - 4)
    params = params_of("W", 2112)
    assert dll.RasDialW(room.bytes, BOOK, params.bytes, 0, None, ctypes.byref(handle)) == 0
    assert dll.RasHangUpW(handle) == 0
    room.bytes[0] += 1
    handle = HRASCONN()
    assert dll.RasDialW(room.bytes, BOOK, params.bytes, 0, None, ctypes.byref(handle)) == 632
    assert not handle.value


@pytest.mark.parametrize(("letter", "size"), each_size("RASCONNSTATUS"))
def test_s8_52_every_size_of_status(dll: Any, handle: Any, letter: str, size: int) -> None:
    """RasGetConnectStatus fills that version's fields alone."""
    room = Room(size)
    assert getattr(dll, f"RasGetConnectStatus{letter}")(handle, room.bytes) == 0
    assert room.intact()
    assert (room.word(0), room.word(4), room.word(8)) == (size, 8192, 0)
    width = 1 + (letter == "W")
    device = bytes(room.bytes)[12 : 12 + 17 * width].decode("cp1252" if letter == "A" else "utf-16-le").partition("\0")[0]
    assert device == "vpn"


@pytest.mark.parametrize(
    ("name", "letter", "size"),
    [(name, letter, size) for name in ("RASCONN", "RASENTRYNAME", "RASDEVINFO") for letter, size in each_size(name)],
)
def test_s8_52_56_every_size_of_lists(dll: Any, handle: Any, name: str, letter: str, size: int) -> None:
    """The dwSize of the first element is enough, and nothing is written behind the last (S4.0)."""
    call = lister(dll, name, letter)
    count, needed = ctypes.c_uint32(), ctypes.c_uint32(0)
    first = Room(size)
    needed.value = 1  # too small for one: the number is told
    code = call(first.bytes, ctypes.byref(needed), ctypes.byref(count))
    assert code == 603 and first.intact() and count.value >= 1
    assert needed.value == size * count.value
    room = Room(size, count.value)
    assert call(room.bytes, ctypes.byref(needed), ctypes.byref(count)) == 0
    assert room.intact()
    assert [room.word(i * size) for i in range(count.value)] == [size] * count.value
    if name == "RASCONN":
        assert count.value == 1 and room.word(4) == handle.value & 0xFFFFFFFF  # S8.57


def lister(dll: Any, name: str, letter: str) -> Callable[..., int]:
    def entries(room: Any, size: Any, count: Any) -> int:
        return int(getattr(dll, f"RasEnumEntries{letter}")(None, text_of(letter)(BOOK), room, size, count))

    functions: dict[str, Callable[..., int]] = {
        "RASCONN": getattr(dll, f"RasEnumConnections{letter}"),
        "RASDEVINFO": getattr(dll, f"RasEnumDevices{letter}"),
        "RASENTRYNAME": entries,
    }
    return functions[name]


@pytest.mark.parametrize("letter", ["A", "W"])
def test_s8_51_wrong_sizes(dll: Any, handle: Any, letter: str) -> None:
    """A dwSize that no version has, the other form's included, is 632 and writes nothing."""
    place = "AW".index(letter)
    for name, (ours, theirs) in {key: (value[place], value[1 - place]) for key, value in SIZES.items()}.items():
        if name == "RASDIALEXTENSIONS":
            continue
        for size in {0, 1, ours[0] - 1, ours[-1] + 4, *theirs} - set(ours):
            room = Room(4096)
            ctypes.memmove(room.bytes, size.to_bytes(4, "little"), 4)
            before = bytes(room.bytes)
            if name == "RASCONNSTATUS":
                code = getattr(dll, f"RasGetConnectStatus{letter}")(handle, room.bytes)
            elif name == "RASDIALPARAMS":
                flag, other = ctypes.c_int32(), HRASCONN()
                code = getattr(dll, f"RasGetEntryDialParams{letter}")(text_of(letter)(BOOK), room.bytes, ctypes.byref(flag))
                assert getattr(dll, f"RasDial{letter}")(None, None, room.bytes, 0, None, ctypes.byref(other)) == 632
                assert not other.value
            else:
                count, room_bytes = ctypes.c_uint32(), ctypes.c_uint32(4096)
                code = lister(dll, name, letter)(room.bytes, ctypes.byref(room_bytes), ctypes.byref(count))
            assert (name, size, code) == (name, size, 632)
            assert bytes(room.bytes) == before


# --- Texts and names -------------------------------------------------------------------------------------------------------


def test_error_strings_of_both_forms(dll: Any) -> None:
    """Room counts characters; too little is 122, unknown codes are 87 (S4.5, S8.53, S8.54)."""
    wide, narrow = ctypes.create_unicode_buffer(512), ctypes.create_string_buffer(512)
    assert dll.RasGetErrorStringW(691, wide, 512) == 0
    assert dll.RasGetErrorStringA(691, narrow, 512) == 0
    assert wide.value and narrow.value.decode("cp1252") == wide.value
    exact = len(wide.value) + 1
    for function, room in ((dll.RasGetErrorStringA, narrow), (dll.RasGetErrorStringW, wide)):
        assert function(691, room, exact) == 0
        assert function(691, room, exact - 1) == 122
        assert function(1231, room, 512) == 87
        assert function(691, None, 512) == 87


def test_s8_60_the_a_forms_lose_characters(dll: Any) -> None:
    """A name that code page 1252 has not becomes question marks in the A form: the reason why the library calls W forms only."""
    for letter in "AW":
        count, needed = ctypes.c_uint32(), ctypes.c_uint32(0)
        lister(dll, "RASENTRYNAME", letter)(None, ctypes.byref(needed), ctypes.byref(count))
        size = SIZES["RASENTRYNAME"][letter == "W"][-1]
        room = Room(size, count.value)
        assert lister(dll, "RASENTRYNAME", letter)(room.bytes, ctypes.byref(needed), ctypes.byref(count)) == 0
        encoding = "cp1252" if letter == "A" else "utf-16-le"
        whole = bytes(room.bytes)
        names = [
            whole[i * size + 4 : i * size + 4 + 257 * (1 + (letter == "W"))].decode(encoding, "replace").partition("\0")[0]
            for i in range(count.value)
        ]
        assert ENTRY in names
    assert dll.RasValidateEntryNameA(BOOK.encode(), ENTRY.encode()) == 183
    assert dll.RasValidateEntryNameA(BOOK.encode(), b"a:b") == 123
    assert dll.RasValidateEntryNameA(BOOK.encode(), b"x" * 257) == 123
    assert dll.RasValidateEntryNameA(BOOK.encode(), b"Fresh") == 0


@pytest.mark.parametrize("letter", ["A", "W"])
def test_saving_credentials(dll: Any, machine: ras_ext.sim.Machine, letter: str) -> None:
    """Set stores, Get shows the placeholder, which dials; remove deletes (S4.6, S4.7)."""
    size, convert = SIZES["RASDIALPARAMS"][letter == "W"][2], text_of(letter)
    machine.account(ENTRY, "ada", "lovelace")
    set_params, get_params = getattr(dll, f"RasSetEntryDialParams{letter}"), getattr(dll, f"RasGetEntryDialParams{letter}")
    given = params_of(letter, size, user="ada", password="lovelace")
    assert set_params(convert(BOOK), given.bytes, 0) == 0
    read, flag = params_of(letter, size), ctypes.c_int32()
    assert get_params(convert(BOOK), read.bytes, ctypes.byref(flag)) == 0
    kind: Any = (rasdll.RASDIALPARAMSA, rasdll.RASDIALPARAMSW)[letter == "W"]
    shown = kind.from_buffer_copy(read.bytes)
    assert (flag.value, shown.szUserName, shown.szPassword) == (1, convert("ada"), convert("*" * 16))
    code, handle = dial(dll, letter, size, user="ada", password="*" * 16)
    assert code == 0
    assert dll.RasHangUpW(handle) == 0
    again = params_of(letter, size, user="ada", password="*" * 16)  # the placeholder leaves the password
    assert set_params(convert(BOOK), again.bytes, 0) == 0
    assert get_params(convert(BOOK), read.bytes, ctypes.byref(flag)) == 0 and flag.value == 1
    assert set_params(convert(BOOK), again.bytes, 1) == 0
    assert get_params(convert(BOOK), read.bytes, ctypes.byref(flag)) == 0 and flag.value == 0
    assert set_params(convert(BOOK), params_of(letter, size, entry="Nowhere").bytes, 0) == 623
    assert set_params(convert(BOOK), None, 0) == 610


# --- The library on top --------------------------------------------------------------------------------------------------


def test_s8_80_results_never_come_from_get_last_error(machine: ras_ext.sim.Machine) -> None:
    """Whatever GetLastError says, it is the function's own result that counts."""
    set_last_error = ctypes.WinDLL("kernel32").SetLastError  # type: ignore[attr-defined,unused-ignore]
    with ras_ext.open("system", phonebook=Path(BOOK)) as client:
        set_last_error(5)
        assert client.devices()
        machine.fault("RasEnumDevicesW", 711)
        set_last_error(0)
        with pytest.raises(ras_ext.RasError) as caught:
            client.devices()
        assert caught.value.code == 711


@pytest.mark.parametrize("api", ["sim", "system"])
def test_s8_27_texts_of_codes_that_ras_does_not_know(machine: ras_ext.sim.Machine, dll: Any, api: str) -> None:
    """RasGetErrorString says 87 for them; the system's own text answers (FormatMessage), and an unknown code still has one."""
    room = ctypes.create_unicode_buffer(512)
    with ras_ext.open(api) as client:  # type: ignore[arg-type,unused-ignore]
        for code in (13801, 1231):
            assert dll.RasGetErrorStringW(code, room, 512) == 87
            text = client.error_text(code)
            assert text and text != f"error {code}" and "\n" not in text
        assert client.error_text(1231) == ctypes.FormatError(1231).strip()  # type: ignore[attr-defined,unused-ignore]
        assert client.error_text(868)
        assert client.error_text(0xE0001234).lower() == "error 0xe0001234"
