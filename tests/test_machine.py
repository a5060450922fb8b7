"""Random scripts, knobs and calls on the simulated machine, on its virtual clock, compared with a reference model (model.py).

SPDX-License-Identifier: MIT

A run is a Plan: what the entries play, their knobs, and what one thread does. After each step the events, their instants, the
outcome, the error that wins, references, ports, handles, connections() and the results of hang-ups must be those of the model;
at the end nothing is left.

1,000 runs, always the same ones; 200 on Windows, as Wine is slow. RASX_SOAK=1: 20,000, in twenty parts. RASX_SEED=n: others.
A failing run prints its plan as one word and the command that replays it alone.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import model
import pytest
from helping import BOUND_S, write_book
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from model import CONNECTED, DISCONNECTED, MS, SCRIPTS, Model, Setup, Step, WrongError

import ras_ext
import ras_ext.sim
from ras_ext import _ffi
from ras_ext.events import HangUp, Notifier

RUNS = 200 if sys.platform == "win32" and not os.environ.get("RASX_SOAK") else 1_000
PARTS = 20 if os.environ.get("RASX_SOAK") else 1
SEED = int(os.environ.get("RASX_SEED", "1"))
NAMES = ("Office VPN", "Home", "Büro №5")
PAUSED_STATES = 2  # RDEOPT_PausedStates
PAUSE_MS = 300_000
CAN_RESUME = hasattr(ras_ext.Dial, "resume")
SAMPLES = (  # runs that found something once: a paused dial that was dropped paused again
    "eNqFjDsOAyEQQ-_iegqSkqusUDSBiYQyAsQnDeLuYbtUm9LPz55oIgHWEEquvcGmoUqQ1GuUHY-J5mssHRbC5TEiCO-Un7ubazmCZ9VTPBAiK8jQnXodQueTo1_8Ym3_OYcPJy-gmzGX-5rL5s6tL0T1QBQ=",
)


@dataclass
class Entry:
    script: str | list[dict[str, Any]]
    knobs: dict[str, int]

    @property
    def steps(self) -> tuple[Step, ...]:
        return SCRIPTS[self.script] if isinstance(self.script, str) else tuple(Step(**step) for step in self.script)


@dataclass
class Plan:
    seed: int
    ports: int | None
    entries: list[Entry]
    calls: list[list[Any]] = field(default_factory=list)

    def word(self) -> str:
        return base64.urlsafe_b64encode(zlib.compress(json.dumps(asdict(self), separators=(",", ":")).encode(), 9)).decode()

    @classmethod
    def of(cls, word: str) -> Plan:
        given = json.loads(zlib.decompress(base64.urlsafe_b64decode(word)))
        return cls(given["seed"], given["ports"], [Entry(**entry) for entry in given["entries"]], given["calls"])


# --- What is drawn ------------------------------------------------------------------------------------------------------------

_STATES = st.sampled_from(
    (*range(12), 14, 18, 24, 25, 77, 4096, 4097, 4098, 4099, 4100, 4101, CONNECTED, CONNECTED, DISCONNECTED, 8194, 0x3001)
)
_ERRORS = st.sampled_from((0, 0, 0, 0, 0, 0, 691, 868, 633, 645, 13801, 0x80420112))
_DELAYS = st.sampled_from((0, 1, 2, 7, 30, 420, 1130, 2600))
_TIMES = st.sampled_from((0, 1, 5, 13, 60, 100, 260, 700, 1300, 4100, 11_700))


@st.composite
def _steps(draw: st.DrawFn, spaced: bool, bundle: bool, quiet: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 12))):
        step: dict[str, Any] = {"state": draw(_STATES), "delay_ms": draw(_DELAYS)}
        if spaced or quiet:  # not at the very instant at which RasDial returns, and the status is read
            step["delay_ms"] = max(1, step["delay_ms"])
        what = draw(st.integers(0, 15))
        if what < 3:
            step["error"] = draw(_ERRORS)
            step["extended_error"] = draw(st.sampled_from((0, 5)))
        elif what == 3:
            step |= {"silent": True, "delay_ms": max(1, step["delay_ms"])}
        elif what == 4:
            step |= {"state": 0, "drop": True, "error": draw(st.sampled_from((0, 829)))}
        if bundle:
            step["subentry"] = draw(st.integers(1, 2))
        found.append(step)
    if draw(st.booleans()):
        found.append({"state": CONNECTED, "delay_ms": draw(st.sampled_from((1, 12)))})
    return found


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    """Chance is read off the events, so it must leave traces there: knobs that hide steps go with steps of a known length only,
    and what makes the order of equal notifications unclear does not come together."""
    knobs: dict[str, int] = {}
    drawn = draw(st.sets(st.integers(0, 15), max_size=4))

    def have(number: int, name: str, *values: int) -> None:
        if number in drawn:
            knobs[name] = draw(st.sampled_from(values))

    own = draw(st.booleans())
    chance = own and draw(st.integers(0, 4)) == 0
    bundle = own and not chance and draw(st.integers(0, 9)) == 0
    if chance:
        knobs["skip_percent"] = draw(st.sampled_from((20, 60)))
    have(0, "threads", *((0, 1) if chance else (1, 2)))
    if knobs.get("threads") != 2 and not bundle:
        have(1, "repeat_percent", 15, 50)
    if not chance and "repeat_percent" not in knobs:
        have(2, "early", 1, 2, 3, 1000)
    if own:
        have(3, "silent", 1, 2, 5)
        have(4, "block_dial", 1)
        have(5, "dial_delay_ms", 3, 450)
    if not {"block_dial", "dial_delay_ms"} & knobs.keys():
        have(2, "early_on_caller", 0, 1)
    have(6, "late", 1, 3)
    if knobs.get("threads") != 2:  # two handlers at once: which of the two ends comes first is anybody's guess (S1.6)
        have(7, "error_then", 1, 2)
    have(8, "final_on_hangup", 1, 2)
    have(9, "dial_code", 691, 711, 5)
    have(9, "dial_code_handle", 0, 1)
    have(9, "dial_code_notify", 0, 1)
    if "dial_code" in knobs and knobs.get("threads") == 2:
        knobs["early"] = 0  # the first of the two may be told after RasDial has returned
    have(10, "by_callback", 1)
    have(11, "hangup_delay_ms", 0, 37, 3000, 12_000)
    have(12, "gone_code", 668)
    have(13, "never_gone", 1)
    have(14, "closing_state", 0)
    have(15, "known_notify", 0)
    if own:
        return Entry(draw(_steps("skip_percent" in knobs or "repeat_percent" in knobs, bundle, "silent" in knobs)), knobs)
    names = sorted(SCRIPTS)
    if "repeat_percent" in knobs:
        names.remove("multilink2")
        names.remove("callback")  # more than a dial's ring holds, if nobody looks
    return Entry(draw(st.sampled_from(names)), knobs)


_CALLS = st.one_of(
    st.tuples(
        st.just("dial"),
        st.integers(0, len(NAMES) - 1),
        st.sampled_from((2, 2, 2, 2, 1, 0)),
        st.booleans(),
        st.sampled_from((None, None, None, 0, 55, 903, 5003)),
    ),
    st.tuples(st.just("dial"), st.just(0), st.just(2), st.booleans(), st.none()),
    st.tuples(st.just("advance"), _TIMES),
    st.tuples(st.just("result"), st.integers(0, 7), _TIMES),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
    st.tuples(st.just("resume"), st.integers(0, 7)),
    st.tuples(st.just("hang_up"), st.integers(0, 7), st.booleans(), st.sampled_from((0, 220, 10_000))),
    st.tuples(st.just("drop"), st.integers(0, 7)),
    st.tuples(st.just("status"), st.integers(0, 7)),
    st.tuples(st.just("release")),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    first = ["dial", 0, 2, draw(st.booleans()), None]
    calls = [first, *(list(call) for call in draw(st.lists(_CALLS, min_size=1, max_size=12)))]
    entries = [draw(_entries()) for _ in range(draw(st.integers(1, len(NAMES))))]
    return Plan(draw(st.integers(0, 1 << 32)), draw(st.sampled_from((None, None, 1, 2))), entries, calls)


# --- A run --------------------------------------------------------------------------------------------------------------------


class Run:
    """Plays one plan on the machine and on the model, side by side."""

    count: ClassVar[int] = 0

    def __init__(self, plan: Plan, book: Path) -> None:
        self.plan = plan
        self.machine = ras_ext.sim.control()
        self.machine.reset(force=True)
        self.machine.clock("virtual")
        Run.count += 1
        # Past all that the run before it knew, a notifier's quarantine for example; not so far that a float loses nanoseconds.
        self.machine.advance(400 * (Run.count % 1000))
        self.machine.seed(plan.seed)
        initial = {knob.name: knob.initial for knob in self.machine.knobs}
        setups: dict[str, Setup] = {}
        for name, entry in zip(NAMES, plan.entries, strict=False):
            setups[name] = Setup(entry.steps, {**initial, **entry.knobs})
            if isinstance(entry.script, str):
                self.machine.script(name, entry.script)
            else:
                steps: list[Any] = entry.script
                self.machine.script(name, steps)
            for knob, value in entry.knobs.items():
                self.machine.knob(knob, value, name)
        if plan.ports is not None:
            self.machine.ports("vpn", plan.ports)
        self.client = ras_ext.open("sim", phonebook=book)
        self.model = Model(setups, plan.ports, self.now())
        self.dials: list[ras_ext.Dial] = []
        self.hung_up: set[int] = set()
        self.references = _ffi.counters().references  # of a run that failed, while hypothesis makes it smaller

    def now(self) -> int:
        return round(self.machine.now * 1e9)

    def seen(self) -> list[tuple[ras_ext.Event, ...]]:
        """All events, when everything that is due has happened."""
        self.machine.settle()
        return [dial.events for dial in self.dials]

    def compare(self) -> None:
        """Lets everything that is due now happen, and compares all that can be seen."""
        seen = self.seen()
        now = self.now()
        self.model.look(now, seen)
        for dial, expected in zip(self.dials, self.model.dials, strict=True):
            number = f"dial {expected.number} of {expected.entry}"
            self.same(f"{number}: done", dial.done(), expected.outcome != model.NONE)
            self.same(f"{number}: cancelled", dial.cancelled(), expected.origin == model.CANCEL)
            self.same(f"{number}: lost", dial.lost, 0)
            result = dial.hang_up_result
            soonest, latest = expected.settles
            if (result is None and now > latest) or (
                result is not None and (now < soonest - MS or int(result) not in expected.hang_ups)
            ):
                raise WrongError(f"{number}: hang-up {result!r} at {now}, expected {expected.hang_ups} within {expected.settles}")
        held = self.machine.counters
        self.same("handles", held.handles, self.model.handles())
        self.same("references", held.references, self.model.references())
        self.same("ports", held.ports, self.model.ports_used())
        self.same("connections", sorted(c.entry for c in self.client.connections()), self.model.connected())

    @staticmethod
    def same(what: str, seen: object, expected: object) -> None:
        if seen != expected:
            raise WrongError(f"{what}: {seen!r}, expected {expected!r}")

    def play(self) -> None:
        for name, *arguments in self.plan.calls:
            getattr(self, f"call_{name}")(*arguments)
            self.compare()

    def pick(self, number: int) -> tuple[ras_ext.Dial, model.Dial]:
        number %= len(self.dials)
        return self.dials[number], self.model.dials[number]

    def call_dial(self, entry: int, kind: int, pauses: bool, timeout_ms: int | None) -> None:
        if len(self.dials) == 8:
            return
        name = NAMES[entry % len(self.plan.entries)]
        options = PAUSED_STATES if pauses else 0
        limit = None if timeout_ms is None else timeout_ms / 1000
        self.dials.append(self.client.dial(name, notifier=Notifier(kind), options=options, timeout=limit))
        self.model.dial(name, kind, pauses, timeout_ms, PAUSE_MS, self.seen())

    def call_advance(self, ms: int) -> None:
        for part in range(8):  # a dial's ring holds 30 events beside the outcome
            self.machine.advance((ms * (part + 1) // 8 - ms * part // 8) / 1000)
            for dial in self.dials:
                assert dial.events is not None

    def call_result(self, number: int, ms: int) -> None:
        dial, _ = self.pick(number)
        began = self.now()
        try:
            dial.result(ms / 1000)
        except ras_ext.StillDialing:
            assert self.now() >= began + ms * MS
        except ras_ext.RasError:
            pass
        assert self.now() <= began + max(ms, 0) * MS + 1

    def call_cancel(self, number: int) -> None:
        dial, expected = self.pick(number)
        done = dial.cancel()
        self.model.feed(self.seen())
        self.same("cancel", done, self.model.cancel(expected))

    def call_resume(self, number: int) -> None:
        dial, expected = self.pick(number)
        if not CAN_RESUME or not expected.returned:
            return
        try:
            dial.resume(username="ada", password="lovelace")  # type: ignore[attr-defined, unused-ignore]
            taken = True
        except RuntimeError:
            taken = False
        self.same("resume", taken, self.model.resume(expected))

    def call_hang_up(self, number: int, all_references: bool, ms: int) -> None:
        dial, expected = self.pick(number)
        if expected.outcome != model.SUCCESS or not expected.returned or expected.number in self.hung_up:
            return
        assert expected.link is not None
        self.hung_up.add(expected.number)
        connection = dial.result(0)
        results = self.model.hang_up(expected.link, all_references, ms)
        result = connection.hang_up(ms / 1000, all=all_references)
        if int(result) not in results:
            raise WrongError(f"hang-up of dial {expected.number}: {result!r}, expected {[HangUp(r) for r in results]}")
        if result is not HangUp.CLOSING:
            assert connection.hang_up(0) is result, "a second hang-up gives up nothing"

    def call_drop(self, number: int) -> None:
        dial, expected = self.pick(number)
        handle = next((event.handle for event in dial.events if event.handle), 0)
        if not handle or expected.link is None or not expected.link.listed or expected.code:
            return
        try:
            self.machine.drop(handle, 829)
            dropped = True
        except ras_ext.RasError as problem:
            assert problem.code == 6
            dropped = False
        self.model.feed(self.seen())
        self.same("drop", dropped, self.model.drop(expected.link, 829))

    def call_status(self, number: int) -> None:
        dial, expected = self.pick(number)
        link = expected.link
        if expected.outcome != model.SUCCESS or not expected.returned or link is None:
            return
        knobs = self.model.setups[link.entry].knobs
        code, state, error = link.status(self.now(), knobs["closing_state"], knobs["gone_code"])
        try:
            told = dial.result(0).status()
            seen = (0, int(told.state), told.error)
        except ras_ext.RasError as problem:
            seen = (problem.code, 0, 0)
        self.same("status", seen, (code, 0 if code else state, 0 if code else error))

    def call_release(self) -> None:
        self.machine.release()
        self.model.feed(self.seen())
        self.model.release()

    # --- The end ---

    def finish(self) -> None:
        """Gives everything up, and looks at every outcome and at what is left."""
        self.call_release()
        self.compare()
        self.call_advance(1000)
        self.compare()
        for number in range(len(self.dials)):
            self.call_cancel(number)
        self.compare()
        for number in range(len(self.dials)):
            self.call_hang_up(number, False, 13_000)
            self.compare()
        self.call_advance(14_000)
        self.compare()
        for dial, expected in zip(self.dials, self.model.dials, strict=True):
            self.outcome(dial, expected)
        self.same("what the machine holds", tuple(self.machine.counters), (0, 0, 0, 0))
        held = _ffi.counters()
        self.same("what the core holds", (held.threads, held.slots, held.references), (0, 0, self.references))

    def outcome(self, dial: ras_ext.Dial, expected: model.Dial) -> None:
        assert dial.hang_up_result is not None
        closed = dial.hang_up_result is not HangUp.CLOSING
        self.same("wait_closed", dial.wait_closed(0), closed)
        self.same("iteration ends with the decision", list(dial)[-1].is_outcome, True)
        if expected.outcome == model.SUCCESS:
            assert dial.result(0) is dial.result(), "one Connection, however often one asks"
            assert dial.exception() is None
        elif expected.origin == model.CANCEL:
            with pytest.raises(ras_ext.DialCancelledError):
                dial.result(0)
        else:
            problem = dial.exception(0)
            assert problem is not None
            seen = (problem.code, problem.origin, problem.entry, problem.later, problem.still_closing)
            self.same("the error", seen, (expected.error, expected.origin, dial.entry, self.model.later(expected), not closed))

    def close(self) -> None:
        self.machine.release()
        for dial in self.dials:
            dial.cancel()
        self.client.close(timeout=20)
        self.machine.reset(force=True)


def run(plan: Plan, book: Path, say: Callable[[str], object] = print) -> None:
    one = Run(plan, book)
    try:
        one.play()
        one.finish()
    except BaseException:
        say(f"to replay it alone: RASX_PLAN={plan.word()} pytest tests/{Path(__file__).name} -k replay")
        raise
    finally:
        one.close()


@pytest.fixture(scope="module")
def machine_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_book(tmp_path_factory.mktemp("machine") / "book.pbk", *NAMES)
    ras_ext.sim.control().reset(force=True)


_settings = settings(
    max_examples=RUNS,
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize("part", range(PARTS))
def test_random_runs_agree_with_the_model(part: int, machine_book: Path) -> None:
    """Whatever scripts, knobs and calls are combined, the library does what the model says, and nothing is left over."""

    @seed(SEED * 1000 + part)
    @_settings
    @given(plans())
    def runs(plan: Plan) -> None:
        run(plan, machine_book, note)

    run(Plan(1, None, [Entry("vpn_ok", {})], [["dial", 0, 2, False, None]]), machine_book)  # whatever is made once
    threads, descriptors = threading.active_count(), _descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        runs()
    gc.collect()
    deadline = time.monotonic() + BOUND_S
    while threading.active_count() > threads and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    assert threading.active_count() <= threads, "threads are left"
    assert _descriptors() <= descriptors, "descriptors are left"
    assert not _ffi.counters().abandoned


def test_s8_13_a_reused_handle_has_no_references_of_the_one_before(virtual: ras_ext.sim.Machine, client: ras_ext.Client) -> None:
    """A connection that was dropped had a reference of ours; the next one with its handle value is not "shared" for that."""
    virtual.knob("reuse_handles", 1)
    first = client.dial(NAMES[0]).result()
    virtual.drop(first)
    second = client.dial(NAMES[0]).result()
    assert first.handle == second.handle
    assert second.hang_up() is HangUp.GONE
    assert virtual.counters.handles == 0


@pytest.mark.parametrize("word", [os.environ["RASX_PLAN"]] if "RASX_PLAN" in os.environ else SAMPLES or [""])
def test_replay_of_one_run(word: str, machine_book: Path) -> None:
    """A plan in one word is the run that it was made from; those kept here found something once."""
    plan = Plan.of(word) if word else Plan(7, 1, [Entry("retry", {"late": 1})], [["dial", 0, 2, True, 903], ["advance", 700]])
    assert Plan.of(plan.word()) == plan
    run(plan, machine_book)
