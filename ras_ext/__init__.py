"""Dial and manage Windows Remote Access (RAS) connections: VPN, PPPoE, modem.

SPDX-License-Identifier: MIT

    import ras_ext

    dial = ras_ext.dial("Office VPN", username="ada", password=pw)   # returns at once
    for event in dial:
        print(event.state.name, event.elapsed)
    connection = dial.result(timeout=60)                             # or raises AuthenticationError (691) ...
    connection.hang_up()

`ras_ext.open("sim")` gives a client of a simulated RAS that works on every platform; `ras_ext.sim` controls it.

PYTEST_DONT_REWRITE (or pytest would warn whoever has imported this before it starts, because a plugin comes along).
"""

from __future__ import annotations

from .client import Client, dial, open, watch
from .connection import Connection, ConnectionStatus, Link
from .dial import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Dial, wait
from .errors import (
    AccessError,
    AuthenticationError,
    ClosedError,
    DialCancelledError,
    DisconnectedError,
    ForkedError,
    IpsecError,
    LineError,
    NotAvailableError,
    NotPausedError,
    PhonebookError,
    ProtocolError,
    RasError,
    ServiceError,
    StillDialing,
    TunnelError,
    UsageError,
)
from .events import Event, HangUp, Notifier, Origin, Outcome, State, Substate
from .pauses import Answer
from .phonebook import Device, Entry, NameCheck
from .pollable import Pollable
from .redial import Backoff, redial
from .watch import Change, ChangeKind, Watch

TYPE_CHECKING = False  # spares `import typing` when the program runs; type checkers know this name
if TYPE_CHECKING:
    from types import ModuleType

    from . import aio as aio
    from . import sim as sim

__version__ = "0.1.0"

__all__ = [
    # dialling
    "dial",
    "open",
    "redial",
    "wait",
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Answer",
    "Backoff",
    "Client",
    "Connection",
    "ConnectionStatus",
    "Dial",
    "Link",
    # what a dial reports
    "Event",
    "HangUp",
    "Notifier",
    "Origin",
    "Outcome",
    "State",
    "Substate",
    # errors
    "AccessError",
    "AuthenticationError",
    "ClosedError",
    "DialCancelledError",
    "DisconnectedError",
    "ForkedError",
    "IpsecError",
    "LineError",
    "NotAvailableError",
    "NotPausedError",
    "PhonebookError",
    "ProtocolError",
    "RasError",
    "ServiceError",
    "StillDialing",
    "TunnelError",
    "UsageError",
    # phone books and devices
    "Device",
    "Entry",
    "NameCheck",
    # watching
    "watch",
    "Change",
    "ChangeKind",
    "Watch",
    # event loops
    "aio",
    "Pollable",
    # building against the C core
    "get_api_address",
    "get_include",
    "get_sources",
    "sim",
    "__version__",
]


def __getattr__(name: str) -> ModuleType:
    """`ras_ext.aio` and `ras_ext.sim` without importing them for those who do not need them."""
    if name in ("aio", "sim"):
        import importlib

        return importlib.import_module(f"ras_ext.{name}")
    raise AttributeError(f"module 'ras_ext' has no attribute {name!r}")


def get_api_address() -> int:
    """The address of this process's `const rasx_api` (csrc/ras_ext.h): the core's functions as a table, for other extensions.

    C code that is given it calls the very core that Python uses, without linking anything. docs/c-api.md has the rules.

    Returns:
        An address that stays valid, and whose table does not change, as long as the process lives.

    Threads: any; does not block.
    """
    from . import _ffi

    return _ffi.api_address()


def get_include() -> str:
    """The folder with ras_ext.h, for the include path of C code that uses the core.

    Returns:
        An absolute path.
    """
    from . import _sources

    return str(_sources.include())


def get_sources() -> list[str]:
    """The C files of the core and of the simulated RAS for this platform, for building them into another extension.

    A second copy of the core has its own dials, queues and simulated machine.

    Returns:
        Absolute paths.
    """
    from . import _sources

    return [str(path) for path in _sources.files()]
