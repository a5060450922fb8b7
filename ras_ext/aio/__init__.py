"""The same for asyncio: dial, iterate, hang up and watch without blocking the event loop.

SPDX-License-Identifier: MIT

    async with ras_ext.aio.dial("Office VPN", username="ada", password=pw) as dial:
        async for event in dial:
            print(event.state.name, event.elapsed)
        connection = await dial                      # or raises AuthenticationError (691) ...
    await connection.hang_up()

The words are those of the synchronous face, and so are events, errors and arguments. What differs:

- A task that is cancelled while it awaits a dial, or its next event, cancels the dial. So do `asyncio.timeout` and task groups.
  To wait without owning: `asyncio.shield(dial)`.
- Handlers (`on_event`, `interactive`) run in the event loop, and may be coroutine functions.
- A dial belongs to the loop in which it was started.

"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..client import Client, hide_password
from ..dial import seconds
from ..errors import ClosedError, RasError
from ..redial import Plan
from ._connection import Connection
from ._dial import Dial, dial
from ._door import client_or_default, door_of
from ._watch import Change, Watch, watch

_LONGEST_PAUSE_S = 4e9  # as the synchronous face

__all__ = ["Change", "Connection", "Dial", "Watch", "close", "connections", "dial", "redial", "watch"]


async def connections(client: Client | None = None) -> list[Connection]:
    """The connections that stand on this machine, other programs' included; asked for on a thread of the loop's executor.

    Args:
        client: None: the one of "system".

    Returns:
        Connections.

    Raises:
        RasError, NotAvailableError, ClosedError, ForkedError: as `Client.connections`.

    Source: S4.2.
    """
    return [Connection(found) for found in await asyncio.to_thread(client_or_default(client).connections)]


async def close(client: Client, timeout: float | None = 5.0) -> None:
    """Closes a client without blocking the loop: cancels its dials in flight, waits for their threads. Connections stay up.

    Args:
        client: The client.
        timeout: Seconds for the native threads; see `Client.close`.

    Raises:
        TypeError, ValueError, ForkedError: as `Client.close`.
    """
    if not isinstance(client, Client):
        raise TypeError(f"close() takes a Client, not {type(client).__name__}")
    await asyncio.to_thread(client.close, timeout)


async def redial(
    client: Client | None,
    entry: str,
    *,
    attempts: int = 3,
    backoff: Callable[[int], float] | float | None = None,
    on_failure: Callable[[RasError, float], object] | None = None,
    **dial_args: Any,
) -> Connection:
    """Dials until it connects, as long as each error is one that may pass, and at most so often; as `ras_ext.redial`.

    Args:
        client: The client; None: the one of "system".
        entry: The phone-book entry.
        attempts: How often to dial at most.
        backoff: Seconds between two attempts, or a function of the number of failures; None: ras_ext.Backoff().
        on_failure: Called before each pause with the error and its seconds.
        dial_args: The other arguments of `dial`.

    Returns:
        The Connection.

    Raises:
        RasError: of the last attempt; at once when the error is not transient.
        DialCancelledError, ClosedError, TypeError, ValueError: as `ras_ext.redial`.
        asyncio.CancelledError: this task was cancelled; a dial in flight is cancelled too.

    Source: S8.45, S3.
    """
    hide_password(dial_args)
    plan = Plan(client, attempts, backoff, on_failure, dial_args)
    while True:
        try:
            async with dial(entry, client=plan.client, **plan.arguments()) as started:
                return await started
        except RasError as problem:
            pause_s = plan.pause_after(problem)
            if pause_s is None:
                raise
        limit_s = seconds(pause_s, "what backoff returned")
        await door_of(plan.client).sleep(_LONGEST_PAUSE_S if limit_s is None else min(limit_s, _LONGEST_PAUSE_S))
        if plan.client.closed:
            raise ClosedError("The client was closed while it waited to dial again.")
