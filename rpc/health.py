"""gRPC's health service: whether this process serves, for probes and for `doctor`. It alone needs no token."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse


class Health:
    """NOT_SERVING from the start, until `serving` is called, and again from `stopping` on."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (OVERALL_HEALTH, *services)
        self._servicer = health_aio.HealthServicer()

    async def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server that has not started."""
        await self._set(HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """Calls are welcome."""
        await self._set(HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """No new calls, please; there is no way back."""
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, status: int) -> None:
        for service in self._services:
            await self._servicer.set(service, status)
