"""A connection to one server, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self
from uuid import uuid4

import grpc
from grpc import aio

from stepwell.client.calls import Caller
from stepwell.client.endpoints import Endpoint, parse_endpoint
from stepwell.client.instances import Instances
from stepwell.client.nodes import Nodes
from stepwell.client.part_health import PartHealth
from stepwell.client.patience import TRIES_MAX, Patience
from stepwell.client.tenants import Tenants
from stepwell.client.workflows import Workflows
from stepwell.errors import InvalidArgumentError

CONNECT_TIMEOUT_S = 5
MESSAGE_SIZE_MAX = 8 * 1024 * 1024
"""An instance with its params and its output is 2 MiB, a page of steps 2 MiB and its last step."""

RECONNECT_S_MAX = 1
"""Between two tries to connect: a client is back soon after its server is."""

PING_S = 30
PING_ANSWER_S_MAX = 10
"""A server that went without a word is found out by a ping while calls or streams are open."""


class Client:
    """One server's API, by resource: `tenants`, `workflows` (deploys and versions too), `instances`
    and `nodes`.

    Safe for many tasks of one event loop. It connects on the first call, and again by itself after a failure. A call
    that fails with an error whose class is `retryable` is made again, as `stepwell.client.patience` says; calls raise
    `stepwell.errors.ApiError`. Close it, or use it in `async with`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.tenants = Tenants(caller)
        self.workflows = Workflows(caller)
        self.instances = Instances(caller)
        self.nodes = Nodes(caller)

    @property
    def endpoint(self) -> str:
        """Where this client speaks to."""
        return self._caller.endpoint

    def within(self, seconds: float) -> Client:
        """The same connection, by which a call has so many seconds for all of its tries. Closing either closes both.

        Raises ValueError for what is no time.
        """
        return Client(replace(self._caller, patience=replace(self._caller.patience, within_s=_time(seconds))))

    async def serves(self) -> bool:
        """Whether the server says that it serves. It is asked once: what it says now is the answer."""
        found = await self.part("")
        return found is not None and found.serves

    async def part(self, name: str) -> PartHealth | None:
        """How a part of the server does, as far as the token may know; None when it tells of no such part. It is asked
        once."""
        from grpc_health.v1 import health_pb2

        check = self._caller.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        request = health_pb2.HealthCheckRequest(service=name)
        call = check(request, timeout=CONNECT_TIMEOUT_S, metadata=self._caller.outgoing())
        try:
            answer = await call
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise self._caller.told(error) from error
        serves = bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        return PartHealth.of(serves, await call.trailing_metadata() or ())

    async def close(self) -> None:
        """End what is in flight and disconnect."""
        await self._caller.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def new_id() -> str:
    """A request id that nobody else has."""
    return uuid4().hex


def connect(
    endpoint: str,
    token: str | None = None,
    *,
    within_s: float | None = None,
    tries_max: int = TRIES_MAX,
    new_request_id: Callable[[], str] = new_id,
) -> Client:
    """A client of the server at `host:port`, or `https://host:port`. To be called where an event loop runs.

    `within_s` is the time that a call has for all of its tries (30 s; a deploy 600 s), `tries_max` how many it has;
    with 1, no call is made again. Raises InvalidArgumentError for what is not an endpoint, and rather than send a token
    in plaintext off this machine.
    """
    patience = Patience(None if within_s is None else _time(within_s), max(tries_max, 1))
    where = parse_endpoint(endpoint)
    where.refuse_plaintext()
    metadata = () if token is None else (("authorization", f"Bearer {_checked(token)}"),)
    return Client(
        Caller(str(where), _channel(where), lambda: _upload_channel(where), metadata, new_request_id, patience)
    )


def _time(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{seconds!r} is no time for a call: give a number of seconds")
    return seconds


def _options(where: Endpoint) -> list[tuple[str, object]]:
    options: list[tuple[str, object]] = [
        ("grpc.max_receive_message_length", MESSAGE_SIZE_MAX),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_S * 1000),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_S_MAX * 1000),
        ("grpc.keepalive_time_ms", PING_S * 1000),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_S_MAX * 1000),
        ("grpc.http2.ping_timeout_ms", PING_ANSWER_S_MAX * 1000),
        ("grpc.http2.max_pings_without_data", 0),  # an idle watch sends nothing else, and gRPC would stop after two
    ]
    if not where.tls:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy may be another machine: plaintext stays here
    return options


def _channel(where: Endpoint) -> aio.Channel:
    if where.tls:
        return aio.secure_channel(where.dialled, grpc.ssl_channel_credentials(), options=_options(where))
    return aio.insecure_channel(where.dialled, options=_options(where))


def _upload_channel(where: Endpoint) -> grpc.Channel:
    if where.tls:
        return grpc.secure_channel(where.dialled, grpc.ssl_channel_credentials(), options=_options(where))
    return grpc.insecure_channel(where.dialled, options=_options(where))


def _checked(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidArgumentError("the token has characters that no token has; was it copied whole?")
    return token
