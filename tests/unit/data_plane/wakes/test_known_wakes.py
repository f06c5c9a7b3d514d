"""What is in memory."""

from __future__ import annotations

from random import Random

from data_plane.journal.store import Wake
from data_plane.known_wakes import KnownWakes
from tests.contract.journal_worlds import key_of


def test_known_wakes_agree_with_a_plain_set_of_them() -> None:
    random, known, plain = Random(1), KnownWakes(), set[Wake]()
    keys = [key_of(f"i-{number}") for number in range(5)]
    taken: set[Wake] = set()
    for now in range(3000):
        key = random.choice(keys)
        if random.random() < 0.6:
            wake = Wake(now // 10 + random.randrange(3), now + random.randrange(-5, 20), key)
            if wake not in plain:
                taken.discard(wake)
            known.add(wake)
            plain.add(wake)
        else:
            kept = {wake for wake in plain if wake.key == key and random.random() < 0.3}
            known.keep(key, kept)
            plain = {wake for wake in plain if wake.key != key or wake in kept}
        due = {wake for wake in plain - taken if wake.due <= now}
        if random.random() < 0.5:
            assert set(known.take_due(now)) == {wake.key for wake in due}
            taken |= due
        assert known.next_due() == min((wake.due for wake in plain - taken), default=None)
        assert known.lowest_bucket() == min((wake.bucket for wake in plain), default=None)
        assert len(known) == len({wake.key for wake in plain})
        low = now // 10
        assert set(known.below(low)) == {wake.key for wake in plain if wake.bucket < low}
