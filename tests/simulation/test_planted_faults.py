"""The checkers are checked: each rule that is broken on purpose is noticed, within so many seeds."""

from __future__ import annotations

from itertools import chain, islice

import pytest

import tests.simulation.planted
import tests.simulation.planted_deletions
import tests.simulation.planted_families
import tests.simulation.planted_journal
import tests.simulation.planted_letters
import tests.simulation.planted_schedules
import tests.simulation.planted_steering  # noqa: F401 — all fill FAULTS
from tests.simulation.circumstances import seeds_of
from tests.simulation.planting import FAULTS
from tests.simulation.seeds import run_seed

SEEDS_MAX = 120
"""Each was noticed within 60 when this was written, most within 5; what happens in a seed changes with the program."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_planted_fault_is_noticed(fault: str) -> None:
    planted = FAULTS[fault]
    with planted.plant():
        seeds = chain(filter(None, [planted.first]), islice(seeds_of(planted.circumstances), SEEDS_MAX))
        assert any(run_seed(seed).violations for seed in seeds), "nothing was noticed"
