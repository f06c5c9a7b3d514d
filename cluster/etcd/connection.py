"""Calls to an etcd cluster: one member at a time, another one when that does not answer.

An etcd client that is kept up for Python's asyncio does not exist, and the part that is needed is small: unary calls
and one kind of stream, by the field numbers of etcd's own proto. A call that may have been sent is never sent again
from here: whether that is safe, its caller knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import Message

from cluster.etcd import wire_pb2 as pb
from stepwell.errors import UnavailableError

A = TypeVar("A", bound=Message)

CONNECT_S: Final = 1.0
"""How long a member may take to be connected before the next one is tried."""

CALL_S: Final = 2.0
"""How long a call may take once it is sent: etcd's own requests time out after some 7 s, which is too long for leases
of 10 s."""

KEEP_ALIVE_MS: Final = 6_000
"""A connection on which a call waits and nothing comes is asked for a sign of life so often, so that a member that is
cut off is given up. etcd closes connections that ask more often than every 5 s, or without a call."""

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", KEEP_ALIVE_MS),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),  # what is read is bounded by what is asked for
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Operator-set. `endpoints` are `host:port` of members, tried in this order."""

    endpoints: Sequence[str]
    prefix: str = "stepwell/"
    """Of all keys of one installation: several may share an etcd."""
    authority: bytes | None = field(default=None, repr=False)
    """A PEM of the certificates that members are trusted by. Without it, nothing is encrypted."""
    certificate: bytes | None = field(default=None, repr=False)
    """A PEM of this client's own, with `private_key`, where etcd asks for one."""
    private_key: bytes | None = field(default=None, repr=False)
    user: str = ""
    password: str = field(default="", repr=False)


class EtcdCallError(UnavailableError):
    """etcd refused a call, or did not answer; `code` is gRPC's."""

    def __init__(self, endpoint: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"etcd at {endpoint}: {details or code.name.lower().replace('_', ' ')}")
        self.code = code
        self.details = details


class EtcdConnection:
    """Of one process. An async context manager; nothing is connected before the first call."""

    def __init__(self, settings: EtcdSettings) -> None:
        if not settings.endpoints:
            raise ValueError("etcd needs at least one endpoint, as host:port")
        if not settings.prefix:
            raise ValueError("an installation's keys in etcd need a prefix")
        self._settings = settings
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._current = 0
        self._token = ""
        self._authenticating = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for channel in self._channels.values():
            await channel.close()

    async def call(self, method: str, request: Message, response: type[A]) -> A:
        """One call, sent once. Raises EtcdCallError: unless it was refused, its outcome is unknown."""
        endpoint, channel = await self._connected()
        token = await self._authenticated(endpoint, channel)
        try:
            return await self._unary(endpoint, channel, method, request, response, token)
        except EtcdCallError as error:
            if not self._has_expired(error):
                raise
        # It was refused before anything was done: the token had grown old.
        self._forget(token)
        token = await self._authenticated(endpoint, channel)
        return await self._unary(endpoint, channel, method, request, response, token)

    async def stream(
        self, method: str, requests: AsyncGenerator[Message, None], response: type[A], *, silent_s_max: float
    ) -> AsyncGenerator[A, None]:
        """A stream both ways, until either side ends it. Raises EtcdCallError when it breaks, or says nothing for so
        long: that member is passed over then."""
        endpoint, channel = await self._connected()
        token = await self._authenticated(endpoint, channel)
        call = channel.stream_stream(method, request_serializer=_serialized, response_deserializer=response.FromString)(
            requests, metadata=_metadata(token)
        )
        try:
            while True:
                async with asyncio.timeout(silent_s_max):
                    message: Any = await call.read()
                if message is grpc.aio.EOF:
                    return
                yield message
        except TimeoutError:
            self._go_on_from(endpoint)
            silent = f"it said nothing for {silent_s_max:.0f} s"
            raise EtcdCallError(endpoint, grpc.StatusCode.DEADLINE_EXCEEDED, silent) from None
        except grpc.aio.AioRpcError as error:
            failed = self._failed(endpoint, error)
            if self._has_expired(failed):
                self._forget(token)
            raise failed from None
        finally:
            call.cancel()

    # ---------------------------------------------------------------- members
    async def _connected(self) -> tuple[str, grpc.aio.Channel]:
        """The member that is used at present, or the next one that can be reached."""
        endpoints = self._settings.endpoints
        for _ in endpoints:
            if self._closed:
                break
            endpoint = endpoints[self._current]
            channel = self._channel(endpoint)
            try:
                async with asyncio.timeout(CONNECT_S):
                    await channel.channel_ready()
            except TimeoutError:
                self._go_on_from(endpoint)
            else:
                return endpoint, channel
        if self._closed:
            raise UnavailableError("the cluster's store is closed: this process is stopping")
        raise EtcdCallError(", ".join(endpoints), grpc.StatusCode.UNAVAILABLE, "no member can be reached")

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        channel = self._channels.get(endpoint)
        if channel is None:
            settings = self._settings
            if settings.authority is None:
                channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
            else:
                credentials = grpc.ssl_channel_credentials(
                    settings.authority, settings.private_key, settings.certificate
                )
                channel = grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
            self._channels[endpoint] = channel
        return channel

    def _go_on_from(self, endpoint: str) -> None:
        """That member is of no use now."""
        endpoints = self._settings.endpoints
        if endpoints[self._current] == endpoint:
            self._current = (self._current + 1) % len(endpoints)

    # ---------------------------------------------------------------- calls
    async def _unary(
        self, endpoint: str, channel: grpc.aio.Channel, method: str, request: Message, response: type[A], token: str
    ) -> A:
        call = channel.unary_unary(method, request_serializer=_serialized, response_deserializer=response.FromString)
        try:
            answer: A = await call(request, timeout=CALL_S, metadata=_metadata(token))
        except grpc.aio.AioRpcError as error:
            raise self._failed(endpoint, error) from None
        return answer

    def _failed(self, endpoint: str, error: grpc.aio.AioRpcError) -> EtcdCallError:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            self._go_on_from(endpoint)
        return EtcdCallError(endpoint, error.code(), error.details() or "")

    # ---------------------------------------------------------------- passwords
    async def _authenticated(self, endpoint: str, channel: grpc.aio.Channel) -> str:
        settings = self._settings
        if not settings.user:
            return ""
        async with self._authenticating:
            if not self._token:
                request = pb.AuthenticateRequest(name=settings.user, password=settings.password)
                answer = await self._unary(
                    endpoint, channel, "/etcdserverpb.Auth/Authenticate", request, pb.AuthenticateResponse, ""
                )
                self._token = answer.token
        return self._token

    def _has_expired(self, error: EtcdCallError) -> bool:
        return bool(self._settings.user) and error.code is grpc.StatusCode.UNAUTHENTICATED

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token = ""


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("token", token),) if token else ()
