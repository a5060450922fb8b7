"""Tells which connections of this machine come and go, whoever makes them, until Ctrl-C.

SPDX-License-Identifier: MIT

    python watcher.py                            for real, on Windows
    python watcher.py --api sim --changes 2      a simulated one, which the other side ends
"""

import argparse
from contextlib import suppress
from itertools import islice
from pathlib import Path

import ras_ext
from ras_ext import sim

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell which connections come and go.")
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    parser.add_argument("--changes", type=int, help="end after so many")
    options = parser.parse_args()
    book = OFFICE if options.api == "sim" else None
    with suppress(KeyboardInterrupt), ras_ext.open(options.api, phonebook=book) as client, client.watch(existing=True) as watch:
        if options.api == "sim":  # stands for another program
            client.dial("Office VPN").result()
        for change in islice(watch, options.changes):
            reason = "" if change.reason is None else f" ({change.reason.code} {change.reason.name})"
            print(f"{change.connection.entry}: {change.kind.value}{reason}")
            if options.api == "sim" and change.kind is ras_ext.ChangeKind.CONNECTED:
                sim.control(client).drop(change.connection)  # the other side ends it


if __name__ == "__main__":
    main()
