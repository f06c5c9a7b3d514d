"""Timeouts of attempts that begin as others end: they are armed, though nothing else happens in the guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.guest_process import GuestProcess
from tests.unit.guest.running import of, run

HASTY = "{'timeout': 300, 'retries': {'limit': 0, 'delay': 0}}"


@pytest.mark.parametrize("body", ["one", "plainly"])
def test_a_rollback_handler_that_begins_when_the_last_body_ends_runs_into_its_timeout(
    guest: GuestProcess, bundle: Path, body: str
) -> None:
    run(
        guest,
        bundle,
        "async def one(): return 1",
        "async def slow(): await asyncio.sleep(0.3)",
        "def plainly(): time.sleep(0.3)",
        "async def undo(output, error): await asyncio.sleep(60)",
        f"await step.do('one', rollback=undo, rollback_config={HASTY})(one)()",
        f"asyncio.ensure_future(step.do('last')({'slow' if body == 'one' else 'plainly'})())",
        "await asyncio.sleep(0)",
        "raise ValueError('over')",
    )
    failed = of(guest, "Failed")
    assert [(each.name, each.error.type) for each in failed] == [("one", "StepTimeoutError")]
