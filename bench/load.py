"""Instances through the public API: created, and watched to their end."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from bench.floor import Shape
from bench.server import Server
from stepwell.v1 import instances_pb2 as pb


class Cost(NamedTuple):
    """Of a step: CPU time of the server's own process, and how many there were a second."""

    cpu_us_a_step: float
    steps_per_s: float


async def ready(server: Server, shape: Shape) -> list[str]:
    """A workflow of each of so many new tenants, in a sandbox that has booted and has imported it."""
    workflows = [await server.tenant(f"bench-{number}") for number in range(shape.sandboxes)]
    for workflow in workflows:
        await run_instance(server, workflow, {"steps": 2})
    return workflows


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


async def cost(server: Server, workflows: list[str], shape: Shape) -> Cost:
    """Of the load of that shape, put on once."""
    before_s = server.cpu_s()
    rate, times = await run_all(server, workflows, shape.instances, shape.steps)
    return Cost((server.cpu_s() - before_s) / (len(times) * shape.steps) * 1e6, rate)
