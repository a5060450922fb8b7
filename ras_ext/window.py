"""Notifications for an application's own window, as the window form of RasDial brings them.

SPDX-License-Identifier: MIT

For programs that have a window and a message loop already, and code that handles WM_RASDIALEVENT (S1.4):

    dial = client.dial("Office VPN", on_event=ras_ext.window.post_to_window(hwnd))

The message is posted after the event has left RAS, so a program that does not read its messages cannot hold the dial. The
library's own use of windows is another thing: `dial(..., notifier="window")`.
"""

from __future__ import annotations

from collections.abc import Callable

from . import _ffi
from .errors import NotAvailableError
from .events import Event

__all__ = ["post_to_window"]

_MOST = (1 << 64) - 1


def post_to_window(window: int) -> Callable[[Event], None]:
    """A handler for `on_event` that posts each event to a window.

    The message is the registered one, RegisterWindowMessage("RasDialEvent"), wParam the state, lParam the error. A window that is
    gone, or whose queue is full, loses messages; the dial does not notice.

    Args:
        window: The HWND.

    Returns:
        A callable that takes an Event.

    Raises:
        TypeError, ValueError: no handle.
        NotAvailableError: there are no windows here.

    Threads: any; the handler never blocks.
    Source: S1.4, S1.5.
    """
    if isinstance(window, bool) or not isinstance(window, int):
        raise TypeError(f"window must be an int (HWND), not {type(window).__name__}")
    if not 0 < window <= _MOST:
        raise ValueError(f"{window} is no window handle")
    if _ffi.window_post(0, 0, 0) == _ffi.E_NOT_AVAILABLE:
        raise NotAvailableError(_ffi.E_NOT_AVAILABLE, "There are windows to post to on Windows only.")

    def post(event: Event) -> None:
        _ffi.window_post(window, int(event.state), event.error)

    return post
