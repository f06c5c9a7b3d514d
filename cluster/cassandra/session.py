"""One process's session with Cassandra: writes that answer by callback, reads that are awaited.

All is LOCAL_QUORUM, goes to a replica by its token, and is prepared once. Everything that is written here is
idempotent: it carries its own timestamp, or is of the same bytes wherever it is sent again. No write is sent twice from
here: its sender knows whether that still may happen (docs/guarantees.md). Reads may be asked of a second node when the
first is slow. What is conditional is decided by LOCAL_SERIAL, and is not for the step path: it takes four rounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, NoHostAvailable, ResponseFuture, Session
from cassandra.connection import ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import BoundStatement, PreparedStatement, tuple_factory
from cluster.cassandra.bridge import Bridge
from cluster.cassandra.settings import CassandraSettings
from stepwell.errors import UnavailableError

CONNECT_S: Final = 5.0
"""How long a node may take to be connected."""

WRITE_S: Final = 5.0
"""After so long, a write's outcome is unknown. Cassandra itself gives up after 2 s by default."""

READ_S: Final = 5.0
"""For one page."""

SPECULATE_S: Final = 0.25
"""After so long another node is asked for the same page: far above what a read takes when all is well."""

HEARTBEAT_S: Final = 2
"""A connection on which nothing comes is asked for a sign of life so often, and given up after as long again."""

RECONNECT_S: Final = 1.0
"""Between attempts to reach a node that is down."""

FAILED_S: Final = 0.5
"""A write that fails at once, since no node can be reached, is told of so much later: else all would be sent again at
once, over and over."""

CONDITION_TRIES: Final = 3
"""How often a conditional statement is sent, when nobody says what came of it: others that decide about the same
partition may be in its way, and are soon out of it."""

_READS: Final = "reads"
_SCHEMA: Final = "schema"

WriteDone = Callable[[Exception | None], None]
"""Called once, on the event loop: with None once the write was acknowledged, with the error when that is unknown."""

Rows = list[tuple[Any, ...]]


class Page(NamedTuple):
    rows: Rows
    more: bool


class CassandraSession:
    """Of one process and one event loop. `close` it; nothing may be asked after that."""

    def __init__(self, cluster: Cluster, session: Session, keyspace: str) -> None:
        self.keyspace = keyspace
        self._cluster = cluster
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._bridge = Bridge(self._loop)
        self._writes: deque[_Write] = deque()
        """In the order in which they were sent, so that the first is the one that is given up first."""
        self._sweeping: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(cls, settings: CassandraSettings, *, keyspace: bool = True) -> CassandraSession:
        """Raises UnavailableError, saying what to do: no node can be reached, none lets us in, there is no keyspace.

        Without `keyspace` none is used yet: for whoever makes one.
        """
        try:
            tls = settings.tls()
        except OSError as error:
            raise UnavailableError(f"The certificates for Cassandra can't be used: {error}.") from None
        cluster = _cluster(settings, tls)
        try:
            session = await asyncio.to_thread(cluster.connect)
        except (DriverException, NoHostAvailable, OSError) as error:
            await asyncio.to_thread(cluster.shutdown)
            raise UnavailableError(_unreached(settings, error)) from error
        if keyspace and settings.keyspace not in cluster.metadata.keyspaces:
            await asyncio.to_thread(cluster.shutdown)
            raise UnavailableError(
                f"Cassandra at {', '.join(settings.contact_points)} has no keyspace {settings.keyspace!r} that this "
                "user may see: run `stepwell schema apply`."
            )
        datacenters = sorted({str(host.datacenter) for host in cluster.metadata.all_hosts()})
        if settings.datacenter not in datacenters:
            await asyncio.to_thread(cluster.shutdown)
            raise UnavailableError(
                f"Cassandra at {', '.join(settings.contact_points)} has no datacenter {settings.datacenter!r}, "
                f"but {' and '.join(datacenters)}."
            )
        return cls(cluster, session, settings.keyspace)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.to_thread(self._cluster.shutdown)

    async def prepare(self, cql: str, *, serial: bool = False) -> PreparedStatement:
        """A statement, to be bound to values, that names its tables with their keyspace: a node that starts again knows
        it then. With `serial`, a read of one partition that sees whatever was decided by conditional statements, and
        ends those that are under way. Raises UnavailableError; also where its table is missing."""
        try:
            statement = await asyncio.to_thread(self._session.prepare, cql)
        except InvalidRequest as error:
            raise UnavailableError(
                f"The keyspace {self.keyspace!r} lacks what this program needs ({error.args[0]}): "
                "run `stepwell schema apply`."
            ) from error
        except (DriverException, NoHostAvailable) as error:
            raise UnavailableError(f"Cassandra did not prepare a statement: {error}") from error
        statement.is_idempotent = True
        if serial:
            statement.consistency_level = ConsistencyLevel.LOCAL_SERIAL
        return statement

    # ---------------------------------------------------------------- the step path
    def write(self, bound: BoundStatement, done: WriteDone) -> None:
        """Send it, once."""
        write = _Write(self._bridge, done, self._loop.time() + WRITE_S)
        self._writes.append(write)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(WRITE_S, self._sweep)
        try:
            sent = self._session.execute_async(bound, timeout=None)
        except DriverException as error:
            write.refused(error)
            return
        sent.add_callbacks(write.acknowledged, write.refused)

    def _sweep(self) -> None:
        """Give up what nobody answers. The driver's own timers cost as much as the rest of a write."""
        self._sweeping = None
        writes, now = self._writes, self._loop.time()
        while writes and (writes[0].over or writes[0].gives_up_at <= now):
            writes.popleft().give_up()
        if writes:
            self._sweeping = self._loop.call_at(max(writes[0].gives_up_at, now + 0.1), self._sweep)

    # ---------------------------------------------------------------- writes off the step path
    async def acknowledged(self, statement: PreparedStatement, values: Sequence[object]) -> None:
        """Send a write, once, and wait for it. Raises UnavailableError when it is unknown whether it happened."""
        answered: asyncio.Future[None] = self._loop.create_future()

        def done(error: Exception | None) -> None:
            if answered.done():
                return  # whoever waited was cancelled
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(UnavailableError(f"Cassandra did not say whether it wrote: {error}"))

        self.write(statement.bind(values), done)
        await answered

    async def decided(self, statement: PreparedStatement, values: Sequence[object]) -> bool:
        """Whether the conditions of a conditional statement, or of a batch of them, held, and so whether it happened.

        It is sent again while nobody says what came of it, so it must be one whose conditions fail once it has
        happened: False is told of that too, and a serial read tells which. Raises UnavailableError when it is unknown.
        """
        bound = statement.bind(values)
        for last in [False] * (CONDITION_TRIES - 1) + [True]:
            reading = _Reading(self._bridge, self._loop)
            reading.ask(self._session.execute_async(bound))
            try:
                return bool((await reading.page()).rows[0][0])
            except (DriverException, NoHostAvailable) as error:
                if last:
                    raise UnavailableError(f"Cassandra did not say what it decided: {error}") from error
            await asyncio.sleep(FAILED_S)
        raise AssertionError("unreachable")

    # ---------------------------------------------------------------- reads
    async def pages(
        self, statement: PreparedStatement, values: Sequence[object], rows_max: int
    ) -> AsyncGenerator[Page, None]:
        """Its rows, `rows_max` at a time, each page a read of its own; to be closed. Raises UnavailableError."""
        bound = statement.bind(values)
        bound.fetch_size = rows_max
        reading = _Reading(self._bridge, self._loop)
        try:
            reading.ask(self._session.execute_async(bound, execution_profile=_READS))
            while True:
                page = await reading.page()
                yield page
                if not page.more:
                    return
                reading.go_on()
        except (DriverException, NoHostAvailable) as error:
            raise UnavailableError(f"Cassandra could not be read: {error}") from error

    async def rows(self, statement: PreparedStatement, values: Sequence[object], rows_max: int) -> Rows:
        """All of them, read `rows_max` at a time. Raises UnavailableError."""
        found: Rows = []
        async with aclosing(self.pages(statement, values, rows_max)) as pages:
            async for page in pages:
                found += page.rows
        return found

    # ---------------------------------------------------------------- schema
    async def execute(self, cql: str, values: Sequence[object] = ()) -> Rows:
        """For the schema and its tables alone: unprepared, at the pace of a blocking call. Raises UnavailableError."""
        try:
            result = await asyncio.to_thread(
                self._session.execute, cql, values or None, execution_profile=_SCHEMA, timeout=60.0
            )
        except Unauthorized as error:
            raise UnavailableError(f"Cassandra does not let this user do it: {error}") from error
        except (DriverException, NoHostAvailable) as error:
            raise UnavailableError(f"Cassandra refused: {error}") from error
        return list(result)


class _Write:
    """One on its way."""

    __slots__ = ("_bridge", "_done", "gives_up_at")

    def __init__(self, bridge: Bridge, done: WriteDone, gives_up_at: float) -> None:
        self._bridge = bridge
        self._done: WriteDone | None = done
        self.gives_up_at = gives_up_at

    @property
    def over(self) -> bool:
        return self._done is None

    def acknowledged(self, _: object) -> None:
        """In the driver's thread."""
        self._bridge.tell(self._end, None)

    def refused(self, error: Exception) -> None:
        """In the driver's thread, or in the loop's while it is sent."""
        self._bridge.tell(self._end, error)

    def give_up(self) -> None:
        self._end(OperationTimedOut(errors=f"no answer within {WRITE_S:.0f} s"))

    def _end(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            if isinstance(error, NoHostAvailable | ConnectionException):
                asyncio.get_running_loop().call_later(FAILED_S, done, error)
            else:
                done(error)


class _Reading:
    """A query's pages, one after the other."""

    def __init__(self, bridge: Bridge, loop: asyncio.AbstractEventLoop) -> None:
        self._bridge = bridge
        self._loop = loop
        self._asked: ResponseFuture | None = None
        self._page: asyncio.Future[Page] = loop.create_future()

    def ask(self, asked: ResponseFuture) -> None:
        self._asked = asked
        asked.add_callbacks(self._answered, self._failed)

    async def page(self) -> Page:
        return await self._page

    def go_on(self) -> None:
        assert self._asked is not None
        self._page = self._loop.create_future()
        self._asked.start_fetching_next_page()

    def _answered(self, rows: Rows | None) -> None:
        """In the driver's thread, as the next is."""
        assert self._asked is not None
        self._bridge.tell(self._settle, self._page, Page(rows or [], self._asked.has_more_pages), None)

    def _failed(self, error: Exception) -> None:
        self._bridge.tell(self._settle, self._page, None, error)

    @staticmethod
    def _settle(page: asyncio.Future[Page], found: Page | None, error: Exception | None) -> None:
        if page.done():
            return  # its reader was cancelled
        if found is not None:
            page.set_result(found)
        else:
            page.set_exception(error or OperationTimedOut())


def _cluster(settings: CassandraSettings, tls: Any) -> Cluster:
    balancing = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.datacenter))
    common = {
        "load_balancing_policy": balancing,
        "consistency_level": ConsistencyLevel.LOCAL_QUORUM,
        "serial_consistency_level": ConsistencyLevel.LOCAL_SERIAL,
        "row_factory": tuple_factory,
    }
    profiles = {
        "default": ExecutionProfile(**common, retry_policy=FallthroughRetryPolicy(), request_timeout=WRITE_S),
        _READS: ExecutionProfile(
            **common,
            retry_policy=RetryPolicy(),
            request_timeout=READ_S,
            speculative_execution_policy=ConstantSpeculativeExecutionPolicy(SPECULATE_S, 1),
        ),
        _SCHEMA: ExecutionProfile(**common, retry_policy=RetryPolicy(), request_timeout=60.0),
    }
    return Cluster(
        contact_points=list(settings.contact_points),
        port=settings.port,
        execution_profiles=profiles,
        auth_provider=PlainTextAuthProvider(settings.user, settings.password) if settings.user else None,
        ssl_context=tls,
        connect_timeout=CONNECT_S,
        control_connection_timeout=CONNECT_S,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_S,
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        max_schema_agreement_wait=30,
        protocol_version=5,
    )


def _unreached(settings: CassandraSettings, error: Exception) -> str:
    where = f"{', '.join(settings.contact_points)} (port {settings.port})"
    causes = list(error.errors.values()) if isinstance(error, NoHostAvailable) else [error]
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return f"Cassandra at {where} did not accept the user {settings.user!r} and its password."
    said = "; ".join(sorted({str(cause) for cause in causes})) or str(error)
    return f"Cassandra at {where} could not be reached: {said}."
