"""SIGKILL of the server while instances are restarted, moved to another version and deleted: a call that is made again
until it is answered was done once, and whole."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import grpc
import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server, until

SEED = 12
KILLED_AFTER_S = (0.0, 0.01, 0.04, 1.0, 2.5)
"""A restart and a delete take some milliseconds; to be moved, an instance is replayed in a new sandbox first."""

EACH = 2
WORKFLOW = "tenants/acme/workflows/steered"
WAITS = (pb.INSTANCE_STATUS_WAITING,)

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Kept:
    """What an instance was before it was steered."""

    name: str
    uid: str
    first: bytes


@pytest.mark.timeout(240)
async def test_what_is_restarted_moved_and_deleted_over_sigkills_is_so_once_and_whole(server: Server) -> None:
    chance = random.Random(SEED)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        new = await api.deploy("acme", BUNDLES / "steered", {"VERSION": "new"})
        await api.deploy("acme", BUNDLES / "steered", {"VERSION": "old"})
        for after_s in KILLED_AFTER_S:
            restarted, moved, deleted = [await _waiting(api, EACH) for _ in range(3)]
            for kept in deleted[::2]:  # the others are ended by their deletion
                await _goes_on(api, kept.name)
            calls = [
                *(_restart(api, kept) for kept in restarted),
                *(_migrate(api, kept, new) for kept in moved),
                *(_delete(api, kept) for kept in deleted),
            ]
            chance.shuffle(calls)
            await _over_a_kill(server, calls, after_s)
            for kept in restarted:
                await api.reached(kept.name, lambda each: each.status in WAITS)
                assert (await api.get(kept.name)).uid == kept.uid
                assert await _first(api, kept.name) != kept.first
                assert await _goes_on(api, kept.name) == [json.loads(await _first(api, kept.name)), "old"]
                assert await _told(api, kept.name, "restarted") == 1
            for kept in moved:
                assert (await api.get(kept.name)).version == new
                assert await _goes_on(api, kept.name) == [json.loads(kept.first), "new"]
                assert await _told(api, kept.name, "migrated") == 1
            for kept in deleted:
                asked = pb.GetInstanceRequest(name=kept.name)
                assert await api.refused(api.instances.GetInstance, asked) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
                again = await api.create(WORKFLOW, {}, id=kept.name.rpartition("/")[2])
                assert again.uid != kept.uid
        await until("nothing of what was deleted is left", lambda: _kept_apart(server) <= _listed(server), 10)
        assert api.repeats > 0, "no call was under way when the server was killed"
        assert await server.stop() == 0


def _kept_apart(server: Server) -> set[str]:
    """Whose payloads the store has."""
    return _uids(server, "blobs")


def _listed(server: Server) -> set[str]:
    return _uids(server, "listings")


def _uids(server: Server, table: str) -> set[str]:
    database = apsw.Connection(str(server.data / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY)
    return {uid for (uid,) in database.execute(f"SELECT uid FROM {table}")}


async def _over_a_kill(server: Server, calls: Sequence[Coroutine[Any, Any, None]], after_s: float) -> None:
    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(call)
        await asyncio.sleep(after_s)
        await server.kill()
        await server.start()


async def _waiting(api: Api, instances: int) -> list[Kept]:
    found = list[Kept]()
    for _ in range(instances):
        name = (await api.create(WORKFLOW, {}, id=f"i{next(_numbers)}")).name
        reached = await api.reached(name, lambda each: each.status in WAITS)
        found.append(Kept(name, reached.uid, await _first(api, name)))
    return found


async def _first(api: Api, name: str) -> bytes:
    output: bytes = (await api.steps(name))[0].output
    return output


async def _goes_on(api: Api, name: str) -> list[str]:
    """Its end, without the token of its last step."""
    await api.send_event(name, "go", None)
    ended = await api.ended(name)
    assert ended.status == pb.INSTANCE_STATUS_COMPLETE, ended
    first, _, version = json.loads(ended.output)
    return [first, version]


async def _told(api: Api, name: str, type: str) -> int:
    """How often the history of what has ended says so."""
    return sum([event.type == type async for event in api.watch(name)])


async def _restart(api: Api, kept: Kept) -> None:
    request = pb.RestartInstanceRequest(name=kept.name, request_id=f"restart-{kept.uid}")
    await api.call(api.instances.RestartInstance, request)


async def _migrate(api: Api, kept: Kept, version: str) -> None:
    request = pb.MigrateInstanceRequest(name=kept.name, version=version, request_id=f"migrate-{kept.uid}")
    await api.call(api.instances.MigrateInstance, request)


async def _delete(api: Api, kept: Kept) -> None:
    request = pb.DeleteInstanceRequest(name=kept.name, request_id=f"delete-{kept.uid}")
    try:
        await api.call(api.instances.DeleteInstance, request)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:  # the first try had done it
            raise
