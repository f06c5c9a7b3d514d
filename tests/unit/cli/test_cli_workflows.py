"""`stepwell workflows`: what there is to run, and its end."""

from __future__ import annotations

import pytest

from stepwell.v1 import instances_pb2 as i
from stepwell.v1.workflows_pb2 import RouteTarget, Workflow
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import DIGEST, FakeServer
from tests.unit.cli.samples import ORDER, put_errored_order


def test_describing_a_workflow_gives_its_route(cli: Cli, server: FakeServer) -> None:
    name = "tenants/acme/workflows/order"
    version = f"tenants/acme/versions/{DIGEST}"
    targets = [RouteTarget(version=version, entrypoint="main:Order", weight=100)]
    server.workflows[name] = Workflow(name=name, version=version, entrypoint="main:Order", targets=targets)
    expected = {"tenant": "acme", "name": "order", "version": DIGEST, "entrypoint": "main:Order",
                "targets": [{"version": DIGEST, "weight": 100, "entrypoint": "main:Order"}],
                "createTime": None, "updateTime": None}  # fmt: skip
    assert cli("workflows", "describe", "order", "--tenant", "acme", "-o", "json").document == expected
    assert cli("workflows", "list", "--tenant", "acme", "-o", "json").document == {
        "items": [expected],
        "nextPageToken": None,
    }
    assert cli("workflows", "list", "--tenant", "acme").status == 0
    assert cli("workflows", "describe", "order", "--tenant", "acme").status == 0


def put_workflow(server: FakeServer) -> None:
    name = "tenants/acme/workflows/order"
    server.workflows[name] = Workflow(name=name)


def test_a_workflow_is_deleted_with_all_of_its_instances(cli: Cli, server: FakeServer) -> None:
    put_workflow(server)
    put_errored_order(server)
    other = "tenants/acme/workflows/refund/instances/o-1"
    server.instances[other] = i.Instance(name=other)
    for number in range(250):
        name = f"tenants/acme/workflows/order/instances/more-{number}"
        server.instances[name] = i.Instance(name=name, status=i.INSTANCE_STATUS_RUNNING)
    assert cli("workflows", "delete", "order", "--tenant", "acme").out == "Deleted order and 251 instances\n"
    assert [*server.workflows, *server.instances] == [other]
    assert cli("workflows", "delete", "order", "--tenant", "acme", "-o", "json").error["reason"] == "NOT_FOUND"


def test_what_an_interrupted_deletion_left_goes_with_the_same_command(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    deleted = cli("workflows", "delete", "order", "--tenant", "acme", "-o", "json")
    assert deleted.document == {"tenant": "acme", "workflow": "order", "deleted": True, "instances": 1}
    assert server.instances == {}


def test_several_instances_are_deleted_each_by_itself(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    for number in range(3):
        name = f"tenants/acme/workflows/order/instances/more-{number}"
        server.instances[name] = i.Instance(name=name)
    some = cli("instances", "delete", "order", "more-0", "never", "more-1", "--tenant", "acme", "-o", "json")
    assert some.status == 1
    assert some.document == {
        "tenant": "acme",
        "workflow": "order",
        "deleted": ["more-0", "more-1"],
        "refusals": [{"id": "never", "reason": "NOT_FOUND", "message": "no never"}],
    }
    more = cli("instances", "delete", "order", "latest", "never", "--tenant", "acme")
    assert (more.status, more.out) == (1, "Deleted 1 of order; 1 is not\n")
    assert "Not deleted: never: no never" in more.err
    assert cli("instances", "delete", "order", "more-2", "o/1", "--tenant", "acme").status == 2
    assert cli("instances", "delete", "order", "--tenant", "acme").status == 2


def test_instances_that_stay_are_named(cli: Cli, server: FakeServer, environ: pytest.MonkeyPatch) -> None:
    environ.setattr("stepwell.cli.workflows.LOOK_S", 0.0)
    put_workflow(server)
    put_errored_order(server)
    server.undeletable = True
    refused = cli("workflows", "delete", "order", "--tenant", "acme", "-o", "json")
    assert refused.error["reason"] == "CONFLICT"
    assert ORDER in refused.error["message"]
    server.undeletable = False
    assert cli("workflows", "delete", "order", "--tenant", "acme").out == "Deleted order and 1 instance\n"
