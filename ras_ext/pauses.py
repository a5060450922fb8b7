"""What a paused dial goes on with.

SPDX-License-Identifier: MIT

With paused states on, a dial that needs something from its user stands still instead of failing (S1.7): another user name or
password, a new password for an expired one, a number for the server to call back. `Event.wants` tells what it is. Whoever
asked for an interactive dial returns an Answer; who iterates by hand calls `Dial.resume`. docs/pauses.md shows both.
"""

from __future__ import annotations

from . import _ffi

TYPE_CHECKING = False  # spares `import typing` when the program runs; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable

UNANSWERABLE = ("terminal", "eap_ui", "unknown")
"""What no Answer holds: giving up there ends with 703, as a system without a user would have it."""


class Answer:
    """What to go on with; what is left out stays as it was before. No repr or traceback shows the password.

    Args:
        username: Another user name, at most 256 UTF-16 units.
        password: As for `Client.dial`; after PasswordExpired the new one.
        domain: Another domain, at most 15.
        callback_number: Where the server shall call back, at most 128.

    Source: S1.7, S1.2.
    """

    __slots__ = ("_secret", "callback_number", "domain", "username")

    def __init__(
        self,
        username: str | None = None,
        password: str | bytes | bytearray | Callable[[], str | bytes | bytearray] | None = None,
        domain: str | None = None,
        callback_number: str | None = None,
    ) -> None:
        self._secret = _ffi.Secret(password)
        password = None
        self.username = username
        self.domain = domain
        self.callback_number = callback_number

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)!r}" for name in ("username", "domain", "callback_number") if getattr(self, name)]
        if self._secret.given:
            given.insert(1 if self.username else 0, "password=<hidden>")
        return f"Answer({', '.join(given)})"
