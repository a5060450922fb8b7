"""ci/run.py itself: what it says when something is missing, what it promises about jobs, and what it never does.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "ci" / "run.py"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="run.py works on POSIX systems; its windows job runs from there")


@pytest.fixture(scope="module")
def run() -> ModuleType:
    """ci/run.py as a module; it puts its own folder on sys.path, which is taken off again."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("_ras_ext_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


@pytest.fixture
def workshop(run: ModuleType) -> ModuleType:
    return sys.modules["workshop"]


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    return subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, env=env, timeout=100, check=False)


def test_list_names_every_job_and_group(run: ModuleType) -> None:
    """--list shows each job with what it does, and each group with its members."""
    done = call("--list")
    assert done.returncode == 0
    for name, job in run.JOBS.items():
        assert re.search(rf"^{name}\s+{re.escape(job.about)}$", done.stdout, re.MULTILINE)
    for group in run.GROUPS:
        assert re.search(rf"^{group}\s+= ", done.stdout, re.MULTILINE)


def test_groups_and_needs_name_what_exists(run: ModuleType, workshop: ModuleType) -> None:
    """No group has a job that is not there, no job needs a tool that nobody can look for, and "all" is all."""
    for members in (*run.GROUPS.values(), run.QUICK):
        assert set(members) <= set(run.JOBS)
    for job in run.JOBS.values():
        assert set(job.needs) <= set(workshop.TOOLS)
    assert set(run.GROUPS["all"]) == set(run.JOBS)
    assert set(run.QUICK) <= set(run.GROUPS["test"])


@pytest.mark.parametrize("arguments", [[], ["tset"], ["lint", "--quick"]])
def test_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    """No job, an unknown job, or --quick with another job than test: status 2 and one line that says so."""
    done = call(*arguments)
    assert done.returncode == 2
    assert "error:" in done.stderr


def test_missing_compiler_is_named_first() -> None:
    """Without a C compiler nothing starts: one line that says what to install, and status 1."""
    done = call("test", "--quick", PATH="", CC="")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "a C compiler is missing (looked for cc, gcc, clang); on Debian and Ubuntu: apt-get install gcc\n"


def test_compiler_of_the_environment_counts(workshop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CC, with flags, is the compiler that is looked for."""
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert workshop.find_compiler() is None
    monkeypatch.setenv("CC", f"{sys.executable} -m64")
    assert workshop.find_compiler() == sys.executable


def test_each_missing_basic_has_one_line(workshop: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ensurepip, Python.h and the compiler are looked for one by one, and each names its package."""
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "Python.h").touch()
    for name in ("cc", "gcc", "clang"):
        (tmp_path / name).touch(mode=0o755)
    here: dict[str, object] = {"include": tmp_path, "search_path": str(tmp_path), "importable": lambda name: True}
    nowhere = tmp_path / "nowhere"
    hidden: dict[str, dict[str, object]] = {
        "python3-venv": {"importable": lambda name: name != "ensurepip"},
        "python3-dev": {"include": nowhere},
        "gcc": {"search_path": str(nowhere)},
    }
    assert workshop.missing_basics(**here) == []
    for package, without in hidden.items():
        if package == "gcc" and os.name == "nt":
            continue
        assert [need.package for need in workshop.missing_basics(**(here | without))] == [package]


def test_missing_tool_is_not_run(
    run: ModuleType, workshop: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that lacks a tool is reported NOT RUN with what to install; that is status 0 here and 1 in CI."""
    monkeypatch.setitem(workshop.TOOLS, "unicorn", (lambda: False, workshop.Need("the unicorn is missing", "unicorn-dev")))
    monkeypatch.setitem(run.JOBS, "ride", run.Job(lambda: "ridden", "rides", ("unicorn",), venv=False))
    monkeypatch.setattr(run, "install_packages", lambda packages: None)
    monkeypatch.delenv("CI", raising=False)
    assert run.main(["ride"]) == 0
    assert capsys.readouterr().out == "NOT RUN ride: the unicorn is missing (apt-get install unicorn-dev)\n"
    monkeypatch.setenv("CI", "1")
    assert run.main(["ride"]) == 1
    assert "NOT RUN ride" in capsys.readouterr().out


def test_debian_packages_only_on_request(run: ModuleType, workshop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed into the system unless --install is given or CI is set; then it is what the tool needs."""
    installed: list[str] = []
    monkeypatch.setitem(
        workshop.TOOLS, "unicorn", (lambda: bool(installed), workshop.Need("the unicorn is missing", "unicorn-dev"))
    )
    monkeypatch.setitem(run.JOBS, "ride", run.Job(lambda: "ridden", "rides", ("unicorn",), venv=False))
    monkeypatch.setattr(run, "install_packages", installed.extend)
    monkeypatch.delenv("CI", raising=False)
    assert run.main(["ride"]) == 0
    assert installed == []
    assert run.main(["ride", "--install"]) == 0
    assert installed == ["unicorn-dev"]
    installed.clear()
    monkeypatch.setenv("CI", "true")
    assert run.main(["ride"]) == 0
    assert installed == ["unicorn-dev"]


def test_failing_job_does_not_stop_the_next(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every job runs, each has a line with its seconds, the last line names what failed, and the status is 1."""

    def broken() -> str:
        raise run.FailedError("the output of the tool")

    monkeypatch.setitem(run.JOBS, "broken", run.Job(broken, "fails", venv=False))
    monkeypatch.setitem(run.JOBS, "fine", run.Job(lambda: "all well", "works", venv=False))
    assert run.main(["broken", "fine"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the output of the tool"
    assert re.fullmatch(r"broken +FAILED +\d+\.\d s  see above", lines[1])
    assert re.fullmatch(r"fine +ok +\d+\.\d s  all well", lines[2])
    assert re.fullmatch(r"FAILED: broken \(\d+\.\d s\)", lines[-1])


def test_skipped_c_test_fails_in_ci_only(run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A C test that skips itself is counted here; in CI it fails, unless it stands on the agreed list."""
    program = tmp_path / "test_x-0"
    monkeypatch.setattr(run.cbuild, "build", lambda kind, pattern: [program])
    monkeypatch.setattr(run, "run_program", lambda command, env: "ok test_one\nskip test_two: no futex\n")
    kind = run.cbuild.Kind("plain", "cc")
    monkeypatch.delenv("CI", raising=False)
    assert run.run_c_tests(kind) == "1 program built with cc, 1 test ok, 1 skipped"
    monkeypatch.setenv("CI", "1")
    with pytest.raises(run.FailedError, match="test_two: no futex"):
        run.run_c_tests(kind)
    monkeypatch.setitem(run.AGREED_SKIPS, "test_two", "futexes exist on Linux only")
    assert run.run_c_tests(kind) == "1 program built with cc, 1 test ok, 1 skipped"


def test_requirements_are_pinned_with_hashes() -> None:
    """Each line of requirements.txt pins one version, and each pin carries at least one sha256."""
    text = (ROOT / "ci" / "requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    pins = [block for block in blocks if block.strip()]
    assert len(pins) > 10
    for pin in pins:
        assert re.match(r"[A-Za-z0-9._-]+==[\w.]+( ;.*)? ?\\?\n", pin), pin.splitlines()[0]
        assert "--hash=sha256:" in pin, pin.splitlines()[0]
    wanted = [line for line in (ROOT / "ci" / "requirements.in").read_text().split("\n") if line and line[0] != "#"]
    for line in wanted:
        name = line.partition(";")[0].strip().lower()
        assert re.search(rf"^{name}==", text, re.MULTILINE), f"requirements.txt lacks {name}"


def test_digest_changes_with_content_and_name(workshop: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key of what is installed changes with any byte or name of the sources, and with nothing else."""
    monkeypatch.setattr(workshop, "ROOT", tmp_path)
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "a.c").write_text("int a;")
    first = workshop.digest([folder])
    (folder / "a.c").touch()
    (folder / "built.so").write_text("x")
    assert workshop.digest([folder]) == first
    (folder / "a.c").write_text("int b;")
    second = workshop.digest([folder])
    (folder / "a.c").rename(folder / "b.c")
    assert len({first, second, workshop.digest([folder])}) == 3


def test_mirror_follows_the_sources(workshop: ModuleType, tmp_path: Path) -> None:
    """What is built is what is there: changed files are copied, deleted ones go, equal ones keep their time stamp."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "same.c").write_text("same")
    (source / "changed.c").write_text("old")
    (source / "deleted.c").write_text("gone soon")
    workshop._mirror(source, target)
    os.utime(target / "inner" / "same.c", (1, 1))
    (source / "changed.c").write_text("new")
    (source / "deleted.c").unlink()
    workshop._mirror(source, target)
    assert {path.name for path in target.rglob("*.c")} == {"same.c", "changed.c"}
    assert (target / "changed.c").read_text() == "new"
    assert (target / "inner" / "same.c").stat().st_mtime == 1


def test_ci_entry_sets_ci_and_runs_everything() -> None:
    """.ci/run is run.py test with CI set, and nothing more."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "export CI=1" in text
    assert text.rstrip().endswith("exec python3 ci/run.py test")
