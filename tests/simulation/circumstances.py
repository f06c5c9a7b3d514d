"""What kind of bad time a run has. A seed draws one.

`MIXED` has everything, as it comes. `POISON` has instances that end whatever runs them. `FEUD` is about shards that go
from owner to owner while writes of former ones are still on their way: a referee gives them away every second or so,
one write in seven is late, and instances live for long enough to meet many owners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Final

from tests.simulation import cassandra_faults
from tests.simulation.cassandra_faults import CassandraFaults


@dataclass(frozen=True, slots=True)
class Circumstances:
    name: str
    referee: bool
    """Instead of leases."""
    strikes: Mapping[str, float]
    """What befalls machines, by `Havoc`'s names: how often each comes, by the others."""
    cassandra: tuple[CassandraFaults, ...]
    """One of them."""
    shard_count: int
    ids: int
    """Each tenant's."""
    clients_each: int
    readers_each: int
    """They look at what the clients drive, all the time."""
    operations: tuple[int, int]
    """Of an instance's plan, from and to."""
    poisonous: float = 0.0
    """Of the plans: they end the sandbox, or the machine, that runs them. Where there are such, no sandbox ends by
    itself, and the engine's limits are the usual ones; otherwise these are out of reach."""


MIXED: Final = Circumstances(
    name="mixed",
    referee=False,
    strikes=MappingProxyType(
        {"crash": 30, "stop": 10, "stand still": 25, "cut off": 15, "cut off from etcd": 10, "lag": 4, "clock": 6}
    ),
    cassandra=(cassandra_faults.HOSTILE, cassandra_faults.SLUGGISH),
    shard_count=4,
    ids=12,
    clients_each=12,
    readers_each=0,
    operations=(1, 8),
)

FEUD: Final = Circumstances(
    name="feud",
    referee=True,
    strikes=MappingProxyType({"crash": 30, "stop": 15, "stand still": 40, "clock": 15}),
    cassandra=(
        replace(
            cassandra_faults.HOSTILE,
            hop_s=(0.0005, 0.01),
            coordinator_timeout_s=1.0,
            client_timeout_s=1.2,
            slow_s=1.0,
            write_late=0.15,
            copy_late=0.1,
            late_s=6.0,
        ),
    ),
    shard_count=2,
    ids=10,
    clients_each=10,
    readers_each=1,
    operations=(4, 14),
)


POISON: Final = replace(
    MIXED,
    name="poison",
    strikes=MappingProxyType({"crash": 30, "stop": 20, "stand still": 20, "cut off": 20, "lag": 10}),
    cassandra=(cassandra_faults.HOSTILE,),
    poisonous=0.2,
)

ALL: Final = (MIXED, MIXED, FEUD, POISON)


def drawn(random: Random) -> Circumstances:
    return random.choice(ALL)


def seeds_of(circumstances: Circumstances) -> Iterator[int]:
    """Those that draw it, from 1 on."""
    return (seed for seed in count(1) if drawn(Random(seed)) is circumstances)
