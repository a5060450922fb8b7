"""A small reference model of dials on the simulated machine, for test_machine.py.

SPDX-License-Identifier: MIT

Written from docs/ras-semantics.md (S1.4, S1.7, S1.8, S2.5, S3, S10.2) and from "Life of a Dial" in docs/design.md, not from the
code. It keeps its own time in nanoseconds and plays the machine and the core together; chance is not predicted but read off the
events that were really seen: how long a step of a default script took, whether a notification was skipped or repeated, which of
two handlers at once came first. Everything else (order, error, origin, outcome, the instant of each event, references, handles,
ports, how a hang-up ends) it says by itself, and `look` raises WrongError where the events say something else.

What comes after the decision is not predicted event by event, because nothing promises it (S1.4): it must not decide again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MS = 1_000_000
NEVER = 1 << 62
ANY_MS = (1, 20)  # S10.2: a step of a default script

PAUSED, DONE, CONNECTED, DISCONNECTED = 0x1000, 0x2000, 8192, 8193
LINK_UP, LINK_DOWN = 22, 23
NOTIFIER, RETURN, POLL, TIMEOUT, CANCEL = range(5)  # origins
NONE, SUCCESS, FAILURE = range(3)  # outcomes
HANG_NONE, HANG_GONE, HANG_SHARED, HANG_CLOSING = range(4)

PAUSE_FAILURES = {4097: 691, 4099: 648, 4098: 704}  # S1.7 without paused states; else 703
WITH_EXTENDED_ERROR = (639, 640, 645, 650)

_TO_LINK = (0, 1, 2, 3, 4)
_TO_AUTH = (*_TO_LINK, 5, 6)
_FROM_AUTH = (6, 10, 6, 18, 14)
_VPN_OK = (*_TO_AUTH, 10, 6, 18, 14, 24, CONNECTED)


class WrongError(AssertionError):
    """The library and the model disagree."""


@dataclass(frozen=True)
class Step:
    """One line of a script. delay_ms None: by chance, within ANY_MS."""

    state: int = 0
    error: int = 0
    delay_ms: int | None = None
    extended_error: int = 0
    subentry: int = 1
    silent: bool = False
    drop: bool = False


def _plain(states: Sequence[int], *more: Step, delay_ms: int | None = None) -> tuple[Step, ...]:
    return (*(Step(state, delay_ms=delay_ms) for state in states), *more)


def _links(*steps: tuple[int, int, int]) -> tuple[Step, ...]:
    return tuple(Step(state, error, subentry=subentry) for state, error, subentry in steps)


SCRIPTS: dict[str, tuple[Step, ...]] = {
    "vpn_ok": _plain(_VPN_OK),
    "pppoe_ok": _plain(_VPN_OK),
    "modem_ok": _plain((*_TO_AUTH, 10, 6, 11, 12, 18, 14, CONNECTED)),
    "connect_now": _plain((CONNECTED,), delay_ms=0),
    "slow": _plain(_VPN_OK, delay_ms=500),
    "auth_fail": _plain(_TO_AUTH, Step(6, 691)),
    "unreachable": _plain((0, 1, 2), Step(2, 868)),
    "busy": _plain((0,), Step(0, 633)),
    "modem_noanswer": _plain((0, 1, 2), Step(2, 678)),
    "retry": _plain((*_TO_AUTH, 4097, 7, *_FROM_AUTH, CONNECTED)),
    "expired": _plain((*_TO_AUTH, 4099, 9, *_FROM_AUTH, CONNECTED)),
    "interactive": _plain((*_TO_LINK, 4096, 5, *_FROM_AUTH, CONNECTED)),
    "eap_ui": _plain((*_TO_LINK, 5, 4100, *_FROM_AUTH, CONNECTED)),
    "callback": _plain((*_TO_AUTH, 8, 15, 16, 17, 2, 3, 4, 13, *_FROM_AUTH, CONNECTED)),
    "multilink2": (
        *_links((0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2), (2, 0, 1), (2, 0, 2)),
        *_plain((3, 4, 5, 6, 10, 6, 18, 14)),
        *_links((LINK_UP, 0, 1), (2, 676, 2), (LINK_DOWN, 0, 2), (CONNECTED, 0, 1)),
    ),
    "drop": _plain(_VPN_OK, Step(drop=True, error=829, delay_ms=1000)),
}


def is_pause(state: int) -> bool:
    """S1.7, S2.1: a terminal state is no pause, whatever other bits it has."""
    return bool(state & PAUSED) and not state & DONE


class Link:
    """A connection inside the machine: a handle, its references, its port, and what is still to be played."""

    def __init__(self, entry: str, steps: Sequence[Step], now: int, *, listed: bool = True, port: bool = True) -> None:
        self.entry = entry
        self.steps = list(steps)
        self.links = max([step.subentry for step in steps] or [1])
        self.bundle = self.links > 1
        self.at = 0  # the next step
        self.since = now  # of the step before
        self.phase = "dialing"
        self.state = self.error = 0
        self.subentry = 0
        self.announced = 0
        self.first_of_two = False  # threads=2: the dial does not wait for this handler
        self.early_over = False
        self.paused = False
        self.down: set[int] = set()
        self.references = 1
        self.listed = listed
        self.blocks = listed  # a second dial of the entry meets it
        self.port = port
        self.ends = NEVER  # the link breaks, or the hang-up is through
        self.never_gone = False
        self.by: Dial | None = None  # whose notifier is called

    def catch_up(self, now: int) -> None:
        if self.ends > now or self.phase in ("gone", "zombie"):
            return
        self.phase = "zombie" if self.phase == "closing" and self.never_gone else "gone"
        self.references = 0
        self.blocks = self.port = False

    def break_off(self) -> None:
        self.ends = 0
        self.never_gone = False
        self.catch_up(0)

    def status(self, now: int, closing_state: int, gone_code: int) -> tuple[int, int, int]:
        """What RasGetConnectStatus says: a code, the state, its error."""
        self.catch_up(now)
        if self.phase == "gone" or not self.listed:
            return gone_code, 0, 0
        state = closing_state if closing_state and self.phase in ("closing", "zombie") else self.state
        return 0, state, self.error


@dataclass(eq=False)
class Dial:
    """A dial, from the core's side."""

    number: int
    entry: str
    kind: int
    pauses: bool
    started: int
    deadline: int
    pause_ns: int
    knobs: dict[str, int]
    link: Link | None = None
    owns: bool = False  # RasDial gave a handle
    returns: int = NEVER
    returned: bool = False
    code: int = 0  # of RasDial
    cursor: int = 0
    outcome: int = NONE
    decided: int = NEVER
    error: int = 0
    origin: int = NOTIFIER
    poll: int = NEVER
    verdict: int = NONE
    pause: int = 0  # 1: waits for an answer; 2: has one
    pause_ends: int = NEVER
    resumes: int = NEVER
    tells: int = NEVER  # the Connected notification of an entry that was connected before
    blocked: bool = False
    hang_ups: frozenset[int] = frozenset()  # how its own hang-up may end
    settles: tuple[int, int] = (NEVER, NEVER)  # between these
    seen: list[Any] = field(default_factory=list)
    first_error: int = 0
    overtaken: Any = None  # the event that should have decided, had another thread not been quicker


@dataclass
class Setup:
    """What one entry plays, and its knobs."""

    steps: tuple[Step, ...]
    knobs: dict[str, int]


class Model:
    """The machine and the core. `look` lets time pass and compares."""

    def __init__(self, setups: dict[str, Setup], ports: int | None, now: int) -> None:
        self.setups = setups
        self.ports = ports
        self.now = now
        self.links: list[Link] = []
        self.dials: list[Dial] = []

    # --- What the driver does -------------------------------------------------------------------------------------------------

    def feed(self, seen: Sequence[Sequence[Any]]) -> None:
        """The events that were really seen, of each dial. Before anything else that decides."""
        for dial, events in zip(self.dials, seen, strict=False):
            dial.seen += events[len(dial.seen) :]

    def dial(
        self, entry: str, kind: int, pauses: bool, timeout_ms: int | None, pause_ms: int, seen: Sequence[Sequence[Any]]
    ) -> Dial:
        knobs = self.setups[entry].knobs
        deadline = NEVER if timeout_ms is None else self.now + timeout_ms * MS
        dial = Dial(len(self.dials), entry, kind, pauses, self.now, deadline, pause_ms * MS, knobs)
        self.dials.append(dial)
        self.feed(seen)
        self._ras_dial(dial)
        return dial

    def cancel(self, dial: Dial) -> bool:
        if dial.outcome != NONE:
            return dial.origin == CANCEL
        self._decide(dial, FAILURE, 631, CANCEL, self.now)
        return True

    def resume(self, dial: Dial) -> bool:
        """Whether the answer is taken. RasDial comes a moment (5 ms) later, when the handler has been left for sure."""
        if dial.pause != 1 or dial.outcome != NONE:
            return False
        dial.pause = 2
        dial.pause_ends = NEVER
        dial.resumes = self.now + 5 * MS
        return True

    def hang_up(self, link: Link, all_references: bool, timeout_ms: int) -> frozenset[int]:
        """The results that are right for a hang-up of a connection that stands, or stood."""
        link.catch_up(self.now)
        if link.phase in ("gone", "closing", "zombie"):
            return frozenset([HANG_GONE])  # S3: 6 and 668 mean that it is over
        if link.references > 1 and not all_references:
            link.references -= 1
            uncounted = any(d.link is link and d.outcome == NONE for d in self.dials)
            return frozenset([HANG_SHARED, HANG_CLOSING] if uncounted else [HANG_SHARED])
        return self._close(link, self.now, timeout_ms, all_references)

    def drop(self, link: Link, reason: int) -> bool:
        link.catch_up(self.now)
        if link.phase in ("gone", "closing", "zombie"):
            return False
        if link.phase == "connected":
            link.break_off()
        elif link.phase == "dialing":
            self._lose(link, reason or 629)
        return True

    def release(self) -> None:
        for dial in self.dials:
            if dial.blocked:
                dial.blocked = False
                dial.returns = self.now + dial.knobs["dial_delay_ms"] * MS
                self._come_back(dial)

    # --- RasDial --------------------------------------------------------------------------------------------------------------

    def _ras_dial(self, dial: Dial) -> None:
        knobs, now = dial.knobs, self.now
        setup = self.setups[dial.entry]
        forced, handle, told = knobs["dial_code"], knobs["dial_code_handle"], knobs["dial_code_notify"]
        failing = (Step(0, delay_ms=1), Step(0, forced, delay_ms=1))
        dial.returns = now
        other = self._blocking(dial.entry)
        if forced:
            dial.code = forced
            dial.owns = bool(handle)
            if not handle and not told:
                return self._come_back(dial)
            listed = bool(handle)
            link = Link(dial.entry, failing, now, listed=listed, port=listed and other is None)
            link.blocks = listed and other is None
            if link.port and self._no_port(link):
                dial.code, dial.owns, listed = (633, False, False)
                return self._come_back(dial)
            if not told:
                link.phase, link.error = "failed", forced
        else:
            if other is not None and other.phase == "connected":
                other.references += 1
                dial.link, dial.owns = other, True
                if knobs["known_notify"]:
                    dial.tells = now + MS
                return self._come_back(dial)
            code = 756 if other is not None else 0
            link = Link(dial.entry, setup.steps, now)
            if code == 0 and self._no_port(link):
                code = 633
            if code and not knobs["by_callback"]:
                dial.code = code
                return self._come_back(dial)
            if code:
                failing = (Step(0, delay_ms=1), Step(0, code, delay_ms=1))
                link = Link(dial.entry, failing, now, port=False)
                link.blocks = False
            dial.owns = True
        link.by = dial
        dial.link = link
        if link.listed:
            self.links.append(link)
        played = not forced or bool(told)
        link.early_over = knobs["early"] <= 0 or not played
        if not played and link.listed:
            link.steps = []
        dial.blocked = bool(knobs["block_dial"])
        dial.returns = now + knobs["dial_delay_ms"] * MS  # from the release when both are on
        return self._come_back(dial)

    def _blocking(self, entry: str) -> Link | None:
        for link in self.links:
            link.catch_up(self.now)
        return next((link for link in self.links if link.entry == entry and link.blocks), None)

    def _no_port(self, wanting: Link) -> bool:
        return self.ports is not None and sum(link.port for link in self.links if link is not wanting) >= self.ports

    def _come_back(self, dial: Dial) -> None:
        """RasDial returns, when nothing holds it any more."""
        link = dial.link
        waits = link is not None and link.by is dial and not link.early_over and link.phase == "dialing" and not link.paused
        if dial.returned or dial.blocked or dial.returns > self.now or waits:
            return
        dial.returned = True
        if dial.code:
            self._decide(dial, FAILURE, dial.code, RETURN, self.now)
        if dial.outcome == NONE:
            dial.poll = self.now
            if dial.pause == 1:  # its thread sees it only now
                dial.pause_ends = self.now + dial.pause_ns
        elif dial.outcome == SUCCESS:
            dial.settles, dial.hang_ups = (self.now, self.now), frozenset([HANG_NONE])
        elif not dial.settles[0] < NEVER:
            self._own_hang_up(dial)

    # --- Deciding -------------------------------------------------------------------------------------------------------------

    def _decide(self, dial: Dial, outcome: int, error: int, origin: int, now: int) -> None:
        if dial.outcome != NONE:
            return
        dial.outcome, dial.error, dial.origin, dial.decided = outcome, error, origin, now
        if origin != NOTIFIER:
            state = CONNECTED if outcome == SUCCESS else DISCONNECTED
            self._expect(dial, now, state, error, 0, None, origin, outcome)
        if dial.returned:
            if outcome == SUCCESS:
                dial.settles, dial.hang_ups = (now, now), frozenset([HANG_NONE])
            else:
                self._own_hang_up(dial)

    def _own_hang_up(self, dial: Dial) -> None:
        """S1.4: whoever was given a handle owes a RasHangUp, after an error too."""
        link, now = dial.link, self.now
        if link is None or not dial.owns:
            dial.settles, dial.hang_ups = (now, now), frozenset([HANG_NONE])
            return
        link.catch_up(now)
        if link.phase in ("gone", "closing", "zombie"):
            dial.settles, dial.hang_ups = (now, now), frozenset([HANG_GONE])
        elif link.references > 1:
            link.references -= 1
            # Shared, unless the other one is given up while this one looks: then it sees the link close.
            dial.settles, dial.hang_ups = (now, now + 10_060 * MS), frozenset([HANG_SHARED, HANG_GONE, HANG_CLOSING])
        else:
            dial.hang_ups = self._close(link, now, 10_000, False)
            ends = now + 10_000 * MS if link.never_gone else min(link.ends, now + 10_000 * MS)
            dial.settles = (min(ends, now + 1000 * MS) if HANG_SHARED in dial.hang_ups else ends, ends + 60 * MS)

    def _close(self, link: Link, now: int, timeout_ms: int, all_references: bool) -> frozenset[int]:
        knobs = self.setups[link.entry].knobs
        delay_ms = knobs["hangup_delay_ms"]
        looks_up = not knobs["closing_state"] and link.state == CONNECTED and link.error == 0
        link.never_gone = bool(knobs["never_gone"])
        link.phase, link.references, link.paused = "closing", 0, False
        link.ends = now + delay_ms * MS
        results = set()
        lasts_ms = NEVER if link.never_gone else delay_ms
        if lasts_ms <= timeout_ms + 60:
            results.add(HANG_GONE)
        if lasts_ms > timeout_ms - 60:
            results.add(HANG_CLOSING)
        if looks_up and not all_references and lasts_ms >= 1000 and timeout_ms >= 1000:  # somebody else's reference, it seems
            results.add(HANG_SHARED)
            if lasts_ms > 1100 and timeout_ms > 1100:
                results = {HANG_SHARED}
        return frozenset(results)

    # --- Events ---------------------------------------------------------------------------------------------------------------

    def _expect(
        self, dial: Dial, now: int, state: int, error: int, extended: int, subentry: int | None, origin: int, outcome: int | None
    ) -> Any:
        """Compares the next event of the dial; returns it."""
        if dial.cursor >= len(dial.seen):
            raise WrongError(f"dial {dial.number} of {dial.entry}: no event {state}/{error} from {origin} at {now}")
        event = dial.seen[dial.cursor]
        wrong = not self._is(event, now, state, error, subentry) or event.origin != origin or event.extended_error != extended
        if wrong or (outcome is not None and event.outcome != outcome):
            raise WrongError(
                f"dial {dial.number} of {dial.entry}: expected {state}/{error}/{extended} link {subentry} from {origin} "
                f"outcome {outcome} at {now}, seen {event!r} at {round(event.time * 1e9)}"
            )
        dial.cursor += 1
        return event

    @staticmethod
    def _is(event: Any, now: int | None, state: int, error: int, subentry: int | None) -> bool:
        return (
            event.state == state
            and event.error == error
            and (subentry is None or event.subentry == subentry)
            and (now is None or abs(round(event.time * 1e9) - now) <= 1000)  # a float of seconds is exact to some 10 ns
        )

    def _notify(self, dial: Dial, link: Link, step: Step, now: int, state: int, error: int, extended: int) -> None:
        """One call of the handler: S1.4, judged."""
        if dial.outcome != NONE:
            return
        subentry = step.subentry if dial.kind == 2 else 0
        pause = is_pause(state) and dial.pauses
        shown = error
        if error or not state & DONE or state == CONNECTED:
            outcome: int | None = FAILURE if error else SUCCESS if state == CONNECTED else NONE
        else:
            outcome, shown = FAILURE, dial.first_error or 668  # Disconnected that does not say why
        if pause:
            outcome = NONE
        extended = extended if error in WITH_EXTENDED_ERROR and dial.kind != 0 else 0
        seen = dial.seen
        ahead = link.first_of_two and dial.cursor < len(seen) and not self._is(seen[dial.cursor], now, state, shown, subentry)
        won = seen[dial.cursor].outcome if ahead else NONE
        if won == SUCCESS or (won == FAILURE and not dial.knobs["hangup_delay_ms"]):
            left = seen[dial.cursor + 1 : dial.cursor + 2]
            if not left or not self._is(left[0], now, state, shown, subentry):
                return  # overtaken by the one that decided, and the dial was over before this one came
        if ahead and dial.cursor + 1 < len(seen):
            seen[dial.cursor : dial.cursor + 2] = reversed(seen[dial.cursor : dial.cursor + 2])  # the other thread was quicker
            if outcome == FAILURE and seen[dial.cursor].outcome == NONE and seen[dial.cursor + 1].outcome != NONE:
                dial.overtaken = seen[dial.cursor]  # and decided
                outcome = NONE
        if error and not pause and dial.kind == 2 and link.bundle:
            # S2.3d: one link's failure is not the dial's, unless no other is left. What counts as a link is not this model's
            # matter, as the scripts here have more of them than the phone book; the tests test_s8_74_... are about that.
            outcome = None
        event = self._expect(dial, now, state, shown, extended, subentry, NOTIFIER, outcome)
        if outcome is None:
            outcome = int(event.outcome)
            if outcome == SUCCESS:
                raise WrongError(f"dial {dial.number}: {event!r} made it a success")
        if error and not pause and outcome == NONE:
            dial.first_error = dial.first_error or error  # of one link: the first that is told when all are down
        if pause and dial.pause != 1:
            dial.pause = 1
            dial.pause_ends = now + dial.pause_ns
        if outcome != NONE:
            self._decide(dial, outcome, shown, NOTIFIER, now)

    def _announce(self, link: Link, step: Step, now: int, state: int, error: int, extended: int = 0) -> None:
        dial = link.by
        if dial is None or step.silent:
            return
        knobs = dial.knobs
        intermediate = not state & (PAUSED | DONE) and not error and state not in (LINK_UP, LINK_DOWN)
        subentry = step.subentry if dial.kind == 2 else 0
        if intermediate and knobs["skip_percent"] and dial.outcome == NONE:
            left = dial.seen[dial.cursor :]
            if not left or not self._is(left[0], now, state, error, subentry):
                return
        link.announced += 1
        if knobs["silent"] <= 0 or link.announced < knobs["silent"]:
            on_caller = knobs["early_on_caller"] and not link.early_over  # takes each in turn
            link.first_of_two = knobs["threads"] == 2 and not link.first_of_two and not on_caller
            undecided = dial.outcome == NONE
            self._notify(dial, link, step, now, state, error, extended)
            if knobs["repeat_percent"] and undecided and dial.outcome == NONE and dial.cursor < len(dial.seen):
                last, following = dial.seen[dial.cursor - 1], dial.seen[dial.cursor]
                if (
                    following.origin == NOTIFIER
                    and following.outcome == NONE
                    and self._is(following, now, last.state, last.error, last.subentry)
                ):
                    dial.cursor += 1
        if link.announced >= knobs["early"]:
            self._no_more_early(link)

    def _no_more_early(self, link: Link) -> None:
        link.early_over = True
        if link.by is not None:
            self._come_back(link.by)

    # --- The machine's worker -------------------------------------------------------------------------------------------------

    def _lose(self, link: Link, error: int) -> None:
        """The link breaks: whatever state it is in fails. A pause is over then, so it does not pause once more."""
        state = DISCONNECTED if is_pause(link.state) else link.state
        link.links, link.paused = 1, False
        self._enter(link, Step(state, error, subentry=link.subentry), self.now)

    def _enter(self, link: Link, step: Step, now: int) -> None:
        dial = link.by
        assert dial is not None
        state, error, extended = step.state, step.error, step.extended_error
        pausing = ended = failed = False
        if is_pause(state):
            pausing = dial.pauses
            if not pausing:
                state, error, extended = link.state, PAUSE_FAILURES.get(state, 703), 0
        if pausing:
            link.paused = True
        elif state & DONE:
            ended, failed = True, state != CONNECTED or error != 0
        elif state == LINK_UP and not error:
            pass
        elif error or state == LINK_DOWN:
            link.down.add(step.subentry)
            ended = failed = link.links < 2 or len(link.down) >= link.links
        if link.links < 2 or ended or not error:
            link.state, link.error, link.subentry = state, error, step.subentry
        if ended:
            link.phase = "failed" if failed else "connected"
            if failed and not error and not state & DONE:
                link.state = DISCONNECTED  # the last link reported itself down: only the status tells the end
            following = link.steps[link.at] if link.at < len(link.steps) else None
            if not failed and following is not None and following.drop:
                link.ends = now + (following.delay_ms or 0) * MS
        self._announce(link, step, now, state, error, extended)
        then = dial.knobs["error_then"]
        if failed and then and state != DISCONNECTED:
            if link.phase == "failed":
                link.state = DISCONNECTED
            last = Step(DISCONNECTED, error if then == 2 else 0, subentry=step.subentry)
            self._announce(link, last, now, DISCONNECTED, last.error)
        if pausing:
            link.first_of_two = False
            self._no_more_early(link)
        if ended:
            self._no_more_early(link)

    def _step_due(self, link: Link) -> int:
        """When the next step comes; NEVER when none does, or when chance has not shown it yet."""
        dial = link.by
        if dial is None or link.phase != "dialing" or link.paused or link.at >= len(link.steps):
            return NEVER
        step = link.steps[link.at]
        if link.first_of_two or not link.early_over:
            return link.since
        if step.delay_ms is not None:
            return link.since + step.delay_ms * MS
        if dial.cursor < len(dial.seen) and dial.seen[dial.cursor].origin == NOTIFIER and dial.outcome == NONE:
            at: int = round(dial.seen[dial.cursor].time * 1e9)
            at = link.since + round((at - link.since) / MS) * MS  # whole milliseconds
            low, high = link.since + ANY_MS[0] * MS, link.since + ANY_MS[1] * MS
            if not low <= at <= high:
                raise WrongError(f"dial {dial.number}: the step to {step.state} took {(at - link.since) / MS} ms")
            return at
        return NEVER

    # --- Time -----------------------------------------------------------------------------------------------------------------

    def look(self, now: int, seen: Sequence[Sequence[Any]]) -> None:
        """Lets time pass up to `now` and compares with the events of each dial; all that has been due has happened."""
        self.feed(seen)
        while True:
            at, _, dial, what = min((self._next(d) for d in self.dials), key=lambda n: (n[0], n[1]), default=(NEVER, 0, None, ""))
            if dial is None or at > now:
                break
            self.now = max(self.now, at)
            for link in self.links:
                link.catch_up(self.now)
            getattr(self, f"_do_{what}")(dial)
        self.now = now
        for link in self.links:
            link.catch_up(now)
        for dial in self.dials:
            self._check(dial, now)

    def _next(self, dial: Dial) -> tuple[int, int, Dial, str]:
        """What happens next to a dial. At the same time: the machine's part before the core's."""
        link = dial.link
        found: list[tuple[int, int, Dial, str]] = []
        if link is not None and link.by is dial:
            found.append((self._step_due(link), 0, dial, "step"))
            if not link.early_over and link.at >= len(link.steps) and link.phase == "dialing":
                found.append((link.since, 1, dial, "quiet"))
        waits = link is not None and link.by is dial and not link.early_over
        if not (dial.returned or dial.blocked or waits):
            found.append((dial.returns, 3, dial, "return"))
        if dial.outcome == NONE:
            found.append((dial.tells, 2, dial, "tell"))
            event = dial.seen[dial.cursor] if dial.cursor < len(dial.seen) else None
            if not dial.returned:
                if event is not None and event.origin == TIMEOUT:  # decided by whoever waited, while RasDial was held
                    found.append((max(round(event.time * 1e9), dial.deadline), 4, dial, "timeout"))
            else:
                first = -1 if event is not None and event.origin == TIMEOUT else 5  # two threads at the same instant
                found.append((max(dial.deadline, self.now if dial.deadline < self.now else 0), first, dial, "timeout"))
                found.append((dial.resumes, 6, dial, "resume"))
                if dial.resumes == NEVER:
                    found.append((dial.pause_ends, 7, dial, "pause_end"))
                    found.append((dial.poll, 8, dial, "poll"))
        return min(found, key=lambda n: (n[0], n[1])) if found else (NEVER, 9, dial, "")

    def _do_step(self, dial: Dial) -> None:
        link = dial.link
        assert link is not None
        at = self._step_due(link)
        step = link.steps[link.at]
        link.at += 1
        link.since = at
        if step.drop:
            self._lose(link, step.error or 629)
        else:
            self._enter(link, step, at)

    def _do_quiet(self, dial: Dial) -> None:
        assert dial.link is not None
        self._no_more_early(dial.link)

    def _do_return(self, dial: Dial) -> None:
        self._come_back(dial)

    def _do_tell(self, dial: Dial) -> None:
        dial.tells = NEVER
        assert dial.link is not None
        self._notify(dial, dial.link, Step(CONNECTED), self.now, CONNECTED, 0, 0)

    def _do_timeout(self, dial: Dial) -> None:
        self._decide(dial, FAILURE, 638, TIMEOUT, self.now)

    def _do_pause_end(self, dial: Dial) -> None:
        self._decide(dial, FAILURE, 703, TIMEOUT, self.now)

    def _do_resume(self, dial: Dial) -> None:
        link = dial.link
        assert link is not None
        dial.resumes = NEVER
        dial.pause, dial.verdict = 0, NONE
        link.catch_up(self.now)
        if link.phase in ("gone", "closing", "zombie"):
            return self._decide(dial, FAILURE, 6, RETURN, self.now)
        if not link.paused:
            return self._decide(dial, FAILURE, 87, RETURN, self.now)
        link.paused = False
        link.since = self.now
        return None

    def _do_poll(self, dial: Dial) -> None:
        """S2.5: failed if there is an error or a terminal state; read twice, 250 ms apart (design.md)."""
        link = dial.link
        verdict, error = NONE, 0
        if link is not None:
            knobs = self.setups[link.entry].knobs
            code, state, error = link.status(self.now, knobs["closing_state"], knobs["gone_code"])
            if code:
                verdict, error = FAILURE, code
            elif is_pause(state) and dial.pauses:
                verdict = NONE
            elif error:
                verdict, error = FAILURE, dial.first_error or error
            elif state == CONNECTED:
                verdict = SUCCESS
            elif state & DONE:
                verdict, error = FAILURE, dial.first_error or 668
        if verdict != NONE and verdict == dial.verdict:
            self._decide(dial, verdict, error if verdict == FAILURE else 0, POLL, self.now)
        dial.verdict = verdict
        dial.poll = self.now + (1000 if verdict == NONE else 250) * MS

    def _check(self, dial: Dial, now: int) -> None:
        link = dial.link
        if dial.outcome == NONE:
            if dial.cursor != len(dial.seen):
                raise WrongError(f"dial {dial.number} of {dial.entry}: unexpected {dial.seen[dial.cursor]!r}")
            waiting = link is not None and link.by is dial and link.phase == "dialing" and not link.paused
            if link is None or not waiting or link.at >= len(link.steps):
                return
            if link.steps[link.at].delay_ms is None and link.since + ANY_MS[1] * MS <= now:
                raise WrongError(f"dial {dial.number} of {dial.entry}: the step to {link.steps[link.at].state} is overdue")
            return
        for event in dial.seen[dial.cursor :]:
            if event.outcome != NONE or event.origin != NOTIFIER:
                raise WrongError(f"dial {dial.number} of {dial.entry}: decided twice, by {event!r}")

    # --- What there is --------------------------------------------------------------------------------------------------------

    def later(self, dial: Dial) -> int | None:
        """The first error after the one that won that is another one."""
        after = dial.seen[dial.cursor :]
        for event in after if dial.overtaken is None else [dial.overtaken, *after]:
            if event.error and event.error != dial.error:
                return int(event.error)
        return None

    def handles(self) -> int:
        return sum(link.phase not in ("gone", "zombie") for link in self.links)

    def references(self) -> int:
        return sum(link.references for link in self.links)

    def ports_used(self) -> int:
        return sum(link.port for link in self.links)

    def connected(self) -> list[str]:
        return sorted(link.entry for link in self.links if link.phase == "connected")
