"""The part of the fake server that is about instances and versions which are not their own."""

from __future__ import annotations

import grpc
from google.rpc import code_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.troubles import refuse


class FakeOtherVersions:
    """Of a server that finds instances and tenants. `verdicts` are by instances' names; else it matches."""

    def __init__(self) -> None:
        self.verdicts: dict[str, i.Replay] = {}
        self.replayed: list[str] = []
        self.migrated: list[str] = []
        self.instances: dict[str, i.Instance] = {}

    def found(self, name: str, context: grpc.ServicerContext) -> i.Instance:
        raise NotImplementedError

    def tenant_of(self, name: str, context: grpc.ServicerContext) -> str:
        raise NotImplementedError

    def ForkInstance(self, request: i.ForkInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        """It is put beside its origin, under the id that was asked for, or `made`."""
        origin = self.found(request.name, context)
        forked = i.Instance(name=f"{origin.name.rpartition('/')[0]}/{request.instance_id or 'made'}")
        forked.status, forked.version = i.INSTANCE_STATUS_QUEUED, request.version or origin.version
        forked.forked_from.name, forked.forked_from.uid = origin.name, "u-1"
        forked.forked_from.step_name, forked.forked_from.step_kind = request.step_name, request.step_kind
        forked.forked_from.step_count = request.step_count
        self.instances[forked.name] = forked
        return forked

    def MigrateInstance(self, request: i.MigrateInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        found, version = self.found(request.name, context), self.tenant_of(request.version, context)
        if found.name in self.verdicts:
            refuse(context, code_pb2.FAILED_PRECONDITION, "REPLAY_MISMATCH", "it differs", position="2")
        found.version = version
        self.migrated.append(found.name)
        return found

    def ReplayInstance(self, request: i.ReplayInstanceRequest, context: grpc.ServicerContext) -> i.Replay:
        name = self.found(request.name, context).name
        verdict = self.verdicts.get(name) or i.Replay(verdict=i.REPLAY_VERDICT_MATCHES, next="run returned")
        answer = i.Replay(name=name, version=self.tenant_of(request.version, context))
        answer.MergeFrom(verdict)
        self.replayed.append(name)
        return answer
