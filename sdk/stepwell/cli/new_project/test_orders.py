"""The steps of an order, as the functions that they are."""

from __future__ import annotations

import pytest
from stepwell import NonRetryableError, StepContext

from orders import charge, ship


def attempt(number: int) -> StepContext:
    """What a step is told of its attempt."""
    return StepContext.of(uid="instance", name="charge", count=1, attempt=number, config={})


def test_each_attempt_gives_the_provider_the_same_key() -> None:
    assert charge(300, "EUR", attempt(1)) == charge(300, "EUR", attempt(2)) == "3.00 EUR, instance:charge:1"


def test_what_can_not_be_charged_is_not_tried_again() -> None:
    with pytest.raises(NonRetryableError, match="0 cents"):
        charge(0, "EUR", attempt(1))


def test_what_is_approved_is_shipped() -> None:
    assert ship("tea")
