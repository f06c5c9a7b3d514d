"""One keyspace of a real Cassandra for many tests: emptied for each, since making one takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cassandra.query import BoundStatement, PreparedStatement

from cluster.cassandra import schema
from cluster.cassandra.schema import Component
from cluster.cassandra.session import CassandraSession, Page, WriteDone
from tests.contract.cassandra_server import DATACENTER, CassandraServers

T = TypeVar("T")
S = TypeVar("S", bound=CassandraSession)


class CountingSession(CassandraSession):
    """Counts what is asked of Cassandra."""

    writes = 0
    reads = 0

    def write(self, bound: BoundStatement, done: WriteDone) -> None:
        self.writes += 1
        super().write(bound, done)

    async def pages(
        self, statement: PreparedStatement, values: Sequence[object], rows_max: int
    ) -> AsyncGenerator[Page, None]:
        self.reads += 1
        async for page in super().pages(statement, values, rows_max):
            yield page


class Keyspace:
    """`session` is a new one each time, of the loop that runs, over the same connections; none has to be closed."""

    def __init__(self, session: CassandraSession, components: Sequence[Component]) -> None:
        self._session = session
        self._components = components
        self._used = False

    @classmethod
    def make(cls, servers: CassandraServers, name: str, components: Sequence[Component]) -> Keyspace:
        async def made() -> CassandraSession:
            settings = servers.settings(name)
            session = await CassandraSession.connect(settings, keyspace=False)
            await schema.apply(session, DATACENTER, min(3, len(servers.nodes)), components, owner="tests")
            await session.close()
            return await CassandraSession.connect(settings)

        return cls(_elsewhere(made()), components)

    def close(self) -> None:
        _elsewhere(self._session.close())

    async def emptied(self) -> None:
        session = self.session()
        if self._used:
            for component in self._components:
                for table in component.tables:
                    await session.execute(f"TRUNCATE {session.keyspace}.{table.name}")
        self._used = True

    def session(self) -> CassandraSession:
        return self.session_of(CassandraSession)

    def session_of(self, kind: type[S]) -> S:
        of: Any = self._session
        return kind(of._cluster, of._session, of.keyspace)


def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Done on a loop of its own: fixtures of a session are made while a test's loop runs, or not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
