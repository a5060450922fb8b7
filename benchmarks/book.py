"""Generates phone books.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

from pathlib import Path


def entry_name(index: int) -> str:
    return f"Entry {index:05}"


def write_book(path: Path, count: int) -> None:
    """A phone book with `count` VPN entries."""
    with path.open("w", encoding="utf-8", newline="\r\n") as file:
        for index in range(count):
            print(f"[{entry_name(index)}]", "Encoding=1", "Type=2", "MEDIA=rastapi", "Port=VPN2-0", sep="\n", file=file)
            print("Device=WAN Miniport (IKEv2)", "DEVICE=vpn", f"PhoneNumber=vpn{index}.example.net\n", sep="\n", file=file)
