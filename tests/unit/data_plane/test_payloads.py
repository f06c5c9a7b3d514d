"""What is inline, what is cut, what is kept apart."""

from __future__ import annotations

from data_plane import payloads
from stepwell.engine import fold
from stepwell.engine.instance import Instance
from stepwell.engine.records import Created, Failure, StepFailed, StepKey
from stepwell.names import Digest, InstanceUid

LARGE = Failure("builtins", "ValueError", "m" * 4_096, "t" * 16_384, Failure("builtins", "KeyError", "c" * 2_048))


def instance() -> Instance:
    made = Instance()
    fold.apply(made, Created(1, InstanceUid("u"), Digest("d"), "m:C", b"null", ""))
    return made


def test_a_failure_is_whole_while_there_is_room() -> None:
    assert payloads.fitted(LARGE, instance()) is LARGE


def test_ten_thousand_large_failures_take_little_more_than_what_an_instance_may_hold() -> None:
    full = instance()
    for number in range(1, 10_001):
        failure = payloads.fitted(LARGE, full)
        fold.apply(full, StepFailed(number, StepKey("do", "s", number), 1, 1, failure))
    assert full.inline_bytes < payloads.INLINE_TOTAL_BYTES_MAX + 10_000 * 300
    assert (failure.type, failure.message) == ("ValueError", "m" * payloads.FAILURE_LENGTH_MAX + "…")
    assert (failure.traceback, failure.cause) == ("", None)


def test_a_small_failure_is_whole_always() -> None:
    full = instance()
    full.inline_bytes = payloads.INLINE_TOTAL_BYTES_MAX
    small = Failure("builtins", "ValueError", "no", "line 1")
    assert payloads.fitted(small, full) is small
