"""Steps a second on real Cassandra, beside its raw rate for the same rows; and how they grow with a second node.

Each step is one row, so the floor is how many such rows one process can have Cassandra write with nothing else to do.
Cassandra is warmed first: the JVM takes some 30,000 writes to be as fast as it gets.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from bench.figure import Figure
from bench.floor import Shape
from bench.load import ready, run_all, run_instance
from bench.server import Server
from cluster.cassandra.session import CassandraSession
from data_plane.journal.cassandra.tables import Statements
from data_plane.journal.codec import RowCodec
from data_plane.journal.store import Position, Row
from scripts.local_cluster import LocalCluster, Part
from stepwell.engine.records import StepCompleted, StepKey

SHAPE: Final = Shape(10, 10, 100)
ROUNDS: Final = 2
REPEATS: Final = 3
WARM_WRITES: Final = 30_000
RAW_S: Final = 5.0
IN_FLIGHT: Final = 128


async def figures() -> AsyncIterator[Figure]:
    for nodes, copies in ((1, 1), (2, 1), (1, 3)):
        async with running(nodes, copies) as (server, raw_session, cassandra):
            raw = Raw(raw_session, await Statements.prepare(raw_session))
            await raw.writes(WARM_WRITES)
            workflows = await ready(server, SHAPE)
            ours, floors = list[float](), list[float]()
            for _ in range(ROUNDS):
                floors.append(await raw.rate(RAW_S))
                rates = [(await run_all(server, workflows, SHAPE.instances, SHAPE.steps))[0] for _ in range(REPEATS)]
                ours.append(statistics.median(rates))
            name = f"cassandra_{copies}x_nodes_{nodes}_steps_per_s_{SHAPE}"
            yield Figure(name, statistics.median(ours), "steps/s", statistics.median(floors))
            before = await Written.of(raw_session, cassandra)
            await run_all(server, workflows, SHAPE.instances, SHAPE.steps)
            after = await Written.of(raw_session, cassandra)
            steps = len(workflows) * SHAPE.instances * SHAPE.steps
            work = f"cassandra_{copies}x_nodes_{nodes}"
            yield Figure(f"{work}_statements_a_step", (after.statements - before.statements) / steps, "statements", 1.0)
            yield Figure(
                f"{work}_disk_bytes_a_step_and_copy", (after.disk_bytes - before.disk_bytes) / steps / copies, "B"
            )
            alone = [await run_instance(server, workflows[0], {"steps": 10}) for _ in range(20)]
            yield Figure(f"cassandra_{copies}x_nodes_{nodes}_instance_1x1x10_ms", statistics.median(alone), "ms")


@asynccontextmanager
async def running(
    nodes: int, copies: int, path: str = ""
) -> AsyncIterator[tuple[Server, CassandraSession, list[Part]]]:
    """A cluster of so many data nodes, and of Cassandra nodes with a copy on each; `path` as in `bench.server`."""
    config = f"[loader]\nsandboxes_max = {SHAPE.sandboxes + 4}\nwarm_sandboxes = 2\n"
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-", ignore_cleanup_errors=True) as folder:
        cluster = LocalCluster(Path(folder), cassandra=copies, nodes=nodes, settings=config)
        for part in (*cluster.controls, *cluster.nodes):
            part.environment |= {"PYTHONPATH": path} if path else {}
        try:
            await asyncio.to_thread(cluster.start)
            session = await CassandraSession.connect(cluster.cassandra_settings())
            addresses = ",".join(cluster.endpoints[part.name] for part in cluster.nodes)
            async with grpc.aio.insecure_channel(f"ipv4:{addresses}") as channel:
                yield Server(cluster.nodes[0].pid, channel, cluster.token, Path(folder)), session, cluster.cassandra
            await session.close()
        finally:
            await asyncio.to_thread(cluster.stop)


class Written(NamedTuple):
    """By everybody, until now: what Cassandra's own count says of statements, the kernel of what its nodes wrote."""

    statements: int
    disk_bytes: int

    @classmethod
    async def of(cls, session: CassandraSession, nodes: Sequence[Part]) -> Written:
        """With as many copies as nodes, each node counts each statement once."""
        rows = await session.execute("SELECT keyspace_name, count FROM system_views.local_write_latency")
        written = 0
        for node in nodes:
            (line,) = [
                line
                for line in Path(f"/proc/{node.pid}/io").read_text().splitlines()
                if line.startswith("write_bytes:")
            ]
            written += int(line.split()[1])
        return cls(sum(count for keyspace, count in rows if keyspace == session.keyspace), written)


class Raw:
    """Rows as large as those of the benchmark's steps, and as fast as one process can have them written."""

    def __init__(self, session: CassandraSession, statements: Statements) -> None:
        self._session = session
        self._put = statements.put_row
        step = StepCompleted(time.time_ns() // 1_000_000, StepKey("do", "step-17", 1), 1, 0, b'{"value":17}')
        self._cell = RowCodec().encode(Row(Position(1, 1), [step]))
        self._written = 0

    async def rate(self, seconds: float) -> float:
        """Acknowledged writes a second."""
        began, before = time.perf_counter(), self._written
        await self._run(lambda: time.perf_counter() - began < seconds)
        return (self._written - before) / (time.perf_counter() - began)

    async def writes(self, count: int) -> None:
        until = self._written + count
        await self._run(lambda: self._written < until)

    async def _run(self, goes_on: Callable[[], bool]) -> None:
        ended = asyncio.Event()
        in_flight = 0

        def send() -> None:
            nonlocal in_flight
            in_flight += 1
            number = self._written + in_flight
            key = (f"raw-{os.getpid()}", "raw", str(number % 1_000))
            self._session.write(self._put.bind((number, self._cell, *key, 1, number)), done)

        def done(error: Exception | None) -> None:
            nonlocal in_flight
            in_flight -= 1
            if error is not None:
                raise SystemExit(f"Cassandra failed: {error}")
            self._written += 1
            if goes_on():
                send()
            elif not in_flight:
                ended.set()

        for _ in range(IN_FLIGHT):
            send()
        await ended.wait()
