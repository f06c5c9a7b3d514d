"""Instances through the public API: created, and watched to their end."""

from __future__ import annotations

import asyncio
import json
import time

from bench.server import Server
from stepwell.v1 import instances_pb2 as pb


async def run_instance(server: Server, workflow: str, params: object) -> float:
    """Create an instance and wait until it has ended well. Returns the ms that took."""
    began = time.perf_counter()
    request = pb.CreateInstanceRequest(parent=workflow, params=json.dumps(params).encode())
    instance = await server.instances.CreateInstance(request, metadata=server.metadata)
    watch = pb.WatchInstanceRequest(name=instance.name, status_only=True)
    last = None
    async for event in server.instances.WatchInstance(watch, metadata=server.metadata):
        last = event
    if last is None or last.type != "completed":
        raise SystemExit(f"{instance.name} ended with {last}")
    return (time.perf_counter() - began) * 1e3


async def run_all(server: Server, workflows: list[str], instances: int, steps: int) -> tuple[float, list[float]]:
    """So many instances of each workflow at once. Returns steps a second, and each instance's ms."""
    began = time.perf_counter()
    times = await asyncio.gather(
        *(run_instance(server, workflow, {"steps": steps}) for workflow in workflows for _ in range(instances))
    )
    return len(times) * steps / (time.perf_counter() - began), list(times)
