"""Dials again, with growing pauses, as long as the error is one that may pass; a wrong password is never repeated.

SPDX-License-Identifier: MIT
"""

import argparse
from pathlib import Path

import ras_ext
from ras_ext import sim

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


def tell(error: ras_ext.RasError, pause: float) -> None:
    print(f"{error.code} {error.name}: again in {pause:g} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Dial with retries.")
    parser.add_argument("entry", nargs="?", default="Office VPN")
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    parser.add_argument("--pause", type=float, default=1.0)
    options = parser.parse_args()
    with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client:
        if options.api == "sim":  # a line that is busy twice
            sim.control(client).fault("RasDialW", 676, times=2)
        backoff = ras_ext.Backoff(options.pause, jitter=0)  # leave the jitter in where many clients dial one server
        connection = ras_ext.redial(client, options.entry, attempts=5, backoff=backoff, on_failure=tell, timeout=60)
        print(f"{connection.entry} is up")
