"""What instances did so far on new code, on gVisor: replayed, migrated to it, and forked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from stepwell.client import connect
from stepwell.client.connection import Client
from stepwell.client.resource_names import id_in
from stepwell.client.workflows import MemoryFile
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, ReplayMismatchError, WrongStateError
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1.workflows_pb2 import Manifest, WorkflowEntry
from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server

_numbers = itertools.count(1)

CODE = """
import os

from stepwell import WorkflowEntrypoint


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        print("run prints")

        async def body():
            print("a body prints")
            return "x" * 40_000

        {before}
        size = len(await step.do("reserve")(body)())
        word = await step.wait_for_event("approval", "approve")
        await step.do("charge")(body)()
        return [{version!r}, size, word.payload]
"""
OTHER = 'await step.do("check")(body)()'
ENDS = "os._exit(3)"


@pytest.fixture
async def client(running: Server) -> AsyncIterator[Client]:
    async with connect(running.endpoint, running.token) as client:
        yield client


@pytest.fixture
async def tenant(client: Client) -> str:
    tenant = f"tenant-{next(_numbers)}"
    await client.tenants.create(tenant)
    return tenant


async def deployed(client: Client, tenant: str, version: str, before: str = "pass", *, no_route: bool = True) -> str:
    """The digest of that code."""
    manifest = Manifest(workflows=[WorkflowEntry(workflow_id="order", entrypoint="main:Order")])
    file = MemoryFile("main.py", CODE.format(version=version, before=before).encode())
    answer = await client.workflows.deploy(tenant, manifest, [file], no_route=no_route)
    return id_in(answer.version.name, "versions") or ""


async def waiting(client: Client, tenant: str) -> str:
    """An instance that waits for its approval."""
    name = (await client.instances.create(tenant, "order", {"item": 7})).name
    async with asyncio.timeout(30):
        while (await client.instances.get(name)).status != pb.INSTANCE_STATUS_WAITING:
            await asyncio.sleep(0.02)
    return name


async def test_a_replay_finds_the_place_and_leaves_no_trace(client: Client, tenant: str) -> None:
    await deployed(client, tenant, "old", no_route=False)
    name = await waiting(client, tenant)
    alike, other = await deployed(client, tenant, "new"), await deployed(client, tenant, "new", OTHER)
    ends = await deployed(client, tenant, "new", ENDS)
    before = await so_far(client, name)
    replay = await client.instances.replay(name, alike)
    assert (replay.verdict, replay.next) == (
        pb.REPLAY_VERDICT_MATCHES, "run waits for wait_for_event 'approval' (call 1)",
    )  # fmt: skip
    replay = await client.instances.replay(name, other)
    assert (replay.verdict, replay.position, replay.expected, replay.got) == (
        pb.REPLAY_VERDICT_DIFFERS, 0, "step 'reserve' (call 1)", "run waits for step 'check' (call 1)",
    )  # fmt: skip
    replay = await client.instances.replay(name, ends)
    assert replay.verdict == pb.REPLAY_VERDICT_UNCHECKED
    assert replay.reason.startswith("its sandbox ended")  # how, runsc tells too late on a busy machine
    assert await so_far(client, name) == before
    printed = (await client.instances.list_logs(name)).entries
    assert [entry.text for entry in printed] == ["run prints", "a body prints"], "a replay prints nothing"
    await client.instances.send_event(name, "approve", "yes")
    assert await client.instances.result(name) == ["old", 40_000, "yes"]
    replay = await client.instances.replay(name, alike)
    assert (replay.verdict, replay.next) == (pb.REPLAY_VERDICT_MATCHES, "run returned")


async def so_far(client: Client, name: str) -> list[pb.InstanceEvent]:
    """All that had happened to it when it went to sleep, and since."""
    events = []
    async with aclosing(client.instances.watch(name)) as watched:
        async for event in watched:
            events.append(event)
            if event.type == "hibernated":
                return events
    raise AssertionError("it ended")


async def test_an_instance_goes_on_with_the_version_that_does_what_it_did(client: Client, tenant: str) -> None:
    await deployed(client, tenant, "old", no_route=False)
    name, second = await waiting(client, tenant), await waiting(client, tenant)
    alike, other = await deployed(client, tenant, "new"), await deployed(client, tenant, "new", OTHER)
    with pytest.raises(ReplayMismatchError) as differs:
        await client.instances.migrate(name, other)
    assert differs.value.metadata["position"] == "0"
    migrated = await client.instances.migrate(name, alike)
    assert id_in(migrated.version, "versions") == alike
    await client.instances.send_event(name, "approve", "yes")
    assert await client.instances.result(name) == ["new", 40_000, "yes"]
    with pytest.raises(WrongStateError):
        await client.instances.migrate(name, other)
    done = await client.instances.migrate_all(tenant, "order", alike)
    assert (done.migrated, done.refused) == (1, 0)
    assert (await client.workflows.version_usage(tenant, alike)).pinned_instances == 1
    await client.instances.send_event(second, "approve", "no")
    assert await client.instances.result(second) == ["new", 40_000, "no"]


async def test_a_fork_goes_on_by_itself_from_a_copy_that_no_kill_takes_a_part_of(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    async with connect(server.endpoint, server.token) as client:
        await client.tenants.create("acme")
        await deployed(client, "acme", "old", no_route=False)
        alike, other = await deployed(client, "acme", "new"), await deployed(client, "acme", "new", OTHER)
        name = await waiting(client, "acme")
        await client.instances.send_event(name, "approve", "yes")
        assert await client.instances.result(name) == ["old", 40_000, "yes"]
        before = (await client.instances.list_steps(name)).steps
        with pytest.raises(ReplayMismatchError):
            await client.instances.fork(name, "charge", instance="never", version=other)
        with pytest.raises(AlreadyExistsError):
            await client.instances.fork(name, "charge", instance=id_in(name, "instances") or "")
        with pytest.raises(InvalidArgumentError):
            await client.instances.fork(name, "nobody")
        from_charge = await client.instances.fork(name, "charge", instance="two", version=alike, request_id="once")
        waits = pb.STEP_KIND_WAIT_FOR_EVENT
        from_wait = await client.instances.fork(name, "approval", step_kind=waits)
        await server.kill()
    await server.start()
    async with connect(server.endpoint, server.token) as client:
        again = await client.instances.fork(name, "charge", instance="two", version=alike, request_id="once")
        assert (again.uid, again.forked_from) == (from_charge.uid, from_charge.forked_from)
        assert again.forked_from.name == name
        assert await client.instances.result(again.name) == ["new", 40_000, "yes"]
        steps = (await client.instances.list_steps(again.name)).steps
        assert steps[:2] == before[:2], "copied: the body that is large, and the wait with its event"
        assert steps[2].start_time.ToMilliseconds() > before[2].end_time.ToMilliseconds(), "run anew"
        await client.instances.delete(name)
        assert (await client.instances.get(from_wait.name)).forked_from.step_name == "approval"
        await client.instances.send_event(from_wait.name, "approve", "no")
        assert await client.instances.result(from_wait.name) == ["old", 40_000, "no"]
    assert await server.stop() == 0
