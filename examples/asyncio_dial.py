"""Dials several entries at once with asyncio, shows how each gets on, and hangs up what stands.

SPDX-License-Identifier: MIT

    python asyncio_dial.py --api sim "Office VPN" Home
"""

import argparse
import asyncio
from pathlib import Path

import ras_ext

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine


async def connect(client: ras_ext.Client, entry: str) -> None:
    try:
        async with ras_ext.aio.dial(entry, client=client) as dial:
            async for event in dial:
                print(f"{entry}: {event.state.name}")
            print(f"{entry}: hung up, {await (await dial).hang_up()}")
    except ras_ext.RasError as error:
        print(f"{entry}: {error.code} {error.name}")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", choices=("system", "sim"), default="system")
    parser.add_argument("--patience", type=float, default=60)
    parser.add_argument("entries", nargs="+")
    options = parser.parse_args()
    with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client:
        dials = (connect(client, entry) for entry in options.entries)
        await asyncio.wait_for(asyncio.gather(*dials), options.patience)  # running out cancels them


if __name__ == "__main__":
    asyncio.run(main())
