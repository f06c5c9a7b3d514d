"""Tools learn what the API is, with a token, and nothing of what is no API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2_grpc

from data_plane.journal.v1 import journal_pb2
from rpc.auth import Authenticator
from rpc.health import Health
from rpc.limits import RpcLimits
from rpc.open_calls import OpenCalls
from rpc.reflection import reflecting
from rpc.server import Service, build_server
from stepwell.client.errors import error_from
from stepwell.v1 import instances_pb2, tenants_pb2, workflows_pb2
from tests.unit.rpc.echo import READERS, Log, Records

SERVICES = [
    service.full_name
    for file in (tenants_pb2, workflows_pb2, instances_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
TOKEN = (("authorization", f"Bearer {READERS.text}"),)


@asynccontextmanager
async def served() -> AsyncIterator[Any]:
    records = Records()
    server = await build_server(
        [Service(reflection_pb2_grpc.add_ServerReflectionServicer_to_server, reflecting(SERVICES))],
        authenticator=Authenticator(records),
        calls=OpenCalls(records, RpcLimits(), time.monotonic),
        health=Health(SERVICES),
        log=Log(),
        mint_correlation_id=lambda: "c-1",
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    async with channel:
        yield reflection_pb2_grpc.ServerReflectionStub(channel)
    await server.stop(None)


async def ask(stub: Any, request: pb.ServerReflectionRequest, metadata: Any = TOKEN) -> pb.ServerReflectionResponse:
    (answer,) = [each async for each in stub.ServerReflectionInfo(iter([request]), metadata=metadata)]
    assert isinstance(answer, pb.ServerReflectionResponse)
    return answer


async def test_services_are_listed_for_any_token() -> None:
    async with served() as stub:
        answer = await ask(stub, pb.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in answer.list_services_response.service}
    assert listed == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_without_a_token_nothing_is_told() -> None:
    async with served() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await ask(stub, pb.ServerReflectionRequest(list_services=""), metadata=())
    assert error_from(ended.value).reason == "UNAUTHENTICATED"


async def test_a_service_comes_with_all_that_its_messages_are_made_of() -> None:
    async with served() as stub:
        answer = await ask(stub, pb.ServerReflectionRequest(file_containing_symbol=SERVICES[2]))
    files = {
        FileDescriptorProto.FromString(each).name for each in answer.file_descriptor_response.file_descriptor_proto
    }
    assert files == {
        "stepwell/v1/instances.proto",
        "stepwell/v1/resources.proto",
        "google/protobuf/empty.proto",
        "google/protobuf/timestamp.proto",
    }


@pytest.mark.parametrize(
    "request_",
    [
        pb.ServerReflectionRequest(file_by_filename=journal_pb2.DESCRIPTOR.name),
        pb.ServerReflectionRequest(file_containing_symbol=f"{journal_pb2.DESCRIPTOR.package}.Created"),
        pb.ServerReflectionRequest(file_by_filename="/etc/passwd"),
    ],
)
async def test_what_is_no_api_is_not_found(request_: pb.ServerReflectionRequest) -> None:
    async with served() as stub:
        answer = await ask(stub, request_)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
