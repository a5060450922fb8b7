"""Dialling again after errors that may pass.

SPDX-License-Identifier: MIT

    connection = ras_ext.redial(None, "Office VPN", attempts=5, username="ada", password=pw)

Only what `RasError.transient` says may pass is tried again: a busy line, a silent server, a port that is still taken. A wrong
password never is, because servers lock accounts. RAS must be through with a failed dial before the next one, or it would answer
633 or 756 (S8.45): `Dial.result` raises when the handle is gone, so the pause between two attempts begins then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _ffi
from ._hub import Waiter
from .client import Client, _default_client, hide_password
from .dial import seconds
from .errors import ClosedError, DialCancelledError, RasError

if TYPE_CHECKING:
    from .connection import Connection


class Backoff:
    """Pauses that grow: `first`, then each `factor` times as long, `most` at most, shortened by chance.

    Chance keeps many clients that lost the same server from all coming back in the same moment.

    Args:
        first: Seconds before the second attempt.
        factor: How much longer each pause is than the one before it.
        most: The longest pause in seconds.
        jitter: Up to which part of a pause chance takes away: 0 none, 1 all of it.
        random: A generator, for runs that can be repeated; None: one of its own.

    Raises:
        TypeError, ValueError: numbers that are none, or out of their range.
    """

    def __init__(
        self,
        first: float = 1.0,
        factor: float = 2.0,
        most: float = 60.0,
        jitter: float = 0.5,
        random: random.Random | None = None,
    ) -> None:
        for value, name in ((first, "first"), (factor, "factor"), (most, "most"), (jitter, "jitter")):
            if seconds(value, name) is None:
                raise ValueError(f"{name} must be a finite number")
        if factor < 1:
            raise ValueError(f"factor must be at least 1, but is {factor:g}")
        if jitter > 1:
            raise ValueError(f"jitter must be at most 1, but is {jitter:g}")
        self.first = float(first)
        self.factor = float(factor)
        self.most = float(most)
        self.jitter = float(jitter)
        self._random = random or _new_random()

    def __call__(self, failures: int) -> float:
        """How many seconds to wait after so many failures (1: after the first attempt)."""
        try:
            pause = min(self.most, self.first * self.factor ** (failures - 1))
        except OverflowError:
            pause = self.most
        return pause * (1.0 - self.jitter * self._random.random())

    def __repr__(self) -> str:
        return f"Backoff(first={self.first:g}, factor={self.factor:g}, most={self.most:g}, jitter={self.jitter:g})"


def _new_random() -> random.Random:
    return random.Random()


def redial(
    client: Client | None,
    entry: str,
    *,
    attempts: int = 3,
    backoff: Callable[[int], float] | float | None = None,
    on_failure: Callable[[RasError, float], object] | None = None,
    **dial_args: Any,
) -> Connection:
    """Dials until it connects, as long as each error is one that may pass, and at most so often.

    Args:
        client: The client; None: the one of "system" that `ras_ext.dial` uses.
        entry: The phone-book entry.
        attempts: How often to dial at most.
        backoff: Seconds to wait between two attempts, or a function of the number of failures, such as a Backoff; None:
            Backoff().
        on_failure: Called before each pause with the error and the seconds that the pause will last. What it raises ends it all.
        dial_args: The other arguments of `Client.dial`. A password that is a callable is called for each attempt.

    Returns:
        The Connection.

    Raises:
        RasError: of the last attempt; at once when the error is not transient.
        DialCancelledError: somebody cancelled; never dialled again.
        ClosedError: the client was closed meanwhile.
        TypeError, ValueError: as `Client.dial`, or a wrong number of attempts or seconds.

    Threads: any; blocks as `Dial.result` does. An exception that strikes meanwhile, KeyboardInterrupt for example, cancels the
    dial that is in flight. Pauses are waited for on the client's clock.

    Source: S8.45, S3.
    """
    hide_password(dial_args)
    plan = Plan(client, attempts, backoff, on_failure, dial_args)
    while True:
        try:
            with plan.client.dial(entry, **plan.arguments()) as dial:
                return dial.result()
        except RasError as problem:
            pause = plan.pause_after(problem)
            if pause is None:
                raise
        _wait(plan.client, pause)


class Plan:
    """What all faces of redial do between two attempts: whether to try again, when, and with which arguments."""

    def __init__(
        self,
        client: Client | None,
        attempts: int,
        backoff: Callable[[int], float] | float | None,
        on_failure: Callable[[RasError, float], object] | None,
        dial_args: dict[str, Any],
    ) -> None:
        if isinstance(attempts, bool) or not isinstance(attempts, int):
            raise TypeError(f"attempts must be an int, not {type(attempts).__name__}")
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, but is {attempts}")
        if client is not None and not isinstance(client, Client):
            raise TypeError(f"client must be a Client or None, not {type(client).__name__}")
        if on_failure is not None and not callable(on_failure):
            raise TypeError(f"on_failure must be callable, not {type(on_failure).__name__}")
        self._pause: Callable[[int], float]
        if backoff is None:
            self._pause = Backoff()
        elif callable(backoff):
            self._pause = backoff
        else:
            fixed = seconds(backoff, "backoff")
            if fixed is None:
                raise ValueError("backoff must be a finite number of seconds")
            self._pause = lambda failures: fixed
        self._left = attempts
        self._failures = 0
        self._on_failure = on_failure
        self._dial_args = dial_args
        self._secret = dial_args.get("password")
        self.client = client or _default_client()

    def arguments(self) -> dict[str, Any]:
        """Those of the next dial; the password is asked for anew."""
        if isinstance(self._secret, _ffi.Secret):
            self._dial_args["password"] = self._secret.again()
        return self._dial_args

    def pause_after(self, problem: RasError) -> float | None:
        """Seconds to wait after this failure; None: it is to be raised."""
        self._left -= 1
        self._failures += 1
        if isinstance(problem, DialCancelledError) or not problem.transient or self._left < 1:
            return None
        pause = self._pause(self._failures)
        if self._on_failure is not None:
            self._on_failure(problem, pause)
        return pause


def _wait(client: Client, pause: float) -> None:
    """Lets so many seconds of the client's clock pass."""
    limit = seconds(pause, "what backoff returned")
    hub = client._hub
    deadline_ns = hub.now() + int(min(4e9 if limit is None else limit, 4e9) * 1e9)
    with Waiter(()) as waiter:
        hub.wait(waiter, lambda: hub.closing or hub.now() >= deadline_ns, deadline_ns)
    if client.closed:
        raise ClosedError(_ffi.E_CLOSED, "The client was closed while it waited to dial again.")
