"""How fast a tenant's sandboxes are started."""

from __future__ import annotations

import pytest

from loader.pace import StartPace
from stepwell.names import TenantUid

A, B = TenantUid("a"), TenantUid("b")


def test_after_a_burst_starts_come_evenly_and_after_a_pause_there_may_be_a_burst_again() -> None:
    now = 1_000.0
    pace = StartPace(3, 60, lambda: now)
    assert [pace.pause_s(A) for _ in range(5)] == pytest.approx([0, 0, 0, 1, 2])
    assert pace.pause_s(B) == 0
    now += 2.5
    assert pace.pause_s(A) == pytest.approx(0.5)
    now += 600
    assert [pace.pause_s(A) for _ in range(4)] == pytest.approx([0, 0, 0, 1])
