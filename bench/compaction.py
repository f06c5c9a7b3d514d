"""How Cassandra's ways of compaction carry journals: writes a second, reads of whole journals, CPU, disk.

INSTANCES journals of ROWS rows each are written as instances live: LIVE at a time, a row to one of them, then to
another, stamped by epoch and counter; of those that have ended, every second is deleted some time later. Memtables are
small, so that there is something to compact. The floor of each figure is that of Cassandra's default.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cassandra.query import BoundStatement

from bench.figure import Figure
from cluster.cassandra.schema import create_keyspace
from cluster.cassandra.session import CassandraSession
from data_plane.journal.cassandra.tables import COMPONENT
from scripts.local_cluster import LocalCluster, Part

WAYS: Final = {
    "size_tiered": "{'class': 'SizeTieredCompactionStrategy'}",
    "unified": "{'class': 'UnifiedCompactionStrategy'}",
    "unified_leveled": "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}",
    "leveled": "{'class': 'LeveledCompactionStrategy'}",
}
"""The first is Cassandra's default."""

INSTANCES: Final = 15_000
ROWS: Final = 12
LIVE: Final = 2_000
ROW_BYTES: Final = 400
DELETED_AFTER: Final = 3_000
"""Instances that end meanwhile."""

READS: Final = 2_000
IN_FLIGHT: Final = 128
SETTLE_S: Final = 10.0
"""For what is compacted after the last write."""

YAML: Final = "memtable_heap_space: 16MiB\nmemtable_offheap_space: 16MiB\n"
SEED: Final = 20_261_128


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of one way."""

    writes_per_s: float
    read_ms: float
    read_p99_ms: float
    cpu_s: float
    disk_mb: float
    files: int


UNITS: Final = {
    "writes_per_s": "writes/s", "read_ms": "ms", "read_p99_ms": "ms", "cpu_s": "s", "disk_mb": "MB", "files": "files",
}  # fmt: skip


async def figures() -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-", ignore_cleanup_errors=True) as folder:
        more = Path(folder) / "memtables.yaml"
        more.write_text(YAML)
        cluster = LocalCluster(Path(folder), cassandra=1, control=0, nodes=0)
        node = cluster.cassandra[0]
        node.environment["CASSANDRA_YAML"] = str(more)
        try:
            await asyncio.to_thread(cluster.start_cassandra, 1)
            await _carried(cluster, "warm_up", WAYS["size_tiered"])
            default: Carried | None = None
            for way, options in WAYS.items():
                found = await _carried(cluster, way, options)
                default = default or found
                for name, unit in UNITS.items():
                    value, floor = float(getattr(found, name)), float(getattr(default, name))
                    yield Figure(f"compaction_{way}_{name}", value, unit, floor)
        finally:
            await asyncio.to_thread(cluster.stop)


async def _carried(cluster: LocalCluster, way: str, options: str) -> Carried:
    settings = replace(cluster.cassandra_settings(), keyspace=f"way_{way}")
    session = await CassandraSession.connect(settings, keyspace=False)
    await session.execute(create_keyspace(session.keyspace, settings.datacenter, 1))
    (journal, *_) = COMPONENT.tables
    await session.execute(replace(journal, options=(f"compaction = {options}",)).create(session.keyspace))
    where = "tenant = 't' AND workflow = 'w' AND instance = ?"
    put = await session.prepare(
        f"UPDATE {session.keyspace}.journal USING TIMESTAMP ? SET append = ? WHERE {where} AND epoch = 1 AND seq = ?"
    )
    delete = await session.prepare(f"DELETE FROM {session.keyspace}.journal USING TIMESTAMP ? WHERE {where}")
    select = await session.prepare(f"SELECT epoch, seq, append FROM {session.keyspace}.journal WHERE {where}")

    def bound() -> Iterator[BoundStatement]:
        for stamp, (instance, row) in enumerate(_life(random.Random(SEED)), 1 << 39):
            if row is None:
                yield delete.bind((stamp, instance))
            else:
                yield put.bind((stamp, os.urandom(ROW_BYTES), instance, row))

    node = cluster.cassandra[0]
    cpu_s, began = _cpu_s(node), time.perf_counter()
    written = await _all_written(session, bound())
    rate = written / (time.perf_counter() - began)
    await asyncio.sleep(SETTLE_S)
    cpu_s = _cpu_s(node) - cpu_s
    chance, times = random.Random(SEED), list[float]()
    for _ in range(READS):
        began = time.perf_counter()
        await session.rows(select, (str(chance.randrange(INSTANCES)),), ROWS + 1)
        times.append((time.perf_counter() - began) * 1e3)
    files = list((cluster.folder / node.name / "data" / session.keyspace).rglob("*-Data.db"))
    disk = sum(file.stat().st_size for file in files) / 1e6
    await session.execute(f"DROP KEYSPACE {session.keyspace}")
    await session.close()
    times.sort()
    return Carried(rate, statistics.median(times), times[int(0.99 * READS)], cpu_s, disk, len(files))


def _life(chance: random.Random) -> Iterator[tuple[str, int | None]]:
    """Instance and row, in the order of their writes; no row: it is deleted."""
    live: list[int] = []
    rows: dict[int, int] = {}
    ended, born = deque[int](), 0
    while live or born < INSTANCES:
        while len(live) < LIVE and born < INSTANCES:
            live.append(born)
            born += 1
        place = chance.randrange(len(live))
        instance = live[place]
        row = rows.get(instance, 0)
        yield str(instance), row
        rows[instance] = row + 1
        if row + 1 == ROWS:
            live[place] = live[-1]
            live.pop()
            if instance % 2:
                ended.append(instance)
        if len(ended) > DELETED_AFTER:
            yield str(ended.popleft()), None


async def _all_written(session: CassandraSession, bound: Iterator[BoundStatement]) -> int:
    """So many were acknowledged, IN_FLIGHT at a time."""
    over = asyncio.Event()
    in_flight = written = 0

    def send() -> None:
        nonlocal in_flight
        for each in bound:
            in_flight += 1
            session.write(each, done)
            if in_flight >= IN_FLIGHT:
                return
        if not in_flight:
            over.set()

    def done(error: Exception | None) -> None:
        nonlocal in_flight, written
        if error is not None:
            raise SystemExit(f"Cassandra failed: {error}")
        in_flight -= 1
        written += 1
        send()

    send()
    await over.wait()
    return written


def _cpu_s(part: Part) -> float:
    fields = Path(f"/proc/{part.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
