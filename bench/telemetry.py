"""What telling costs on the step path: the server's CPU time a step, and steps a second; the floor is the same untold.

Two servers are up, one that tells and one that doesn't, and take the load in turn, so that both see the same machine.
Their sandboxes are plain processes: what guests take is not looked at, and leaves more of few CPUs. The collector is a
process too, which takes what it gets and keeps nothing; its share is in the rate, and not in the server's CPU time.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from bench.figure import Figure
from bench.floor import Shape
from bench.load import Cost, cost, ready
from bench.server import running

SHAPE: Final = Shape(4, 5, 100)
ROUNDS: Final = 12

COLLECTOR: Final = """
from concurrent.futures import ThreadPoolExecutor
import grpc
method = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
service = "opentelemetry.proto.collector.trace.v1.TraceService"
server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


async def figures() -> AsyncIterator[Figure]:
    async with collector() as endpoint:
        spans = f'otlp_endpoint = "{endpoint}"\n'
        for name, settings in (
            ("figures", f"metrics_port = {free_port()}\n"),
            ("a_tenth_traced", f"{spans}trace_ratio = 0.1\n"),
            ("all_traced", spans),
        ):
            told, untold = list[Cost](), list[Cost]()
            async with loaded(settings) as telling, loaded("") as silent:
                for _ in range(ROUNDS):
                    told.append(await telling())
                    untold.append(await silent())
            for field, unit in (("cpu_us_a_step", "us"), ("steps_per_s", "steps/s")):
                value, floor = (statistics.median(getattr(each, field) for each in costs) for costs in (told, untold))
                yield Figure(f"telemetry_{name}_{field}", value, unit, floor)


@asynccontextmanager
async def loaded(telemetry: str, path: str = "") -> AsyncIterator[Callable[[], Awaitable[Cost]]]:
    """A server with those settings; each call puts the load on it once. Boots and imports are over by then."""
    config = f"[loader]\nsandboxes_max = {SHAPE.sandboxes + 4}\n[telemetry]\n{telemetry}"
    async with running(config, "process", path) as server:
        workflows = await ready(server, SHAPE)
        yield lambda: cost(server, workflows, SHAPE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def collector() -> AsyncIterator[str]:
    """A collector's endpoint, until the block ends."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COLLECTOR, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()
