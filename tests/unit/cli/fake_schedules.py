"""The part of the fake server that has schedules."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.rpc import code_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell.v1 import workflows_pb2 as w
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceServicer
from tests.unit.cli.troubles import refuse


class FakeSchedules(WorkflowServiceServicer):
    """`own` is a name as its caller means it, where the token may speak for it."""

    def __init__(self, own: Callable[[str, grpc.ServicerContext], str]) -> None:
        self._own = own
        self.schedules: dict[str, w.WorkflowSchedules] = {}

    def ListSchedules(self, request: w.ListSchedulesRequest, context: grpc.ServicerContext) -> w.ListSchedulesResponse:
        self._own(request.parent, context)
        return w.ListSchedulesResponse(workflows=self.schedules.values())

    def PauseSchedules(self, request: w.PauseSchedulesRequest, context: grpc.ServicerContext) -> w.WorkflowSchedules:
        return self._paused(request.name, True, context)

    def ResumeSchedules(self, request: w.ResumeSchedulesRequest, context: grpc.ServicerContext) -> w.WorkflowSchedules:
        return self._paused(request.name, False, context)

    def _paused(self, name: str, paused: bool, context: grpc.ServicerContext) -> w.WorkflowSchedules:
        name = self._own(name, context)
        if name not in self.schedules:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist")
        self.schedules[name].paused = paused
        return self.schedules[name]
