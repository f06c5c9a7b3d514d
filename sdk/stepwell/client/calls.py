"""How a call is made: with its token, a deadline, and gRPC's errors turned into `ApiError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import grpc
from grpc import aio

from stepwell.client.endpoints import NotReachableError
from stepwell.client.errors import DETAILS_TRAILER, error_from
from stepwell.client.tracing import trace_metadata
from stepwell.client.uploads import Upload
from stepwell.errors import ApiError

CALL_TIMEOUT_S = 30.0
DEPLOY_TIMEOUT_S = 600.0
"""Upload and the check in a sandbox; a cold sandbox alone may take seconds."""

_CONNECTED = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE)

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Caller:
    """What all calls to one server share."""

    endpoint: str
    channel: aio.Channel
    open_upload_channel: Callable[[], grpc.Channel]
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    """Of every call."""
    new_request_id: Callable[[], str]
    """Lets the server know a call that is sent again for the same one."""

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that is made now."""
        return self.metadata + trace_metadata()

    async def unary(
        self, method: aio.UnaryUnaryMultiCallable[Q, A], request: Q, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> A:
        """One question, one answer, within that time."""
        try:
            return await method(request, timeout=timeout_s, metadata=self.outgoing())
        except aio.AioRpcError as error:
            raise self.told(error) from error

    async def upload(
        self, method_of: Callable[[grpc.Channel], grpc.StreamUnaryMultiCallable[Q, A]], parts: Iterable[Q]
    ) -> A:
        """Many parts, one answer, within DEPLOY_TIMEOUT_S. What `parts` raises ends the call and is raised here."""
        with self.open_upload_channel() as channel:
            upload = Upload(method_of(channel), parts, timeout_s=DEPLOY_TIMEOUT_S, metadata=self.outgoing())
            try:
                return await upload.answer()
            except grpc.RpcError as error:
                raise self.told(cast(aio.AioRpcError, error)) from error  # the two have the same methods

    async def stream(self, method: aio.UnaryStreamMultiCallable[Q, A], request: Q) -> AsyncGenerator[A]:
        """One question, many answers, without a deadline."""
        call = method(request, metadata=self.outgoing())
        try:
            async for answer in call:
                yield answer
        except aio.AioRpcError as error:
            raise self.told(error) from error
        finally:
            call.cancel()

    def told(self, error: aio.AioRpcError) -> ApiError:
        """The error as the tree has it; NotReachableError when it came from the connection and not from a server."""
        if any(key == DETAILS_TRAILER for key, _ in error.trailing_metadata() or ()):
            return error_from(error)
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return NotReachableError(f"{self.endpoint} can't be reached: {error.details()}", endpoint=self.endpoint)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self.channel.get_state() not in _CONNECTED:
            return NotReachableError(f"{self.endpoint} can't be reached: no answer in time", endpoint=self.endpoint)
        return error_from(error)
