"""The one table between Stepwell's errors and gRPC's: the server writes with it, clients read with it.

Every refusal is a canonical gRPC code and a google.rpc.Status with exactly one ErrorInfo, whose `reason` names the
class in `stepwell.errors`; RetryInfo joins it where the same call may be sent again, BadRequest where one field is at
fault. All of it travels in HTTP/2 trailers, which are small: texts are cut, so that the error itself always arrives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell import errors as tree
from stepwell.errors import ApiError

DOMAIN = "stepwell"

DETAILS_TRAILER = "grpc-status-details-bin"
"""Where gRPC carries a google.rpc.Status."""

MESSAGE_BYTES_MAX = 1_024
"""Of an error's message. It travels three times, once percent-encoded, and clients take 8 KiB of trailers."""

METADATA_BYTES_MAX = 1_024
"""Of an error's metadata, keys and values together; what doesn't fit is left out."""

METADATA_VALUE_BYTES_MAX = 256

_CODES: Mapping[type[ApiError], grpc.StatusCode] = {
    tree.InternalError: grpc.StatusCode.INTERNAL,
    tree.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    tree.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    tree.TokenRevokedError: grpc.StatusCode.UNAUTHENTICATED,
    tree.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    tree.NotFoundError: grpc.StatusCode.NOT_FOUND,
    tree.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    tree.WrongStateError: grpc.StatusCode.FAILED_PRECONDITION,
    tree.NotWaitingError: grpc.StatusCode.FAILED_PRECONDITION,
    tree.ReplayMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    tree.BundleRefusedError: grpc.StatusCode.INVALID_ARGUMENT,
    tree.LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    tree.RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    tree.ConflictError: grpc.StatusCode.ABORTED,
    tree.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    tree.SandboxUnavailableError: grpc.StatusCode.UNAVAILABLE,
    tree.DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_BY_REASON: Mapping[str, type[ApiError]] = {kind.reason: kind for kind in _CODES}

_RETRY_DELAYS_MS: Mapping[type[ApiError], int] = {
    tree.RateLimitedError: 1_000,
    tree.ConflictError: 50,
    tree.UnavailableError: 1_000,
    tree.SandboxUnavailableError: 1_000,
}

_WITHOUT_REASON: Mapping[grpc.StatusCode, type[ApiError]] = {
    # What gRPC itself answers, before or instead of Stepwell: no ErrorInfo comes with it.
    grpc.StatusCode.UNAVAILABLE: tree.UnavailableError,
    grpc.StatusCode.CANCELLED: tree.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: tree.DeadlineExceededError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: tree.LimitExceededError,
    grpc.StatusCode.UNIMPLEMENTED: tree.InvalidArgumentError,
    grpc.StatusCode.INVALID_ARGUMENT: tree.InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: tree.InvalidArgumentError,
    grpc.StatusCode.UNAUTHENTICATED: tree.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: tree.PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: tree.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: tree.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: tree.WrongStateError,
    grpc.StatusCode.ABORTED: tree.ConflictError,
}

_GRPC_LIMITS = (
    ("client_message_bytes_max", re.compile(r"CLIENT: Received message larger than max \((\d+) vs\. (\d+)\)")),
    ("receive_bytes_max", re.compile(r"Received message larger than max \((\d+) vs\. (\d+)\)")),
    ("send_bytes_max", re.compile(r"Sent message larger than max \((\d+) vs\. (\d+)\)")),
    ("metadata_bytes_max", re.compile(r"metadata size exceeds .*?\((?:value length )?(\d+) vs\. (\d+)\)")),
)
"""How gRPC words its own refusals: seen, then the limit."""

_GRPC_TOO_MANY_CALLS = "Concurrent RPC limit exceeded"
"""By a server that has as many calls as it takes, whoever made them: the next moment it may have room."""


def code_of(error: ApiError) -> grpc.StatusCode:
    """The canonical code of that error; a subclass that the table doesn't have goes by its nearest parent."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def status_of(error: ApiError) -> status_pb2.Status:
    """The error as google.rpc.Status, cut to what trailers carry."""
    message = cut(error.message, MESSAGE_BYTES_MAX)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_bounded(error.metadata))
    status = status_pb2.Status(code=code_of(error).value[0], message=message, details=[_packed(info)])
    for kind, delay_ms in _RETRY_DELAYS_MS.items():
        if isinstance(error, kind):
            delay = Duration(seconds=delay_ms // 1_000, nanos=delay_ms % 1_000 * 1_000_000)
            status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
            break
    if isinstance(error, tree.InvalidArgumentError) and "field" in error.metadata:
        at_fault = error_details_pb2.BadRequest.FieldViolation(field=error.metadata["field"], description=message)
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=[at_fault])))
    return status


def error_from(error: grpc.aio.AioRpcError) -> ApiError:
    """The error of a failed call, as the class that the server raised.

    A reason that this release doesn't know, and an answer that came from gRPC and not from Stepwell, go by their code.
    """
    status = _status_in(error)
    message = (status.message if status is not None else error.details()) or error.code().name
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            kind = _BY_REASON.get(info.reason) or _WITHOUT_REASON.get(error.code(), tree.InternalError)
            made = _made(kind, message, dict(info.metadata))
            made.retry_delay_s = _retry_delay_s(status)
            return made
    if _GRPC_TOO_MANY_CALLS in message:
        return _made(tree.RateLimitedError, "the server has as many calls as it takes", {"limit": "calls_max"})
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        message = f"the server does not know this call; it may be older than this client ({message})"
    return _made(_WITHOUT_REASON.get(error.code(), tree.InternalError), message, _limit_in(message))


def error_by(reason: str, code: int, message: str, metadata: Mapping[str, str]) -> ApiError:
    """The error of one item of a batch, as the class that a call of its own would have raised."""
    by_code = (kind for status, kind in _WITHOUT_REASON.items() if status.value[0] == code)
    return _made(_BY_REASON.get(reason) or next(by_code, tree.InternalError), message, metadata)


def cut(text: str, bytes_max: int) -> str:
    """The text, without lone surrogates and ended by '…' where it was longer than that in UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return data.decode()
    return data[: bytes_max - 3].decode("utf-8", "ignore") + "…"


def _made(kind: type[ApiError], message: str, metadata: Mapping[str, str]) -> ApiError:
    error = kind(message)
    error.metadata = dict(metadata)
    return error


def _retry_delay_s(status: status_pb2.Status) -> float | None:
    delay = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Is(delay.DESCRIPTOR) and detail.Unpack(delay):
            seconds: float = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
            return max(seconds, 0.0)
    return None


def _limit_in(message: str) -> dict[str, str]:
    """The limit that gRPC itself refused by, from its words; nothing where it has none."""
    for limit, words in _GRPC_LIMITS:
        if found := words.search(message):
            return {"limit": limit, "value": found[2], "seen": found[1]}
    return {}


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = METADATA_BYTES_MAX
    for key, value in metadata.items():
        shown = cut(value, METADATA_VALUE_BYTES_MAX)
        room -= len(key) + len(shown.encode())
        if room < 0:
            break
        kept[key] = shown
    return kept


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_TRAILER and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
