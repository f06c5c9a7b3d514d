"""gRPC's health service: whether this process serves, for probes and for `doctor`. It alone needs no token.

So it has `Check` and not `Watch`: nobody holds a stream here without saying who they are. gRPC's clients take a service
without `Watch` for one that serves.

Parts of the process are services of their own, by name. What is to be said of one besides its status is the operator's
to know: it goes along with the answer to an operator's token, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1.health import OVERALL_HEALTH, SERVICE_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from rpc.auth import Authenticates
from rpc.guard import GuardedRegistrar
from rpc.rights import Right
from stepwell.client.part_health import DETAIL, WARNING, PartHealth
from stepwell.errors import UnauthenticatedError

RIGHTS = {SERVICE_NAME: {"Check": Right.ANY}}

TEXT_LENGTH_MAX = 1_000
"""Characters of one text: metadata has limits of its own."""


class Health:
    """NOT_SERVING from the start, until `serving` is called, and for good from `stopping` on."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (OVERALL_HEALTH, *services)
        self._servicer = _Servicer()

    async def register(self, registrar: GuardedRegistrar, authenticator: Authenticates) -> None:
        """Add the service to a server that has not started. `RIGHTS` is the table that its registrar needs;
        `authenticator` knows operators."""
        self._servicer.authenticator = authenticator
        await self._set(HealthCheckResponse.NOT_SERVING)
        check = grpc.unary_unary_rpc_method_handler(
            self._servicer.Check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        )
        registrar.add_registered_method_handlers(SERVICE_NAME, {"Check": check})

    async def serving(self) -> None:
        """Calls are welcome."""
        await self._set(HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Calls are not welcome for now."""
        await self._set(HealthCheckResponse.NOT_SERVING)

    async def report(self, part: str, health: PartHealth) -> None:
        """Say this of a part from now on. The texts may name paths of the host."""
        self._servicer.parts[part] = health
        status = HealthCheckResponse.SERVING if health.serves else HealthCheckResponse.NOT_SERVING
        await self._servicer.set(part, status)

    async def stopping(self) -> None:
        """No new calls, please; there is no way back."""
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, status: int) -> None:
        for service in self._services:
            await self._servicer.set(service, status)


class _Servicer(health_aio.HealthServicer):
    """The library's, which tells operators more."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, PartHealth] = {}
        self.authenticator: Authenticates | None = None

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        part = self.parts.get(request.service)
        if part is not None and await self._asks_operator(context):
            texts = [(DETAIL, part.detail), *((WARNING, warning) for warning in part.warnings)]
            context.set_trailing_metadata(tuple((key, text[:TEXT_LENGTH_MAX].encode()) for key, text in texts))
        answer: HealthCheckResponse = await super().Check(request, context)
        return answer

    async def _asks_operator(self, context: Any) -> bool:
        if self.authenticator is None:
            return False
        try:
            caller = await self.authenticator.authenticate(context.invocation_metadata() or ())
        except UnauthenticatedError:
            return False
        return caller.tenant is None
