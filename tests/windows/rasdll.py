"""rasapi32.dll as a program in C would see it: ctypes declarations from S0.2 and S5, for the A and the W forms.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char, c_int32, c_uint8, c_uint32, c_void_p, c_wchar, sizeof
from typing import Any

SEARCH_SYSTEM32 = 0x800
HRASCONN = c_void_p


def _structure(name: str, fields: list[tuple[str, Any]]) -> type[Structure]:
    """A structure in the vendor's packing (S5.1)."""
    return type(name, (Structure,), {"_pack_": 4, "_layout_": "ms", "_fields_": fields})


class Guid(Structure):
    _fields_ = (("bytes", c_uint8 * 16),)


def dial_params(text: Any) -> type[Structure]:
    return _structure(
        "RASDIALPARAMS",
        [
            ("dwSize", c_uint32),
            ("szEntryName", text * 257),
            ("szPhoneNumber", text * 129),
            ("szCallbackNumber", text * 129),
            ("szUserName", text * 257),
            ("szPassword", text * 257),
            ("szDomain", text * 16),
            ("dwSubEntry", c_uint32),
            ("dwCallbackId", c_void_p),
            ("dwIfIndex", c_uint32),
        ],
    )


def connection(text: Any) -> type[Structure]:
    return _structure(
        "RASCONN",
        [
            ("dwSize", c_uint32),
            ("hrasconn", HRASCONN),
            ("szEntryName", text * 257),
            ("szDeviceType", text * 17),
            ("szDeviceName", text * 129),
            ("szPhonebook", text * 260),
            ("dwSubEntry", c_uint32),
            ("guidEntry", c_uint32 * 4),
            ("dwFlags", c_uint32),
            ("luid", c_uint32 * 2),
            ("guidCorrelationId", c_uint32 * 4),
        ],
    )


RASDIALPARAMSA, RASDIALPARAMSW = dial_params(c_char), dial_params(c_wchar)
RASCONNA, RASCONNW = connection(c_char), connection(c_wchar)
assert (sizeof(RASDIALPARAMSA), sizeof(RASDIALPARAMSW)) == (1068, 2112)
assert (sizeof(RASCONNA), sizeof(RASCONNW)) == (724, 1388)

# Every historical size on 64-bit Windows (S5.2), oldest first: A, W.
SIZES = {
    "RASDIALPARAMS": ((1052, 1064, 1068, 1076), (2096, 2108, 2112, 2120)),
    "RASCONNSTATUS": ((160, 288, 332), (304, 564, 608)),
    "RASCONN": ((416, 680, 696, 708, 724), (820, 1344, 1360, 1372, 1388)),
    "RASENTRYNAME": ((264, 532), (520, 1048)),
    "RASDEVINFO": ((152,), (296,)),
    "RASDIALEXTENSIONS": ((24, 44, 60), (24, 44, 60)),
}

RASDIALFUNC = ctypes.WINFUNCTYPE(None, c_uint32, c_uint32, c_uint32)  # type: ignore[attr-defined,unused-ignore]
RASDIALFUNC1 = ctypes.WINFUNCTYPE(None, HRASCONN, c_uint32, c_uint32, c_uint32, c_uint32)  # type: ignore[attr-defined,unused-ignore]
RASDIALFUNC2 = ctypes.WINFUNCTYPE(  # type: ignore[attr-defined,unused-ignore]
    c_uint32, c_void_p, c_uint32, HRASCONN, c_uint32, c_uint32, c_uint32, c_uint32
)


def load() -> Any:
    """The DLL in System32, with the signatures of S0.2."""
    dll = ctypes.WinDLL("rasapi32.dll", winmode=SEARCH_SYSTEM32)  # type: ignore[attr-defined,unused-ignore]
    for letter, text in (("A", ctypes.c_char_p), ("W", ctypes.c_wchar_p)):
        signatures: dict[str, list[Any]] = {
            "RasDial": [c_void_p, text, c_void_p, c_uint32, c_void_p, POINTER(HRASCONN)],
            "RasHangUp": [HRASCONN],
            "RasGetConnectStatus": [HRASCONN, c_void_p],
            "RasEnumConnections": [c_void_p, POINTER(c_uint32), POINTER(c_uint32)],
            "RasEnumEntries": [text, text, c_void_p, POINTER(c_uint32), POINTER(c_uint32)],
            "RasEnumDevices": [c_void_p, POINTER(c_uint32), POINTER(c_uint32)],
            "RasGetErrorString": [c_uint32, c_void_p, c_uint32],
            "RasGetEntryDialParams": [text, c_void_p, POINTER(c_int32)],
            "RasSetEntryDialParams": [text, c_void_p, c_int32],
            "RasValidateEntryName": [text, text],
        }
        for name, arguments in signatures.items():
            function = getattr(dll, name + letter)
            function.argtypes, function.restype = arguments, c_uint32
    dll.rasx_sim_get_api.restype = c_void_p
    return dll
