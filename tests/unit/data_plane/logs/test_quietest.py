"""Who makes room: the quietest, no more of them than have to, whatever order they are shown in."""

from __future__ import annotations

import random

import pytest

from data_plane.logs.cassandra.quietest import Quietest, Sized


def plainly(all_of_them: list[Sized], needed_bytes: int) -> list[Sized]:
    found: list[Sized] = []
    for sized in sorted(all_of_them):
        if sum(each.bytes for each in found) >= needed_bytes:
            break
        found.append(sized)
    return found


@pytest.mark.parametrize("seed", range(50))
def test_it_finds_what_sorting_all_of_them_finds(seed: int) -> None:
    dice = random.Random(seed)
    times = dice.sample(range(1_000), 40)
    shown = [Sized(at, f"i{at}", dice.randint(1, 500)) for at in times]
    for needed in (1, 100, 3_000, 100_000):
        quietest = Quietest(needed)
        for sized in shown:
            quietest.show(sized)
        assert quietest.found() == plainly(shown, needed)


def test_it_holds_no_more_than_it_needs() -> None:
    quietest = Quietest(100)
    for at in range(10_000, 0, -1):
        quietest.show(Sized(at, f"i{at}", 10))
    assert [sized.newest_at for sized in quietest.found()] == list(range(1, 11))


def test_what_has_nothing_makes_no_room() -> None:
    quietest = Quietest(100)
    for sized in (Sized(1, "empty", 0), Sized(2, "some", 100), Sized(3, "more", 100)):
        quietest.show(sized)
    assert [sized.instance for sized in quietest.found()] == ["some"]
