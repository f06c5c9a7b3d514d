"""Orders in memory, on skipped time: two days of waiting take no time here."""

from __future__ import annotations

import pytest
from stepwell import NonRetryableError
from stepwell.testing import Workflows, crash_at_every_record

from orders import Order


@pytest.fixture(autouse=True)
def in_euros(workflows: Workflows) -> None:
    workflows.set_vars({"CURRENCY": "EUR"})


@crash_at_every_record
def test_what_is_approved_is_shipped_whatever_crashes(workflows: Workflows) -> None:
    order = workflows.start(Order, {"item": "tea", "cents": 300}, id="first")
    order.send_event("approval", {"approved": True})
    outcome = order.result()
    assert (outcome["item"], outcome["shipped"]) == ("tea", True)
    assert outcome["receipt"].startswith("3.00 EUR")


def test_what_nobody_approves_in_two_days_is_not_shipped(workflows: Workflows) -> None:
    began = workflows.now
    assert workflows.start(Order, {"item": "tea", "cents": 300}).result()["shipped"] is False
    assert (workflows.now - began).days == 2


def test_what_can_not_be_charged_is_not_tried_again(workflows: Workflows) -> None:
    order = workflows.start(Order, {"item": "tea", "cents": 0})
    with pytest.raises(NonRetryableError, match="0 cents"):
        order.result()
    assert order.step("charge").attempts == 1
