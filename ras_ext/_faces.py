"""How the command line talks: plain lines, one JSON object a line, or rich where that is installed and a person looks.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import ras_ext
from ras_ext import errors

# What a state means to the person who waits, by the vendor's name of it (S2.2).
STATE_WORDS = {
    "OpenPort": "opening the port",
    "PortOpened": "the port is open",
    "ConnectDevice": "calling the other side",
    "DeviceConnected": "the other side answered",
    "AllDevicesConnected": "the link stands",
    "Authenticate": "starting to authenticate",
    "AuthNotify": "authenticating",
    "AuthRetry": "trying another user name or password",
    "AuthCallback": "the server offers to call back",
    "AuthChangePassword": "the server wants a new password",
    "AuthProject": "negotiating the network",
    "AuthLinkSpeed": "measuring the link",
    "AuthAck": "the server confirms",
    "ReAuthenticate": "authenticating again",
    "Authenticated": "authenticated",
    "PrepareForCallback": "waiting to be called back",
    "WaitForModemReset": "waiting for the modem",
    "WaitForCallback": "waiting for the call",
    "Projected": "the network is agreed",
    "SubEntryConnected": "one link of the bundle is up",
    "SubEntryDisconnected": "one link of the bundle is down",
    "ApplySettings": "applying the settings",
    "Interactive": "paused: needs a terminal",
    "RetryAuthentication": "paused: needs another user name or password",
    "CallbackSetByCaller": "paused: needs a number to be called back at",
    "PasswordExpired": "paused: the password has expired",
    "InvokeEapUI": "paused: needs a dialog of the authentication method",
    "Connected": "connected",
    "Disconnected": "disconnected",
}


def clean(text: object) -> str:
    """Text that a terminal shows and does not obey: names come from files and servers."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def error_record(error: BaseException) -> dict[str, object]:
    """The stable JSON form of a failure."""
    if isinstance(error, errors.RasError):
        return {
            "type": "error",
            "code": error.code,
            "name": error.name,
            "text": error.text,
            "hint": error.hint or None,
            "transient": error.transient,
        }
    return {"type": "error", "code": None, "name": None, "text": str(error), "hint": None, "transient": False}


# --- Faces ------------------------------------------------------------------------------------------------------------


def headline(error: BaseException) -> tuple[str, str, str]:
    """Number, name and text of a failure; no number and name when it is none of RAS."""
    if isinstance(error, errors.RasError):
        return f"{error.code:#010X}".replace("X", "x") if error.code >= 0x80000000 else str(error.code), error.name, error.text
    return "", "", str(error)


class Face:
    """Plain lines: progress and lists to standard output, failures to standard error."""

    def __init__(self) -> None:
        self.out: IO[str] = sys.stdout
        self.err: IO[str] = sys.stderr

    def say(self, text: str) -> None:
        print(clean(text), file=self.out, flush=True)

    def begin(self, entry: str) -> None:
        self.say(f"Dialling {entry}")

    def state(self, event: ras_ext.Event) -> None:
        self.say(self.state_line(event))

    @staticmethod
    def state_line(event: ras_ext.Event) -> str:
        link = f" [link {event.subentry}]" if event.subentry > 1 else ""
        trouble = f" (error {event.error})" if event.error else ""
        words = STATE_WORDS.get(event.state.name, "")
        return f"{event.elapsed:9.3f} s  {event.state.name:<20} {words}{link}{trouble}".rstrip()

    def end(self) -> None:
        """The dial is decided: nothing more will change in place."""

    def result(self, text: str, record: Mapping[str, object], good: bool = True) -> None:
        self.say(text)

    def note(self, text: str) -> None:
        self.say(text)

    def table(self, columns: Sequence[str], records: Sequence[Mapping[str, object]], nothing: str) -> None:
        if not records:
            self.note(nothing)
            return
        rows = [[clean(record[column]) for column in columns] for record in records]
        widths = [max(len(row[number]) for row in rows) for number in range(len(columns))]
        for row in rows:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())  # noqa: B905 - PyPy 3.9

    def facts(self, record: Mapping[str, object]) -> None:
        for name, value in record.items():
            if name != "type" and value is not None:
                self.say(f"{name + ':':<11}{value}")

    def failure(self, error: BaseException, hint: str | None = None) -> None:
        """What went wrong and what to do about it; `hint` says it better than the code's own."""
        number, name, text = headline(error)
        print(clean(f"error {number} {name}: {text}" if number else f"error: {text}"), file=self.err)
        if advice := hint or getattr(error, "hint", None):
            print(clean(f"hint: {advice}"), file=self.err)
        self.err.flush()


class JsonFace(Face):
    """One JSON object a line on standard output, for everything, failures included. The keys are stable (docs/cli.md)."""

    def put(self, record: Mapping[str, object]) -> None:
        print(json.dumps(record), file=self.out, flush=True)

    def begin(self, entry: str) -> None:
        self.put({"type": "dialling", "entry": entry})

    def state(self, event: ras_ext.Event) -> None:
        self.put(
            {
                "type": "state",
                "state": event.state.name,
                "value": int(event.state),
                "error": event.error,
                "elapsed": round(event.elapsed, 6),
                "subentry": event.subentry,
            }
        )

    def result(self, text: str, record: Mapping[str, object], good: bool = True) -> None:
        self.put(record)

    def note(self, text: str) -> None:
        pass

    def table(self, columns: Sequence[str], records: Sequence[Mapping[str, object]], nothing: str) -> None:
        for record in records:
            self.put(record)

    def facts(self, record: Mapping[str, object]) -> None:
        self.put(record)

    def failure(self, error: BaseException, hint: str | None = None) -> None:
        record = error_record(error)
        self.put({**record, "hint": hint or record["hint"]})


class RichFace(Face):
    """Colours, and a spinner with a running clock while a dial is in flight."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self.console: Any = Console(highlight=False)
        self.errors: Any = Console(stderr=True, highlight=False)
        self.spinner: Any = None

    def _text(self, *parts: tuple[str, str]) -> Any:
        from rich.text import Text

        return Text.assemble(*[(clean(text), style) for text, style in parts])

    def say(self, text: str) -> None:
        self.console.print(self._text((text, "")), soft_wrap=True)

    def begin(self, entry: str) -> None:
        self.console.print(self._text(("Dialling ", ""), (entry, "bold")))
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self.spinner = Progress(*columns, console=self.console, transient=True)
        self.spinner.add_task("waiting for the first state", total=None)
        self.spinner.start()

    def state(self, event: ras_ext.Event) -> None:
        words = STATE_WORDS.get(event.state.name, "")
        link = f" [link {event.subentry}]" if event.subentry > 1 else ""
        trouble = f" (error {event.error})" if event.error else ""
        style = "bold red" if event.error else "bold green" if event.state.name == "Connected" else "cyan"
        line = self._text((f"{event.elapsed:9.3f} s  ", "dim"), (f"{event.state.name:<20} ", style))
        line.append(clean(words + link), "dim")
        line.append(trouble, "red")
        self.console.print(line, soft_wrap=True)
        if self.spinner is not None:
            self.spinner.update(self.spinner.task_ids[0], description=clean(words or event.state.name))

    def end(self) -> None:
        if self.spinner is not None:
            self.spinner.stop()
            self.spinner = None

    def result(self, text: str, record: Mapping[str, object], good: bool = True) -> None:
        mark = ("\N{CHECK MARK} ", "bold green") if good else ("! ", "bold yellow")
        self.console.print(self._text(mark, (text, "bold")), soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(self._text((text, "dim")), soft_wrap=True)

    def table(self, columns: Sequence[str], records: Sequence[Mapping[str, object]], nothing: str) -> None:
        if not records:
            self.note(nothing)
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for column in columns:
            grid.add_column(column.replace("_", " "), overflow="fold")
        for record in records:
            first, *others = (self._text((clean(record[column]), "")) for column in columns)
            first.stylize("bold")
            grid.add_row(first, *others)
        self.console.print(grid)

    def facts(self, record: Mapping[str, object]) -> None:
        for name, value in record.items():
            if name != "type" and value is not None:
                self.console.print(self._text((f"{name + ':':<11}", "dim"), (str(value), "")), soft_wrap=True)

    def failure(self, error: BaseException, hint: str | None = None) -> None:
        self.end()
        number, name, text = headline(error)
        parts = [("\N{BALLOT X} ", "bold red"), (f"error {number} ".rstrip() + " ", "bold red"), (name, "bold")]
        self.errors.print(self._text(*parts, (f": {text}" if name else text, "")), soft_wrap=True)
        if advice := hint or getattr(error, "hint", None):
            self.errors.print(self._text(("  hint: ", "yellow"), (advice, "")), soft_wrap=True)


def choose_face(as_json: bool) -> Face:
    """JSON on request; rich when it is installed and standard output is a terminal; else plain lines. NO_COLOR: plain lines."""
    if as_json:
        return JsonFace()
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        try:
            return RichFace()
        except ImportError:
            pass
    return Face()
