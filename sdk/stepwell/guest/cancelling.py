"""How `run` hears that its instance was cancelled: as asyncio's tasks do, which all clean-up is written for."""

from __future__ import annotations

from stepwell.guest.scheduler import RunLoop, RunTask


def cancel_run(loop: RunLoop, main: RunTask, at_ms: int, reason: str) -> None:
    """Within a drain: raise CancelledError where the task waits.

    It is told once, and does not count as being cancelled from then on: its clean-up may use `TaskGroup` and `timeout`,
    which would take an old cancel for one of theirs.
    """
    loop.now_ms = max(loop.now_ms, at_ms)
    main.cancel(f"the instance was cancelled: {reason}" if reason else "the instance was cancelled")
    main.uncancel()
