"""The requests that other tests change are answered as they stand: so it is the change that is refused there."""

from __future__ import annotations

import pytest

from tests.api.methods import METHODS, Method
from tests.api.requests import FIELDS, IN_INSTANCE, meaning, request
from tests.api.world import World, deployed


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_request_in_good_order_is_answered(world: World, method: Method) -> None:
    if method.name == "InstanceService.DeleteInstance":
        changed = {"name": f"tenants/{world.ours.id}/workflows/order/instances/ended"}
        world.server.call(method.path, request(method, world.ours.values, changed), world.ours.token)
        return
    if method.name == "InstanceService.ForkInstance":
        # Other tests may have restarted it.
        world.until_it_has_steps(IN_INSTANCE.format_map(world.ours.values))
    if method.name == "WorkflowService.DeleteWorkflow":
        # Other tests may need the other one.
        changed = {"name": f"tenants/{world.ours.id}/workflows/refund"}
        world.server.call(method.path, request(method, world.ours.values, changed), world.ours.token)
        deployed(world.server, world.ours.token, method.name.encode())
        return
    if method.name == "WorkflowService.PromoteRoute":
        # Other tests may have led the route elsewhere.
        (setting,) = (each for each in METHODS if each.name == "WorkflowService.SetRoute")
        world.server.call(setting.path, request(setting, world.ours.values), world.ours.token)
    if method.name == "WorkflowService.RollBackRoute":
        # Other tests may have retired the version that the route was led to before.
        deployed(world.server, world.ours.token, method.name.encode())
    if method.name in ("WorkflowService.DrainVersion", "WorkflowService.RetireVersion"):
        # Of a version that no route names.
        (setting,) = (each for each in METHODS if each.name == "WorkflowService.SetRoute")
        spare = deployed(world.server, world.ours.token, method.name.encode())
        for workflow in ("order", "refund"):
            changed = {"name": f"tenants/{world.ours.id}/workflows/{workflow}/route"}
            world.server.call(setting.path, request(setting, world.ours.values, changed), world.ours.token)
        world.server.call(method.path, request(method, world.ours.values, {"name": spare}), world.ours.token)
        return
    token = world.server.operator if method.is_the_operators else world.ours.token
    world.server.call(method.path, request(method, world.ours.values), token)


def test_every_field_means_something_and_no_meaning_is_left_over() -> None:
    fields = [field for method in METHODS for field in method.fields if meaning(field)]
    named = {field.name for field in fields} | {field.path for field in fields}
    assert set(FIELDS) - named == set()
