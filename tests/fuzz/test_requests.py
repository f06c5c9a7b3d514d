"""Every call with anything in its fields, through the whole server: it is answered, or refused for a reason.

Never by a fault of ours, and never by gRPC's own words.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from rpc.paging import page_token
from stepwell.errors import ApiError
from tests.api.bad_values import BAD
from tests.api.methods import METHODS, Field, Method
from tests.api.requests import KINDS, NAMES, meaning, request
from tests.api.running import told
from tests.api.world import World
from tests.fuzz.budget import tries
from tests.fuzz.rubbish import spoilt

WATCH_S_MAX = 0.05
"""What a stream has to answer is there at once; what is still to come is not waited for."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCOPES = ["versions/{uid}", "steps of {uid}/order/one", "logs of {uid}/order/one ", "tenants", "x"]
TOKENS = st.builds(page_token, st.sampled_from(SCOPES), TEXTS)


def values(field: Field) -> st.SearchStrategy[Any]:
    """What may stand there: what is in order, what is known to be bad, and anything that the type allows."""
    kind = meaning(field)
    known = [KINDS[kind], *(bad.value for bad in BAD[kind] if len(str(bad.value)) < 5_000)]
    anything: st.SearchStrategy[Any]
    match field.descriptor.type:
        case FieldDescriptor.TYPE_STRING:
            anything = TEXTS | TOKENS
            if kind in NAMES:
                anything |= st.builds("tenants/{}/workflows/{}/instances/{}".format, TEXTS, TEXTS, TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            anything = st.binary(max_size=200)
        case FieldDescriptor.TYPE_BOOL:
            anything = st.booleans()
        case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_ENUM:
            anything = st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.TYPE_INT64:
            anything = st.integers(-(2**63), 2**63 - 1)
        case FieldDescriptor.TYPE_MESSAGE:
            return st.sampled_from(known) | st.dictionaries(TEXTS, TEXTS, max_size=3)
        case _:
            raise AssertionError(f"what values has {field.name}?")
    return st.sampled_from(known) | (st.lists(anything, max_size=3) if field.is_repeated else anything)


def outcome(world: World, method: Method, asked: bytes | list[bytes], token: str) -> ApiError | None:
    """How it is refused; None when it is answered, or would be."""
    try:
        if not method.streams_answers:
            world.server.call(method.path, asked, token)
            return None
        assert isinstance(asked, bytes)
        with world.server.opened(method.path, asked, token, within_s=WATCH_S_MAX) as answers:
            next(answers, None)
    except grpc.RpcError as error:
        if method.streams_answers and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        return told(error)
    return None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_any_values_are_answered_or_refused(world: World, method: Method) -> None:
    fields = {field.path: values(field) for field in method.fields}

    @tries(25)
    @given(st.fixed_dictionaries({}, optional=fields), st.booleans())
    def every(changed: dict[str, Any], as_operator: bool) -> None:
        token = world.server.operator if as_operator or method.is_the_operators else world.ours.token
        error = outcome(world, method, request(method, world.ours.values, changed), token)
        assert error is None or error.reason != "INTERNAL"
        assert world.server.log.faults == []

    every()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_any_bytes_are_answered_or_refused(world: World, method: Method) -> None:
    good = request(method, world.ours.values)
    parts = st.sampled_from(good) if isinstance(good, list) else st.just(good)
    data = spoilt(parts) | st.binary(max_size=60)

    @tries(25)
    @given(st.lists(data, max_size=4) if method.streams_requests else data)
    def every(asked: bytes | list[bytes]) -> None:
        token = world.server.operator if method.is_the_operators else world.ours.token
        error = outcome(world, method, asked, token)
        assert error is None or error.reason != "INTERNAL"
        assert world.server.log.faults == []

    every()
