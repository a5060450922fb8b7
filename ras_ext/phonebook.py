"""What a phone book and a machine offer: entries, devices, and whether a name may be given to a new entry.

SPDX-License-Identifier: MIT

Source: S4.3, S4.4, S4.9, S7.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Entry(NamedTuple):
    """An entry of a phone book (RasEnumEntries)."""

    name: str
    phonebook: str
    """The path of the phone book it stands in."""
    all_users: bool
    """Whether that phone book is the one for all users."""


class Device(NamedTuple):
    """A device that RAS can dial with (RasEnumDevices)."""

    type: str
    """"vpn", "PPPoE", "modem" ...: compare this one."""
    name: str
    """The display name, which is translated (S8.76)."""


class NameCheck(IntEnum):
    """What RasValidateEntryName says about a name (S4.9)."""

    NEW = 0
    """Well-formed, and not in the phone book."""
    MALFORMED = 123
    """Not a name for an entry."""
    PRESENT = 183
    """In the phone book already."""
