"""The part of the fake server that is about instances and versions which are not their own."""

from __future__ import annotations

import grpc

from stepwell.v1 import instances_pb2 as i


class FakeOtherVersions:
    """Of a server that finds instances and tenants. `verdicts` are by instances' names; else it matches."""

    def __init__(self) -> None:
        self.verdicts: dict[str, i.Replay] = {}
        self.replayed: list[str] = []

    def found(self, name: str, context: grpc.ServicerContext) -> i.Instance:
        raise NotImplementedError

    def tenant_of(self, name: str, context: grpc.ServicerContext) -> str:
        raise NotImplementedError

    def ReplayInstance(self, request: i.ReplayInstanceRequest, context: grpc.ServicerContext) -> i.Replay:
        name = self.found(request.name, context).name
        verdict = self.verdicts.get(name) or i.Replay(verdict=i.REPLAY_VERDICT_MATCHES, next="run returned")
        answer = i.Replay(name=name, version=self.tenant_of(request.version, context))
        answer.MergeFrom(verdict)
        self.replayed.append(name)
        return answer
