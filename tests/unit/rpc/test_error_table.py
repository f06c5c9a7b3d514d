"""Every error of the API goes over the wire and comes back as itself."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from stepwell import errors as tree
from stepwell.client.errors import DETAILS_TRAILER, code_of, cut, error_from, status_of
from stepwell.errors import ApiError


def every(kind: type[ApiError]) -> list[type[ApiError]]:
    """The classes of the tree; what other modules add to it goes by its parent."""
    known = [each for each in kind.__subclasses__() if each.__module__ == tree.__name__]
    return [found for each in known for found in (each, *every(each))]


def over_the_wire(error: ApiError, *trailers: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    status = status_of(error)
    trailing = grpc.aio.Metadata(("other", "x"), (DETAILS_TRAILER, status.SerializeToString()), *trailers)
    return grpc.aio.AioRpcError(code_of(error), grpc.aio.Metadata(), trailing, error.message)


def details(error: ApiError, kind: type[Message]) -> list[Message]:
    found: list[Message] = []
    for packed in status_of(error).details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize("kind", every(ApiError))
def test_each_class_comes_back_as_itself(kind: type[ApiError]) -> None:
    sent = kind("what happened", tenant="acme")
    sent.metadata["message"] = "not a keyword"
    error = error_from(over_the_wire(sent))
    assert type(error) is kind
    assert (error.message, error.metadata) == ("what happened", {"tenant": "acme", "message": "not a keyword"})


@pytest.mark.parametrize("kind", every(ApiError))
def test_each_error_has_exactly_one_error_info_of_our_domain(kind: type[ApiError]) -> None:
    (info,) = details(kind("x"), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (kind.reason, "stepwell")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", every(ApiError))
def test_what_may_be_tried_again_says_when(kind: type[ApiError]) -> None:
    may = kind.retryable and kind is not tree.DeadlineExceededError
    assert len(details(kind("x"), error_details_pb2.RetryInfo)) == may


@pytest.mark.parametrize("kind", every(ApiError))
def test_a_reason_names_one_class(kind: type[ApiError]) -> None:
    assert [each for each in every(ApiError) if each.reason == kind.reason] == [kind]


def test_a_field_at_fault_is_named() -> None:
    (request,) = details(tree.InvalidArgumentError("bad", field="params"), error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in request.field_violations] == [("params", "bad")]  # type: ignore[attr-defined]
    assert details(tree.InvalidArgumentError("bad"), error_details_pb2.BadRequest) == []


def test_a_reason_of_a_newer_server_goes_by_its_code() -> None:
    info = error_details_pb2.ErrorInfo(reason="QUITE_NEW", domain="stepwell", metadata={"a": "b"})
    status = status_pb2.Status(code=9, message="newer")
    status.details.add().Pack(info)
    trailing = grpc.aio.Metadata((DETAILS_TRAILER, status.SerializeToString()))
    call = grpc.aio.AioRpcError(grpc.StatusCode.FAILED_PRECONDITION, grpc.aio.Metadata(), trailing, "newer")
    error = error_from(call)
    assert type(error) is tree.WrongStateError
    assert error.metadata == {"a": "b"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, tree.UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, tree.DeadlineExceededError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, tree.LimitExceededError),
        (grpc.StatusCode.UNKNOWN, tree.InternalError),
        (grpc.StatusCode.UNIMPLEMENTED, tree.InvalidArgumentError),
    ],
)
@pytest.mark.parametrize("trailers", [grpc.aio.Metadata(), grpc.aio.Metadata((DETAILS_TRAILER, b"\xff\xff"))])
def test_an_answer_of_grpcs_own_goes_by_its_code(
    code: grpc.StatusCode, kind: type[ApiError], trailers: grpc.aio.Metadata
) -> None:
    error = error_from(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, "said gRPC"))
    assert type(error) is kind
    assert "said gRPC" in error.message


def test_a_subclass_of_a_known_error_goes_by_its_parent() -> None:
    class Special(tree.NotFoundError):
        """Not in the table."""

    assert code_of(Special("x")) is grpc.StatusCode.NOT_FOUND
    assert type(error_from(over_the_wire(Special("x")))) is tree.NotFoundError


@pytest.mark.parametrize("text", ["short", "ü" * 5, "ü" * 6, "😀" * 4, "\ud800"])
def test_a_cut_text_is_valid_and_within_its_bytes(text: str) -> None:
    assert len(cut(text, 10).encode()) <= 10
    assert cut("short", 10) == "short"


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("SERVER: Received message larger than max (3145733 vs. 2097152)", "receive_bytes_max"),
        ("CLIENT: Received message larger than max (3145733 vs. 2097152)", "client_message_bytes_max"),
        ("SERVER: Sent message larger than max (3145733 vs. 2097152)", "send_bytes_max"),
        ("received metadata size exceeds hard limit (3145733 vs. 2097152);  :path:68B", "metadata_bytes_max"),
        ("received metadata size exceeds hard limit (value length 3145733 vs. 2097152)", "metadata_bytes_max"),
    ],
)
def test_a_limit_of_grpcs_own_is_told_as_ours_are(message: str, limit: str) -> None:
    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    error = error_from(grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), message))
    assert error.metadata == {"limit": limit, "value": "2097152", "seen": "3145733"}
