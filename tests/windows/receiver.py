"""What the tests of this folder share: a window of an application, bounded waiting, the phone book.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from ctypes import c_ssize_t, c_uint32, c_void_p, c_wchar_p
from pathlib import Path
from typing import Any

BOOK = Path(__file__).resolve().parent.parent / "data" / "office.pbk"
ENTRY = "Office VPN"
STATES = [0, 1, 2, 3, 4, 5, 6, 10, 6, 18, 14, 24, 8192]
BOUND_S = 20.0


def until(condition: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + BOUND_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.001)


class Window:
    """A message-only window on a thread of its own, as a GUI program has one; it keeps what it receives of RAS."""

    def __init__(self) -> None:
        self.received: list[tuple[int, int]] = []
        self.handle = 0
        self.blocked = threading.Event()
        self.blocked.set()
        self.user = ctypes.WinDLL("user32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
        self.message = self.user.RegisterWindowMessageA(b"RasDialEvent")
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(BOUND_S)

    def _run(self, ready: threading.Event) -> None:
        user = self.user
        procedure: Any = ctypes.WINFUNCTYPE(c_ssize_t, c_void_p, c_uint32, c_void_p, c_ssize_t)  # type: ignore[attr-defined,unused-ignore]
        user.CreateWindowExW.restype = c_void_p
        user.CreateWindowExW.argtypes = [c_uint32, c_wchar_p, c_wchar_p, c_uint32, *[ctypes.c_int] * 4, *[c_void_p] * 4]
        user.SetWindowLongPtrW.argtypes = [c_void_p, ctypes.c_int, c_void_p]
        user.DefWindowProcW.argtypes = [c_void_p, c_uint32, c_void_p, c_ssize_t]
        user.DefWindowProcW.restype = c_ssize_t

        def on_message(window: Any, message: int, first: Any, second: int) -> int:
            if message == self.message:
                self.blocked.wait()
                self.received.append((first or 0, second))
                return 1
            return int(user.DefWindowProcW(window, message, first, second))

        self.on_message = procedure(on_message)
        window = user.CreateWindowExW(0, "Static", None, 0, 0, 0, 0, 0, c_void_p(-3 & (1 << 64) - 1), None, None, None)
        assert window
        user.SetWindowLongPtrW(window, -4, ctypes.cast(self.on_message, c_void_p))
        self.handle = window
        ready.set()
        message = (ctypes.c_uint8 * 64)()
        user.GetMessageW.argtypes = [c_void_p, c_void_p, c_uint32, c_uint32]
        user.DispatchMessageW.argtypes = [c_void_p]
        while user.GetMessageW(message, None, 0, 0) > 0:
            user.DispatchMessageW(message)
        user.DestroyWindow.argtypes = [c_void_p]
        user.DestroyWindow(window)

    def close(self) -> None:
        self.blocked.set()
        self.user.PostThreadMessageW(self.thread.native_id, 0x12, 0, 0)  # WM_QUIT
        self.thread.join(BOUND_S)
        assert not self.thread.is_alive()
