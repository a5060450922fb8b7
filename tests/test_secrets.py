"""A password shows up nowhere: no repr, text, log, journal, traceback, pickle, warning or process listing.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
from helping import BOUND_S, until
from holding import is_ours, run_program

import ras_ext
from ras_ext import Client, HangUp, _ffi
from ras_ext.sim import Machine

SECRET = "kohlrabi-Sommerabend-7"
LONG = SECRET * 40


def shown(text: str) -> bool:
    """Whether the secret, or enough of it to matter, stands in a text."""
    return any(piece in text for piece in ("kohlrabi", "Sommerabend"))


def check_traceback(problem: BaseException) -> None:
    """Nowhere in the texts of the exception, nor in a local variable of a frame of the package, nor in what it is chained to."""
    link: BaseException | None = problem
    while link is not None:
        assert not shown(str(link)) and not shown(repr(link)) and not shown(repr(link.__dict__))
        told = traceback.TracebackException.from_exception(link, capture_locals=True)
        for frame in told.stack:
            if is_ours(frame.filename):
                assert not any(shown(value) for value in (frame.locals or {}).values()), (frame.name, frame.locals)
        assert not shown("".join(told.format_exception_only()))
        tracing = link.__traceback__
        while tracing is not None:  # also where repr() would not tell: in every object that a frame of ours holds
            if is_ours(tracing.tb_frame.f_code.co_filename):
                for name, value in tracing.tb_frame.f_locals.items():
                    assert value != SECRET and value != SECRET.encode() and value != LONG, (tracing.tb_frame.f_code.co_name, name)
            tracing = tracing.tb_next
        link = link.__cause__ or link.__context__


def _failing_callable() -> str:
    raise RuntimeError("the vault is closed")


def _wrong_callable() -> Any:
    return [SECRET]


BAD: dict[str, dict[str, Any]] = {
    "entry of the wrong type": {"entry": 7},
    "entry too long": {"entry": "e" * 257},
    "no user": {"username": None},
    "empty user": {"username": ""},
    "user of the wrong type": {"username": b"ada"},
    "user with NUL": {"username": "a\0b"},
    "half a pair in the user": {"username": "\ud800"},
    "domain too long": {"domain": "d" * 16},
    "phone book of the wrong type": {"phonebook": 7},
    "empty phone book": {"phonebook": ""},
    "bad time-out": {"timeout": -1},
    "time-out of the wrong type": {"timeout": "soon"},
    "bad notifier": {"notifier": "pigeon"},
    "window notifier": {"notifier": "window"},
    "handler of the wrong type": {"on_event": 7},
    "options out of range": {"options": -1},
    "subentry of the wrong type": {"subentry": "1"},
    "number too long": {"phone_number": "1" * 129},
    "callback number too long": {"callback_number": "1" * 129},
    "password too long": {"password": LONG},
    "password with NUL": {"password": SECRET + "\0"},
    "half a pair in the password": {"password": SECRET + "\udfff"},
    "bytes too long": {"password": LONG.encode()},
    "bytes that are no UTF-8": {"password": SECRET.encode() + b"\xff"},
    "bytearray that is no UTF-8": {"password": bytearray(SECRET.encode() + b"\xc0")},
    "password of the wrong type": {"password": [SECRET]},
    "password as an object": {"password": {"password": SECRET}},
    "memoryview": {"password": memoryview(SECRET.encode())},
    "callable that raises": {"password": _failing_callable},
    "callable of the wrong type": {"password": _wrong_callable},
}


@pytest.mark.parametrize("module", [False, True], ids=["Client.dial", "ras_ext.dial"])
@pytest.mark.parametrize("bad", BAD)
def test_refused_arguments(sim: Machine, client: Client, bad: str, module: bool) -> None:
    """Every way in which dial() itself refuses: no frame of the package holds the password, not even in an attribute."""
    if sys.platform == "win32" and bad == "window notifier":
        pytest.skip("Windows has windows")
    arguments: dict[str, Any] = {"entry": "Office VPN", "username": "ada", "password": SECRET, **BAD[bad]}
    try:
        if module:
            ras_ext.dial(client=client, **arguments)
        else:
            client.dial(**arguments)
    except (TypeError, ValueError, RuntimeError, ras_ext.RasError) as problem:
        check_traceback(problem)
    else:
        pytest.fail("accepted")


def test_a_closed_client_and_no_ras(book: Path) -> None:
    """The paths that end before the arguments are looked at."""
    client = ras_ext.open("sim", phonebook=book)
    client.close()
    with pytest.raises(ras_ext.ClosedError) as closed:
        client.dial("Office VPN", username="ada", password=SECRET)
    check_traceback(closed.value)
    with pytest.raises(ras_ext.ClosedError) as again:
        ras_ext.dial("Office VPN", username="ada", password=SECRET, client=client)
    check_traceback(again.value)
    with pytest.raises(TypeError) as wrong:
        ras_ext.dial("Office VPN", username="ada", password=SECRET, client="sim")  # type: ignore[arg-type] # on purpose
    check_traceback(wrong.value)
    if sys.platform != "win32":
        with pytest.raises(ras_ext.NotAvailableError) as absent:
            ras_ext.dial("Office VPN", username="ada", password=SECRET)
        check_traceback(absent.value)


def test_unexpected_failures_inside(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the core itself fails: out of memory, or an exception in the middle of the call."""

    def no_memory(self: object, *arguments: object) -> int:
        return 8

    def interrupted(self: object, *arguments: object) -> int:
        raise KeyboardInterrupt

    for failure, kind in ((no_memory, MemoryError), (interrupted, KeyboardInterrupt)):
        with monkeypatch.context() as patch:
            patch.setattr(_ffi.QueueHandle, "start", failure)
            with pytest.raises(kind) as caught:
                client.dial("Office VPN", username="ada", password=SECRET)
        check_traceback(caught.value)


FAILING: dict[str, dict[str, Any]] = {  # scenarios of the machine
    "refused": {"entries": {"Office VPN": {"script": "auth_fail"}}},
    "wrong password": {"accounts": [{"entry": "Office VPN", "username": "ada", "password": "another"}]},
    "no answer": {"entries": {"Office VPN": {"script": "unreachable"}}},
    "RasDial fails": {"faults": [{"function": "RasDialW", "code": 711}]},
    "RasDial fails with a handle": {"knobs": {"dial_code": 691, "dial_code_handle": 1}},
    "RasHangUp fails": {"knobs": {"hangup_code": 753}, "entries": {"Office VPN": {"script": "auth_fail"}}},
    "silence": {"knobs": {"silent": 1}, "entries": {"Office VPN": {"script": "auth_fail"}}},
    "missing entry": {},
    "connects": {},
}


@pytest.mark.parametrize("how", FAILING)
def test_dials_that_fail(
    virtual: Machine,
    client: Client,
    how: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Errors, reprs, events, the DEBUG log, the journal, pickles and copies of a dial with a password, whatever becomes of it."""
    sim = virtual
    caplog.set_level(logging.DEBUG)
    sim.journal(tmp_path / "journal")
    sim.load(FAILING[how])
    entry = "No such entry" if how == "missing entry" else "Office VPN"
    seen: list[ras_ext.Event] = []
    dial = client.dial(entry, username="ada", password=SECRET, domain="LOVELACE", on_event=seen.append)
    problem = dial.exception()
    assert (problem is None) == (how == "connects")
    texts = [repr(dial), str(dial), repr(dial.events), repr(client), repr(sim), repr(seen), repr(dial.hang_up_result)]
    if problem is None:
        connection = dial.result()
        status = connection.status()
        texts += [repr(connection), repr(status), repr(client.connections()), repr(client.entries()), repr(status._asdict())]
        assert connection.hang_up() is HangUp.GONE
    else:
        check_traceback(problem)
        again = pickle.loads(pickle.dumps(problem))  # noqa: S301 - our own
        assert again.code == problem.code
        texts += [repr(again), str(again), pickle.dumps(problem).decode("latin-1"), repr(copy.copy(problem)), str(problem.hint)]
        try:
            dial.result()
        except ras_ext.RasError as raised:
            check_traceback(raised)
            texts += traceback.TracebackException.from_exception(raised, capture_locals=True).format_exception_only()
    texts += [pickle.dumps(event).decode("latin-1") for event in dial.events]
    for thing in (dial, client):
        try:
            texts.append(pickle.dumps(thing).decode("latin-1"))
        except TypeError as refused:
            texts.append(str(refused))
    until(lambda: dial.hang_up_result is not None, "the end of the dial")
    until(lambda: entry in caplog.text, "a line in the log, which the thread that drained writes after its turn")
    texts += [caplog.text, (tmp_path / "journal").read_text(), *capfd.readouterr()]
    assert not any(shown(text) for text in texts)
    everything = caplog.text + (tmp_path / "journal").read_text()
    assert "LOVELACE" not in everything
    if how == "RasHangUp fails":
        sim.reset(force=True)


def test_what_a_secret_gives_away() -> None:
    """The holder that the public functions put a password in shows nothing, is not pickled or copied, and wipes its buffer."""
    secret = _ffi.Secret(SECRET)
    assert not shown(repr(secret)) and not shown(str(secret)) and not shown(f"{secret}")
    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            use(secret)
        check_traceback(caught.value)
    assert secret.load(256) is None
    buffer = secret.buffer
    assert bytes(_ffi.ffi.buffer(buffer))[:-1] == SECRET.encode()
    secret.wipe()
    assert bytes(_ffi.ffi.buffer(buffer)) == bytes(len(SECRET) + 1)
    assert secret.buffer is None and not secret.given


def test_nothing_of_the_package_keeps_it(sim: Machine, client: Client) -> None:
    """While the dial is in flight no object that the collector knows of, and that the package made, refers to the password."""
    sim.knob("block_dial", 1)
    sim.knob("silent", 1)
    password = "".join(["kohl", "rabi", "-in-flight"])  # one object, not shared with the code's constants
    dial = client.dial("Office VPN", username="ada", password=password)
    until(lambda: sim.calls("RasDialW") == 1, "RasDial being called")
    gc.collect()
    here = sys._getframe()
    keepers = [thing for thing in gc.get_referrers(password) if thing is not here and thing is not here.f_locals]
    assert not keepers, [type(thing) for thing in keepers]
    dial.cancel()
    sim.release()
    assert dial.wait_closed(BOUND_S)


def test_warnings_and_unraisable_exceptions(sim: Machine, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten dial's ResourceWarning, and what a handler raises."""
    sim.script(None, "slow")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.dial("Office VPN", username="ada", password=SECRET)
        gc.collect()
    assert caught and not any(shown(str(warning.message)) for warning in caught)
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    def handler(event: ras_ext.Event) -> None:
        if not reported:
            raise LookupError("on purpose")

    dial = client.dial("Home", username="ada", password=SECRET, on_event=handler)
    next(iter(dial))
    until(lambda: reported, "the hook being called")
    for report in reported:
        check_traceback(report.exc_value)
        assert not shown(repr(report.object)) and not shown(str(report.err_msg))
    dial.cancel()


def test_a_crash_report_shows_none(book: Path, tmp_path: Path) -> None:
    """faulthandler's dump, and a dump of all frames with their local variables."""
    code = """
import faulthandler, sys, traceback, ras_ext, ras_ext.sim
client = ras_ext.open("sim", phonebook=sys.argv[1])
ras_ext.sim.control(client).script(None, "auth_fail")
secret = "kohl" + "rabi"
dial = client.dial("Office VPN", username="ada", password=secret)
del secret
try:
    dial.result()
except ras_ext.AuthenticationError:
    traceback.print_exc()
    print("".join(traceback.TracebackException(*sys.exc_info(), capture_locals=True).format()), file=sys.stderr)
faulthandler.dump_traceback(all_threads=True)
client.close()
"""
    ended = run_program(code, book)
    assert ended.code == 0 and "691" in ended.err
    assert not shown(ended.err.replace('secret = "kohl" + "rabi"', "")) and not shown(ended.out)
