"""The command line, as a program (pipes, signals, locales) and as a function on the simulated machine.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ras_ext
from ras_ext import _cli, _faces, sim

ROOT = Path(__file__).resolve().parent.parent
OFFICE = ROOT / "tests" / "data" / "office.pbk"
ENTRY = "Office VPN"
SIM = ("--api", "sim", "--phonebook", str(OFFICE))

# A program that prepares its simulated machine and then is the command line.
PREPARED = """
import sys, ras_ext
from ras_ext import sim
from ras_ext.__main__ import main
machine = sim.control(ras_ext.open("sim"))
{preparation}
sys.exit(main())
"""


@pytest.fixture
def machine() -> Iterator[sim.Machine]:
    """The simulated machine of this process, clean before and after."""
    client = ras_ext.open("sim", phonebook=OFFICE)
    machine = sim.control(client)
    machine.reset(force=True)
    yield machine
    machine.reset(force=True)
    client.close()


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """main() in this process: exit status, standard output, standard error."""
    try:
        status = _cli.main(arguments)
    except SystemExit as ending:
        assert isinstance(ending.code, int)
        status = ending.code
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAS_EXT_", "LC_", "LANG"))}
    return kept | more


def program(
    *arguments: str, preparation: str = "", stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own."""
    start = ["-c", PREPARED.format(preparation=preparation)] if preparation else ["-m", "ras_ext"]
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, capture_output=True, input=stdin, env=env or environment(), timeout=60, check=False)


# --- dial ---------------------------------------------------------------------------------------------------------------


def test_dial_shows_each_state_and_leaves_the_connection_up(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Each notified state is one line with its time, the last line says what to do, and the connection stays."""
    machine.script(ENTRY, "vpn_ok")
    status, out, err = call(capsys, "dial", ENTRY, *SIM)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"Dialling {ENTRY}"
    states = [line.split()[2] for line in lines[1:] if re.match(r" +\d+\.\d{3} s  ", line)]
    assert states[0] == "OpenPort"
    assert states[-1] == "Connected"
    assert lines[-2].startswith(f"Connected to {ENTRY} in ")
    assert lines[-1] == _cli.SIM_ENDS
    with ras_ext.open("sim") as client:
        assert [connection.entry for connection in client.connections()] == [ENTRY]


def test_dial_json_is_one_object_a_line(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented types come in order, and carry exactly the documented keys."""
    machine.script(ENTRY, "vpn_ok")
    status, out, err = call(capsys, "dial", ENTRY, "--json", *SIM)
    assert (status, err) == (0, "")
    records = objects(out)
    assert [record["type"] for record in records] == ["dialling", *["state"] * (len(records) - 2), "connected"]
    assert set(records[0]) == {"type", "entry"}
    assert all(set(record) == {"type", "state", "value", "error", "elapsed", "subentry"} for record in records[1:-1])
    assert set(records[-1]) == {"type", "entry", "device_type", "device", "handle", "elapsed"}
    times = [record["elapsed"] for record in records[1:-1]]
    assert times == sorted(times)
    assert int(records[-1]["handle"], 16) > 0
    assert records[-1]["elapsed"] == times[-1]


def test_dial_failure_names_code_text_and_hint(
    machine: sim.Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused dial: status 1, number, name, text and hint on standard error, no password anywhere, nothing left up."""
    machine.account(ENTRY, "ada", "right")
    monkeypatch.setenv("RAS_EXT_PASSWORD", "wr0ng-secret")
    status, out, err = call(capsys, "dial", ENTRY, "--user", "ada", *SIM)
    assert status == 1
    assert err.startswith("error 691 ERROR_AUTHENTICATION_FAILURE: ")
    assert "\nhint: " in err
    assert "error 691" in out.splitlines()[-1]
    assert "wr0ng-secret" not in out + err
    with ras_ext.open("sim") as client:
        assert client.connections() == []


def test_dial_failure_in_json_is_an_error_record(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the failure is the last object on standard output, and standard error is empty."""
    machine.script(ENTRY, "modem_noanswer")
    status, out, err = call(capsys, "dial", ENTRY, "--json", *SIM)
    assert (status, err) == (1, "")
    last = objects(out)[-1]
    assert set(last) == {"type", "code", "name", "text", "hint", "transient"}
    assert (last["type"], last["code"], last["name"], last["transient"]) == ("error", 678, "ERROR_NO_ANSWER", True)


def test_dial_of_unknown_entry(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry that the phone book lacks: RAS says 623, status 1."""
    status, _, err = call(capsys, "dial", "Nowhere", *SIM)
    assert status == 1
    assert err.startswith("error 623 ")


def test_dial_with_a_scenario(tmp_path: Path) -> None:
    """--scenario sets the simulated machine up, and implies --api sim."""
    scenario = tmp_path / "scenario.json"
    steps = [{"state": "OpenPort"}, {"delay_ms": 1, "state": "ConnectDevice"}, {"state": "ConnectDevice", "error": 868}]
    scenario.write_text(json.dumps({"entries": {ENTRY: {"script": steps}}}), encoding="utf-8")
    done = program("dial", ENTRY, "--scenario", str(scenario), "--phonebook", str(OFFICE), "--json")
    assert done.returncode == 1
    records = objects(done.stdout.decode())
    assert [record["state"] for record in records if record["type"] == "state"][:2] == ["OpenPort", "ConnectDevice"]
    assert records[-1]["code"] == 868
    scenario.write_text('{"entires": {}}', encoding="utf-8")
    done = program("dial", ENTRY, "--scenario", str(scenario), "--phonebook", str(OFFICE))
    assert done.returncode == 2
    assert b"entires" in done.stderr


def test_dial_time_out_hangs_up(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """--timeout runs out: status 124, and the dial is hung up."""
    machine.script(ENTRY, "slow")
    status, _, err = call(capsys, "dial", ENTRY, "--timeout", "0.05", *SIM)
    assert status == 124
    assert err.startswith("error 638 ")
    assert machine.calls("RasHangUpW") == 1


def test_dial_right_password_from_standard_input() -> None:
    """--password-stdin takes the first line, without its line end; the right password connects."""
    preparation = f"machine.account({ENTRY!r}, 'ada', 'päss word')"
    arguments = ("dial", ENTRY, "--user", "ada", "--password-stdin", *SIM)
    env = environment(PYTHONUTF8="1")
    done = program(*arguments, preparation=preparation, stdin="päss word\r\nmore\n".encode(), env=env)
    assert (done.returncode, done.stderr) == (0, b"")


def test_dial_password_from_environment() -> None:
    """RAS_EXT_PASSWORD is used with --user, and ignored without."""
    preparation = f"machine.account({ENTRY!r}, 'ada', 'right')"
    env = environment(RAS_EXT_PASSWORD="right")
    assert program("dial", ENTRY, "--user", "ada", *SIM, preparation=preparation, env=env).returncode == 0
    assert program("dial", ENTRY, *SIM, env=env).returncode == 0


@pytest.mark.parametrize("form", [["--password", "hunter2"], ["--password=hunter2"], ["--password"]])
def test_password_as_argument_is_refused(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A password on the command line is a usage error that says what to do instead, and does not repeat it."""
    status, out, err = call(capsys, "dial", ENTRY, "--user", "ada", *form, *SIM)
    assert (status, out) == (2, "")
    assert "--password-stdin" in err
    assert "hunter2" not in err


def test_user_without_any_password_is_a_usage_error() -> None:
    """No terminal, no variable, no --password-stdin: status 2 instead of a prompt that nobody sees."""
    done = program("dial", ENTRY, "--user", "ada", *SIM)
    assert done.returncode == 2
    assert b"--password-stdin" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent with a POSIX signal")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_dial_is_hung_up(number: int, status: int, tmp_path: Path) -> None:
    """Ctrl-C or SIGTERM in mid-dial: RasHangUp is called once, the end is waited for and told, the status is 130 or 143."""
    journal = tmp_path / "journal"
    preparation = f"machine.script({ENTRY!r}, 'slow'); machine.journal({str(journal)!r})"
    start = [sys.executable, "-c", PREPARED.format(preparation=preparation), "dial", ENTRY, "--json", *SIM]
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True) as child:
        assert child.stdout is not None
        while json.loads(child.stdout.readline())["type"] != "state":
            pass
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (status, "")
    assert objects(out)[-1] == {"type": "interrupted", "result": "gone"}
    assert len(re.findall(r"^.*\bRasHangUpW\b", journal.read_text(), re.MULTILINE)) == 1


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error there")
def test_reader_that_goes_away_ends_the_dial(tmp_path: Path) -> None:
    """The reader of the output closes it in mid-dial: no traceback, status 141, and the dial is hung up."""
    journal = tmp_path / "journal"
    preparation = f"machine.script({ENTRY!r}, 'slow'); machine.journal({str(journal)!r})"
    start = [sys.executable, "-c", PREPARED.format(preparation=preparation), "dial", ENTRY, *SIM]
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        err = child.stderr.read()
        child.wait(timeout=60)
    assert (child.returncode, err) == (141, b"")
    assert len(re.findall(r"^.*\bRasHangUpW\b", journal.read_text(), re.MULTILINE)) == 1


# --- hangup, list -------------------------------------------------------------------------------------------------------


def test_list_and_hang_up(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """list shows what is up; hangup by name, in any case, ends it; then the list is empty."""
    machine.script(ENTRY, "connect_now")
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    status, out, _ = call(capsys, "list", *SIM)
    assert status == 0
    assert re.match(rf"{ENTRY}  Connected  .*  vpn  0x[0-9a-f]+\n$", out)
    status, out, _ = call(capsys, "list", "--json", *SIM)
    (record,) = objects(out)
    assert set(record) == {"type", "entry", "device_type", "device", "handle", "state"}
    assert (record["type"], record["entry"], record["state"]) == ("connection", ENTRY, "Connected")
    assert call(capsys, "hangup", ENTRY.upper(), *SIM) == (0, f"{ENTRY} is disconnected\n", "")
    assert call(capsys, "list", *SIM) == (0, "Nothing is connected.\n", "")
    assert call(capsys, "list", "--json", *SIM) == (0, "", "")


def test_hang_up_without_name(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """No name: the only connection; with several a usage error that names them; --all ends them all."""
    machine.script(None, "connect_now")
    assert call(capsys, "hangup", *SIM) == (0, "Nothing is connected.\n", "")
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    assert call(capsys, "hangup", *SIM)[:2] == (0, f"{ENTRY} is disconnected\n")
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    assert call(capsys, "dial", "Home PPPoE", *SIM)[0] == 0
    status, _, err = call(capsys, "hangup", *SIM)
    assert status == 2
    assert "Home PPPoE, Office VPN" in err
    status, out, _ = call(capsys, "hangup", "--all", "--json", *SIM)
    assert status == 0
    assert {(record["entry"], record["result"]) for record in objects(out)} == {(ENTRY, "gone"), ("Home PPPoE", "gone")}
    assert all(set(record) == {"type", "entry", "handle", "result"} for record in objects(out))


def test_hang_up_of_what_is_not_connected(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is not connected: status 1, and which name."""
    status, out, err = call(capsys, "hangup", ENTRY, *SIM)
    assert (status, out) == (1, "")
    assert ENTRY in err


def test_hang_up_that_does_not_end(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The status never becomes invalid: after --timeout the command says so with status 3."""
    machine.script(ENTRY, "connect_now")
    machine.knob("never_gone", 1)
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    status, out, _ = call(capsys, "hangup", "--timeout", "0.1", *SIM)
    assert status == 3
    assert "still closing after 0.1 s" in out


def test_hang_up_of_a_shared_connection(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Two dials of one entry share the connection: the first hang-up leaves it up, with status 3, the second ends it."""
    machine.script(ENTRY, "connect_now")
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    assert call(capsys, "dial", ENTRY, *SIM)[0] == 0
    status, out, _ = call(capsys, "hangup", ENTRY, "--json", *SIM)
    assert (status, objects(out)[-1]["result"]) == (3, "shared")
    assert call(capsys, "hangup", ENTRY, *SIM)[0] == 0


# --- entries, devices, errors -------------------------------------------------------------------------------------------


def names_in(book: Path) -> list[str]:
    return re.findall(r"^\[(.+)\]\s*$", book.read_text(encoding="utf-8"), re.MULTILINE)


def test_entries_of_a_phone_book(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The names as they stand in the file, in its order, and the file."""
    status, out, _ = call(capsys, "entries", *SIM)
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == names_in(OFFICE)
    status, out, _ = call(capsys, "entries", "--json", *SIM)
    assert [set(record) for record in objects(out)] == [{"type", "entry", "phonebook", "all_users"}] * len(names_in(OFFICE))
    assert objects(out)[0]["phonebook"] == str(OFFICE)


def test_missing_phone_book(machine: sim.Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A phone book that is not there is RAS's error 621, status 1."""
    status, _, err = call(capsys, "entries", "--api", "sim", "--phonebook", str(tmp_path / "none.pbk"))
    assert status == 1
    assert err.startswith("error 621 ")


def test_devices(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Type and name of each device."""
    status, out, _ = call(capsys, "devices", *SIM)
    assert status == 0
    assert "WAN Miniport (IKEv2)" in out
    status, out, _ = call(capsys, "devices", "--json", *SIM)
    assert all(set(record) == {"type", "device_type", "device"} for record in objects(out))
    assert {"vpn", "PPPoE", "modem"} <= {record["device_type"] for record in objects(out)}


@pytest.mark.parametrize("code", ["691", "0x2B3", "0x2b3", "ERROR_AUTHENTICATION_FAILURE", "authentication_failure"])
def test_errors_by_number_and_name(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A code in each of its spellings; needs no RAS."""
    status, out, err = call(capsys, "errors", code)
    assert (status, err) == (0, "")
    assert "ERROR_AUTHENTICATION_FAILURE" in out
    status, out, _ = call(capsys, "errors", code, "--json")
    (record,) = objects(out)
    assert set(record) == {"type", "code", "name", "text", "hint", "transient"}
    assert (record["type"], record["code"], record["transient"]) == ("code", 691, False)


@pytest.mark.parametrize("code", ["banana", "-1", "0x100000000", ""])
def test_errors_of_no_code(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no code is a usage error."""
    assert call(capsys, "errors", "--", code)[0] == 2


# --- Everything else ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has a RAS of its own")
@pytest.mark.parametrize("arguments", [["list"], ["dial", "x"], ["hangup", "--all"], ["entries"], ["devices"]])
def test_system_without_ras(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no RAS each command says so, names the simulated machine, and ends with status 4."""
    status, out, err = call(capsys, *arguments)
    assert status == 4
    assert err.startswith("error 0xE0520004 RASX_E_NOT_AVAILABLE: ")
    assert "hint: a simulated machine works everywhere: --api sim" in err
    assert out == ""
    status, out, err = call(capsys, *arguments, "--json")
    assert (status, err) == (4, "")
    assert objects(out)[-1]["type"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dial"],
        ["ring", "x"],
        ["dial", "x", "--api", "other"],
        ["dial", "x", "--timeout", "soon"],
        ["dial", "x", "--timeout", "-1"],
        ["dial", "x", "--timeout", "nan"],
        ["hangup", "x", "--all"],
        ["list", "--api", "system", "--scenario", "x.json"],
        ["list", "--scenario", "there-is-no-such-file.json"],
        ["dial", "x", "--api", "sim", "--password-stdin"],
        ["dial", "x\0y", "--api", "sim"],
        ["dial", "x" * 300, "--api", "sim"],
    ],
)
def test_wrong_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a usage error: status 2, a line on standard error, nothing on standard output."""
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert "error:" in err
    assert "Traceback" not in err
    assert not [line for line in out.splitlines() if not line.startswith("Dialling")]


def test_help_tells_statuses_and_the_end_of_the_simulated_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's help has the exit statuses and says that a simulated machine ends with the process."""
    for command in ([], ["dial"], ["hangup"], ["list"], ["entries"], ["devices"], ["errors"]):
        status, out, _ = call(capsys, *command, "--help")
        assert status == 0
        text = " ".join(out.split())
        assert "exit status: 0 done" in text
        assert "ends with" in text
        assert "130 Ctrl-C" in text


def test_documented_statuses_and_keys() -> None:
    """docs/cli.md's table of statuses is the code's, and every JSON type has its row."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    documented = {int(number) for number in re.findall(r"^\| (\d+) \| ", text, re.MULTILINE)}
    names = ("OK", "RAS_ERROR", "USAGE", "NOT_GONE", "NOT_AVAILABLE", "TIMED_OUT", "INTERRUPTED", "TERMINATED", "BROKEN_PIPE")
    assert documented == {getattr(_cli, name) for name in names}
    source = "".join((Path(ras_ext.__file__).parent / name).read_text(encoding="utf-8") for name in ("_cli.py", "_faces.py"))
    for kind in set(re.findall(r'"type": "(\w+)"', source)):
        assert f"| `{kind}` |" in text, kind


ODD_NAMES = "Büro 東京 \\[bold] ✓"


@pytest.fixture
def odd_book(tmp_path: Path) -> Path:
    """A phone book whose one entry has a name that ASCII lacks and that looks like markup."""
    text = OFFICE.read_text(encoding="utf-8").partition("[Home PPPoE]")[0].replace("[Office VPN]", f"[{ODD_NAMES}]", 1)
    path = tmp_path / "odd.pbk"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda locale: "-".join(f"{name}={value}" for name, value in locale.items()),
)
def test_names_beyond_the_locale(locale: dict[str, str], odd_book: Path) -> None:
    """Entries, dial and hints work whatever the terminal can show; JSON carries the exact name."""
    env = environment(**locale)
    where = ("--api", "sim", "--phonebook", str(odd_book))
    assert program("entries", *where, env=env).returncode == 0
    done = program("entries", "--json", *where, env=env)
    assert objects(done.stdout.decode("ascii"))[0]["entry"] == ODD_NAMES
    done = program("dial", ODD_NAMES, *where, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    done = program("dial", ODD_NAMES, "--json", *where, env=env)
    assert objects(done.stdout.decode("ascii"))[-1]["entry"] == ODD_NAMES


def test_control_characters_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A name out of a file cannot move the cursor or colour the terminal."""
    _faces.Face().say("before\x1b[31m\x07after\rover")
    assert capsys.readouterr().out == "before?[31m?after?over\n".replace("?", "\N{REPLACEMENT CHARACTER}")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell with a pipe")
def test_head_of_a_long_list(tmp_path: Path) -> None:
    """`ras-ext entries | head -1`: one line, no traceback."""
    block = OFFICE.read_text(encoding="utf-8").partition("[Home PPPoE]")[0]
    book = tmp_path / "many.pbk"
    book.write_text("".join(block.replace("[Office VPN]", f"[Office {n}]", 1) for n in range(3000)), encoding="utf-8", newline="")
    line = f'"{sys.executable}" -m ras_ext entries --api sim --phonebook "{book}" | head -1'
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert done.stdout.startswith("Office 0 ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def in_terminal(*arguments: str, rich: bool, tmp_path: Path, **more: str) -> str:
    """What a person sees: the program under a pseudo-terminal; without rich, an import of it fails."""
    import pty

    if not rich:
        (tmp_path / "rich").mkdir()
        (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('hidden by a test')\n")
        more["PYTHONPATH"] = str(tmp_path)
    leader, follower = pty.openpty()
    env = environment(**({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"} | more))
    with subprocess.Popen(
        [sys.executable, "-m", "ras_ext", *arguments], stdin=follower, stdout=follower, stderr=follower, env=env
    ) as child:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux says EIO when the last writer has gone
                break
            if not part:
                break
            shown += part
        child.wait(timeout=60)
    os.close(leader)
    return shown.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_terminal_with_rich(tmp_path: Path) -> None:
    """A terminal and rich: colours, and the same words; markup in a name is shown, not obeyed."""
    pytest.importorskip("rich")
    shown = in_terminal("dial", ENTRY, *SIM, rich=True, tmp_path=tmp_path)
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "AllDevicesConnected" in plain
    assert f"Connected to {ENTRY} in " in plain


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_terminal_with_rich_shows_odd_names(odd_book: Path, tmp_path: Path) -> None:
    """Square brackets in a name are no markup."""
    pytest.importorskip("rich")
    shown = in_terminal("entries", "--api", "sim", "--phonebook", str(odd_book), rich=True, tmp_path=tmp_path, PYTHONUTF8="1")
    assert ODD_NAMES in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("how", ["hidden", "NO_COLOR", "dumb"])
def test_terminal_without_rich(how: str, tmp_path: Path) -> None:
    """rich not installed, NO_COLOR set, or a dumb terminal: plain lines without a single escape."""
    more = {"NO_COLOR": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}.get(how, {})
    shown = in_terminal("dial", ENTRY, *SIM, rich=how != "hidden", tmp_path=tmp_path, **more)
    assert "\x1b" not in shown
    assert f"Connected to {ENTRY} in " in shown


def type_into(dialogue: list[tuple[str, str]], *arguments: str, preparation: str) -> tuple[int, str]:
    """The program under a pseudo-terminal and somebody who types: after each prompt an answer. Status, and what was shown."""
    import pty

    leader, follower = pty.openpty()
    code = PREPARED.format(preparation=preparation)
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env=environment(NO_COLOR="1"),
    ) as child:  # fmt: skip
        os.close(follower)
        shown, searched = b"", 0
        left = list(dialogue)
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
            if left and (at := shown.find(left[0][0].encode(), searched)) >= 0:
                searched = at + len(left[0][0])
                os.write(leader, left.pop(0)[1].encode() + b"\n")
        status = child.wait(timeout=60)
    os.close(leader)
    assert not left, f"never asked: {left}; shown: {shown!r}"
    return status, shown.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_is_asked_for_other_credentials() -> None:
    """The first password is wrong; the second attempt connects. No password is shown."""
    dialogue = [("Password for eve", "wr0ng-one"), ("User name [eve]: ", "ada"), ("Password for ada: ", "lovelace")]
    account = f'machine.account("{ENTRY}", "ada", "lovelace")'
    status, shown = type_into(dialogue, "dial", ENTRY, *SIM, "--user", "eve", preparation=account)
    assert status == 0, shown
    assert "RetryAuthentication" in shown
    assert f"Connected to {ENTRY} in " in shown
    assert "wr0ng-one" not in shown
    assert "lovelace" not in shown


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_is_asked_for_a_new_password() -> None:
    """Twice, until both are the same."""
    dialogue = [("New password: ", "one"), ("again: ", "two"), ("New password: ", "three"), ("again: ", "three")]
    status, shown = type_into(dialogue, "dial", ENTRY, *SIM, preparation=f'machine.script("{ENTRY}", "expired")')
    assert status == 0, shown
    assert "The two are not the same." in shown


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_nothing_typed_gives_up_plainly() -> None:
    """An empty password, and a pause that needs a dialog: the error that it would have been without a pause; status 1."""
    dialogue = [("Password for ada: ", "wrong"), ("User name [ada]: ", ""), ("Password for ada: ", "")]
    account = f'machine.account("{ENTRY}", "ada", "lovelace")'
    status, shown = type_into(dialogue, "dial", ENTRY, *SIM, "--user", "ada", preparation=account)
    assert status == 1
    assert "error 691 ERROR_AUTHENTICATION_FAILURE" in shown
    status, shown = type_into([], "dial", ENTRY, *SIM, preparation=f'machine.script("{ENTRY}", "eap_ui")')
    assert status == 1
    assert "error 703 ERROR_INTERACTIVE_MODE" in shown


def test_without_a_terminal_nobody_is_asked(machine: sim.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Paused states stay off: the vendor's plain failure."""
    machine.script(ENTRY, "retry")
    status, out, err = call(capsys, "dial", ENTRY, *SIM)
    assert status == 1
    assert "RetryAuthentication" not in out
    assert err.startswith("error 691 ")
