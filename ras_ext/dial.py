"""A dial in flight, from the outside.

SPDX-License-Identifier: MIT

One round trip:

1. `client.dial(...)` checks types and lengths, encodes the texts, and calls rasx_dial_start, which returns at once. The
   password has been masked there, and our copy of it is wiped.
2. A native thread calls RasDial with RasDialFunc2 as the notifier. That thread lives until the dial has succeeded or
   failed (S1.6); no Python thread has to.
3. RAS announces each state (S1.4). The native handler copies it into the dial's ring, makes the dial ready, wakes the
   queue's consumer if it sleeps, and lets the dial go on. It never waits for Python.
4. Whoever waits for this or another dial of the client is the consumer in turn (_hub.py): it drains a batch of records and
   hands each one to `Dial._take`, which makes it an Event.
5. Iterators, `result`, `wait` and the handler thread look at `Dial._events` from their own place in it.
6. The first record with an outcome decides. Connected: `result` gives the Connection. Failed: the native thread hangs up
   and waits for the handle to become invalid (S3).
7. The record SETTLED ends it: the native thread is through, and `result` raises, so that the caller can dial again at once.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from . import _ffi
from ._hub import SLICE_NS, Hub, Waiter, wake_waiters
from .connection import Connection
from .errors import DialCancelledError, NotPausedError, RasError, StillDialing, error_for
from .events import Event, HangUp, Origin, Outcome, state_of
from .pauses import UNANSWERABLE, Answer

if TYPE_CHECKING:
    from weakref import ReferenceType

    from .client import Client, Password

ALL_COMPLETED: Literal["ALL_COMPLETED"] = "ALL_COMPLETED"
FIRST_COMPLETED: Literal["FIRST_COMPLETED"] = "FIRST_COMPLETED"
FIRST_EXCEPTION: Literal["FIRST_EXCEPTION"] = "FIRST_EXCEPTION"

_USER_DISCONNECTION = 631
# What a dial would have failed with if paused states had been off (S8.36); everything else needs input, 703.
_WITHOUT_PAUSES: dict[str | None, int] = {"credentials": 691, "new_password": 648, "callback_number": 704}
_NEEDS_INPUT = 703
_HANGUP_BOUND_NS = 10_000_000_000  # S3; the core's own bound after a failure
_OUTCOMES = tuple(Outcome)
_ORIGINS = tuple(Origin)


def seconds(value: object, name: str = "timeout") -> float | None:
    """Checks a time-out in seconds: None and infinity are None, "as long as it takes".

    Raises:
        TypeError: not a number (a bool is none either).
        ValueError: negative or NaN.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{name} must be a number of seconds or None, not {type(value).__name__}")
    try:
        number = float(value)  # type: ignore[arg-type] # has one of the two
    except OverflowError:
        number = float("inf") if value > 0 else -1.0  # type: ignore[operator] # an int
    if number != number:
        raise ValueError(f"{name} is not a number (NaN)")
    if number < 0:
        raise ValueError(f"{name} must not be negative, but is {number:g}")
    return None if number == float("inf") else number


def _deadline(hub: Hub, timeout: object) -> int | None:
    limit = seconds(timeout)
    # Beyond 2^62 ns (146 years) nobody tells the difference, and the clock's 64 bits would not hold it.
    return None if limit is None or limit > 4e9 else hub.now() + int(limit * 1e9)


def report(what: str, problem: BaseException) -> None:
    """Tells of an exception in somebody's handler: the log, and sys.unraisablehook."""
    import logging

    logging.getLogger("ras_ext").error("%s raised %s", what, type(problem).__name__, exc_info=problem)
    _Failure(problem)  # dropped at once


class _Failure:
    """Raises in its finalizer, because only the interpreter can make the argument of sys.unraisablehook."""

    __slots__ = ("_problem",)

    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def __del__(self) -> None:
        raise self._problem


class Dial:
    """A dial in flight, or what became of it. Made by `Client.dial` and `ras_ext.dial`.

    Iterating yields each Event from the first to the one that decided, as they come; it does not raise for a failed dial.
    As a context manager it cancels the dial on leaving when that is still undecided. Losing the last reference while it is
    undecided gives a ResourceWarning and cancels; a dial with on_event or done callbacks is kept alive by its client.

    Threads: every method may be called from any thread, at the same time.

    Source: S1.4, docs/design.md "Life of a Dial".
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_cancelled",
        "_client",
        "_connection",
        "_decided",
        "_entry",
        "_events",
        "_handle",
        "_handlers_lock",
        "_handlers_refused",
        "_handlers_running",
        "_handlers_wake",
        "_hub",
        "_id",
        "_interactive",
        "_last_pause",
        "_later",
        "_lost",
        "_on_event",
        "_over",
        "_resumed",
        "_settled",
        "_started_ns",
        "_waiters",
    )

    def __init__(
        self,
        client: Client,
        hub: Hub,
        entry: str,
        on_event: Callable[[Event], object] | None,
        interactive: Callable[[Event, Dial], Answer | None] | None = None,
    ) -> None:
        self._id = 0
        self._client = client
        self._hub = hub
        self._entry = entry
        self._on_event = on_event
        self._interactive = interactive
        self._last_pause = 0  # how many events there were with the latest pause, for the interactive handler
        self._resumed = 0
        self._started_ns = hub.now()
        self._events: list[Event] = []
        self._decided: Event | None = None
        self._cancelled = False  # by us, even before the record has come
        self._over = False  # the client was closed before a record told the end
        self._settled: tuple[int, int] | None = None  # rasx_hangup value, code of a RasHangUp that failed
        self._handle = 0
        self._later = 0
        self._lost = 0
        self._connection: Connection | None = None
        self._waiters: list[ReferenceType[Waiter]] = []
        self._callbacks: list[Callable[[Dial], object]] | None = []  # None: called already
        self._handlers_lock = threading.RLock()
        self._handlers_running = False
        self._handlers_refused = False  # a thread for them was, which has been told
        self._handlers_wake = threading.Lock()
        self._handlers_wake.acquire()

    # --- What the hub calls ---------------------------------------------------------------------------------------------------

    def _take(self, record: _ffi.Record) -> None:
        """One record, in order. Taking it twice does no more than taking it once (_hub.py says when that happens)."""
        _, time_ns, handle, state, error, extended_error, subentry, sequence, origin, outcome = record
        if handle and not self._handle:
            self._handle = handle
        if outcome == _ffi.OUTCOME_SETTLED:
            self._handle = handle or self._handle
            self._lost = extended_error
            self._settled = (state, error)
            return
        events = self._events
        if events and events[-1].sequence >= sequence:
            event = events[-1]
            if event.sequence != sequence:
                return
        else:
            event = tuple.__new__(
                Event,
                (
                    state_of(state),
                    error,
                    extended_error,
                    subentry,
                    handle,
                    sequence,
                    _ORIGINS[origin],
                    time_ns / 1e9,
                    (time_ns - self._started_ns) / 1e9,
                    _OUTCOMES[outcome],
                ),
            )
            events.append(event)
            if self._hub.logging:
                self._hub.unlogged.append((self._entry, event))
        if outcome != _ffi.OUTCOME_NONE and self._decided is None:
            if origin == _ffi.FROM_CANCEL:
                self._cancelled = True
            self._decided = event
            self._hub.thinking.discard(self)
        elif self._interactive is not None and self._decided is None and event.wants is not None:
            self._last_pause = len(events)
            self._hub.think(self)
        elif error and self._decided is not None and self._decided.failed and error != self._decided.error:
            self._later = self._later or error

    def _abandon(self) -> None:
        """The client has been closed: nothing will come any more."""
        if self._decided is None:
            self._cancelled = True
        self._over = True
        wake_waiters(self)
        if self._hub.is_pinned(self):
            self._hub.deliver(self)

    # --- Handlers -------------------------------------------------------------------------------------------------------------

    def _wake_handlers(self) -> bool:
        """Starts the handler thread when there is something for it, or wakes it. Only the drainer and close call this.

        False: no thread was to be had; the drainer calls this again a moment later.
        """
        with self._handlers_lock:
            start = not self._handlers_running
            if start and self._on_event is None and self._interactive is None and not self._is_done():
                return True
            self._handlers_running = True
        if start:
            try:
                threading.Thread(target=self._run_handlers, name=f"ras_ext on_event {self._entry}", daemon=True).start()
            except RuntimeError as problem:  # no thread can be started
                ending = not threading.main_thread().is_alive()  # the interpreter refuses: no news
                if not (ending or self._handlers_refused):
                    self._handlers_refused = True
                    report("starting the handler thread of a dial", problem)
                if self._is_done() and (ending or self._hub.closed):
                    self._finish_handlers()
                else:  # stays pinned: a dial that nobody else holds must not be forgotten now
                    self._handlers_running = False
                    return False
            return True
        try:
            self._handlers_wake.release()
        except RuntimeError:
            pass
        return True

    def _run_handlers(self) -> None:
        index = 0
        on_event = self._on_event
        interactive = self._interactive
        has_handler = on_event is not None or interactive is not None
        while True:
            while has_handler and index < len(self._events):
                event = self._events[index]
                index += 1
                if on_event is not None:
                    try:
                        on_event(event)
                    except BaseException as problem:
                        report(f"on_event of the dial of {self._entry!r}", problem)
                if event is self._decided:
                    break
                if interactive is not None and event.wants is not None:
                    self._ask(interactive, event)
                    self._hub.thought(self)
                    if self._last_pause > index and self._decided is None:  # the next one came meanwhile
                        self._hub.think(self)
            if self._decided is not None and (not has_handler or index == 0 or self._events[index - 1] is self._decided):
                break
            if self._over:
                break
            self._handlers_wake.acquire()
        self._finish_handlers()

    def _ask(self, interactive: Callable[[Event, Dial], Answer | None], event: Event) -> None:
        """Has the interactive handler answer a pause, unless somebody else has, or it is a repeated announcement."""
        if not _ffi.paused(self._id):
            return
        resumed = self._resumed
        try:
            self._go_on_with(interactive(event, self), event, resumed)
        except BaseException as problem:
            report(f"the interactive handler of the dial of {self._entry!r}", problem)
            self.cancel()

    def _go_on_with(self, answer: object, event: Event, resumed: int) -> None:
        """Does what an interactive handler returned. resumed: how often the dial had been resumed when the handler was asked."""
        if isinstance(answer, Answer):
            try:
                self.resume(answer.username, answer._secret.again(), answer.domain, answer.callback_number)  # type: ignore[arg-type]
            except NotPausedError:  # the dial ended, or was resumed by hand, while the handler was thinking
                pass
        elif answer is not None:
            raise TypeError(f"an interactive handler must return an Answer or None, not {type(answer).__name__}")
        elif self._resumed == resumed and (event.wants not in UNANSWERABLE or not self._give_up(event)):
            self.cancel()

    def _finish_handlers(self) -> None:
        self._hub.thought(self)
        with self._handlers_lock:
            callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            self._call(callback)
        self._hub.unpin(self)

    def _call(self, callback: Callable[[Dial], object]) -> None:
        try:
            callback(self)
        except BaseException as problem:
            report(f"done callback of the dial of {self._entry!r}", problem)

    # --- Looking --------------------------------------------------------------------------------------------------------------

    def _is_done(self) -> bool:
        return self._decided is not None or self._cancelled

    def _look(self) -> None:
        _ffi.check_fork()
        if self._settled is None and not self._over:
            self._hub.poll()

    @property
    def entry(self) -> str:
        """The name of the phone-book entry that is dialled."""
        return self._entry

    @property
    def events(self) -> tuple[Event, ...]:
        """The events so far, also those after the decision. Does not block."""
        self._look()
        return tuple(self._events)

    @property
    def lost(self) -> int:
        """How many notifications found the dial's ring full. The outcome is never among them. Does not block."""
        self._look()
        if self._settled is None and not self._over:
            count = _ffi.lost(self._id)
            if count is not None:
                return count
        return self._lost

    @property
    def elapsed(self) -> float:
        """Seconds from `dial()` to the decision, or to now while there is none, on the client's clock."""
        self._look()
        if self._decided is not None:
            return self._decided.elapsed
        if self._over:
            return self._events[-1].elapsed if self._events else 0.0
        return max(0.0, (self._hub.now() - self._started_ns) / 1e9)

    def done(self) -> bool:
        """Whether the dial has been decided: connected, failed or cancelled. Does not block."""
        if not self._is_done():
            self._look()
        return self._is_done()

    def cancelled(self) -> bool:
        """Whether the dial has been cancelled, by `cancel` or because its client was closed. Does not block."""
        if not self._is_done():
            self._look()
        return self._cancelled

    def __repr__(self) -> str:
        if self._cancelled:
            state = "cancelled"
        elif self._decided is None:
            state = f"in {self._events[-1].state.name}" if self._events else "just started"
        else:
            state = f"failed with {self._decided.error}" if self._decided.failed else "connected"
        return f"<ras_ext.Dial of {self._entry!r}, {state}>"

    # --- Waiting --------------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        return EventIterator(self)

    def result(self, timeout: float | None = None) -> Connection:
        """Waits for the outcome and returns the connection, or raises why there is none.

        Args:
            timeout: Seconds on the client's clock; None and infinity: as long as it takes.

        Returns:
            The Connection, the same object each time.

        Raises:
            RasError: the dial failed. Raised when the handle is gone, so that the entry can be dialled again, or when the
                bound on the hang-up (10 s) or `timeout` has passed, with `still_closing` set. AuthenticationError (691),
                the entry or phone book missing (623, 621), no answer (678, 868) ...: docs/ras-semantics.md, section 6.
            DialCancelledError: the dial was cancelled; at once, also while RasDial blocks.
            StillDialing: `timeout` ran out. The dial goes on: call again, or cancel.
            TypeError, ValueError: `timeout` is no time-out.

        Threads: any, several at once; blocks with the GIL released, in slices of at most 50 ms between which Python
        handles signals. A KeyboardInterrupt does not cancel the dial.

        Source: S1.4 (outcome), S3 (hang-up).
        """
        _ffi.check_fork()
        hub = self._hub
        deadline_ns = _deadline(hub, timeout)
        with Waiter((self,)) as waiter:
            if not hub.wait(waiter, self._is_done, deadline_ns):
                raise self._still_dialing(f"not decided after {seconds(timeout):g} s")
            decided = self._decided
            if self._cancelled:
                raise error_for(_USER_DISCONNECTION, "The dial was cancelled.", origin=Origin.Cancel, entry=self._entry)
            if decided is None:
                raise AssertionError("a dial is done without a decision")
            if not decided.failed:
                return self._connected(waiter, deadline_ns)
            self._wait_settled(waiter, deadline_ns)
        raise self._error(decided)

    def exception(self, timeout: float | None = None) -> RasError | None:
        """Waits for the outcome like `result` and returns the error instead of raising it; None when connected.

        Args:
            timeout: As for `result`.

        Returns:
            The RasError, or None.

        Raises:
            StillDialing: `timeout` ran out.
            DialCancelledError: the dial was cancelled.
            TypeError, ValueError: `timeout` is no time-out.

        Threads: as `result`.

        Source: S1.4.
        """
        _ffi.check_fork()  # a ForkedError is raised, although it is a RasError
        try:
            self.result(timeout)
        except DialCancelledError:
            raise
        except RasError as problem:
            return problem
        return None

    def _wait_settled(self, waiter: Waiter, deadline_ns: int | None) -> None:
        decided = self._decided
        bound_ns = self._started_ns + int(decided.elapsed * 1e9) + _HANGUP_BOUND_NS if decided is not None else 0
        if deadline_ns is not None:
            bound_ns = min(bound_ns, deadline_ns)
        self._hub.wait(waiter, lambda: self._settled is not None or self._over, bound_ns)

    def _connected(self, waiter: Waiter, deadline_ns: int | None) -> Connection:
        with self._handlers_lock:
            if self._connection is not None:
                return self._connection
        if not self._handle:  # notifier kind 0 carries none; the end of RasDial tells it
            ready = self._hub.wait(waiter, lambda: self._handle != 0 or self._settled is not None or self._over, deadline_ns)
            if not ready:
                raise self._still_dialing("connected, but RasDial has not returned yet")
        with self._handlers_lock:
            if self._connection is None:
                self._connection = Connection(self._client, self._handle, self._entry, dial_id=self._id, dial_hub=self._hub)
            return self._connection

    def _still_dialing(self, message: str) -> StillDialing:
        state = self._events[-1].state if self._events else None
        return StillDialing(f"{self._entry!r}: {message}", state=state, entry=self._entry)

    def _error(self, decided: Event) -> RasError:
        settled = self._settled
        return error_for(
            decided.error,
            self._client._error_text(decided.error),
            state=decided.state,
            extended_error=decided.extended_error,
            origin=decided.origin,
            entry=self._entry,
            later=self._later or None,
            still_closing=settled is None or settled[0] == _ffi.HANGUP_CLOSING,
        )

    def cancel(self) -> bool:
        """Cancels the dial if it is undecided. It is over for the caller at once; a native thread hangs up meanwhile.

        Returns:
            True when the dial is cancelled now, False when it had been decided before.

        Raises:
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; never blocks, not even while RasDial does.

        Source: S3.
        """
        _ffi.check_fork()
        if not self._cancelled and self._decided is None:
            self._cancel()
            self._hub.poll()
        return self._cancelled

    def _cancel(self) -> None:
        if self._id and _ffi.cancel(self._id):
            self._cancelled = True

    # --- Pauses ---------------------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether the dial stands still and waits for `resume` (S1.7). Does not block."""
        self._look()
        return bool(self._id) and _ffi.paused(self._id)

    def resume(
        self,
        username: str | None = None,
        password: Password | None = None,
        domain: str | None = None,
        callback_number: str | None = None,
    ) -> None:
        """Lets a paused dial go on: its native thread calls RasDial again, with the same handle and notifier.

        The dial must have been started with `paused_states=True`. What RAS says to it comes as further events: another
        pause, perhaps. A dial with an interactive handler is resumed by what that returns.

        Args:
            username: Another user name; None: as before. At most 256 UTF-16 units.
            password: As for `Client.dial`; after PasswordExpired the new one. None: as before.
            domain: Another domain; None: as before. At most 15.
            callback_number: Where the server shall call back; None: as before. At most 128.

        Raises:
            NotPausedError (a RuntimeError): the dial is not paused, or its pause has been answered.
            TypeError, ValueError: as `Client.dial`.
            MemoryError: no memory for the answer.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; never blocks.

        Source: S1.7, S8.37 to S8.42.
        """
        password = _ffi.hide(password)  # type: ignore[assignment] # first of all; nothing below holds the clear text
        _ffi.check_fork()
        request = self._client._answer(username, password, domain, callback_number)
        code = _ffi.resume(self._id, request)
        if code == 0:
            self._resumed += 1
            return
        if code in (_ffi.E_NOT_PAUSED, _ffi.E_UNKNOWN_DIAL):
            self._look()
            raise NotPausedError(f"{self!r} does not wait for an answer.", entry=self._entry)
        if code == _ffi.E_INVALID:  # everything else has been checked
            raise ValueError("password is not valid UTF-8")
        if code == 8:
            raise MemoryError("no memory for the answer")
        raise error_for(code, self._client._error_text(code), entry=self._entry)

    def give_up(self) -> None:
        """Ends a paused dial with the failure that it would have had without paused states: 691, 648, 704 or 703 (S8.36).

        Unlike `cancel` it leaves an ordinary error, with the origin Core, to whoever waits for the result.

        Raises:
            NotPausedError (a RuntimeError): the dial is not paused, or its pause has been answered.
            ForkedError (a RuntimeError): in a forked child.

        Threads: any; never blocks.

        Source: S1.7.
        """
        _ffi.check_fork()
        self._look()
        paused = [event for event in self._events if event.wants is not None]
        if not paused or not self._give_up(paused[-1]):
            raise NotPausedError(f"{self!r} does not wait for an answer.", entry=self._entry)
        self._hub.poll()

    def _give_up(self, event: Event) -> bool:
        return _ffi.give_up(self._id, event.error or _WITHOUT_PAUSES.get(event.wants, _NEEDS_INPUT)) == 0

    def add_done_callback(self, callback: Callable[[Dial], object]) -> None:
        """Calls callback(dial) when the dial has been decided.

        It runs on the dial's handler thread, after the last on_event; or at once, on this thread, when the dial has been
        decided and its handlers, if any, are through. What it raises goes to logging and sys.unraisablehook.

        Args:
            callback: Takes the dial.

        Raises:
            TypeError: not callable.
            ForkedError (a RuntimeError): in a forked child. RuntimeError: no thread can be started.

        Threads: any; does not block.
        """
        _ffi.check_fork()
        if not callable(callback):
            raise TypeError(f"a done callback must be callable, not {type(callback).__name__}")
        hub = self._hub
        with self._handlers_lock:
            if self._callbacks is not None and (hub.is_pinned(self) or not self._is_done()):
                if not hub.is_pinned(self):
                    hub.pin(self)
                self._callbacks.append(callback)
                hub.deliver(self)  # it may have been decided just now
                return
        self._call(callback)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Waits until the native side is through with this dial: RasDial has returned, and any hang-up has ended.

        Args:
            timeout: Seconds on the client's clock; None and infinity: as long as it takes.

        Returns:
            True when nothing of the dial is left but, perhaps, its connection. False when the time ran out, or when the
            hang-up has given up and the handle is still closing.

        Raises:
            TypeError, ValueError: `timeout` is no time-out.

        Threads: as `result`.

        Source: S3.
        """
        _ffi.check_fork()
        deadline_ns = _deadline(self._hub, timeout)
        with Waiter((self,)) as waiter:
            self._hub.wait(waiter, lambda: self._settled is not None or self._over, deadline_ns)
        return self._settled is not None and self._settled[0] != _ffi.HANGUP_CLOSING

    @property
    def hang_up_result(self) -> HangUp | None:
        """How the hang-up after a failure or cancellation ended; None while the native side is not through. No blocking."""
        self._look()
        return None if self._settled is None else HangUp(self._settled[0])

    def __enter__(self) -> Dial:
        return self

    def __exit__(self, *exc: object) -> None:
        if not _ffi.forked():
            self.cancel()

    def __del__(self, _forked: Callable[[], bool] = _ffi.forked, _warn: Callable[..., None] = warnings.warn) -> None:
        try:
            undecided = self._id and self._decided is None and not (self._cancelled or self._over)
        except AttributeError:  # __init__ did not come so far
            return
        if undecided and not _forked() and _ffi.cancel(self._id):
            _warn(f"{self!r} was forgotten in flight and is cancelled", ResourceWarning, stacklevel=2, source=self)


class EventIterator:
    """Yields a dial's events from the first to the deciding one. Survives a KeyboardInterrupt: next() goes on."""

    __slots__ = ("_dial", "_index", "_last")

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._index = 0
        self._last: Event | None = None

    def __iter__(self) -> EventIterator:
        return self

    def _ready(self) -> bool:
        dial = self._dial
        return self._index < len(dial._events) or dial._decided is not None or dial._over

    def __next__(self) -> Event:
        _ffi.check_fork()
        dial = self._dial
        if self._last is not None and self._last is dial._decided:
            raise StopIteration
        if not self._ready():
            with Waiter((dial,)) as waiter:
                dial._hub.wait(waiter, self._ready, None)
        if self._index >= len(dial._events):
            raise StopIteration
        event = dial._events[self._index]
        self._last = event
        self._index += 1
        return event


class DoneAndNotDone(NamedTuple):
    """What `wait` returns."""

    done: set[Dial]
    not_done: set[Dial]


def wait(
    dials: Iterable[Dial],
    timeout: float | None = None,
    return_when: Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"] = "ALL_COMPLETED",
) -> DoneAndNotDone:
    """Waits for several dials, of one client or of several.

    Args:
        dials: The dials; each counts once.
        timeout: Seconds on the clock of the first dial's client; None and infinity: as long as it takes.
        return_when: ALL_COMPLETED, FIRST_COMPLETED, or FIRST_EXCEPTION (the first that failed or was cancelled).

    Returns:
        Two sets, `done` and `not_done`. A time-out is no error.

    Raises:
        TypeError: not dials, or `timeout` is no number.
        ValueError: `return_when` or `timeout` is none of those.
        ForkedError (a RuntimeError): in a forked child.

    Threads: any, several at once; blocks as `Dial.result` does.
    """
    _ffi.check_fork()
    pending = set(dials)
    for dial in pending:
        if not isinstance(dial, Dial):
            raise TypeError(f"wait() takes Dials, not {type(dial).__name__}")
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not {return_when!r}")
    seconds(timeout)
    dials_of_ours = tuple(pending)
    done: set[Dial] = set()
    enough = not pending

    def look(dial: Dial) -> None:
        nonlocal enough
        if dial in pending and dial._is_done():
            done.add(dial)
            pending.discard(dial)
            failed = dial._cancelled or (dial._decided is not None and dial._decided.failed)
            enough = enough or not pending or return_when == FIRST_COMPLETED or (return_when == FIRST_EXCEPTION and failed)

    hubs = list({dial._hub: None for dial in pending})
    if not hubs:
        return DoneAndNotDone(done, pending)
    clock = hubs[0]
    deadline_ns = _deadline(clock, timeout)
    with Waiter(dials_of_ours) as waiter:
        for dial in dials_of_ours:
            look(dial)

        def ready() -> bool:
            while waiter.fresh:
                look(waiter.fresh.popleft())  # type: ignore[arg-type] # it waits for dials only
            return enough

        if len(hubs) == 1:
            clock.wait(waiter, ready, deadline_ns)
        else:  # a little while on each in turn
            share_ns = SLICE_NS // 5 // len(hubs) + 1_000_000
            left_ns = 0 if deadline_ns is None else deadline_ns - clock.now()
            while not ready():
                if deadline_ns is not None:
                    if clock.now() == 0:  # its client has been closed meanwhile: another's clock goes on
                        clock = next((hub for hub in hubs if hub.now() != 0), clock)
                        deadline_ns = clock.now() + left_ns
                    left_ns = min(left_ns, deadline_ns - clock.now())
                    if left_ns <= 0:
                        break
                for hub in hubs:
                    until_ns = hub.now() + share_ns
                    if deadline_ns is not None and hub is clock:
                        until_ns = min(until_ns, deadline_ns)
                    if hub.wait(waiter, ready, until_ns):
                        break
        for dial in dials_of_ours:  # a closed client wakes without a record
            look(dial)
    return DoneAndNotDone(done, pending)
