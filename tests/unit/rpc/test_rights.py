"""Which token may call what: one table, and no method without its place in it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cluster.records import Scope, Token
from rpc import rights
from rpc.auth import principal_of
from rpc.guard import GuardedRegistrar
from rpc.rights import RIGHTS, Right, needed
from stepwell.client.errors import error_from
from stepwell.errors import PermissionDeniedError
from stepwell.names import TenantId, TenantUid
from stepwell.v1 import instances_pb2, nodes_pb2, tenants_pb2, workflows_pb2
from tests.unit.rpc.echo import NAME, OPERATORS, READERS, TENANTS, Echo, add_echo, served

SERVICES = {
    service.full_name: {method.name for method in service.methods}
    for file in (tenants_pb2, workflows_pb2, instances_pb2, nodes_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def test_the_table_has_each_method_of_the_api_and_no_other() -> None:
    assert {service: {*methods} for service, methods in RIGHTS.items() if service.startswith("stepwell.")} == SERVICES


def test_what_changes_nothing_asks_for_read_and_nothing_else_does() -> None:
    reading = {
        method
        for service in SERVICES
        for method, right in RIGHTS[service].items()
        if right is not Right.OPERATE and method.startswith(("Get", "List", "Watch", "Replay"))
    }
    part_of_a_deploy = {"GetGuestRuntime"}  # a token that may deploy and nothing else needs it, and no other does
    assert reading - part_of_a_deploy == {
        method for s in SERVICES for method, right in RIGHTS[s].items() if right is Right.READ
    }


@pytest.mark.parametrize("gone", ["UnaryUnary", "StreamStream"])
def test_a_method_without_a_right_can_not_be_registered(gone: str) -> None:
    anything: Any = _Anything()
    table = {NAME: {method: Right.RUN for method in ("UnaryUnary", "StreamStream") if method != gone}}
    registrar = GuardedRegistrar(anything, anything, anything, anything, table)
    with pytest.raises(LookupError, match="doesn't say which right"):
        add_echo(Echo(), registrar)
    with pytest.raises(LookupError, match=f"/{NAME}/{gone}: the table in rpc/rights.py"):
        needed(table, NAME, gone)


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return None


def token(*scopes: Scope, operators: bool = False) -> Token:
    owner = (None, None) if operators else (TenantId("acme"), TenantUid("u1"))
    return Token("t1", "", owner[0], owner[1], 1, scopes)


def test_no_scope_includes_another() -> None:
    for scope in Scope:
        assert principal_of(token(scope)).rights == {Right.ANY, Right(scope.value)}
    assert principal_of(token()).rights == {Right.ANY}


def test_an_operators_token_may_do_everything_and_a_tenants_never_what_is_the_operators() -> None:
    assert principal_of(token(operators=True)).rights == frozenset(Right)
    assert principal_of(token(*Scope)).rights == frozenset(Right) - {Right.OPERATE}
    assert rights.tenants(()) == {Right.ANY}


@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary", "UnaryStream", "StreamStream"])
async def test_a_token_without_the_right_is_refused_in_the_same_words_whatever_it_asks(kind: str) -> None:
    async with served() as server:
        server.echo.body = refuse_to_run
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await server.call(kind, READERS.text)
        error = error_from(ended.value)
        assert isinstance(error, PermissionDeniedError)
        assert error.message == "this call takes a token with the scope 'run', and the one that was sent is without it"
        assert error.metadata == {"scope": "run"}


async def refuse_to_run(request: bytes, context: Any) -> bytes:
    raise AssertionError("the method ran")


async def test_a_token_with_the_right_is_served() -> None:
    async with served() as server:
        assert await server.call("UnaryUnary", TENANTS.text) == [b"hello from acme"]
        assert await server.call("UnaryUnary", OPERATORS.text) == [b"hello from the operator"]
