"""The gRPC server that all of Stepwell's processes serve with: guarded services, health, limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from rpc.auth import Authenticates, NoAuthenticator
from rpc.faults import Faults, Log
from rpc.guard import GuardedRegistrar
from rpc.health import RIGHTS as HEALTH_RIGHTS
from rpc.health import Health
from rpc.limits import RpcLimits
from rpc.observing import CallObserver
from rpc.open_calls import OpenCalls
from rpc.rights import RIGHTS, Table


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer and the generated function that adds it to a server."""

    add: Callable[[Any, Any], None]
    servicer: object


async def build_server(
    services: Sequence[Service],
    *,
    authenticator: Authenticates,
    calls: OpenCalls,
    health: Health,
    log: Log,
    mint_correlation_id: Callable[[], str],
    limits: RpcLimits | None = None,
    rights: Table = RIGHTS,
    observer: CallObserver | None = None,
) -> grpc.aio.Server:
    """A server that listens nowhere yet: add a port, start it, then say `health.serving()`.

    Every method of every service asks for a token; the health service alone doesn't. Raises LookupError for a method
    that `rights` doesn't have. `observer` hears of every call but health's, unless gRPC itself refuses it.
    """
    limits = limits or RpcLimits()
    server = grpc.aio.server(options=limits.channel_arguments(), maximum_concurrent_rpcs=limits.calls_max)
    faults = Faults(log, mint_correlation_id)
    registrar = GuardedRegistrar(server, authenticator, calls, faults, rights, observer)
    for service in services:
        service.add(service.servicer, registrar)
    health_registrar = GuardedRegistrar(server, NoAuthenticator(), calls, faults, HEALTH_RIGHTS)
    await health.register(health_registrar, authenticator)
    return server
