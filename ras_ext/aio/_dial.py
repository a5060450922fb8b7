"""Dials that are awaited.

SPDX-License-Identifier: MIT

What a dial does, and what is known of it, is ras_ext.Dial; here it is only waited for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from ..client import Client, forked, hide_password
from ..connection import Connection as _Connection
from ..dial import Dial as _Dial
from ..dial import report
from ..errors import DialCancelledError, RasError, StillDialing
from ..events import Event, HangUp
from ..pauses import Answer
from ._connection import Connection
from ._door import Door, client_or_default, door_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..client import DialOptions, Password

OnEvent = Callable[[Event], object]
Interactive = Callable[[Event, "Dial"], "Answer | Awaitable[Answer | None] | None"]

_HANGUP_BOUND_S = 10.0  # S3; as the synchronous face


def dial(
    entry: str,
    *,
    client: Client | None = None,
    on_event: OnEvent | None = None,
    interactive: Interactive | None = None,
    through: Connection | _Connection | None = None,
    **options: Unpack[DialOptions],
) -> Dial:
    """Starts to dial an entry and returns at once.

    Args:
        entry: The phone-book entry; arguments that are not told here are those of `Client.dial`.
        client: None: the one of "system" that `ras_ext.dial` uses.
        on_event: Called in the loop with each Event up to the deciding one, in order; an awaitable that it returns is awaited.
            What it raises goes to logging and sys.unraisablehook.
        interactive: Switches pauses on (S1.7). Called in the loop with the Event and this Dial when the dial pauses; returns an
            Answer or None, or an awaitable of that. See `Client.dial`.
        through: A connection that this one shall run over, of either face.
        options: `username`, `password`, `phonebook`, `timeout`, `paused_states`, `pause_timeout` ...: see `Client.dial`.

    Returns:
        A Dial: await it for the Connection, iterate over it for the events.

    Raises:
        RuntimeError: no event loop is running.
        NotAvailableError: no client was given, and this system has no RAS.
        TypeError, ValueError, ClosedError, RasError, ForkedError, MemoryError: as `Client.dial`.
        OSError: no socket pair can be had.

    Threads: that of the loop; does not block, but for a moment in RAS with `through`.

    Source: S1.1 to S1.7.
    """
    hide_password(options)
    door = door_of(client_or_default(client))
    beneath = through.blocking if isinstance(through, Connection) else through
    native = door.client._dial_on(
        door.hub,
        entry,
        on_event=on_event,
        interactive=interactive,  # type: ignore[arg-type] # it is only noted: _handle calls it
        through=beneath,
        threads=False,
        **options,
    )
    started = Dial(native, door)
    if on_event is not None or interactive is not None:
        door.keep(door.loop.create_task(started._handle(on_event, interactive), name=f"ras_ext handlers of {entry!r}"))
    return started


class Dial:
    """A dial in flight, or what became of it. Made by `ras_ext.aio.dial`.

    Awaiting it gives the Connection or raises, as `ras_ext.Dial.result` does; it may be awaited again. Iterating yields each
    Event from the first to the one that decided. `async with` cancels the dial on leaving when that is still undecided. Losing
    the last reference while it is undecided gives a ResourceWarning and cancels.

    Threads: that of its loop.

    Source: S1.4, docs/design.md "Life of a Dial".
    """

    __slots__ = ("__weakref__", "_awaiting", "_connection", "_dial", "_door")

    def __init__(self, native: _Dial, door: Door) -> None:
        self._dial = native
        self._door = door
        self._awaiting = 0  # how many coroutines want the connection now
        self._connection: Connection | None = None

    # --- Looking: as ras_ext.Dial ---

    @property
    def entry(self) -> str:
        """The name of the phone-book entry that is dialled."""
        return self._dial.entry

    @property
    def events(self) -> tuple[Event, ...]:
        """The events so far, also those after the decision."""
        return self._dial.events

    @property
    def lost(self) -> int:
        """How many notifications found the dial's ring full. The outcome is never among them."""
        return self._dial.lost

    @property
    def elapsed(self) -> float:
        """Seconds from `dial()` to the decision, or to now while there is none, on the client's clock."""
        return self._dial.elapsed

    @property
    def paused(self) -> bool:
        """Whether the dial stands still and waits for `resume` (S1.7)."""
        return self._dial.paused

    @property
    def hang_up_result(self) -> HangUp | None:
        """How the hang-up after a failure or cancellation ended; None while the native side is not through."""
        return self._dial.hang_up_result

    def done(self) -> bool:
        """Whether the dial has been decided: connected, failed or cancelled."""
        return self._dial.done()

    def cancelled(self) -> bool:
        """Whether the dial has been cancelled, by `cancel`, by a task that was, or because its client was closed."""
        return self._dial.cancelled()

    # --- Doing ---

    def cancel(self) -> bool:
        """Cancels the dial if it is undecided. It is over for whoever awaits it at once; a native thread hangs up meanwhile.

        Returns:
            True when the dial is cancelled now, False when it had been decided before.

        Raises:
            ForkedError (a RuntimeError): in a forked child.

        Threads: that of its loop; never blocks.

        Source: S3.
        """
        return self._dial.cancel()

    def resume(
        self,
        username: str | None = None,
        password: Password | None = None,
        domain: str | None = None,
        callback_number: str | None = None,
    ) -> None:
        """Lets a paused dial go on; see `ras_ext.Dial.resume`.

        Args:
            username: See `ras_ext.Dial.resume`.
            password: See `ras_ext.Dial.resume`.
            domain: See `ras_ext.Dial.resume`.
            callback_number: See `ras_ext.Dial.resume`.

        Raises:
            NotPausedError, TypeError, ValueError, MemoryError, ForkedError: as `ras_ext.Dial.resume`.

        Threads: that of its loop; never blocks.

        Source: S1.7.
        """
        options = {"password": password}
        password = None
        hide_password(options)
        self._dial.resume(username, options["password"], domain, callback_number)

    def give_up(self) -> None:
        """Ends a paused dial with the failure that it would have had without paused states; see `ras_ext.Dial.give_up`.

        Raises:
            NotPausedError, ForkedError: as `ras_ext.Dial.give_up`.

        Threads: that of its loop; never blocks.

        Source: S1.7.
        """
        self._dial.give_up()

    # --- Waiting ---

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._door.loop:
            raise RuntimeError(f"{self!r} belongs to another event loop, the one in which it was started")

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._result().__await__()

    async def _result(self) -> Connection:
        self._check_loop()
        dial, door = self._dial, self._door
        self._awaiting += 1
        try:
            await door.until((dial,), dial._is_done)
            decided = dial._decided
            if decided is not None and decided.failed and not dial._cancelled:  # raised when the handle is gone
                await door.until((dial,), self._is_through, _HANGUP_BOUND_S)
            elif not dial._cancelled and not dial._handle:  # notifier kind 0 carries none
                await door.until((dial,), lambda: dial._handle != 0 or self._is_through())
        except asyncio.CancelledError:
            self._cancel_with_task(others=self._awaiting - 1)
            raise
        finally:
            self._awaiting -= 1
        connection = dial.result(0)
        if self._connection is None:
            self._connection = Connection(connection)
        return self._connection

    def _cancel_with_task(self, others: int) -> None:
        """A task that waited has been cancelled: so is the dial.

        One that has connected in that very moment is hung up, as if it had been a moment earlier; not when somebody has the
        connection already, or when others still wait for it.
        """
        dial = self._dial
        if dial.cancel() or others or self._connection is not None or dial._decided is None or dial._decided.failed:
            return
        try:
            dial.result(0)._begin_hang_up(self._door.hub, False, int(_HANGUP_BOUND_S * 1000))
        except (RasError, StillDialing):  # it is gone, or the client is closed; or RAS has not told the handle yet
            return
        dial._cancelled = True

    def _is_through(self) -> bool:
        return self._dial._settled is not None or self._dial._over

    async def exception(self) -> RasError | None:
        """Waits for the outcome and returns the error instead of raising it; None when connected.

        Raises:
            DialCancelledError: the dial was cancelled.
            asyncio.CancelledError: this task was; then the dial is cancelled too.

        Source: S1.4.
        """
        try:
            await self._result()
        except DialCancelledError:
            raise
        except RasError as problem:
            return problem
        return None

    async def wait_closed(self) -> bool:
        """Waits until the native side is through with this dial: RasDial has returned, and any hang-up has ended.

        Returns:
            True when nothing of the dial is left but, perhaps, its connection. False when the hang-up has given up and the handle
            is still closing.

        Raises:
            asyncio.CancelledError: this task was cancelled. That does not cancel the dial.

        Source: S3.
        """
        self._check_loop()
        await self._door.until((self._dial,), self._is_through)
        return self._dial.wait_closed(0)

    def __aiter__(self) -> AsyncIterator[Event]:
        return EventIterator(self)

    async def __aenter__(self) -> Dial:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if not forked():
            self._dial.cancel()

    # --- Handlers ---

    async def _handle(self, on_event: OnEvent | None, interactive: Interactive | None) -> None:
        """Calls the handlers, one event at a time, in order. The dial lives as long as this task."""
        dial = self._dial
        index = 0
        try:
            async for event in self:
                index += 1
                if on_event is not None:
                    try:
                        returned = on_event(event)
                        if inspect.isawaitable(returned):
                            await returned
                    except Exception as problem:
                        report(f"on_event of the dial of {dial.entry!r}", problem)
                if interactive is not None and event.wants is not None and event is not dial._decided:
                    await self._ask(interactive, event)
                    dial._hub.thought(dial)
                    if dial._last_pause > index and dial._decided is None:  # the next one came meanwhile
                        dial._hub.think(dial)
        except asyncio.CancelledError:  # also in what a handler awaits: nobody would answer or hear from now on
            dial.cancel()
            raise
        finally:
            dial._hub.thought(dial)

    async def _ask(self, interactive: Interactive, event: Event) -> None:
        dial = self._dial
        if not dial.paused:  # somebody else has answered, or it is a repeated announcement
            return
        resumed = dial._resumed
        try:
            answer = interactive(event, self)
            if inspect.isawaitable(answer):
                answer = await answer
            dial._go_on_with(answer, event, resumed)
        except Exception as problem:
            report(f"the interactive handler of the dial of {dial.entry!r}", problem)
            dial.cancel()

    def __repr__(self) -> str:
        return repr(self._dial).replace("<ras_ext.Dial", "<ras_ext.aio.Dial", 1)


class EventIterator:
    """Yields a dial's events from the first to the deciding one. Survives a cancellation, as the dial's events do."""

    __slots__ = ("_index", "_last", "_owner")

    def __init__(self, owner: Dial) -> None:
        self._owner = owner
        self._index = 0
        self._last: Event | None = None

    def __aiter__(self) -> EventIterator:
        return self

    def _ready(self) -> bool:
        dial = self._owner._dial
        return self._index < len(dial._events) or dial._decided is not None or dial._over

    async def __anext__(self) -> Event:
        owner = self._owner
        dial = owner._dial
        owner._check_loop()
        if self._last is not None and self._last is dial._decided:
            raise StopAsyncIteration
        if not self._ready():
            try:
                await owner._door.until((dial,), self._ready)
            except asyncio.CancelledError:
                owner._cancel_with_task(others=owner._awaiting)
                raise
        if self._index >= len(dial._events):
            raise StopAsyncIteration
        event = dial._events[self._index]
        self._last = event
        self._index += 1
        return event
