"""The host takes of a guest what the SDK lets a guest say, and no more."""

from __future__ import annotations

import pytest
from msgspec import inspect

from loader.limits import MANIFEST_VAR_NAME_LENGTH_MAX
from loader.messages import CallOptions, GuestError, GuestMessage, StepSaid, Wait
from stepwell import names
from stepwell.guest import failures
from stepwell.step_arguments import UNTIL_MS_MAX

LENGTHS = {
    "name": names.STEP_NAME_LENGTH_MAX,
    "type": names.EVENT_TYPE_LENGTH_MAX,
    "binding": MANIFEST_VAR_NAME_LENGTH_MAX,
    "id": names.INSTANCE_ID_LENGTH_MAX,
}
OF_WAITS = LENGTHS | {"type": names.CHILD_NAME_LENGTH_MAX}
"""Of a child's end, too."""

OF_ERRORS = {
    "module": failures.NAME_LENGTH_MAX,
    "type": failures.NAME_LENGTH_MAX,
    "message": failures.MESSAGE_LENGTH_MAX,
    "traceback": failures.TRACEBACK_LENGTH_MAX,
}


def messages() -> list[inspect.StructType]:
    """And the parts of these that guests give freely."""
    union = inspect.type_info(GuestMessage)
    assert isinstance(union, inspect.UnionType)
    kinds = [*union.types, *map(inspect.type_info, (CallOptions, StepSaid))]
    return [kind for kind in kinds if isinstance(kind, inspect.StructType)]


def texts(kind: inspect.StructType) -> dict[str, int | None]:
    return {field.name: field.type.max_length for field in kind.fields if isinstance(field.type, inspect.StrType)}


@pytest.mark.parametrize("kind", messages(), ids=lambda kind: kind.cls.__name__)
def test_a_messages_names_are_as_long_as_the_sdks(kind: inspect.StructType) -> None:
    bounds = texts(kind)
    assert None not in bounds.values(), "a text without a bound"
    lengths = OF_WAITS if kind.cls is Wait else LENGTHS
    assert {name: bounds[name] for name in bounds.keys() & lengths.keys()}.items() <= lengths.items()


def test_an_errors_texts_are_as_long_as_the_sdks() -> None:
    kind = inspect.type_info(GuestError)
    assert isinstance(kind, inspect.StructType)
    assert texts(kind) == OF_ERRORS


@pytest.mark.parametrize("kind", messages(), ids=lambda kind: kind.cls.__name__)
def test_a_messages_numbers_are_bounded(kind: inspect.StructType) -> None:
    for field in kind.fields:
        types = field.type.types if isinstance(field.type, inspect.UnionType) else [field.type]
        for each in types:
            if isinstance(each, inspect.IntType) and field.name != "protocol":
                assert each.ge is not None, field.name
                assert each.le is not None, field.name
                assert each.le <= UNTIL_MS_MAX or field.name not in ("until_ms", "when_ms")
