"""Calls among an installation's own processes: the public API's methods, and a few of their own, on a listener of
theirs.

Whoever may speak there is one of us: its certificate is by the authority that only processes of this installation have
certificates of. So a call says for whom it is made, in its metadata, and is believed. It also says whether it may be
passed on once more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from rpc import trace_context
from rpc.auth import Metadata, Principal
from rpc.rights import Right
from rpc.tls import Certificates
from stepwell.client.errors import error_from
from stepwell.errors import ApiError, UnauthenticatedError, UnavailableError
from stepwell.names import TenantId

PRINCIPAL_HEADER: Final = "stepwell-principal-bin"
LAST_HOP_HEADER: Final = "stepwell-last-hop"

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one message among processes: what the public API sends at most."""

CONNECT_BACKOFF_MS: Final = 1_000

KEEP_ALIVE_MS: Final = 5_000
"""A process that is cut off is given up after this and two seconds more."""

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", KEEP_ALIVE_MS),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),  # what counts in gRPC's newer releases; without it, a minute
    ("grpc.http2.max_pings_without_data", 0),  # a watch that is passed on says nothing for days; gRPC would ask twice
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", CONNECT_BACKOFF_MS),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
)

last_hop: ContextVar[bool] = ContextVar("stepwell_last_hop", default=False)
"""Whether the call that is being served was passed on already, and must not be again."""


class PeerAuthenticator:
    """For the listener of peers, which lets nobody else in."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        """Raises UnauthenticatedError for a call that doesn't say for whom it is made."""
        headers = dict(metadata)
        last_hop.set(LAST_HOP_HEADER in headers)
        try:
            return _principal(headers[PRINCIPAL_HEADER])
        except (KeyError, ValueError, TypeError):
            raise UnauthenticatedError(
                "this listener is for Stepwell's own processes: send calls to the address for clients"
            ) from None


class PeerChannels:
    """Channels to other processes, one an address, connected when first used. `close` them."""

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._channels: dict[str, tuple[grpc.aio.Channel, object]] = {}

    async def close(self) -> None:
        channels, self._channels = self._channels, {}
        for channel, _ in channels.values():
            await channel.close()

    async def retain(self, addresses: set[str]) -> None:
        """Close the channels to all others."""
        for address in [known for known in self._channels if known not in addresses]:
            channel, _ = self._channels.pop(address)
            await channel.close()

    def to(self, address: str) -> Any:
        """A channel; another one, once the certificates have changed. Not typed: its stubs here want no messages."""
        known = self._channels.get(address)
        credentials = self._certificates.client() if self._certificates is not None else None
        if known is not None and known[1] is credentials:
            return known[0]
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self._channels[address] = channel, credentials
        return channel


class Peers:
    """Calls for somebody, to the process at an address. Raise what serving them raised there; UnavailableError when it
    can't be reached or the connection broke: then whether the call took effect is unknown."""

    def __init__(self, channels: PeerChannels) -> None:
        self._channels = channels

    async def unary(self, address: str, path: str, request: bytes, caller: Principal, *, last: bool) -> bytes:
        call = self._channels.to(address).unary_unary(path)(request, metadata=_metadata(caller, last))
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise told(error, address) from None
        return answer

    async def stream(
        self, address: str, path: str, request: bytes, caller: Principal, *, last: bool
    ) -> AsyncIterator[bytes]:
        call = self._channels.to(address).unary_stream(path)(request, metadata=_metadata(caller, last))
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise told(error, address) from None
        finally:
            call.cancel()

    async def upload(
        self, address: str, path: str, requests: AsyncIterator[bytes], caller: Principal, *, last: bool
    ) -> bytes:
        call = self._channels.to(address).stream_unary(path)(requests, metadata=_metadata(caller, last))
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise told(error, address) from None
        finally:
            call.cancel()
        return answer

    async def ask(
        self, address: str, path: str, request: Message, answer: Callable[[bytes], Any], *, timeout_s: float
    ) -> Any:
        """A call in the installation's own name, which takes so long at most."""
        call = self._channels.to(address).unary_unary(path)
        try:
            return answer(
                await call(request.SerializeToString(), metadata=_metadata(INSTALLATION, True), timeout=timeout_s)
            )
        except grpc.aio.AioRpcError as error:
            raise told(error, address) from None


INSTALLATION: Final = Principal("", None, frozenset(Right))
"""The installation itself."""


def told(error: grpc.aio.AioRpcError, address: str) -> ApiError:
    """What whoever called us is to hear."""
    found = error_from(error)
    if type(found) is UnavailableError and error.code() is not grpc.StatusCode.OK and not error.trailing_metadata():
        return UnavailableError(f"the server at {address} can't be reached at the moment")
    return found


def _metadata(caller: Principal, last: bool) -> tuple[tuple[str, str | bytes], ...]:
    who = json.dumps([caller.token_id, caller.tenant, sorted(caller.rights)]).encode()
    headers: list[tuple[str, str | bytes]] = [(PRINCIPAL_HEADER, who)]
    if last:
        headers.append((LAST_HOP_HEADER, "1"))
    trace = trace_context.current()
    if trace is not None:
        headers.append((trace_context.HEADER, trace.header()))
    return tuple(headers)


def _principal(header: str | bytes) -> Principal:
    token_id, tenant, rights = json.loads(header)
    return Principal(str(token_id), None if tenant is None else TenantId(tenant), frozenset(map(Right, rights)))
