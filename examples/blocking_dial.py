"""Dials an entry, waits for the outcome, hangs up again.

SPDX-License-Identifier: MIT

    python blocking_dial.py --api sim            on the simulated machine, anywhere
    python blocking_dial.py "Office VPN"         for real, on Windows
"""

import argparse
import sys
from pathlib import Path

import ras_ext

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


def main() -> int:
    parser = argparse.ArgumentParser(description="Dial, wait, hang up.")
    parser.add_argument("entry", nargs="?", default="Office VPN")
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    options = parser.parse_args()
    with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client:
        try:
            connection = client.dial(options.entry, timeout=60).result()
        except ras_ext.RasError as error:
            print(error)  # number, name, text and a hint
            return 1
        print(f"{connection.entry} is up through {connection.device_name}")
        print(f"hung up: {connection.hang_up()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
