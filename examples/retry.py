"""Dials again, with growing pauses, as long as the error is one that may pass; a wrong password is never repeated.

SPDX-License-Identifier: MIT
"""

import argparse
import time
from pathlib import Path

import ras_ext
from ras_ext import sim

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


def dial_with_retries(client: ras_ext.Client, entry: str, tries: int = 5, pause: float = 1.0) -> ras_ext.Connection:
    for left in reversed(range(tries)):
        try:
            return client.dial(entry, timeout=60).result()
        except ras_ext.RasError as error:
            if not error.transient or left == 0:
                raise
            print(f"{error.code} {error.name}: again in {pause:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 60)
    raise ValueError("tries must be at least 1")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Dial with retries.")
    parser.add_argument("entry", nargs="?", default="Office VPN")
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    parser.add_argument("--pause", type=float, default=1.0)
    options = parser.parse_args()
    with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client:
        if options.api == "sim":  # a line that is busy twice
            sim.control(client).fault("RasDialW", 676, times=2)
        print(f"{dial_with_retries(client, options.entry, pause=options.pause).entry} is up")
