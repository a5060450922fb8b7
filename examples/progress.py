"""Shows each state of a dial as it is entered, in two ways: iterating, and with a handler that runs on another thread.

SPDX-License-Identifier: MIT

    python progress.py --api sim
"""

import argparse
import sys
from pathlib import Path

import ras_ext

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


def show(event: ras_ext.Event) -> None:
    failed = f"  error {event.error}" if event.error else ""
    print(f"{event.elapsed * 1000:8.1f} ms  {event.state.name}{failed}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Show each state of a dial.")
    parser.add_argument("entry", nargs="?", default="Office VPN")
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    options = parser.parse_args()
    with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client:
        dial = client.dial(options.entry)
        for event in dial:  # ends with the deciding event; a slow loop here never holds the dial up
            show(event)
        dial.result().hang_up()
        client.dial(options.entry, on_event=show).result().hang_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
