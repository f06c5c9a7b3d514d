"""A workflow of 10,000 steps, the most that an instance may have: how soon it does something new once the server, which
was ended by SIGKILL late in its life, serves again, beside a new instance's first step there; and how fast it goes,
beside one of a tenth.

Who waits for the new step watches from where the watch was when the server died: to be told 9,000 steps again keeps a
server busy for as long as the rest does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.figure import Figure
from bench.load import run_instance
from bench.server import Server, serving
from stepwell.v1 import instances_pb2 as pb

STEPS: Final = 10_000
KILLED_AT: Final = 9_000
RESTARTS: Final = 5
PAGE: Final = 1_000


class Killed(NamedTuple):
    """What a server left that was killed while an instance of 10,000 steps had done more than 9,000."""

    folder: Path
    workflow: str
    instance: str
    cursor: str
    """Where a watch of it goes on."""


class Resumed(NamedTuple):
    """How long it took, in ms."""

    start: float
    """From the start of the process until it served."""

    resume: float
    """From then until the next step of the instance that had done more than 9,000."""

    first_step: float
    """From then until the first step of an instance that was created then."""


async def figures() -> AsyncIterator[Figure]:
    async with killed() as left:
        start, resumed, begun = zip(*[await resume(left) for _ in range(RESTARTS)], strict=True)
        yield Figure("start_ms", statistics.median(start), "ms")
        yield Figure(f"resume_after_{KILLED_AT}_steps_ms", statistics.median(resumed), "ms", statistics.median(begun))
        async with serving(left.folder) as server:
            await _completed(server, left.instance, STEPS)
            began = time.perf_counter()
            pages = await _pages(server, left.instance)
            yield Figure(f"page_of_{PAGE}_steps_of_{STEPS}_ms", (time.perf_counter() - began) / pages * 1e3, "ms")
            tenth_ms = await run_instance(server, left.workflow, {"steps": STEPS // 10})
            all_ms = await run_instance(server, left.workflow, {"steps": STEPS})
            yield Figure(f"steps_per_s_of_{STEPS}", STEPS / all_ms * 1e3, "steps/s", STEPS / 10 / tenth_ms * 1e3)


@asynccontextmanager
async def killed(path: str = "") -> AsyncIterator[Killed]:
    """What such a server left, for as long; `path` as of `serving`."""
    folder = Path(tempfile.mkdtemp(prefix="stepwell-bench-"))
    try:
        async with serving(folder, path=path) as server:
            workflow = await server.tenant("bench")
            await run_instance(server, workflow, {"steps": 2})
            long = await _begun(server, workflow, STEPS)
            cursor = await _completed(server, long, KILLED_AT)
            os.kill(server.pid, signal.SIGKILL)
        yield Killed(folder, workflow, long, cursor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def resume(left: Killed, path: str = "") -> Resumed:
    """Have a new server process go on with a copy of it."""
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as copy:
        shutil.copytree(left.folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("sandboxes"))
        started_ms = time.time() * 1e3
        async with serving(Path(copy), path=path) as server:
            served_ms = time.time() * 1e3
            new = await _begun(server, left.workflow, 10)
            next_ms, first_ms = await asyncio.gather(
                _next_step(server, left.instance, started_ms, left.cursor), _next_step(server, new, started_ms)
            )
            os.kill(server.pid, signal.SIGKILL)
        return Resumed(served_ms - started_ms, next_ms - served_ms, first_ms - served_ms)


async def _begun(server: Server, workflow: str, steps: int) -> str:
    request = pb.CreateInstanceRequest(parent=workflow, params=json.dumps({"steps": steps}).encode())
    return str((await server.instances.CreateInstance(request, metadata=server.metadata)).name)


async def _completed(server: Server, name: str, steps: int) -> str:
    """Return once it has so many: the cursor of the last."""
    async for event in server.instances.WatchInstance(pb.WatchInstanceRequest(name=name), metadata=server.metadata):
        steps -= event.type == "stepCompleted"
        if steps == 0:
            return str(event.cursor)
    raise SystemExit(f"{name} ended {steps} steps too soon")


async def _next_step(server: Server, name: str, after_ms: float, cursor: str = "") -> float:
    """When its first step after that was completed, in ms since the epoch."""
    request = pb.WatchInstanceRequest(name=name, cursor=cursor)
    async for event in server.instances.WatchInstance(request, metadata=server.metadata):
        at_ms: float = event.event_time.ToMilliseconds()
        if event.type == "stepCompleted" and at_ms > after_ms:
            return at_ms
    raise SystemExit(f"{name} did nothing more")


async def _pages(server: Server, name: str) -> int:
    """Read all of its steps; how many pages they took."""
    pages, steps, token = 0, 0, ""
    while pages == 0 or token:
        request = pb.ListStepsRequest(parent=name, page_size=PAGE, page_token=token)
        page = await server.instances.ListSteps(request, metadata=server.metadata)
        pages, steps, token = pages + 1, steps + len(page.steps), page.next_page_token
    if steps != STEPS:
        raise SystemExit(f"{name} lists {steps} steps, not {STEPS}")
    return pages
