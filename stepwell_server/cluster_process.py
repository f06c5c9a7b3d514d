"""What `stepwell node` and `stepwell control` have in common: stores, the others, two listeners, and their health."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import grpc
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from cluster import keys
from cluster.cassandra import schema
from cluster.cassandra.session import CassandraSession
from cluster.directory import Directory
from cluster.ownership_view import OwnershipView
from cluster.records import Member
from cluster.store import Compare, LeaseStore, Put
from cluster.store_etcd import open_etcd_store
from rpc import rights
from rpc.auth import Authenticates, Authenticator
from rpc.health import Health
from rpc.open_calls import OpenCalls
from rpc.peers import PeerAuthenticator, PeerChannels, Peers
from rpc.reflection import reflecting
from rpc.server import Service, build_server
from rpc.tls import Certificates
from stepwell.client.part_health import PartHealth
from stepwell_server.cluster_config import ClusterConfig, host_and_port
from stepwell_server.process import StartError, log, mint
from stepwell_server.schema import COMPONENTS
from stepwell_server.telemetry import Telemetry, opened

SERVICES: Final = (
    "stepwell.v1.TenantService",
    "stepwell.v1.WorkflowService",
    "stepwell.v1.InstanceService",
    "stepwell.v1.NodeService",
)

LIVE: Final = "live"
"""The part of health that says that the process answers at all: for liveness probes. The whole is for readiness."""

LOOK_EVERY_S: Final = 1.0
"""Whether it is ready, and which channels to others are of use."""

PEER_PING_MS_MIN: Final = 2_500
PEER_CALLS_MAX: Final = 10_000
"""In one connection from another process: it carries everybody's."""


@dataclass
class ClusterProcess:
    """What is open, until its stack is closed."""

    config: ClusterConfig
    stack: AsyncExitStack
    tasks: asyncio.TaskGroup
    store: LeaseStore
    session: CassandraSession
    directory: Directory
    channels: PeerChannels
    peers: Peers
    health: Health
    peer_certificates: Certificates | None
    node_name: str
    """Of this start alone."""
    telemetry: Telemetry

    @classmethod
    async def open(cls, config: ClusterConfig, stack: AsyncExitStack, kind: str) -> ClusterProcess:
        """`kind` is node or control. Raises StartError, ConfigError, CertificateError, and UnavailableError."""
        name = f"{config.name}.{mint()[:8]}"
        telemetry = await stack.enter_async_context(
            opened(
                config.telemetry, service=f"stepwell-{kind}", instance=name, clock_ns=time.time_ns,
                monotonic=time.perf_counter, random_bits=secrets.randbits, leased=kind == "node",
            )
        )  # fmt: skip
        files = config.peer_certificates()
        peer_certificates = Certificates(files) if files is not None else None
        store = await stack.enter_async_context(open_etcd_store(config.etcd_settings()))
        await agree_on_shards(store, config.cluster.shard_count)
        session = await CassandraSession.connect(config.cassandra_settings())
        stack.push_async_callback(session.close)
        faults = await schema.faults(session, COMPONENTS)
        if faults:
            raise StartError(f"the schema of Cassandra is not as this program needs it: {' '.join(faults)}")
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        channels = PeerChannels(peer_certificates)
        stack.push_async_callback(channels.close)
        directory = Directory(store, monotonic_s=time.monotonic)
        stack.callback(tasks.create_task(directory.run()).cancel)
        health = Health(SERVICES)
        return cls(
            config,
            stack,
            tasks,
            store,
            session,
            directory,
            channels,
            Peers(channels),
            health,
            peer_certificates,
            name,
            telemetry,
        )

    @property
    def member(self) -> Member:
        """As the others are to know it."""
        return Member(self.node_name, self.config.peers.address or self.config.peers.listen)

    async def serve(
        self, services: Sequence[Service], for_peers: Sequence[Service], view: OwnershipView, ready: Callable[[], bool]
    ) -> None:
        """Listen for clients and for the other processes, until `stop`; `ready` says whether calls are welcome."""
        config = self.config
        files = config.server_certificates()
        clients = await self._server(
            (*services, Service(add_ServerReflectionServicer_to_server, reflecting(SERVICES))),
            self.health,
            Authenticator(self.directory),
            rights.RIGHTS,
        )
        others = await self._server(for_peers, Health(()), PeerAuthenticator(), rights.INTERNAL)
        _listen(clients, "server", config.server.listen, Certificates(files) if files is not None else None)
        _listen(others, "peers", config.peers.listen, self.peer_certificates)
        await others.start()
        await clients.start()
        self._servers = (clients, others)
        await self.health.report(LIVE, PartHealth(True, "", ()))
        self.stack.callback(self.tasks.create_task(self._look(view, ready)).cancel)

    async def stop(self) -> None:
        """Take no more calls, and end those that are left."""
        await asyncio.gather(*(server.stop(grace=0.5) for server in self._servers))

    async def _server(
        self,
        services: Sequence[Service],
        health: Health,
        authenticator: Authenticates,
        table: rights.Table,
    ) -> grpc.aio.Server:
        limits = self.config.rpc
        if table is rights.INTERNAL:
            limits = replace(limits, calls_per_connection_max=PEER_CALLS_MAX, ping_interval_ms_min=PEER_PING_MS_MIN)
        calls = OpenCalls(self.directory, limits, time.monotonic)
        self.stack.callback(self.tasks.create_task(calls.run()).cancel)
        return await build_server(
            services,
            authenticator=authenticator,
            calls=calls,
            health=health,
            log=log,
            mint_correlation_id=mint,
            limits=limits,
            rights=table,
            observer=self.telemetry.calls,
        )

    async def _look(self, view: OwnershipView, ready: Callable[[], bool]) -> NoReturn:
        serving = False
        while True:
            if ready() is not serving:
                serving = not serving
                await (self.health.serving() if serving else self.health.not_serving())
                log.info("ready" if serving else "not ready", node=self.node_name)
            await self.channels.retain({member.address for member in (*view.members.values(), *view.controls.values())})
            await asyncio.sleep(LOOK_EVERY_S)


def any_of(members: Callable[[], Sequence[Member]]) -> Callable[[], str | None]:
    """The address of one of those that there are, another one each time; None when there is none."""

    def chosen() -> str | None:
        found = members()
        return random.choice(found).address if found else None

    return chosen


async def agree_on_shards(store: LeaseStore, shard_count: int) -> None:
    """Raises StartError when the cluster has another number of shards."""
    found = await store.get(keys.SHARD_COUNT)
    if found is None:
        await store.txn((Compare(keys.SHARD_COUNT, 0),), (Put(keys.SHARD_COUNT, b"%d" % shard_count),))
        found = await store.get(keys.SHARD_COUNT)
    agreed = int(found.value) if found is not None else 0
    if agreed != shard_count:
        raise StartError(
            f"[cluster] shard_count is {shard_count}, and this cluster was made with {agreed}: set it to that; "
            "it can't be changed"
        )


def _listen(server: grpc.aio.Server, name: str, address: str, certificates: Certificates | None) -> None:
    host, port = host_and_port(f"[{name}] listen", address)
    try:
        if certificates is not None:
            bound = server.add_secure_port(f"{host}:{port}", certificates.server())
        else:
            bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise StartError(f"[{name}] listen: {address} can't be listened on: end what has it, or choose another")
