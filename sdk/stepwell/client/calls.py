"""How a call is made: with its token, within its time, again where it may, and gRPC's errors turned into `ApiError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import grpc
from grpc import aio

from stepwell.client.endpoints import NotReachableError
from stepwell.client.errors import DETAILS_TRAILER, error_from
from stepwell.client.patience import CALL_S_MAX, DEPLOY_S_MAX, Patience, retryable
from stepwell.client.tracing import trace_metadata
from stepwell.client.uploads import Upload
from stepwell.errors import ApiError, NotFoundError

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
    patience: Patience = field(default_factory=Patience)

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that is made now."""
        return self.metadata + trace_metadata()

    async def unary(
        self,
        method: aio.UnaryUnaryMultiCallable[Q, A],
        request: Q,
        *,
        usual_s: float = CALL_S_MAX,
        repeats: Callable[[ApiError], bool] = retryable,
    ) -> A:
        """One question, one answer. The same question again where `repeats` says so of its error."""

        async def attempt(within_s: float) -> A:
            try:
                return await method(request, timeout=within_s, metadata=self.outgoing())
            except aio.AioRpcError as error:
                raise self.told(error) from error

        return await self.patience.call(attempt, usual_s=usual_s, repeats=repeats)

    async def removal(
        self, method: aio.UnaryUnaryMultiCallable[Q, A], request: Q, *, usual_s: float = CALL_S_MAX
    ) -> None:
        """A call that takes something away: NotFoundError is what was wanted once an earlier try may have done it."""
        doubt = Doubt()
        try:
            await self.unary(method, request, usual_s=usual_s, repeats=doubt.repeats)
        except NotFoundError:
            if not doubt.raised:
                raise

    async def upload(
        self, method_of: Callable[[grpc.Channel], grpc.StreamUnaryMultiCallable[Q, A]], parts: Callable[[], Iterable[Q]]
    ) -> A:
        """Many parts, one answer: those that `parts()` gives, which each try begins anew. What they raise ends the
        call and is raised here."""

        async def attempt(within_s: float) -> A:
            with self.open_upload_channel() as channel:
                upload = Upload(method_of(channel), parts(), timeout_s=within_s, metadata=self.outgoing())
                try:
                    return await upload.answer()
                except grpc.RpcError as error:
                    raise self.told(cast(aio.AioRpcError, error)) from error  # the two have the same methods

        return await self.patience.call(attempt, usual_s=DEPLOY_S_MAX)

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


@dataclass(slots=True)
class Doubt:
    """Whether a try may have taken effect that is not known to have."""

    raised: bool = False

    def repeats(self, error: ApiError) -> bool:
        """Of a call that takes effect once, however often it arrives."""
        self.raised = self.raised or error.committed != "no"
        return retryable(error)
