"""A modelled cluster and two clients, for the tests of the model itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from data_plane.journal.store import Mutation
from tests.contract.journal_worlds import written
from tests.simulation.cassandra import Cassandra
from tests.simulation.cassandra_faults import CALM, CassandraFaults


class Rig:
    """`alive` and `connected` are those of the process that has `store`; `other` is another process's."""

    def __init__(self, faults: CassandraFaults = CALM, seed: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.seen: Counter[str] = Counter()
        self.cluster = Cassandra(self.loop, Random(seed), self.seen, faults)
        self.alive = self.connected = True
        self.store = self.cluster.client(lambda: self.alive, lambda: self.connected)
        self.other = self.cluster.client(lambda: True)

    async def outcome(self, mutation: Mutation, faults: CassandraFaults = CALM) -> Exception | None:
        """What the client hears of one write that meets these faults. Afterwards all is calm."""
        self.cluster.faults = faults
        [answer] = await written(self.store, mutation)
        self.cluster.quiet()
        return answer
