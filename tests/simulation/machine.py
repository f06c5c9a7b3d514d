"""One server of the simulated cluster: the real node, with its loader and its part of the shards. It starts, dies, and
starts again; what it had in memory dies with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.message import Message

from cluster.directory import Directory
from data_plane.bindings_grpc import BindingPeers
from data_plane.calls import InstanceCalls
from data_plane.forwarding import ForwardingServicer
from data_plane.instance_service import InstanceServicer
from data_plane.logs.reading import LogReading
from data_plane.node import Node, NodeSettings
from data_plane.ownership import Ownership
from data_plane.ownership_leased import LeasedOwnership
from data_plane.peer_service import PeerServicer
from data_plane.quotas import TenantLimits
from data_plane.shard import Shard
from data_plane.ticking import Ticker
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store import BundleStore
from loader.loader import Loader
from loader.sandbox.sandbox import Sandbox
from loader.settings import LoaderSettings
from rpc.auth import Principal, acting_as
from rpc.peers import INSTALLATION, Peers
from stepwell.engine.limits import EngineLimits
from stepwell.errors import UnavailableError
from stepwell.names import Digest, TenantUid, WorkflowId
from stepwell_server.routes import DirectoryRoutes
from tests.simulation import families
from tests.simulation.etcd_client import EtcdStore
from tests.simulation.loop import Process
from tests.simulation.network import DEADLINE
from tests.simulation.programs import entrypoint_of
from tests.simulation.referee import RefereedOwnership
from tests.simulation.sandbox import SimulatedLauncher

if TYPE_CHECKING:
    from tests.simulation.world import World

LOADER: Final = LoaderSettings(
    warm_sandboxes=1, starts_a_minute_per_tenant_max=100_000, sandboxes_per_tenant_max=50, idle_timeout_ms=20_000
)
OUT_OF_REACH: Final = EngineLimits(
    sandbox_deaths_alone=50, sandbox_deaths_max=1_000, node_deaths_alone=50, node_deaths_max=1_000
)
"""Here sandboxes and nodes die all the time, and none of it is an instance's doing."""

FORWARD_TIMEOUT_S: Final = 10.0
STOP_WITHIN_S: Final = 5.0

WORKFLOW: Final = WorkflowId("follow")
PEERS_METHODS: Final = ("CallInstance", "TellParent")


class Bundles:
    """`BundleStore` of bundles that every sandbox knows already: nothing has to be put into its folder."""

    def __init__(self, folder: Path, bindings: dict[str, WorkflowId]) -> None:
        self._folder = folder
        self._bindings = bindings

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        return Manifest((WorkflowEntry(WORKFLOW, entrypoint_of(digest)),), {}, self._bindings)

    @asynccontextmanager
    async def pull(self, tenant: TenantUid, digest: Digest) -> AsyncGenerator[Path]:
        yield self._folder


class Unmeasured:
    """Instead of `loader.background.Background`: CPUs are not simulated, so nobody is busy."""

    def add(self, tenant: TenantUid, sandbox: Sandbox) -> None: ...
    def remove(self, tenant: TenantUid, sandbox: Sandbox) -> None: ...
    def close(self) -> None: ...
    def is_suspect(self, tenant: TenantUid) -> bool:
        return False


class Machine:
    """`name` is its address too. `start` and `crash` may follow each other any number of times."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.starts = 0
        self.process = Process(world.loop, f"{name} not started")
        self.process.alive = False
        self.node: Node | None = None
        self.ownership: Ownership | None = None
        self._servicer: ForwardingServicer | None = None
        self._local: InstanceServicer | None = None
        self._peers: PeerServicer | None = None
        self._launcher: SimulatedLauncher | None = None
        self.connected = True
        """To the stores and to the other machines."""
        self.hears_control = True
        """Of etcd, even if of nothing else."""
        self.lag_s = 0.0
        """Of what it writes to Cassandra."""

    @property
    def alive(self) -> bool:
        return self.process.alive

    def calm(self) -> None:
        """From here on nothing happens to its sandboxes."""
        if self._launcher is not None:
            self._launcher.faults = self.world.sandbox_faults

    def start(self) -> None:
        world = self.world
        self.starts += 1
        drift = 1 + world.random.uniform(-world.drift, world.drift)
        skew_s = world.random.uniform(-world.skew_s, world.skew_s)
        self.process = Process(world.loop, f"{self.name}.{self.starts}", rate=drift, skew_s=skew_s)
        self.process.end_machine = partial(self._poisoned, self.process)
        self.process.spawn(self._serve(self.process)).add_done_callback(self._ended)

    def _ended(self, serving: asyncio.Task[None]) -> None:
        """A server serves until it is killed."""
        if not serving.cancelled():
            self.world.oracle.violated(f"{self.name} ended by itself: {serving.exception()!r}")

    def crash(self) -> None:
        self.world.oracle.machine_died(self.process.name)
        self.process.kill()
        self.close()
        self.node = self.ownership = self._servicer = self._local = self._peers = self._launcher = None

    def close(self) -> None:
        """End its sandboxes, and give back what they have of the real machine."""
        if self._launcher is not None:
            self._launcher.host_died()

    def _poisoned(self, process: Process) -> None:
        """What a tenant runs takes it down; it comes up again."""
        world, context = self.world, self.world.loop.world.context

        def down() -> None:
            if self.process is process and process.alive:
                world.fault("machine taken down by a tenant", process.name)
                self.crash()
                world.loop.call_later(1.0, up, context=context)

        def up() -> None:
            if not self.alive:
                self.start()

        world.loop.call_soon(down, context=context)

    async def stop(self) -> None:
        """As by SIGTERM; then the process ends."""
        process, ownership = self.process, self.ownership
        if ownership is not None:
            try:
                async with asyncio.timeout(STOP_WITHIN_S + 5):
                    await process.spawn(ownership.stop(STOP_WITHIN_S))
            except TimeoutError:
                pass
        if self.process is process and process.alive:
            self.crash()

    async def _serve(self, process: Process) -> None:
        world = self.world
        alive, connected = lambda: process.alive, lambda: self.connected
        control = world.etcd.client(alive, lambda: self.connected and self.hears_control)
        journal = world.cassandra.client(alive, connected, lambda: self.lag_s)
        launcher = self._launcher = SimulatedLauncher(
            world.loop, world.random, process, world.folder, world.classes, world.sandbox_faults, world.seen
        )
        bindings = {} if world.families is None else {families.BINDING: families.CHILD}
        bundles = cast(BundleStore, Bundles(world.folder, bindings))
        async with (
            Loader(bundles, launcher, LOADER, make_correlation_id=world.mint) as loader,
            asyncio.TaskGroup() as tasks,
        ):
            cast(Any, loader)._background = Unmeasured()
            directory = Directory(control, monotonic_s=process.monotonic_s)
            tasks.create_task(directory.run())
            node = Node(
                journal,
                loader,
                tasks,
                shard_of=world.shard_of,
                clock=process.wall_ms,
                limits=EngineLimits() if world.circumstances.poisonous else OUT_OF_REACH,
                settings=NodeSettings(),
                tenant_limits=TenantLimits(creates_a_second_max=1_000_000),
            )
            self.ownership = self._owner(process, control)
            elsewhere = BindingPeers(cast(Peers, Neighbours(self)), self.ownership.owner_of)
            calls = InstanceCalls(node, DirectoryRoutes(directory), elsewhere=elsewhere, mint=world.mint)
            self._peers = PeerServicer(node, calls.bindings, cast(Any, None), cast(Any, None), world.shard_count)
            tasks.create_task(Ticker(node, control, calls, heard=directory.heard).run())
            logs = cast(LogReading, None)
            self._local = InstanceServicer(calls, directory, logs)
            self._servicer = ForwardingServicer(self._local, self.ownership.owner_of, Neighbours(self))
            await self.ownership.start(TellingHost(node, partial(world.oracle.lets_go, process.name)), tasks)
            self.node = node

    def _owner(self, process: Process, control: EtcdStore) -> Ownership:
        world = self.world
        if world.circumstances.referee:
            return RefereedOwnership(world.referee, process)
        return LeasedOwnership(
            control,
            node=process.name,
            address=self.name,
            shard_count=world.shard_count,
            boottime=process.monotonic_s,
            mint=world.mint,
        )

    def serve(
        self, method: str, request: Message, caller: Principal, until_s: float, *, forwarded: bool
    ) -> asyncio.Task[Message]:
        """What a call that has arrived comes to, until then. Raises UnavailableError while it starts."""
        servicer = self._peers if method in PEERS_METHODS else self._local if forwarded else self._servicer
        if servicer is None:
            raise UnavailableError("the server is starting")
        handler: Callable[..., Awaitable[Message]] = getattr(servicer, method)

        async def served() -> Message:
            DEADLINE.set(until_s)
            left_s = until_s - self.world.loop.now_s
            try:
                if left_s > 0:
                    with acting_as(caller):
                        async with asyncio.timeout(left_s):
                            return await handler(request, None)
            except TimeoutError:
                pass
            raise UnavailableError("its client has given up by now")

        return self.process.spawn(served())


class TellingHost:
    """A node, as `ShardHost`, that says when it lets go."""

    def __init__(self, node: Node, lets_go: Callable[[], None]) -> None:
        self._node = node
        self._lets_go = lets_go

    async def serve(self, shard: Shard) -> None:
        await self._node.serve(shard)

    async def release(self, number: int, within_s: float) -> None:
        self._lets_go()
        await self._node.release(number, within_s)

    def drop(self, number: int) -> None:
        self._lets_go()
        self._node.drop(number)


class Neighbours:
    """`Peers` of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def unary(self, address: str, method: str, request: Message, caller: Principal) -> Message:
        world = self._machine.world
        world.seen["call forwarded"] += 1
        try:
            async with asyncio.timeout(FORWARD_TIMEOUT_S):
                return await world.network.call(self._machine, address, method, request, caller)
        except TimeoutError:
            raise UnavailableError("the shard's owner did not answer") from None

    async def ask(
        self, address: str, path: str, request: Message, answer: Callable[[bytes], Any], *, timeout_s: float
    ) -> Any:
        """A call in the installation's own name: it has nothing to do with whatever call it is made in."""
        world = self._machine.world
        world.seen["call among machines"] += 1
        DEADLINE.set(world.loop.now_s + timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await world.network.call(self._machine, address, path.rpartition("/")[2], request, INSTALLATION)
        except (TimeoutError, UnavailableError):
            raise UnavailableError("the shard's owner did not answer") from None

    def stream(self, address: str, method: str, request: Message, caller: Principal) -> AsyncIterator[Any]:
        raise NotImplementedError("no simulated client watches")
