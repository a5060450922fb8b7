"""One queue per client, and threads that take turns as its consumer.

SPDX-License-Identifier: MIT

Whoever waits drains. A thread in `wait` becomes the consumer when nobody is: it sleeps in the core in slices of at most
50 ms, takes what is there in batches, and routes each record to its dial. The others sleep on a lock of their own, which
the consumer releases when one of their dials got something, and which it releases once more when it leaves, so that
another takes its turn. A dial with handlers must make progress although nobody waits: while there is one, a daemon
thread (the drainer) consumes, and gives way to every waiting caller, because only a caller's wait lets a virtual clock run.

A KeyboardInterrupt, and any Python signal handler, may strike between two bytecodes of a waiting thread. Hence:
- the role of the consumer belongs to a _Turn; whoever took it gives it back in a `finally`; a signal handler that waits
  on the same thread borrows the role and returns it;
- nothing that was drained lives in a local variable only: the batch stays in the queue's buffer, then in `_inbox`, until it
  has been routed, and routing a record twice does nothing the second time (records of a dial are numbered);
- nothing of the consumer's calls code that takes locks of others: log lines are kept and written after the turn, because
  an exception that strikes inside the logging module leaves its lock taken, and because a log handler may be slow;
- a `finally` gives the turn back first, and without calling anything: an exception may strike as soon as a call is made;
- dials know their waiters weakly, so one whose `__exit__` was struck is forgotten with its frame;
- `_lock` is held for a few bytecodes or one short call, and is re-entrant. No Condition: its Python code can be interrupted
  while it holds the lock.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary, ref

from . import _ffi

if TYPE_CHECKING:
    from logging import Logger
    from socket import socket

    from typing_extensions import Self

    from .dial import Dial
    from .events import Event

SLICE_NS = 50_000_000
_SLICE_S = 0.05
_DRAINER_SLICE_MS = 1000
_RETRY_MS = 50
_DEBUG = 10
_logger: Logger | None = None


class Waiter:
    """One thread that waits for something of certain dials."""

    __slots__ = ("__weakref__", "dials", "fresh", "lock")

    def __init__(self, dials: Iterable[Dial | HangUpCall]) -> None:
        self.dials = tuple(dials)
        self.fresh: deque[Dial | HangUpCall] = deque()  # those that got something since the owner looked
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self) -> None:
        try:
            self.lock.release()
        except RuntimeError:  # awake already
            pass

    def __enter__(self) -> Self:
        me: ref[Waiter] = ref(self)
        for dial in self.dials:
            dial._waiters.append(me)
        return self

    def __exit__(self, *exc: object) -> None:
        me = ref(self)
        for dial in self.dials:
            try:
                dial._waiters.remove(me)
            except ValueError:  # __exit__ was interrupted here before
                pass


def wake_waiters(dial: Dial | HangUpCall) -> None:
    """Tells everybody who waits for this dial that it got something."""
    for reference in list(dial._waiters):
        waiter = reference()
        if waiter is not None:
            waiter.fresh.append(dial)
            waiter.wake()
            continue
        try:
            dial._waiters.remove(reference)
        except ValueError:
            pass


class HangUpCall:
    """A hang-up on a native thread of its own; for the hub it is like a dial with one record, the last."""

    __slots__ = ("__weakref__", "_id", "_waiters", "error", "hub", "over", "result")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._id = 0
        self._waiters: list[ref[Waiter]] = []
        self.result: int | None = None
        """The rasx_hangup value; None while it goes on, and when its client was closed before the end."""
        self.error = 0
        """What RasHangUp answered, if that is why it ended."""
        self.over = False

    def _take(self, record: _ffi.Record) -> None:
        self.result, self.error = record[3], record[4]
        self.over = True

    def _cancel(self) -> None:
        """RasHangUp cannot be taken back."""

    def _abandon(self) -> None:
        self.over = True
        wake_waiters(self)


class _Turn:
    """A claim to be the consumer; `previous` is what a signal handler on the same thread borrowed it from."""

    __slots__ = ("previous",)

    def __init__(self) -> None:
        self.previous: _Turn | None = None


class Hub:
    """The queue of one client, its dials in flight, and who drains it."""

    def __init__(self, client: _ffi.ClientHandle, queue: _ffi.QueueHandle) -> None:
        self.client = client
        self._queue = queue
        self._lock = threading.RLock()
        self._turn: _Turn | None = None
        self._turn_thread = 0
        self._waiting: dict[Waiter, None] = {}
        self._inbox: deque[_ffi.Record] = deque()
        self._dials: WeakValueDictionary[int, Dial | HangUpCall] = WeakValueDictionary()
        self._live: set[int] = set()  # started and not yet settled, whether or not a Dial is left
        self._pinned: set[Dial] = set()  # with handlers that have not had the outcome
        self.thinking: set[Dial] = set()  # paused ones whose interactive handler has not answered: a virtual clock stands still
        self._deliver: deque[Dial] = deque()  # pinned ones whose handler thread must be started
        self._refused: deque[Dial] = deque()  # those whose handler thread could not be started; the drainer tries again
        self._drainer: threading.Thread | None = None
        self._drainer_lock = threading.Lock()  # held; released to wake the drainer
        self._drainer_lock.acquire()
        self.bell: socket | None = None  # makes readable what an event loop waits on
        self._missed = False  # whoever waits on that socket has emptied it, but could not look: another thread was at it
        self.closing = False
        self.closed = False
        self.logging = False  # whether events are kept for the log
        self.unlogged: deque[tuple[str, Event]] = deque()
        self._see_log()

    # --- What dials use -------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """The client's clock in ns; 0 when the client is closed, where nothing waits any more."""
        return self.client.now_ns()

    def is_live(self, dial_id: int) -> bool:
        """Whether the native side of this dial is still at work, as far as has been drained."""
        return dial_id in self._live

    def start(self, dial: Dial, request: _ffi.DialRequest, pinned: bool) -> int:
        """Starts a dial and makes it known to the consumer. A code as rasx_dial_start's.

        Under the lock, so that a consumer that meets an unknown id can wait until it is known.
        """
        out = _ffi.new_dial_id()
        try:
            if pinned:
                self.pin(dial)
            with self._lock:
                code = _ffi.E_CLOSED if self.closing else self._queue.start(request, out)
                if code == 0:
                    dial._id = out[0]
                    self._live.add(out[0])
                    self._dials[out[0]] = dial
        except BaseException:  # interrupted: nobody will ever hold this dial
            dial._id = 0
            if out[0]:
                _ffi.cancel(out[0])
            self.unpin(dial)
            raise
        if code != 0:
            self.unpin(dial)
        return code

    def start_hang_up(self, handle: int, every: bool, waited_ms: int, timeout_ms: int) -> tuple[int, HangUpCall]:
        """Starts to hang up on a native thread: a code as rasx_hang_up_start's, and what its end will be told to."""
        call = HangUpCall(self)
        out = _ffi.new_dial_id()
        with self._lock:
            code = _ffi.E_CLOSED if self.closing else self._queue.start_hang_up(handle, every, waited_ms, timeout_ms, out)
            if code == 0:
                call._id = out[0]
                self._live.add(out[0])
                self._dials[out[0]] = call
        return code, call

    def set_socket(self, socket: int) -> int:
        """Rings this socket from now on; NO_SOCKET: none any more. A code as rasx_queue_set_socket's."""
        with self._lock:
            return self._queue.set_socket(socket)

    def timeout_ms(self) -> int:
        """When `poll(expire=True)` is due although nothing came; FOREVER_MS where there is no such time."""
        with self._lock:
            return self._queue.timeout_ms()

    def pin(self, dial: Dial) -> None:
        """Keeps the dial alive and the drainer at work until `unpin`."""
        with self._lock:
            self._pinned.add(dial)
            if self._drainer is not None:
                return
            drainer = threading.Thread(target=self._drain, name="ras_ext drainer", daemon=True)
            self._drainer = drainer
            try:
                drainer.start()
            except BaseException:
                self._drainer = None
                self._pinned.discard(dial)
                raise

    def unpin(self, dial: Dial) -> None:
        self._pinned.discard(dial)
        if not self._pinned:
            self._wake_drainer()

    def is_pinned(self, dial: Dial) -> bool:
        return dial in self._pinned

    def think(self, dial: Dial) -> None:
        """The dial's interactive handler will be asked. Until `thought`, waiting does not move a virtual clock, as a person's
        thinking takes real time only."""
        self.thinking.add(dial)

    def thought(self, dial: Dial) -> None:
        if dial in self.thinking:
            self.thinking.discard(dial)
            if not self.thinking and not self.closed:
                self._kick()

    def deliver(self, dial: Dial) -> None:
        """Has the drainer start or wake the dial's handler thread."""
        self._deliver.append(dial)
        self._wake_drainer()

    # --- The log ---

    def _see_log(self) -> None:
        """Looks whether anybody wants DEBUG lines. Who never imported logging has no handler for them either."""
        global _logger
        if _logger is None:
            logging = sys.modules.get("logging")
            if logging is None or not hasattr(logging, "getLogger"):  # being imported just now
                return
            _logger = logging.getLogger("ras_ext")
        self.logging = _logger.isEnabledFor(_DEBUG)

    def _write_log(self) -> None:
        """One DEBUG line per event. Never called by the consumer during its turn."""
        while self.unlogged:
            try:
                entry, event = self.unlogged.popleft()
            except IndexError:  # another thread was quicker
                return
            if _logger is not None:
                _logger.debug("%s: %r", entry, event)

    # --- Waiting --------------------------------------------------------------------------------------------------------------

    def poll(self, expire: bool = False, drive_ms: int = 0) -> None:
        """Takes what is there, without waiting, unless another thread is at it.

        expire: decides also dials whose own time-out has passed, as waiting does. drive_ms: lets so much time of a virtual clock
        pass, or less if something comes before.
        """
        self._see_log()
        turn = _Turn()
        try:
            entered = self._enter(turn)
            if not entered and self.bell is not None:
                self._missed = True
                entered = self._enter(turn)  # else whoever is at it has not left yet, and will see the mark when it does
            if entered:
                if expire or drive_ms:
                    self._queue.wait(drive_ms, passive=not drive_ms)
                self._pump()
        finally:
            if self._turn is turn:
                self._turn = turn.previous
            self._pass_on()
        self._write_log()

    def ring(self) -> None:
        """Makes the socket readable for whoever waits on it."""
        bell = self.bell
        try:
            if bell is not None:
                bell.send(b"\0")
        except OSError:  # full, so it is readable; or closed
            pass

    def _ring_again(self) -> None:
        if self._missed:
            self._missed = False
            self.ring()

    def wait(self, waiter: Waiter, ready: Callable[[], bool], deadline_ns: int | None) -> bool:
        """Waits until ready() or until the deadline on the client's clock. True when ready. `waiter` must be entered."""
        if ready():
            return True
        self._see_log()
        done = self._wait(waiter, ready, deadline_ns)
        self._write_log()
        return done

    def _wait(self, waiter: Waiter, ready: Callable[[], bool], deadline_ns: int | None) -> bool:
        turn = _Turn()
        try:
            self._waiting[waiter] = None
            if self._drainer is not None:
                self._kick()
            while not ready():
                if self.closed:
                    return ready()
                remaining_ns = SLICE_NS if deadline_ns is None else deadline_ns - self.now()
                if self._enter(turn):
                    self._pump()
                    if ready():
                        return True
                    if remaining_ns <= 0:
                        return False
                    slice_ns = min(SLICE_NS, remaining_ns)
                    code = self._queue.wait((slice_ns + 999_999) // 1_000_000, passive=bool(self.thinking))
                    if code == _ffi.E_BUSY:  # an interrupted call of this thread's outer frame
                        waiter.lock.acquire(timeout=0.001)
                    self._pump()
                elif remaining_ns <= 0:
                    return ready()
                else:
                    waiter.lock.acquire(timeout=min(_SLICE_S, max(remaining_ns / 1e9, 0.001)))
            return True
        finally:
            if self._turn is turn:
                self._turn = turn.previous
            self._waiting.pop(waiter, None)
            self._pass_on()

    def _enter(self, turn: _Turn) -> bool:
        """Makes this call the consumer, if nobody else's is. True when it is."""
        with self._lock:
            current = self._turn
            if current is turn:
                return True
            if self.closed:
                return False
            if current is None or self._turn_thread == threading.get_ident():
                turn.previous = current
                self._turn_thread = threading.get_ident()
                self._turn = turn
                return True
            return False

    def _leave(self, turn: _Turn) -> None:
        if self._turn is turn:
            self._turn = turn.previous

    def _pass_on(self) -> None:
        """Wakes somebody to take the next turn: a waiting caller, else the drainer."""
        if self._turn is not None:
            return
        self._ring_again()
        for waiter in list(self._waiting):
            waiter.wake()
            return
        self._nudge_drainer()

    def _kick(self) -> None:
        """Makes a consumer that sleeps in the core look up."""
        with self._lock:
            self._queue.wake()

    # --- Draining -------------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Routes everything that the core has. The consumer's; may be interrupted anywhere and simply be called again."""
        queue = self._queue
        inbox = self._inbox
        while queue.is_open:
            left = queue.drained()
            if left:
                inbox.extend(left)
                queue.forget()
            while inbox:
                record = inbox[0]
                self._route(record)
                if inbox and inbox[0] is record:
                    inbox.popleft()
            if queue.drain() == 0:
                break
        self._ring_again()

    def _route(self, record: _ffi.Record) -> None:
        dial_id = record[0]
        dial = self._dials.get(dial_id)
        if dial is None:
            with self._lock:  # it may be starting just now
                dial = self._dials.get(dial_id)
        if dial is not None:
            dial._take(record)
            if dial in self._pinned:
                self._deliver.append(dial)
                self._nudge_drainer()
        if record[9] == _ffi.OUTCOME_SETTLED:
            self._live.discard(dial_id)
            self._dials.pop(dial_id, None)
        if dial is not None:
            wake_waiters(dial)

    # --- The drainer ----------------------------------------------------------------------------------------------------------

    def _nudge_drainer(self) -> None:
        """Wakes the drainer where it waits for its turn."""
        try:
            self._drainer_lock.release()
        except RuntimeError:  # awake already
            pass

    def _wake_drainer(self) -> None:
        """Wakes the drainer wherever it waits."""
        if self._drainer is not None and self._drainer is not threading.current_thread():
            self._nudge_drainer()
            self._kick()

    def _wake_handlers(self) -> None:
        """Starts or wakes the handler threads for which something came, and tries again to start those that were refused."""
        while self._refused:
            try:
                self._deliver.append(self._refused.popleft())
            except IndexError:  # close was quicker
                break
        while self._deliver:
            try:
                dial = self._deliver.popleft()
            except IndexError:  # close was quicker
                return
            if not dial._wake_handlers() and dial not in self._refused:
                self._refused.append(dial)

    def _drain(self) -> None:
        turn = _Turn()
        try:
            while True:
                self._wake_handlers()
                self._see_log()
                if self.unlogged:
                    self._leave(turn)
                    self._pass_on_to_caller()
                    self._write_log()
                with self._lock:
                    if self.closed or not self._pinned:
                        self._leave(turn)
                        self._drainer = None
                        break
                if self._waiting:  # callers first
                    self._leave(turn)
                    self._pass_on_to_caller()
                    self._drainer_lock.acquire(timeout=_SLICE_S)
                elif self._enter(turn):
                    self._pump()
                    if not (self._deliver or self._waiting or self.unlogged):
                        self._queue.wait(_RETRY_MS if self._refused else _DRAINER_SLICE_MS, passive=True)
                        self._pump()
                else:
                    self._drainer_lock.acquire(timeout=_SLICE_S)
            self._wake_handlers()  # the last chance, where the client was closed
        finally:
            self._leave(turn)
            self._pass_on()

    def _pass_on_to_caller(self) -> None:
        if self._turn is None:
            self._ring_again()
            for waiter in list(self._waiting):
                waiter.wake()
                return

    # --- The end --------------------------------------------------------------------------------------------------------------

    def _known_dials(self) -> list[Dial | HangUpCall]:
        """Those that somebody still holds. From the references, which are copied in one step: other threads add and remove."""
        return [dial for reference in self._dials.valuerefs() if (dial := reference()) is not None]

    def cancel_all(self) -> None:
        """No new dials; cancels those in flight, without waiting."""
        with self._lock:
            self.closing = True
        for dial in self._known_dials():
            dial._cancel()
        for dial_id in list(self._live):
            _ffi.cancel(dial_id)

    def close(self, timeout_s: float, with_client: bool = True) -> bool:
        """Cancels, waits for the native side to finish, closes. True when nothing was left behind; may be called again.

        with_client: closes the client too; False for a further queue of the same client.

        The time is bounded on the client's clock and in real time, because a virtual clock stands while a thread is stuck.
        """
        self.cancel_all()
        deadline_ns = self.now() + int(timeout_s * 1e9)
        real_deadline = monotonic() + timeout_s
        waiter = Waiter(())
        turn = _Turn()
        try:
            self.wait(waiter, lambda: not self._live or monotonic() >= real_deadline, deadline_ns)
            self._waiting[waiter] = None  # the drainer gives way to those who wait
            while not self._enter(turn):  # nobody drains any more after this
                if self.closed:
                    return True
                if monotonic() > real_deadline + 1:  # a consumer that does not come back: its queue closes when collected
                    break
                self._kick()
                waiter.lock.acquire(timeout=0.001)
            mine = self._turn is turn
            if mine:
                self._pump()
            clean = not self._live
            with self._lock:
                self.closed = True
                if mine:
                    self._queue.close()
            for dial in self._known_dials():
                dial._abandon()
            self._wake_handlers()
            # The last settled dial's thread may need a moment more to end.
            if with_client:
                self.client.close(max(0, int((real_deadline - monotonic()) * 1000)) if clean else 0)
            return clean
        finally:
            if self._turn is turn:
                self._turn = turn.previous
            self._waiting.pop(waiter, None)
            for other in list(self._waiting):
                other.wake()
            self._wake_drainer()
            self._write_log()

    def join_drainer(self, timeout: float) -> None:
        drainer = self._drainer
        if drainer is not None and drainer is not threading.current_thread() and drainer.is_alive():
            drainer.join(timeout)


def further_hub(client: _ffi.ClientHandle) -> tuple[int, Hub | None]:
    """Another queue of the same client: a code, and its hub when that is 0."""
    code, queue = _ffi.open_queue(client)
    return (code, None) if queue is None else (0, Hub(client, queue))


def open_hub(api: str, phonebook: bytes | None) -> tuple[int, Hub | None]:
    """Opens a client and its queue: a code, and the hub when that is 0."""
    code, client = _ffi.open_client(api, phonebook)
    if client is None:
        return code, None
    code, queue = _ffi.open_queue(client)
    return (code, None) if queue is None else (0, Hub(client, queue))
