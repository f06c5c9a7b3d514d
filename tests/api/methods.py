"""Every call of the API and every field of its requests, read from the protos: what is new there is new here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from stepwell.v1 import instances_pb2, nodes_pb2, tenants_pb2, workflows_pb2


@dataclass(frozen=True, slots=True)
class Method:
    """One call. `path` is what HTTP/2 has; `name` is Service.Method."""

    path: str
    name: str
    request: type[Message]
    answer: type[Message]
    streams_requests: bool
    streams_answers: bool

    @property
    def fields(self) -> list[Field]:
        """All fields of its request that hold a value of their own, those of messages within it too."""
        return list(_fields(self.request.DESCRIPTOR, ""))

    @property
    def is_the_operators(self) -> bool:
        """Whether a tenant's token is refused whatever it names."""
        return self.path.startswith(("/stepwell.v1.TenantService/", "/stepwell.v1.NodeService/"))

    @property
    def is_a_tenants_list(self) -> bool:
        """Whether it gives pages of what is a tenant's."""
        return not self.is_the_operators and "page_token" in self.request.DESCRIPTOR.fields_by_name


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value stands in a request: `path` leads there through messages, as in `header.parent`."""

    path: str
    descriptor: FieldDescriptor

    @property
    def name(self) -> str:
        """Message.field, as the proto declares it."""
        return ".".join(self.descriptor.full_name.split(".")[-2:])

    @property
    def is_repeated(self) -> bool:
        return self.descriptor.is_repeated

    @property
    def is_map(self) -> bool:
        message = self.descriptor.message_type
        return message is not None and message.GetOptions().map_entry


def _all() -> Iterator[Method]:
    for module in (tenants_pb2, workflows_pb2, instances_pb2, nodes_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield _method(method)


def _method(method: MethodDescriptor) -> Method:
    service = method.containing_service
    return Method(
        f"/{service.full_name}/{method.name}",
        f"{service.name}.{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )


def _fields(message: Any, path: str) -> Iterator[Field]:
    for descriptor in message.fields:
        field = Field(f"{path}{descriptor.name}", descriptor)
        if descriptor.message_type is None or field.is_map:
            yield field
        else:
            yield from _fields(descriptor.message_type, f"{field.path}.")


METHODS = tuple(_all())
