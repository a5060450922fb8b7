"""What the tests of asyncio share: each runs in a fresh event loop of every kind that the platform has, and leaves nothing there.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import asyncio
import linecache
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
from helping import BOUND_S

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop

if sys.platform == "win32":
    LOOPS = ("proactor", "selector")
elif sys.platform == "linux":
    LOOPS = ("selector", "uvloop")
else:
    LOOPS = ("selector",)


def loop_maker(kind: str) -> Callable[[], Loop]:
    """What makes event loops of this kind."""
    if kind == "uvloop":
        try:
            import uvloop
        except ImportError:
            if os.environ.get("CI"):
                raise
            pytest.skip("uvloop is not installed")
        return uvloop.new_event_loop
    if sys.platform == "win32" and kind == "proactor":
        return asyncio.ProactorEventLoop
    return asyncio.SelectorEventLoop


class Runner:
    """Runs coroutines, each in a loop of its own."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.make = loop_maker(kind)

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """A loop in debug mode. At its end no task is left, and nothing has been reported to it."""
        loop = self.make()
        complaints: list[dict[str, Any]] = []
        loop.set_debug(True)
        loop.slow_callback_duration = 60  # a loaded machine is no news
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        try:
            # Debug mode takes the stack of each callback, and asks the system for the date of each file in it: under Wine that
            # takes four fifths of the time.
            with patch.object(linecache, "checkcache", lambda filename=None: None):
                yield loop
            left = {task for task in asyncio.all_tasks(loop) if not task.done()}
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            assert not left, f"tasks are left: {left}"
        finally:
            loop.close()
        assert not complaints, complaints

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self.loop() as loop:
            return run_in(loop, coroutine)


def run_in(loop: Loop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it, bounded: a coroutine that hangs is cancelled, and the test fails."""
    task = loop.create_task(coroutine)
    late = loop.call_later(2 * BOUND_S, task.cancel, "too late")
    try:
        return loop.run_until_complete(task)
    except asyncio.CancelledError:
        if loop.time() >= late.when():
            pytest.fail(f"it hangs: {task}")
        raise
    finally:
        late.cancel()


async def soon(condition: Callable[[], object], what: str = "the condition") -> None:
    """Waits, bounded, until something that happens elsewhere has happened."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BOUND_S
    while not condition():
        assert loop.time() < deadline, f"{what} did not come true within {BOUND_S:g} s"
        await asyncio.sleep(0.001)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
