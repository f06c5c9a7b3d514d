"""Two tenants with the same things each, as every test of the API meets them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import tenants_pb2 as t
from stepwell.v1 import workflows_pb2 as w
from tests.api.methods import METHODS, Method
from tests.api.requests import RUNNING, WORKFLOW, request
from tests.api.running import CALL_S_MAX, Running

OURS, THEIRS = "acme", "globex"
ENDED = "ended"

HIDDEN = "hidden"
"""An instance that only the other tenant has."""

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Tenancy:
    """One tenant's things, as texts that a request may have: `values` by what they are."""

    id: str
    token: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class World:
    """`ours` and `theirs` have instances of the same ids, one that runs and one that has ended."""

    server: Running
    ours: Tenancy
    theirs: Tenancy

    def until_it_has_steps(self, instance: str) -> None:
        """One of ours has begun."""
        steps, until_s = i.ListStepsRequest(parent=instance).SerializeToString(), time.monotonic() + CALL_S_MAX
        path = "/stepwell.v1.InstanceService/ListSteps"
        while not i.ListStepsResponse.FromString(self.server.call(path, steps, self.ours.token)[0]).steps:
            assert time.monotonic() < until_s
            time.sleep(0.01)


def made(server: Running) -> World:
    """To be made once in a server."""
    return World(server, _tenancy(server, OURS), _tenancy(server, THEIRS))


def _tenancy(server: Running, tenant: str) -> Tenancy:
    create = t.CreateTenantRequest(tenant_id=tenant)
    server.call("/stepwell.v1.TenantService/CreateTenant", create.SerializeToString(), server.operator)
    token, spare = _minted(server, tenant).secret, _minted(server, tenant).token.name
    versions = [deployed(server, token, f"{tenant} {number}".encode()) for number in (1, 2)]
    parent = f"tenants/{tenant}/workflows/{WORKFLOW}"
    for instance in (RUNNING, "two", ENDED, *([HIDDEN] if tenant == THEIRS else [])):
        asked = i.CreateInstanceRequest(parent=parent, instance_id=instance).SerializeToString()
        server.call("/stepwell.v1.InstanceService/CreateInstance", asked, token)
    for payload in (b"1", b"2"):
        event = i.SendEventRequest(name=f"{parent}/instances/{RUNNING}", type="noise", payload=payload)
        server.call("/stepwell.v1.InstanceService/SendEvent", event.SerializeToString(), token)
    ended = i.TerminateInstanceRequest(name=f"{parent}/instances/{ENDED}").SerializeToString()
    server.call("/stepwell.v1.InstanceService/TerminateInstance", ended, token)
    one = f"tenants/-/workflows/{WORKFLOW}/instances/{RUNNING}"
    values = {
        "tenant": tenant,
        "version": versions[-1].removeprefix(f"tenants/{tenant}/versions/"),
        "token": spare.rpartition("/")[2],
        "cursor": _cursor(server, token, i.WatchInstanceRequest(name=one)),
    }
    for method in METHODS:
        if method.is_a_tenants_list:
            values[method.name] = _next_page(server, token, method, values)
    return Tenancy(tenant, token, values)


def _minted(server: Running, tenant: str) -> t.CreateTokenResponse:
    asked = t.CreateTokenRequest(parent=f"tenants/{tenant}").SerializeToString()
    (answer,) = server.call("/stepwell.v1.TenantService/CreateToken", asked, server.operator)
    return t.CreateTokenResponse.FromString(answer)


def deployed(server: Running, token: str, code: bytes, parent: str = "tenants/-") -> str:
    """The name of a version of that file and an empty one."""
    more = w.DeployVersionRequest(file=w.DeployVersionRequest.File(path="more.py")).SerializeToString()
    (answer,) = server.call("/stepwell.v1.WorkflowService/DeployVersion", [*deploy(parent, code), more], token)
    return w.DeployVersionResponse.FromString(answer).version.name


def deploy(parent: str, code: bytes, *workflows: str) -> Iterator[bytes]:
    """The parts of a deploy of one file."""
    ids = workflows or (WORKFLOW, "refund")
    entries = [w.WorkflowEntry(workflow_id=each, entrypoint="main:Order") for each in ids]
    header = w.DeployVersionRequest.Header(parent=parent, manifest=w.Manifest(workflows=entries))
    yield w.DeployVersionRequest(header=header).SerializeToString()
    yield w.DeployVersionRequest(file=w.DeployVersionRequest.File(path="main.py")).SerializeToString()
    yield w.DeployVersionRequest(chunk=code).SerializeToString()


def _cursor(server: Running, token: str, request: i.WatchInstanceRequest) -> str:
    """That of the first event."""
    (answer,) = server.call("/stepwell.v1.InstanceService/WatchInstance", request.SerializeToString(), token)
    return i.InstanceEvent.FromString(answer).cursor


def _next_page(server: Running, token: str, method: Method, values: Mapping[str, str]) -> str:
    """The token of the second page of that list of the tenant's, asked for as `tenants/-`, once it has one."""
    asked = request(method, {**values, "tenant": "-"}, {"page_size": 1})
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer: Any = method.answer()
        answer.ParseFromString(*server.call(method.path, asked, token))
        if answer.next_page_token:
            return str(answer.next_page_token)
    raise AssertionError(f"{method.name} has one page alone: {answer}")
