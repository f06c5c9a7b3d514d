"""Properties of the engine over lives at random, and that such lives come by all that matters."""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings

from tests.fuzz.budget import tries
from tests.unit.engine import laws
from tests.unit.engine.deadline_law import a_deadline_is_fixed_when_it_is_first_seen
from tests.unit.engine.fork_law import a_fork_is_its_origins_prefix
from tests.unit.engine.landmarks import everything, passed
from tests.unit.engine.lives import Life, Moment
from tests.unit.engine.walks import WALKS, walk

WALKS_TRIED: Final = 300


@tries(WALKS_TRIED)
@given(WALKS)
def test_memory_is_what_the_journal_says(steps: str) -> None:
    walk(steps, laws.memory_is_what_the_journal_says)


@tries(WALKS_TRIED)
@given(WALKS)
def test_what_is_recorded_stays(steps: str) -> None:
    walk(steps, laws.what_is_recorded_stays)


@tries(WALKS_TRIED)
@given(WALKS)
def test_it_runs_the_version_that_it_came_to_last(steps: str) -> None:
    walk(steps, laws.it_runs_the_version_that_it_came_to_last)


@tries(WALKS_TRIED)
@given(WALKS)
def test_a_deadline_is_fixed_when_it_is_first_seen(steps: str) -> None:
    walk(steps, a_deadline_is_fixed_when_it_is_first_seen)


@tries(WALKS_TRIED)
@given(WALKS)
def test_what_has_ended_is_kept_for_as_long_as_it_was_said(steps: str) -> None:
    walk(steps, laws.what_has_ended_is_kept_for_as_long_as_it_was_said)


@tries(WALKS_TRIED)
@given(WALKS)
def test_a_refusal_changes_nothing(steps: str) -> None:
    walk(steps, laws.a_refusal_changes_nothing)


@tries(WALKS_TRIED)
@given(WALKS)
def test_no_instance_is_lost_wherever_its_journal_is_cut(steps: str) -> None:
    walk(steps, laws.no_instance_is_lost)


@tries(WALKS_TRIED)
@given(WALKS)
def test_all_is_bounded(steps: str) -> None:
    walk(steps, laws.all_is_bounded)


@tries(WALKS_TRIED)
@given(WALKS)
def test_a_fork_is_its_origins_prefix(steps: str) -> None:
    walk(steps, a_fork_is_its_origins_prefix)


def test_so_many_walks_come_by_all_that_matters() -> None:
    seen: set[str] = set()

    def look(life: Life, moment: Moment) -> None:
        seen.update(passed(life, moment))

    @settings(tries(WALKS_TRIED), max_examples=2 * WALKS_TRIED, derandomize=True, database=None)
    @given(WALKS)
    def every(steps: str) -> None:
        walk(steps, look)

    every()
    assert everything() - seen == set()
