"""Every field of every call with what it may not have: the right reason, the field and the limit, and no fault of ours.

The calls and their fields come from the protos; see `requests` and `bad_values`.
"""

from __future__ import annotations

import re

import pytest

from tests.api.bad_values import BAD, Bad
from tests.api.methods import METHODS, Field, Method
from tests.api.requests import KINDS, meaning, request
from tests.api.world import World

CASES = [
    pytest.param(method, field, bad, id=f"{method.name}-{field.path}-{bad.what}")
    for method in METHODS
    for field in method.fields
    for bad in BAD[meaning(field)]
]


@pytest.mark.parametrize(("method", "field", "bad"), CASES)
def test_a_bad_value_is_refused_as_such(world: World, method: Method, field: Field, bad: Bad) -> None:
    asked = request(method, world.ours.values, {field.path: bad.value})
    operator = bad.as_operator or method.is_the_operators
    error = world.server.refused(method.path, asked, world.server.operator if operator else world.ours.token)
    assert error.reason == bad.reason, error.message
    if error.reason == "INVALID_ARGUMENT":
        assert re.sub(r"\[\d+\]", "", error.metadata["field"]) == field.path
    assert error.metadata.items() >= bad.metadata.items()
    assert len(error.message) <= 1_024
    assert "Traceback" not in error.message


def test_every_meaning_has_its_bad_values() -> None:
    assert set(BAD) == set(KINDS)
