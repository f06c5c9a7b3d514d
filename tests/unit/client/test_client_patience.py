from __future__ import annotations

import pytest

from stepwell.client.patience import CALL_S_MAX, DELAY_S_FIRST, DELAY_S_MAX, Patience, retryable, uncommitted
from stepwell.errors import (
    ApiError,
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
)


class Story:
    """A call whose tries fail with those errors, one after the other, on a clock of its own."""

    def __init__(
        self, *errors: ApiError, chance: float = 0.0, within_s: float | None = None, tries_max: int = 20
    ) -> None:
        self.errors = list(errors)
        self.now = 100.0
        self.left_s: list[float] = []
        self.slept_s: list[float] = []
        self.patience = Patience(within_s, tries_max, lambda: self.now, lambda: chance, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += seconds

    async def attempt(self, left_s: float) -> str:
        self.left_s.append(left_s)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def unavailable(after_s: float | None = None) -> UnavailableError:
    error = UnavailableError("not now")
    error.retry_delay_s = after_s
    return error


async def test_what_may_succeed_later_is_tried_again_after_ever_longer_delays() -> None:
    story = Story(*(unavailable() for _ in range(8)))
    assert await story.patience.call(story.attempt) == "answer"
    assert story.slept_s == [DELAY_S_FIRST * 2**n for n in range(6)] + [DELAY_S_MAX] * 2
    assert story.left_s[0] == CALL_S_MAX
    assert story.left_s[-1] == pytest.approx(CALL_S_MAX - sum(story.slept_s))


async def test_the_delay_that_the_server_named_goes_before_others_and_chance_only_adds() -> None:
    story = Story(unavailable(2.0), unavailable(0.0), unavailable(), chance=1.0)
    await story.patience.call(story.attempt)
    assert story.slept_s == [3.0, 0.0, DELAY_S_FIRST * 4 * 1.5]


async def test_what_can_never_succeed_is_not_tried_again() -> None:
    story = Story(InvalidArgumentError("no"))
    with pytest.raises(InvalidArgumentError):
        await story.patience.call(story.attempt)
    assert (len(story.left_s), story.slept_s) == (1, [])


async def test_a_call_gives_up_before_a_delay_that_passes_its_time() -> None:
    story = Story(unavailable(), unavailable(60.0), within_s=10.0)
    with pytest.raises(UnavailableError):
        await story.patience.call(story.attempt)
    assert story.slept_s == [DELAY_S_FIRST]


async def test_a_call_has_so_many_tries() -> None:
    story = Story(*(unavailable(0.0) for _ in range(9)), tries_max=3)
    with pytest.raises(UnavailableError):
        await story.patience.call(story.attempt)
    assert len(story.left_s) == 3


@pytest.mark.parametrize(
    ("error", "again", "again_where_it_counts_twice"),
    [
        (UnavailableError("x"), True, False),
        (DeadlineExceededError("x"), True, False),
        (RateLimitedError("x"), True, True),
        (ConflictError("x"), True, True),
        (NotFoundError("x"), False, False),
    ],
)
def test_what_would_count_twice_is_made_again_only_where_it_had_no_effect(
    error: ApiError, again: bool, again_where_it_counts_twice: bool
) -> None:
    assert (retryable(error), uncommitted(error)) == (again, again_where_it_counts_twice)
