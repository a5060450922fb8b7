"""The command line: `ras-ext dial`, `hangup`, `list`, `entries`, `devices` and `errors`.

SPDX-License-Identifier: MIT

Each command opens a client, does one thing and returns an exit status (docs/cli.md has the table). What it says goes through
a `Face` of _faces.py: plain lines, one JSON object a line, or rich. Nothing here touches the native side, and nothing else in
the package imports this module.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

import ras_ext
from ras_ext import _embedding, errors
from ras_ext._faces import Face, choose_face, clean
from ras_ext.events import HangUp, Origin

OK, RAS_ERROR, USAGE, NOT_GONE, NOT_AVAILABLE, TIMED_OUT, INTERRUPTED, TERMINATED, BROKEN_PIPE = 0, 1, 2, 3, 4, 124, 130, 143, 141

HANG_UP_TIMEOUT = 10.0  # seconds; the documented bound on waiting for a link to go down
PASSWORD_VARIABLE = "RAS_EXT_PASSWORD"  # noqa: S105 - a name, no secret

SIM_ENDS = "The simulated machine ends with this process, and the connection with it."


class UsageError(Exception):
    """The command line asks for something that cannot be done; status 2."""


class Terminated(KeyboardInterrupt):
    """SIGTERM; cleaned up after like Ctrl-C, with another exit status."""


# --- Opening, passwords -----------------------------------------------------------------------------------------------


def open_client(options: argparse.Namespace) -> ras_ext.Client:
    """The client that the common options ask for; a scenario is played into its simulated machine."""
    api = options.api or ("sim" if options.scenario else "system")
    if options.scenario and api != "sim":
        raise UsageError("--scenario goes with --api sim")
    client = ras_ext.open(api, phonebook=options.phonebook)
    if options.scenario:
        from ras_ext import sim

        try:
            sim.control(client).load(options.scenario)
        except (OSError, ValueError, LookupError, TypeError) as error:
            client.close()
            raise UsageError(f"scenario {options.scenario}: {error}") from error
    return client


def read_password(options: argparse.Namespace) -> str | None:
    """--password-stdin, else RAS_EXT_PASSWORD, else a prompt; None when the user's saved credentials are to be used."""
    if options.user is None or options.user == "":
        if options.password_stdin:
            raise UsageError("--password-stdin goes with --user NAME")
        return None
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"no password for {options.user}: use --password-stdin or {PASSWORD_VARIABLE}, or start in a terminal")
    return getpass.getpass(f"Password for {clean(options.user)}: ")


def can_ask(options: argparse.Namespace) -> bool:
    """Whether somebody sits there who can be asked for what a paused dial wants. Otherwise it fails plainly."""
    if options.json or options.password_stdin or sys.stdin is None:
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


def tell(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


def ask(prompt: str) -> str:
    """A line from the terminal; "" at its end. The prompt goes to standard error, as getpass's does without a terminal."""
    tell(prompt, end="")
    return sys.stdin.readline().strip("\r\n")


def answer_pause(dial: ras_ext.Dial, event: ras_ext.Event, user: str) -> None:
    """Asks for what the dial wants and lets it go on. Nothing entered gives up: the dial fails as without paused states."""
    while True:
        try:
            if event.wants == "credentials":
                tell("The server did not accept these credentials. An empty password gives up.")
                user = ask(f"User name [{clean(user)}]: " if user else "User name: ") or user
                password = getpass.getpass(f"Password for {clean(user)}: ") if user else ""
                if password:
                    dial.resume(username=user, password=password)
                    return
            elif event.wants == "new_password":
                tell("The password has expired. An empty new password gives up.")
                password = getpass.getpass("New password: ")
                if password and getpass.getpass("New password again: ") != password:
                    tell("The two are not the same.")
                    continue
                if password:
                    dial.resume(password=password)
                    return
            elif event.wants == "callback_number":
                number = ask("Number for the server to call back (none: give up): ")
                if number:
                    dial.resume(callback_number=number)
                    return
            else:
                tell("This entry needs a terminal or a dialog, which there is not here.")
            dial.give_up()
            return
        except ValueError as problem:  # too long, say
            tell(clean(problem))
        except errors.NotPausedError:  # the dial ended while somebody was typing; its events tell why
            return
        except EOFError:
            if dial.paused:
                dial.give_up()
            return


# --- Commands ---------------------------------------------------------------------------------------------------------


def describe_connection(connection: ras_ext.Connection) -> dict[str, object]:
    return {
        "entry": connection.entry,
        "device_type": connection.device_type,
        "device": connection.device_name,
        "handle": f"{connection.handle:#x}",
    }


def command_dial(client: ras_ext.Client, options: argparse.Namespace, face: Face) -> int:
    """Dials and shows each state as it is entered. However it ends early, the dial is cancelled and hung up first."""
    password = read_password(options)
    dial: ras_ext.Dial | None = None
    last: ras_ext.Event | None = None
    try:
        face.begin(options.entry)
        dial = client.dial(
            options.entry,
            username=options.user,
            password=password,
            domain=options.domain,
            phone_number=options.phone_number,
            timeout=options.timeout,
            paused_states=can_ask(options),
        )
        for event in dial:
            face.state(event)
            last = event
            if event.wants is not None and dial.paused:
                face.end()
                answer_pause(dial, event, options.user or "")
        face.end()
        connection = dial.result()
    except errors.RasError as error:
        face.end()
        face.failure(error)
        if last is not None and last.origin == Origin.Timeout:
            face.note(f"No outcome within {options.timeout:g} s.")
            return TIMED_OUT
        return exit_status(error)
    except BaseException as error:
        face.end()
        if dial is not None:
            give_up(dial, face, loudly=isinstance(error, KeyboardInterrupt))
        raise
    elapsed = last.elapsed if last is not None else 0.0
    device = f" through {connection.device_name} ({connection.device_type})" if connection.device_name else ""
    face.result(
        f"Connected to {options.entry} in {elapsed:.3f} s{device}",
        {"type": "connected", **describe_connection(connection), "elapsed": round(elapsed, 6)},
    )
    if is_simulated(options):
        face.note(SIM_ENDS)
    else:
        face.note(f"It stays up when this program ends. To end it: ras-ext hangup {shell_word(options.entry)}")
    return OK


def give_up(dial: ras_ext.Dial, face: Face, loudly: bool) -> None:
    """Ctrl-C, SIGTERM, a reader that went away: cancels the dial, hangs up, and waits for the end with a bound.

    A dial that was decided in the same moment stands as a connection: that is hung up too.
    """
    dial.cancel()
    try:
        connection = dial.result(timeout=0)
    except (errors.RasError, TimeoutError):
        gone = dial.wait_closed(HANG_UP_TIMEOUT)
    else:
        gone = connection.hang_up(timeout=HANG_UP_TIMEOUT) in (HangUp.GONE, HangUp.NONE)
    if loudly:
        word = "gone" if gone else "closing"
        text = "Interrupted; hung up." if gone else f"Interrupted; still closing after {HANG_UP_TIMEOUT:g} s."
        face.result(text, {"type": "interrupted", "result": word}, good=False)


def command_hangup(client: ras_ext.Client, options: argparse.Namespace, face: Face) -> int:
    """Hangs up one connection by its entry's name, the only one there is, or all; waits for the end with a bound."""
    connections = list(client.connections())
    if options.all:
        chosen = connections
    elif options.entry is not None:
        chosen = [connection for connection in connections if connection.entry.casefold() == options.entry.casefold()]
        if not chosen:
            face.failure(LookupError(f"there is no connection of {options.entry!r}"))
            return RAS_ERROR
    else:
        if len(connections) > 1:
            names = ", ".join(sorted(connection.entry for connection in connections))
            raise UsageError(f"several connections are up ({names}): name one, or use --all")
        chosen = connections
    if not chosen:
        face.note("Nothing is connected.")
    timeout = HANG_UP_TIMEOUT if options.timeout is None else options.timeout
    status = OK
    for connection in chosen:
        try:
            outcome = connection.hang_up(timeout=timeout)
        except errors.RasError as error:
            face.failure(error)
            status = status or exit_status(error)
            continue
        if outcome == HangUp.SHARED:
            text, word = f"{connection.entry} stays up: another program holds it too", "shared"
        elif outcome == HangUp.CLOSING:
            text, word = f"{connection.entry} is still closing after {timeout:g} s", "closing"
        else:
            text, word = f"{connection.entry} is disconnected", "gone"
        record = {"type": "hangup", "entry": connection.entry, "handle": f"{connection.handle:#x}", "result": word}
        face.result(text, record, good=word == "gone")
        if word != "gone":
            status = status or NOT_GONE
    return status


def command_list(client: ras_ext.Client, options: argparse.Namespace, face: Face) -> int:
    """The connections that are up, whoever made them."""
    records: list[dict[str, object]] = []
    for connection in client.connections():
        try:
            state = connection.status().state.name
        except errors.RasError:
            state = "Disconnected"  # it went away between the two calls
        records.append({"type": "connection", **describe_connection(connection), "state": state})
    face.table(("entry", "state", "device", "device_type", "handle"), records, "Nothing is connected.")
    return OK


def command_entries(client: ras_ext.Client, options: argparse.Namespace, face: Face) -> int:
    """The entries of a phone book."""
    records: list[dict[str, object]] = [
        {"type": "entry", "entry": entry.name, "phonebook": str(entry.phonebook), "all_users": bool(entry.all_users)}
        for entry in client.entries()
    ]
    face.table(("entry", "phonebook"), records, "The phone book has no entries.")
    return OK


def command_devices(client: ras_ext.Client, options: argparse.Namespace, face: Face) -> int:
    """The devices that can be dialled through."""
    records: list[dict[str, object]] = [
        {"type": "device", "device_type": device.type, "device": device.name} for device in client.devices()
    ]
    face.table(("device_type", "device"), records, "This machine has no RAS devices.")
    return OK


def command_errors(options: argparse.Namespace, face: Face) -> int:
    """What a code or a name means. Needs no RAS."""
    code = parse_code(options.code)
    described = errors.describe(code)
    face.facts(
        {
            "type": "code",
            "code": code,
            "name": described.name,
            "text": described.text,
            "hint": described.hint or None,
            "transient": described.transient,
        }
    )
    return OK


def parse_code(text: str) -> int:
    """691, 0x2B3, ERROR_AUTHENTICATION_FAILURE, or that without ERROR_, in any case."""
    code = errors.code_of(text)
    if code is None:
        raise UsageError(f"{text!r} is neither a 32-bit number nor the name of a code")
    return code


def is_simulated(options: argparse.Namespace) -> bool:
    return options.api == "sim" or bool(options.scenario)


def shell_word(text: str) -> str:
    """An entry's name as one word for a shell of this platform."""
    if os.name == "nt":
        return f'"{text}"' if " " in text else text
    return shlex.quote(text)


def exit_status(error: BaseException) -> int:
    if isinstance(error, errors.NotAvailableError):
        return NOT_AVAILABLE
    return RAS_ERROR


# --- The parser -------------------------------------------------------------------------------------------------------


class RefusePassword(argparse.Action):
    """--password VALUE is refused, and the value is not repeated: other users of the machine can read command lines."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        parser.error(
            "a password is never taken from the command line, where other users can read it: "
            f"use --password-stdin, the variable {PASSWORD_VARIABLE}, or the prompt"
        )


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 4_000_000:
        raise ValueError
    return value


EPILOG = f"""exit status: {OK} done; {RAS_ERROR} RAS reported an error; {USAGE} the command line is wrong;
{NOT_GONE} a connection is not gone (still closing, or shared); {NOT_AVAILABLE} this system has no RAS or lacks the feature;
{TIMED_OUT} --timeout ran out; {INTERRUPTED} Ctrl-C; {BROKEN_PIPE} the reader of the output went away; {TERMINATED} SIGTERM.

With --api sim nothing real is dialled. The simulated machine lives in this process and ends with it: a later command starts
with a new one, on which nothing is connected."""


def make_parser() -> argparse.ArgumentParser:
    def options_for_all(timeout: str) -> argparse.ArgumentParser:
        common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        common.add_argument(
            "--api",
            choices=("system", "sim"),
            help="system: Windows' own RAS (the default); sim: a simulated machine, which ends with this process",
        )
        common.add_argument("--scenario", metavar="FILE", help="what the simulated machine does (JSON; implies --api sim)")
        common.add_argument("--phonebook", metavar="FILE", help="the phone book (default: the system's)")
        common.add_argument("--timeout", metavar="SECONDS", type=seconds, help=timeout)
        common.add_argument("--json", action="store_true", help="print one JSON object a line")
        return common

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="ras-ext",
        description="Dials and manages Windows Remote Access (RAS) connections.",
        epilog=EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ras-ext {ras_ext.__version__}")
    _embedding.add_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, about: str, timeout: str = "no effect on this command") -> argparse.ArgumentParser:
        parents = [options_for_all(timeout)]
        return commands.add_parser(
            name, help=about, description=about, epilog=EPILOG, parents=parents, formatter_class=raw, allow_abbrev=False
        )

    dial = add("dial", "dial an entry, show each state, and leave the connection up", "give up and hang up after this time")
    dial.add_argument("entry", metavar="ENTRY", help="the entry's name in the phone book")
    dial.add_argument("--user", metavar="NAME", help='default: the saved credentials; "" for the Windows logon')
    dial.add_argument("--domain", metavar="NAME", help="default: the server's own")
    dial.add_argument("--phone-number", metavar="NUMBER", help="number or host, instead of the entry's own")
    dial.add_argument("--password-stdin", action="store_true", help="read the password from standard input's first line")
    dial.add_argument("--password", nargs="?", action=RefusePassword, help=argparse.SUPPRESS)
    bound = f"how long to wait for the end ({HANG_UP_TIMEOUT:g})"
    hangup = add("hangup", "hang up, and wait until the connection is gone", bound)
    which = hangup.add_mutually_exclusive_group()
    which.add_argument("entry", metavar="ENTRY", nargs="?", help="the connection's entry; none needed when only one is up")
    which.add_argument("--all", action="store_true", help="every connection of this machine")
    add("list", "list the connections that are up")
    add("entries", "list the entries of the phone book")
    add("devices", "list the devices that can be dialled through")
    code = add("errors", "explain an error code")
    code.add_argument("code", metavar="CODE", help="691, 0x2B3 or ERROR_AUTHENTICATION_FAILURE")
    return parser


COMMANDS: dict[str, Callable[[ras_ext.Client, argparse.Namespace, Face], int]] = {
    "dial": command_dial,
    "hangup": command_hangup,
    "list": command_list,
    "entries": command_entries,
    "devices": command_devices,
}


def decoded(arguments: Iterable[str]) -> list[str]:
    """Arguments as UTF-8, also where the locale (LC_ALL=C without Python's coercion) decoded them as something else."""
    repaired = []
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:  # surrogate escapes: bytes that the locale could not decode
            argument = os.fsencode(argument).decode("utf-8", "replace")
        repaired.append(argument)
    return repaired


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; usage errors leave through SystemExit(2), as argparse does it.

    Without arguments it is the program: it takes them from the command line, and SIGTERM cleans up as Ctrl-C does.
    """
    if arguments is None:
        signal.signal(signal.SIGTERM, _terminate)
        arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is shown escaped, not fatal
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = run(decoded(arguments))
        sys.stdout.flush()
        return status
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered must not raise again when the interpreter flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def run(arguments: Sequence[str]) -> int:
    """Parses, opens the client, runs the command, closes the client (which leaves connections up)."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if (options.command is None) != _embedding.asked(options):
        parser.error("name a command" if options.command is None else "options for building C code stand alone")
    if options.command is None:
        return _embedding.answer(options)
    face = choose_face(options.json)
    try:
        if options.command == "errors":
            return command_errors(options, face)
        client = open_client(options)
        try:
            return COMMANDS[options.command](client, options, face)
        finally:
            client.close()
    except errors.RasError as error:
        no_ras = isinstance(error, errors.NotAvailableError) and not is_simulated(options)
        face.failure(error, "a simulated machine works everywhere: --api sim" if no_ras else None)
        return exit_status(error)
    except (UsageError, ValueError) as error:
        parser.error(str(error))


def _terminate(*_: object) -> NoReturn:
    raise Terminated
