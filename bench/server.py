"""A server for a benchmark: the shipped command, on data of its own, ended by pid."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from bench.deploy import deploy
from stepwell.v1 import instances_pb2_grpc, tenants_pb2, tenants_pb2_grpc

BUNDLE = Path(__file__).parent / "bundle"
COMMAND = Path(sys.executable).parent / "stepwell"
START_S = 120.0


class Server:
    """A running server and an operator's way to it."""

    def __init__(self, pid: int, channel: grpc.aio.Channel, token: str, sandboxes: Path) -> None:
        self.pid = pid
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.instances: Any = instances_pb2_grpc.InstanceServiceStub(channel)
        self.sandboxes = sandboxes

    async def tenant(self, name: str, bundle: Path = BUNDLE) -> str:
        """A new tenant with the benchmark's workflow; its workflow's name."""
        tenants: Any = tenants_pb2_grpc.TenantServiceStub(self.channel)
        await tenants.CreateTenant(tenants_pb2.CreateTenantRequest(tenant_id=name), metadata=self.metadata)
        await deploy(self.channel, self.metadata, name, bundle)
        return f"tenants/{name}/workflows/steps"

    def cpu_s(self) -> float:
        """CPU time that its own process has taken, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def warm(self, sandboxes: int, within_s: float) -> None:
        """Wait until so many sandboxes were started for the warm pool, and have had time to boot."""
        async with asyncio.timeout(within_s):
            while len(list(self.sandboxes.glob("*/*/config.json"))) < sandboxes:
                await asyncio.sleep(0.1)  # another process's folders: nothing tells of them
            await asyncio.sleep(2)


@asynccontextmanager
async def running(config: str = "", sandbox: str = "gvisor", path: str = "") -> AsyncIterator[Server]:
    """One with a folder of its own for as long."""
    folder = Path(tempfile.mkdtemp(prefix="stepwell-bench-"))
    try:
        async with serving(folder, config, sandbox, path) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def serving(folder: Path, config: str = "", sandbox: str = "gvisor", path: str = "") -> AsyncIterator[Server]:
    """Start it on what the folder holds, wait until it serves, and end it, where it was not killed.

    `path` is a PYTHONPATH that makes the command another commit's program.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "config.toml").write_text(config)
    environ = os.environ | {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "share")}
    environ |= {"PYTHONPATH": path} if path else {}
    log = (folder / "log").open("wb")
    context = folder / "config" / "stepwell" / "contexts.toml"
    context.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "dev", "--data", str(data), "--port", "0", "--sandbox", sandbox,
        env=environ, stderr=log, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(START_S):
            while not context.exists():  # another process writes it
                if process.returncode is not None:
                    raise SystemExit((folder / "log").read_text())
                await asyncio.sleep(0.01)
        known = tomllib.loads(context.read_text())
        endpoint = known["current"]
        token = known["contexts"][endpoint]["token"]
        async with grpc.aio.insecure_channel(endpoint) as channel:
            await asyncio.wait_for(channel.channel_ready(), START_S)
            yield Server(process.pid, channel, token, data / "sandboxes")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()
        log.close()
