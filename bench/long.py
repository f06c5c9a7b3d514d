"""A workflow of 10,000 steps, the most that an instance may have: how fast it goes, and how soon after a SIGKILL of the
server, late in its life, it does something new; beside a new instance's first step on the same server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from bench.figure import Figure
from bench.load import run_instance
from bench.server import Server, serving
from stepwell.v1 import instances_pb2 as pb

STEPS: Final = 10_000
KILLED_AT: Final = 9_000
PAGE: Final = 1_000


async def figures() -> AsyncIterator[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="stepwell-bench-"))
    try:
        async with serving(folder) as server:
            workflow = await server.tenant("bench")
            await run_instance(server, workflow, {"steps": 2})
            tenth_ms = await run_instance(server, workflow, {"steps": STEPS // 10})
            all_ms = await run_instance(server, workflow, {"steps": STEPS})
            yield Figure(f"steps_per_s_of_{STEPS}", STEPS / all_ms * 1e3, "steps/s", STEPS / 10 / tenth_ms * 1e3)
            long = await _begun(server, workflow, STEPS)
            await _completed(server, long, KILLED_AT)
            os.kill(server.pid, signal.SIGKILL)
        async with serving(folder) as server:
            served_ms = time.time() * 1e3
            new = await _begun(server, workflow, 10)
            resumed, begun = await asyncio.gather(_next_step(server, long, served_ms), _next_step(server, new, 0))
            yield Figure(f"resume_after_{KILLED_AT}_steps_ms", resumed - served_ms, "ms", begun - served_ms)
            await _completed(server, long, STEPS)
            began = time.perf_counter()
            pages = await _pages(server, long)
            yield Figure(f"page_of_{PAGE}_steps_of_{STEPS}_ms", (time.perf_counter() - began) / pages * 1e3, "ms")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _begun(server: Server, workflow: str, steps: int) -> str:
    request = pb.CreateInstanceRequest(parent=workflow, params=json.dumps({"steps": steps}).encode())
    return str((await server.instances.CreateInstance(request, metadata=server.metadata)).name)


async def _completed(server: Server, name: str, steps: int) -> None:
    """Return once it has so many."""
    async for event in server.instances.WatchInstance(pb.WatchInstanceRequest(name=name), metadata=server.metadata):
        steps -= event.type == "stepCompleted"
        if steps == 0:
            return
    raise SystemExit(f"{name} ended {steps} steps too soon")


async def _next_step(server: Server, name: str, after_ms: float) -> float:
    """When its first step after that was completed, in ms since the epoch."""
    async for event in server.instances.WatchInstance(pb.WatchInstanceRequest(name=name), metadata=server.metadata):
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
