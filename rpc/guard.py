"""What stands around every method: who calls, whether they may, how many they are, and how their errors are told.

Methods are wrapped once, when a service is registered, and not by a gRPC interceptor, which would cost every call a
coroutine, a closure and a look-up more. `GuardedRegistrar` is all that a service gets to register itself with, so there
is no method without its guard, and none without a right that it asks for (`rpc.rights`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from rpc.auth import Authenticates, set_principal
from rpc.decoding import or_raise
from rpc.faults import Faults, already_ended
from rpc.observing import CallObserver
from rpc.open_calls import OpenCalls
from rpc.rights import Right, Table, needed
from stepwell.errors import InvalidArgumentError, PermissionDeniedError, TokenRevokedError

Behaviour = Callable[[Any, Any], Any]

READ_OUT_SECONDS_MAX = 5.0
"""How long the rest of a refused upload is read and thrown away.

A grpc.aio client that writes at the moment in which its call ends reports "Internal error from Core" and loses the
server's reason (1 % of calls, measured with grpcio 1.85); once it has sent everything, it gets the reason.
"""

READ_OUTS_MAX = 100
"""Refused uploads that are read at once, whoever sends them: no flood of them is to take up `calls_max`."""


class GuardedRegistrar:
    """Takes the place of a `grpc.aio.Server` for the generated `add_…Servicer_to_server` functions."""

    def __init__(
        self,
        server: grpc.aio.Server,
        authenticator: Authenticates,
        calls: OpenCalls,
        faults: Faults,
        rights: Table,
        observer: CallObserver | None = None,
    ) -> None:
        self._server = server
        self._authenticator = authenticator
        self._calls = calls
        self._faults = faults
        self._rights = rights
        self._observer = observer
        self._read_outs = 0

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the same methods come, by name, through `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the service with every method guarded. Raises LookupError for one that asks for no right."""
        guarded = {name: self._guarded(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def _guarded(self, service: str, name: str, handler: Any) -> Any:
        """The method as one that reads a stream of requests, whatever it is. On the wire the two are alike, and so the
        guard itself waits for the request, once it knows who calls and that they may."""
        method, right = f"/{service}/{name}", needed(self._rights, service, name)
        codec = (or_raise(handler.request_deserializer), handler.response_serializer)
        if handler.response_streaming:
            behaviour = _streamed(method, handler.stream_stream or handler.unary_stream)
            kind = grpc.stream_stream_rpc_method_handler
        else:
            behaviour = _answered(method, handler.stream_unary or handler.unary_unary)
            kind = grpc.stream_unary_rpc_method_handler
        reads_stream, streams = bool(handler.request_streaming), int(handler.response_streaming)
        guarded = self._guard(method, right, behaviour, streams=streams, reads_stream=reads_stream)
        if self._observer is not None:
            guarded = _observed(self._observer, method[1:], guarded, streams=bool(streams))
        return kind(guarded, *codec)

    def _guard(self, method: str, right: Right, behaviour: Behaviour, *, streams: int, reads_stream: bool) -> Behaviour:
        """Around a method. A call that its client cancelled passes through: it is no error."""
        authenticate, calls, fail = self._authenticator.authenticate, self._calls, self._faults.end

        async def guarded(request: Any, context: Any) -> Any:
            try:
                who = await authenticate(context.invocation_metadata() or ())
                if right not in who.rights:
                    raise _refused(right)
                serving: Any = asyncio.current_task()
                share = calls.begin(who, serving, streams)
                try:
                    set_principal(who)
                    if not reads_stream:
                        calls.awaits_request(serving)
                        request = await context.read()
                        calls.has_request(serving)
                        if request is grpc.aio.EOF:
                            raise InvalidArgumentError("the call ended before its request: it takes one message")
                    if (pause_s := calls.pause_s(who, share)) > 0:
                        await asyncio.sleep(pause_s)
                    return await behaviour(request, context)
                except asyncio.CancelledError:
                    why = calls.why_ended(serving)
                    if why is None:
                        raise
                    serving.uncancel()
                    raise why from None
                finally:
                    calls.end(share, serving, streams)
            except Exception as error:
                if already_ended(error):
                    raise
                if reads_stream and not isinstance(error, TokenRevokedError):
                    await self._read_out(request)
                await fail(context, method, error)

        return guarded

    async def _read_out(self, requests: AsyncIterator[Any]) -> None:
        if self._read_outs >= READ_OUTS_MAX:
            return
        self._read_outs += 1
        try:
            async with asyncio.timeout(READ_OUT_SECONDS_MAX):
                async for _ in requests:
                    pass
        except (TimeoutError, InvalidArgumentError):
            pass
        finally:
            self._read_outs -= 1


def _observed(observer: CallObserver, method: str, guarded: Behaviour, *, streams: bool) -> Behaviour:
    """Around the guard, so that refusals count too."""

    async def observed(request: Any, context: Any) -> Any:
        call = observer.begun(method, context.invocation_metadata() or (), streams=streams)
        code = grpc.StatusCode.UNKNOWN
        try:
            answer = await guarded(request, context)
            code = grpc.StatusCode.OK
            return answer
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            call.ended(code)

    return observed


def _answered(method: str, behaviour: Behaviour) -> Behaviour:
    """A method with one response."""
    if not inspect.iscoroutinefunction(behaviour):
        raise TypeError(f"{method} is to be an async def")
    return behaviour


def _streamed(method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Behaviour:
    """A method with a stream of responses, which is an async generator.

    The guard writes them itself, so that whenever its task is cancelled, it is the guard that hears of it: were it a
    generator, one that is cancelled while gRPC waits for a client that doesn't read would end without a status, and its
    client would wait for ever.
    """
    if not inspect.isasyncgenfunction(behaviour):
        raise TypeError(f"{method} is to be an async generator")

    async def stream(request: Any, context: Any) -> None:
        write = context.write
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await write(response)

    return stream


def _refused(right: Right) -> PermissionDeniedError:
    """The same words for every token that lacks the right, whatever the call names."""
    if right is Right.OPERATE:
        return PermissionDeniedError("this call takes an operator's token; the one that was sent is a tenant's")
    return PermissionDeniedError(
        f"this call takes a token with the scope {right.value!r}, and the one that was sent is without it",
        scope=right.value,
    )
