"""Which of a route's targets a new instance gets: decided by its id alone, so that the same id gets the same one.

Weighted rendezvous: each target draws a number for the id, the more the higher its weight, and the highest wins. So a
change of weights moves as few ids as it can: a target whose share grows keeps every id that it had, and one that is
taken away leaves the others theirs.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log

from cluster.records import Route, Target
from stepwell.names import InstanceId

_BITS = 52
"""Of a draw: with a half added it is exact as a float, and neither 0 nor 1."""


def chosen(route: Route, instance: InstanceId) -> Target:
    """What a new instance of that id is pinned to."""
    if not route.others:
        return route.targets[0]
    return max(route.targets, key=lambda target: _score(route, instance, target))


def _score(route: Route, instance: InstanceId, target: Target) -> float:
    """The draw of a target wins with the probability that its weight is of all of them."""
    text = "\x00".join((route.tenant_uid, route.workflow, instance, target.digest))
    drawn = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> (64 - _BITS)
    return target.weight / -log((drawn + 0.5) / (1 << _BITS))
