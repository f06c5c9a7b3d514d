"""What stands around every method: its caller is authenticated first, its errors are told by the table.

Methods are wrapped once, when a service is registered, and not by a gRPC interceptor, which would cost every call a
coroutine, a closure and a look-up more. `GuardedRegistrar` is all that a service gets to register itself with, so there
is no method without its guard.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from rpc.auth import Authenticator, set_principal
from rpc.faults import Faults, already_ended

Behaviour = Callable[[Any, Any], Any]

READ_OUT_SECONDS_MAX = 5.0
"""How long the rest of a refused upload is read and thrown away.

A grpc.aio client that writes at the moment in which its call ends reports "Internal error from Core" and loses the
server's reason (1 % of calls, measured with grpcio 1.85); once it has sent everything, it gets the reason.
"""


class GuardedRegistrar:
    """Takes the place of a `grpc.aio.Server` for the generated `add_…Servicer_to_server` functions."""

    def __init__(self, server: grpc.aio.Server, authenticator: Authenticator, faults: Faults) -> None:
        self._server = server
        self._authenticator = authenticator
        self._faults = faults

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the same methods come, by name, through `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the service with every method guarded."""
        guarded = {name: self._guarded(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def _guarded(self, method: str, handler: Any) -> Any:
        codec = (handler.request_deserializer, handler.response_serializer)
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(self._answer(method, handler.unary_unary), *codec)
            case True, False:
                answer = self._answer(method, handler.stream_unary, reads_stream=True)
                return grpc.stream_unary_rpc_method_handler(answer, *codec)
            case False, True:
                return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), *codec)
            case _:
                return grpc.stream_stream_rpc_method_handler(self._stream(method, handler.stream_stream), *codec)

    def _answer(
        self, method: str, behaviour: Behaviour, *, reads_stream: bool = False
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        """Around a method with one response. A cancelled call passes through: it is no error."""
        authenticate, end = self._authenticator.authenticate, self._faults.end
        if not inspect.iscoroutinefunction(behaviour):
            raise TypeError(f"{method} is to be an async def")

        async def guarded(request: Any, context: Any) -> Any:
            try:
                set_principal(await authenticate(context.invocation_metadata() or ()))
                return await behaviour(request, context)
            except Exception as error:
                if already_ended(error):
                    raise
                if reads_stream:
                    await _read_out(request)
                await end(context, method, error)

        return guarded

    def _stream(self, method: str, behaviour: Behaviour) -> Callable[[Any, Any], AsyncIterator[Any]]:
        """Around a method with a stream of responses, which is an async generator."""
        authenticate, end = self._authenticator.authenticate, self._faults.end
        if not inspect.isasyncgenfunction(behaviour):
            raise TypeError(f"{method} is to be an async generator")

        async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                set_principal(await authenticate(context.invocation_metadata() or ()))
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:
                if already_ended(error):
                    raise
                await end(context, method, error)

        return guarded


async def _read_out(requests: AsyncIterator[Any]) -> None:
    try:
        async with asyncio.timeout(READ_OUT_SECONDS_MAX):
            async for _ in requests:
                pass
    except TimeoutError:
        pass
