"""gRPC's server reflection: tells tools such as grpcurl what the API is. It asks for a token like everything else.

It tells of the services that it is given and of what their messages are made of, and of nothing else that this process
has protos for: bytes at rest and the words between processes are no API.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio


def reflecting(services: Sequence[str]) -> aio.ReflectionServicer:
    """The servicer that tells of those services, whose stubs are loaded, of itself and of gRPC's health."""
    known = descriptor_pool.Default()
    told = descriptor_pool.DescriptorPool()
    names = (*services, "grpc.health.v1.Health", SERVICE_NAME)
    for name in names:
        _add(known.FindServiceByName(name).file, told)
    return aio.ReflectionServicer(names, pool=told)


def _add(file: FileDescriptor, pool: descriptor_pool.DescriptorPool) -> None:
    for needed in file.dependencies:
        _add(needed, pool)
    pool.AddSerializedFile(file.serialized_pb)
