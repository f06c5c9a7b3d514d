"""A few seeds of the simulation, on every run of the tests; `make simulate` runs as many as one likes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation import __main__
from tests.simulation.seeds import run_seed

SEEDS = range(1, 13)


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_stuck() -> None:
    violated = {seed: outcome.violations[0] for seed in SEEDS if (outcome := run_seed(seed)).violations}
    assert violated == {}


def test_a_seed_leaves_no_file_open() -> None:
    run_seed(1)
    before = len(os.listdir("/proc/self/fd"))
    run_seed(2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_seed_is_run_however_often_processes_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "SEEDS_A_PROCESS", 2)
    monkeypatch.setattr(__main__, "run_seed", abs)
    seeds: list[object] = list(range(5, 16))
    assert list(__main__.outcomes(range(5, 16), 2)) == seeds


@pytest.mark.parametrize("seed", [3, 7])
def test_the_same_seed_is_the_same_run_byte_for_byte_in_any_process(seed: int) -> None:
    command = [sys.executable, "-m", "tests.simulation", str(seed), "--trace"]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    here = run_seed(seed)
    assert here.fingerprint == run_seed(seed).fingerprint
    assert elsewhere.startswith("\n".join(here.trace))
