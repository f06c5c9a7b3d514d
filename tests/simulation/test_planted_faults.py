"""The checkers are checked: each rule that is broken on purpose is noticed, within so many seeds."""

from __future__ import annotations

import pytest

from tests.simulation.planted import FAULTS
from tests.simulation.seeds import run_seed

SEEDS_MAX = 60
"""Each was noticed within 14 when this was written; what happens in a seed changes whenever the program does."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_planted_fault_is_noticed(fault: str) -> None:
    with FAULTS[fault]():
        assert any(run_seed(seed).violations for seed in range(1, SEEDS_MAX + 1)), "nothing was noticed"
