"""gRPC's health service: whether this process serves, for probes and for `doctor`. It alone needs no token.

So it has `Check` and not `Watch`: nobody holds a stream here without saying who they are. gRPC's clients take a service
without `Watch` for one that serves.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1.health import OVERALL_HEALTH, SERVICE_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from rpc.guard import GuardedRegistrar
from rpc.rights import Right

RIGHTS = {SERVICE_NAME: {"Check": Right.ANY}}


class Health:
    """NOT_SERVING from the start, until `serving` is called, and again from `stopping` on."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (OVERALL_HEALTH, *services)
        self._servicer = health_aio.HealthServicer()

    async def register(self, registrar: GuardedRegistrar) -> None:
        """Add the service to a server that has not started. `RIGHTS` is the table that its registrar needs."""
        await self._set(HealthCheckResponse.NOT_SERVING)
        check = grpc.unary_unary_rpc_method_handler(
            self._servicer.Check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        )
        registrar.add_registered_method_handlers(SERVICE_NAME, {"Check": check})

    async def serving(self) -> None:
        """Calls are welcome."""
        await self._set(HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """No new calls, please; there is no way back."""
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, status: int) -> None:
        for service in self._services:
            await self._servicer.set(service, status)
