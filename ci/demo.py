"""The demonstration: two scenes with the real command line, on our own RAS. `python3 ci/run.py demo` runs it.

SPDX-License-Identifier: MIT

Scene one dials "Office VPN" out of a phone book in Windows' own form, shows it up, and hangs it up. Scene two dials it with a
wrong password. Each line with a $ is what the `ras-ext` program would be told; all of them run in this process, because the
simulated machine ends with its process. After each line the machine itself is asked whether what was shown is true: the exit
status is 0 only then.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

import ras_ext
from ras_ext import sim
from ras_ext.__main__ import main as ras_ext_main

PHONEBOOK = Path(__file__).resolve().parent.parent / "tests" / "data" / "office.pbk"
ENTRY = "Office VPN"
USER = "ada"
PASSWORD = "correct horse"  # noqa: S105 - of a simulated account
WRONG_PASSWORD = "battery staple"  # noqa: S105

# One answer of the network after the other, at a pace that can be watched: (milliseconds before it, state).
PACE = [(20, 0), (60, 1), (90, 2), (420, 3), (60, 4), (120, 5), (160, 6)]
PACE += [(240, 10), (90, 6), (180, 18), (120, 14), (90, 24), (120, 8192)]

failures: list[str] = []


def colour(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def heading(text: str) -> None:
    print(f"\n{colour(text, '1;36')}\n", flush=True)


def check(claim: str, holds: bool) -> None:
    """What the scene has just shown, asked of the machine itself."""
    if not holds:
        failures.append(claim)
        print(colour(f"NOT SO: {claim}", "1;31"), flush=True)


class Tee:
    """A stream that also remembers what went through it, so that what people saw can be checked."""

    def __init__(self, stream: TextIO, seen: list[str]) -> None:
        self._stream = stream
        self._seen = seen

    def write(self, text: str) -> int:
        self._seen.append(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shell(*arguments: str, password: str | None = None) -> tuple[int, str]:
    """Types one line and runs it; the password comes the way that the documentation advises. Exit status, what was shown."""
    print(colour("$ ", "1;32") + colour(shlex.join(["ras-ext", *arguments]), "1"), flush=True)
    seen: list[str] = []
    streams = sys.stdout, sys.stderr
    if password is not None:
        os.environ["RAS_EXT_PASSWORD"] = password
    sys.stdout, sys.stderr = Tee(sys.stdout, seen), Tee(sys.stderr, seen)
    try:
        status = ras_ext_main([*arguments, "--api", "sim", "--phonebook", str(PHONEBOOK)])
    finally:
        sys.stdout, sys.stderr = streams
        os.environ.pop("RAS_EXT_PASSWORD", None)
    sys.stderr.flush()
    print(colour(f"  exit status {status}", "2"), end="\n\n", flush=True)
    return status, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(seen))


def in_order(words: list[str], text: str) -> bool:
    """Whether all of these words were shown, in this order."""
    return re.search(r".*?".join(rf"\b{re.escape(word)}\b" for word in words), text, re.DOTALL) is not None


def main() -> int:
    client = ras_ext.open("sim", phonebook=PHONEBOOK)
    machine = sim.control(client)
    machine.script(ENTRY, [sim.Step(delay_ms=delay, state=state) for delay, state in PACE])
    machine.account(ENTRY, USER, PASSWORD)

    heading("1. A connection, from the dial to the hang-up")
    status, shown = shell("entries")
    check("the phone book is read", status == 0 and ENTRY in shown and ENTRY in [entry.name for entry in client.entries()])
    status, shown = shell("dial", ENTRY, "--user", USER, password=PASSWORD)
    check("the dial succeeds", status == 0)
    check("each state was shown", in_order([ras_ext.State(state).name for _, state in PACE], shown))
    up = client.connections()
    check("one connection is up, and it is the one that was dialled", [connection.entry for connection in up] == [ENTRY])
    check("its state is Connected", [connection.status().state for connection in up] == [ras_ext.State.Connected])
    status, shown = shell("list")
    check("the list shows it", status == 0 and in_order([ENTRY, "Connected"], shown))
    status, shown = shell("hangup", ENTRY)
    check("the hang-up ends with the link gone", status == 0 and f"{ENTRY} is disconnected" in shown)
    check("exactly one RasHangUp was called", machine.calls("RasHangUpW") == 1)
    status, shown = shell("list")
    check("nothing is connected any more", client.connections() == [] and "Nothing is connected." in shown)

    heading("2. A refusal: the same dial with a wrong password")
    status, shown = shell("dial", ENTRY, "--user", USER, password=WRONG_PASSWORD)
    check("the dial fails", status == 1)
    check("with error 691, its name and a hint", in_order(["error 691 ERROR_AUTHENTICATION_FAILURE", "hint"], shown))
    check("no password was shown", PASSWORD not in shown and WRONG_PASSWORD not in shown)
    check("and nothing is left behind", client.connections() == [] and machine.counters.handles == 0)
    client.close()

    if failures:
        print(colour(f"{len(failures)} of the things shown did not happen: {'; '.join(failures)}", "1;31"))
        return 1
    print(colour("Everything that was shown really happened.", "1;32"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
