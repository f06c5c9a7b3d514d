"""Deploying a folder through the API, as the CLI does."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1 import workflows_pb2_grpc


async def deploy(
    channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]], tenant: str, folder: Path
) -> pb.DeployVersionResponse:
    async def parts() -> AsyncIterator[pb.DeployVersionRequest]:
        declared = tomllib.loads((folder / "stepwell.toml").read_text())
        entries = [
            pb.WorkflowEntry(workflow_id=entry["name"], entrypoint=entry["entrypoint"])
            for entry in declared["workflows"]
        ]
        header = pb.DeployVersionRequest.Header(parent=f"tenants/{tenant}", manifest=pb.Manifest(workflows=entries))
        yield pb.DeployVersionRequest(header=header)
        for path in sorted(folder.rglob("*.py")):  # a benchmark's own few files
            name = path.relative_to(folder).as_posix()
            yield pb.DeployVersionRequest(file=pb.DeployVersionRequest.File(path=name))
            yield pb.DeployVersionRequest(chunk=path.read_bytes())

    stub: Any = workflows_pb2_grpc.WorkflowServiceStub(channel)
    answer: pb.DeployVersionResponse = await stub.DeployVersion(parts(), metadata=metadata)
    return answer
