"""A whole data plane in this process, on the stores that it is given, with real guests in plain processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from cluster.directory import Directory
from cluster.records import Tenant
from cluster.store import ClusterStore
from control_plane.deploys import Deploys, FileStart
from control_plane.limits import ControlLimits
from control_plane.turns import Turns
from data_plane.calls import InstanceCalls
from data_plane.journal.store import InstanceKey, JournalStore
from data_plane.node import Node, NodeSettings, NotOwnedError
from data_plane.ownership import Ownership
from data_plane.quotas import TenantLimits
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store import BundleStore
from loader.loader import Loader
from loader.sandbox.sandbox_process import ProcessLauncher
from loader.settings import LoaderSettings
from stepwell.engine.instance import Instance
from stepwell.engine.limits import EngineLimits
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from stepwell_server.routes import DirectoryRoutes

FLOW: Final = WorkflowId("story")
PATIENCE_S: Final = 60.0

CODE: Final = """
import asyncio, os
from stepwell import WorkflowEntrypoint

VERSION = "{version}"

async def first():
    return os.urandom(20_000).hex()

async def slow(seconds):
    await asyncio.sleep(seconds)
    return "slow is done"

class Story(WorkflowEntrypoint):
    async def run(self, event, step):
        kept = await step.call("first", first)
        do, told = event.payload["do"], None
        if do == "fail":
            raise ValueError("as it was told to")
        if do == "sleep":
            await step.sleep("nap", event.payload["ms"])
        if do == "wait":
            told = (await step.wait_for_event("go", "go", timeout=None)).payload
        if do == "slow":
            told = await step.call("slow", slow, event.payload["s"])
        return [VERSION, kept[:16], told]
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Passes:
    """`BundleCheck` of code that this test wrote itself."""

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        """There is nothing to find."""


class House:
    def __init__(self, control: ClusterStore, bundles: BundleStore, node: Node, directory: Directory) -> None:
        self.node = node
        self.deploys = Deploys(control, bundles, Passes(), Turns(), clock_ms=now_ms, limits=ControlLimits())
        numbers = count(1)
        made_by = uuid4().hex
        self.calls = InstanceCalls(node, DirectoryRoutes(directory), mint=lambda: f"{made_by}-{next(numbers)}")

    async def deploy(self, tenant: Tenant, version: str) -> Digest:
        async def parts() -> AsyncIterable[FileStart | bytes]:
            yield FileStart("story.py", executable=False)
            yield CODE.format(version=version).encode()

        manifest = Manifest((WorkflowEntry(FLOW, "story:Story"),), {})
        return (await self.deploys.deploy(tenant, manifest, parts())).version.digest

    async def create(self, tenant: Tenant, name: str, params: bytes) -> InstanceKey:
        return (await self.calls.create(tenant.uid, FLOW, InstanceId(name), params, f"create-{name}")).key

    async def get(self, key: InstanceKey) -> Instance:
        return (await self.calls.get(key)).instance

    async def reached(self, key: InstanceKey, holds: Callable[[Instance], bool]) -> Instance:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = await self.get(key)
            except NotOwnedError:
                found = None
            if found is not None and holds(found):
                return found
            assert time.monotonic() < deadline, f"{key.instance} in vain: {found}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def house(
    folder: Path,
    control: ClusterStore,
    journal: JournalStore,
    bundles: BundleStore,
    ownership: Ownership,
    shard_of: Callable[[InstanceKey], int],
) -> AsyncIterator[House]:
    """It serves until the block ends, and stops in good order."""
    launcher = ProcessLauncher(folder / "sandboxes")
    settings = LoaderSettings(warm_sandboxes=1)
    minted = count(1)
    async with (
        Loader(bundles, launcher, settings, make_correlation_id=lambda: f"failure-{next(minted)}") as loader,
        asyncio.TaskGroup() as tasks,
    ):
        directory = Directory(control, monotonic_s=time.monotonic)
        following = tasks.create_task(directory.run())
        node = Node(
            journal,
            loader,
            tasks,
            shard_of=shard_of,
            clock=now_ms,
            limits=EngineLimits(),
            settings=NodeSettings(),
            tenant_limits=TenantLimits(),
        )
        await ownership.start(node, tasks)
        try:
            yield House(control, bundles, node, directory)
        finally:
            await ownership.stop(0.5)
            node.close()
            following.cancel()


def told(instance: Instance) -> dict[str, Any]:
    """What anybody sees of an instance: everything but who is at it now."""
    steps = {key: (step.status, step.attempts, step.started_at, step.ended_at, step.output, step.failure)
             for key, step in instance.steps.items()}  # fmt: skip
    return {
        "uid": instance.uid,
        "digest": instance.digest,
        "times": (instance.created_at, instance.started_at, instance.ended_at),
        "outcome": instance.outcome,
        "steps": steps,
        "requests": dict(instance.requests),
    }
