"""Whose writes go to Cassandra next, when more wait than may be on their way."""

from __future__ import annotations

from functools import partial

import pytest

from data_plane.journal.cassandra import in_flight
from data_plane.journal.cassandra.in_flight import InFlight


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "IN_FLIGHT_MAX", 2)


def test_so_many_are_on_their_way_and_no_more() -> None:
    flight, sent = InFlight(), list[str]()
    for name in ("a", "b", "c", "d"):
        flight.start("acme", partial(sent.append, name))
    assert sent == ["a", "b"]
    assert flight.count == 2
    flight.ended()
    assert sent == ["a", "b", "c"]
    for _ in range(3):
        flight.ended()
    assert sent == ["a", "b", "c", "d"]
    assert flight.idle


def test_tenants_take_turns_and_each_keeps_its_order() -> None:
    flight, sent = InFlight(), list[str]()
    for number in range(5):
        flight.start("flood", partial(sent.append, f"flood {number}"))
    for number in range(2):
        flight.start("quiet", partial(sent.append, f"quiet {number}"))
    for _ in range(7):
        flight.ended()
    assert sent == ["flood 0", "flood 1", "flood 2", "quiet 0", "flood 3", "quiet 1", "flood 4"]
    assert flight.idle


def test_what_is_sent_may_end_at_once_and_start_another() -> None:
    flight, sent = InFlight(), list[str]()
    flight.start("acme", partial(sent.append, "a"))
    flight.start("acme", partial(sent.append, "b"))

    def at_once() -> None:
        sent.append("c")
        flight.ended()

    flight.start("acme", at_once)
    flight.start("acme", partial(sent.append, "d"))
    flight.ended()
    assert sent == ["a", "b", "c", "d"]
    assert flight.count == 2
