"""How completions enter `run`, each within a drain of its own.

That its instance was cancelled `run` hears as asyncio's tasks do, which all clean-up is written for.
"""

from __future__ import annotations

from typing import Any

from stepwell.errors import EventTimeoutError
from stepwell.guest.asks import Ask, shown
from stepwell.guest.failures import rebuilt
from stepwell.guest.scheduler import RunLoop, RunTask


def enter(loop: RunLoop, ask: Ask, at_ms: int, outcome: str, detail: Any, payload: bytes) -> None:
    """What `run` asked for has come."""
    loop.now_ms = max(loop.now_ms, at_ms)
    target = ask.target
    if ask.key[0] == "timer":
        target.fire()
    elif target.done():
        return
    elif outcome == "held":
        target.set_result(ask.result)
    elif outcome == "value":
        target.set_result(payload)
    elif outcome == "error":
        target.set_exception(rebuilt(detail))
    elif outcome == "fired":
        target.set_result(None)
    elif outcome == "event":
        target.set_result((payload, detail[0], detail[1]))
    else:
        target.set_exception(EventTimeoutError(f"{shown(ask.key)}: no event came in time"))


def cancel_run(loop: RunLoop, main: RunTask, at_ms: int, reason: str) -> None:
    """Raise CancelledError where the task waits.

    It is told once, and does not count as being cancelled from then on: its clean-up may use `TaskGroup` and `timeout`,
    which would take an old cancel for one of theirs.
    """
    loop.now_ms = max(loop.now_ms, at_ms)
    main.cancel(f"the instance was cancelled: {reason}" if reason else "the instance was cancelled")
    main.uncancel()
