"""Record journals of the code in `tests/replay/kept/<number>/code`, through a server (`kept_journals.py`)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import apsw

from stepwell.engine import fold
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import workflows_pb2 as w
from stepwell.v1.resources_pb2 import Retention
from tests.e2e.api import Api
from tests.e2e.server import Server
from tests.replay.kept_journals import FOLDER, KeptJournal, told_of

WORKFLOW = "tenants/kept/workflows/kept"
DAY_MS: Final = 86_400_000


async def record(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="stepwell-kept-") as place:
        server = Server(Path(place), sandbox="process")
        try:
            await server.start()
            async with Api(server.endpoint, server.token) as api:
                await api.create_tenant("kept")
                await LIVES[folder.name](api, server, folder / "code")
            await server.stop()
            for kept in _journals(server.data / "journal.db", folder / "code"):
                kept.write(folder)
        finally:
            server.end()


async def _first(api: Api, server: Server, code: Path) -> None:
    """Have instances come by each kind of record that there was."""
    version = await api.deploy("kept", code)
    calls = api.instances

    async def begin(id: str, **params: Any) -> str:
        return (await api.create(WORKFLOW, params, id=id, request_id=f"create-{id}")).name

    async def waits(name: str) -> None:
        await api.reached(name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)

    steps, races, failed = (
        await begin("steps", shape="steps"),
        await begin("races", shape="races"),
        await begin("failed", shape="fails"),
    )
    for name in (steps, races, failed):
        await api.ended(name)

    waiting = await begin("waiting", shape="waits")
    await waits(waiting)
    for pause in ("pause", "pause-again"):
        await api.call(calls.PauseInstance, pb.PauseInstanceRequest(name=waiting, request_id=pause))
    await api.call(calls.ResumeInstance, pb.ResumeInstanceRequest(name=waiting, request_id="resume"))
    for number in range(2):
        await api.send_event(waiting, "go", number, request_id=f"go-{number}")
    await waits(waiting)

    terminated = await begin("terminated", shape="fails", waits=True)
    await waits(terminated)
    await api.call(
        calls.TerminateInstance, pb.TerminateInstanceRequest(name=terminated, rollback=True, request_id="end")
    )
    await api.ended(terminated)

    restarted = await begin("restarted", shape="steps")
    await api.ended(restarted)
    again = pb.RestartInstanceRequest(
        name=restarted, step_name="nap", step_kind=pb.STEP_KIND_SLEEP, step_count=1, request_id="restart"
    )
    await api.call(calls.RestartInstance, again)
    await api.ended(restarted)

    fork = pb.ForkInstanceRequest(
        name=steps, step_name="nap", step_kind=pb.STEP_KIND_SLEEP, instance_id="forked", request_id="fork"
    )
    await api.ended((await api.call(calls.ForkInstance, fork)).name)

    migrated = await begin("migrated", shape="waits")
    await waits(migrated)
    other = await api.deploy("kept", code, {"OTHER": "version"})
    assert other != version
    await api.call(calls.MigrateInstance, pb.MigrateInstanceRequest(name=migrated, version=other, request_id="migrate"))
    await api.send_event(migrated, "go", 1)
    await waits(migrated)

    survivor = await begin("survivor", shape="rests")
    await api.reached(survivor, lambda each: each.status == pb.INSTANCE_STATUS_RUNNING)
    await asyncio.sleep(1)
    for pid in server.processes("stepwell.guest"):
        os.kill(pid, signal.SIGKILL)
    await api.ended(survivor)


async def _second(api: Api, server: Server, code: Path) -> None:
    """Cancels, and instances that create others."""
    await api.deploy("kept", code)
    for how in ("returns", "lets it out", "fails"):
        id = f"cancelled-{how.replace(' ', '-')}"
        name = (await api.create(WORKFLOW, {"shape": "cancelled", "ends": how}, id=id, request_id=id)).name
        await api.reached(name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
        for number in range(2):
            cancel = pb.CancelInstanceRequest(name=name, reason="enough", request_id=f"cancel-{number}")
            await api.call(api.instances.CancelInstance, cancel)
        await api.ended(name)
    parent = await api.create(WORKFLOW, {"shape": "parent"}, id="parent", request_id="parent")
    await api.ended(parent.name)


async def _fourth(api: Api, server: Server, code: Path) -> None:
    """What an instance is created with beside its params: by a schedule, for how long it is kept, its limits."""
    await api.deploy("kept", code)
    limited = await api.create(WORKFLOW, {"shape": "limited"}, id="limited", request_id="limited")
    await api.ended(limited.name)
    create = pb.CreateInstanceRequest(
        parent=WORKFLOW, instance_id="retained", params=b'{"shape":"retained"}', request_id="retained",
        retention=Retention(success_ms=7 * DAY_MS, error_ms=30 * DAY_MS),
    )  # fmt: skip
    await api.ended((await api.call(api.instances.CreateInstance, create)).name)
    async with asyncio.timeout(120):
        while len(await api.listed(WORKFLOW)) < 3:  # noqa: ASYNC110  a minute is the shortest time of a schedule
            await asyncio.sleep(0.2)
    await api.call(api.workflows.PauseSchedules, w.PauseSchedulesRequest(name=WORKFLOW))
    for each in await api.listed(WORKFLOW):
        await api.ended(each.name)


LIVES: Final = {"1": _first, "2": _second, "4": _fourth}


def _journals(database: Path, code: Path) -> list[KeptJournal]:
    rows = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    found = []
    for (instance,) in rows.execute("SELECT DISTINCT instance FROM rows ORDER BY instance"):
        of = "WHERE instance = ?"
        lines = tuple(rows.execute(f"SELECT epoch, seq, append FROM rows {of} ORDER BY epoch, seq", (instance,)))
        blobs = dict(rows.execute(f"SELECT id, data FROM blobs {of}", (instance,)))
        told = told_of(fold.replay(KeptJournal(instance, lines, blobs, {}, code).records()))
        found.append(KeptJournal(instance, lines, blobs, told, code))
    return found


if __name__ == "__main__":
    asyncio.run(record(FOLDER / sys.argv[1]))
