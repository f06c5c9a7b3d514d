"""The part of the fake server that has workflows and their routes."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell.v1 import workflows_pb2 as w
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceServicer
from tests.unit.cli.troubles import refuse


class FakeRoutes(WorkflowServiceServicer):
    """`whose` is a name as its caller means it, where the token may speak for it."""

    def __init__(self, whose: Callable[[str, grpc.ServicerContext], str]) -> None:
        self._whose = whose
        self.workflows: dict[str, w.Workflow] = {}
        self.routes: dict[str, w.Route] = {}

    def GetWorkflow(self, request: w.GetWorkflowRequest, context: grpc.ServicerContext) -> w.Workflow:
        name = self._whose(request.name, context)
        if name not in self.workflows:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist", workflow=name)
        return self.workflows[name]

    def ListWorkflows(self, request: w.ListWorkflowsRequest, context: grpc.ServicerContext) -> w.ListWorkflowsResponse:
        self._whose(request.parent, context)
        return w.ListWorkflowsResponse(workflows=self.workflows.values())

    def DeleteWorkflow(self, request: w.DeleteWorkflowRequest, context: grpc.ServicerContext) -> Empty:
        del self.workflows[self.GetWorkflow(w.GetWorkflowRequest(name=request.name), context).name]
        return Empty()

    def GetRoute(self, request: w.GetRouteRequest, context: grpc.ServicerContext) -> w.Route:
        name = self._whose(request.name, context)
        if name not in self.routes:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist")
        return self.routes[name]

    def ListRoutes(self, request: w.ListRoutesRequest, context: grpc.ServicerContext) -> w.ListRoutesResponse:
        self._whose(request.parent, context)
        return w.ListRoutesResponse(routes=self.routes.values())

    def SetRoute(self, request: w.SetRouteRequest, context: grpc.ServicerContext) -> w.Route:
        name = self._whose(request.name, context)
        before = self.routes.get(name)
        if request.etag and (before is None or before.etag != request.etag):
            refuse(context, code_pb2.ABORTED, "CONFLICT", "the route has changed")
        etag = str(int(before.etag) + 1 if before else 1)
        targets = [
            w.RouteTarget(version=self._whose(each.version, context), entrypoint="main:Order", weight=each.weight)
            for each in request.targets
        ]
        self.routes[name] = w.Route(
            name=name,
            version=targets[0].version,
            entrypoint="main:Order",
            etag=etag,
            targets=targets,
            previous_targets=before.targets if before else [],
        )
        return self.routes[name]

    def PromoteRoute(self, request: w.PromoteRouteRequest, context: grpc.ServicerContext) -> w.PromoteRouteResponse:
        before = self.GetRoute(w.GetRouteRequest(name=request.name), context)
        version = self._whose(request.version, context) if request.version else before.targets[-1].version
        only = w.RouteTarget(version=version, weight=100)
        setting = w.SetRouteRequest(name=request.name, etag=request.etag, targets=[only])
        return w.PromoteRouteResponse(route=self.SetRoute(setting, context), replaced_targets=before.targets)

    def RollBackRoute(self, request: w.RollBackRouteRequest, context: grpc.ServicerContext) -> w.RollBackRouteResponse:
        before = self.GetRoute(w.GetRouteRequest(name=request.name), context)
        if not before.previous_targets:
            refuse(context, code_pb2.FAILED_PRECONDITION, "WRONG_STATE", "the route can't be rolled back")
        setting = w.SetRouteRequest(name=request.name, etag=request.etag, targets=before.previous_targets)
        return w.RollBackRouteResponse(route=self.SetRoute(setting, context), replaced_targets=before.targets)
