"""Calls that the protos have and the server not yet. Each goes from here as it is built: a test sees to it."""

from __future__ import annotations

from typing import Any

import grpc

from control_plane.tenant_service import TenantService
from control_plane.workflow_service import WorkflowService
from data_plane.instance_service import InstanceServicer

PENDING: frozenset[str] = frozenset()

SERVICERS: dict[str, type] = {
    "TenantService": TenantService,
    "WorkflowService": WorkflowService,
    "InstanceService": InstanceServicer,
}

BUILT = frozenset(f"{service}.{name}" for service, servicer in SERVICERS.items() for name in vars(servicer))
"""As they are before a test puts anything into them."""


async def answer_unimplemented(self: object, request: Any, context: Any) -> Any:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not built yet")


async def stream_unimplemented(self: object, request: Any, context: Any) -> Any:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not built yet")
    yield
