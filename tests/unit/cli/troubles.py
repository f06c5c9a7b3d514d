"""How calls to the fake server end in place of their answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any as Anything
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # the wheel has no stubs
from grpc_status import rpc_status


def refuse(context: grpc.ServicerContext, code: int, reason: str, message: str, **metadata: str) -> NoReturn:
    info = Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="stepwell", metadata=metadata))
    context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=code, message=message, details=[info])))
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Trouble:
    """How one call ends in place of its answer; `done` when it has had its effect all the same."""

    code: grpc.StatusCode
    reason: str = ""
    """Without one, it is an answer of gRPC's own."""
    done: bool = False
    retry_delay_ms: int | None = None

    def end(self, context: grpc.ServicerContext) -> NoReturn:
        if not self.reason:
            context.abort(self.code, "trouble")
        status = status_pb2.Status(code=self.code.value[0], message="trouble")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="stepwell"))
        if self.retry_delay_ms is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(self.retry_delay_ms)
            status.details.add().Pack(retry)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError


class Troubles(grpc.ServerInterceptor):
    """By method, how its next calls end; and the requests that came, whatever became of them."""

    def __init__(self) -> None:
        self.next: defaultdict[str, list[Trouble]] = defaultdict(list)
        self.asked: defaultdict[str, list[Anything]] = defaultdict(list)

    def intercept_service(self, continuation: Callable[..., Anything], details: Anything) -> Anything:
        handler, method = continuation(details), details.method.rpartition("/")[2]
        if handler is None or handler.unary_unary is None:
            return handler

        def serve(request: Anything, context: grpc.ServicerContext) -> Anything:
            self.asked[method].append(request)
            trouble = self.next[method].pop(0) if self.next[method] else None
            answer = handler.unary_unary(request, context) if trouble is None or trouble.done else None
            if trouble is not None:
                trouble.end(context)
            return answer

        return grpc.unary_unary_rpc_method_handler(serve, handler.request_deserializer, handler.response_serializer)
