from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import StepValueError
from stepwell.values import DEPTH_MAX, decode, encode

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.binary()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-3))))
)  # fmt: skip
_keys = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["$stepwell", "value"])
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(_keys, inner), max_leaves=20)


@given(_values)
def test_what_is_kept_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        {"$stepwell": "bytes", "value": "AAAA"},
        {"$stepwell": "dict", "value": {"$stepwell": "bytes", "value": ""}},
        {"$stepwell": 1},
        [{"$stepwell": "datetime", "value": "2026-01-01"}],
    ],
)
def test_an_authors_own_dict_that_looks_like_a_tag_stays_a_dict(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "text", ['{"$stepwell":"bytes"}', '{"$stepwell":"bytes","value":"!"}', '{"$stepwell":"x","value":1}']
)
def test_a_clients_dict_that_is_no_valid_tag_stays_a_dict(text: str) -> None:
    assert decode(text.encode())["$stepwell"] in ("bytes", "x")


def test_a_tag_that_a_client_spelt_with_escapes_is_a_tag() -> None:
    assert decode(b'{"\\u0024stepwell": "bytes", "value": "AA=="}') == b"\0"


def test_tuples_become_lists_and_subclasses_become_what_they_extend() -> None:
    class Colour(IntEnum):
        RED = 1

    assert decode(encode(((1, 2), {"a": (Colour.RED,)}))) == [[1, 2], {"a": [1]}]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": [1, float("nan")]}, r"value\['a'\]\[1\] is nan"),
        ([float("-inf")], r"value\[0\] is -inf"),
        ({"a": {1: 2}}, r"value\['a'\] has the key 1, a int; keys must be text"),
        ({"a": {1, 2}}, r"value\['a'\] is a builtins.set"),
        (date(2026, 1, 1), "value is a datetime.date"),
        ({"a": {10**5000: 2}}, "has the key a int"),
        (["\ud800"], r"value\[0\] has a lone surrogate"),
        ({"\udfff": 1}, "value has a lone surrogate"),
        ([10**5000], r"value\[0\] is an integer of more than"),
        (object(), "use None, bool, int"),
    ],
)
def test_what_would_not_come_back_is_refused_saying_where(value: Any, says: str) -> None:
    with pytest.raises(StepValueError, match=says):
        encode(value)


def test_why_a_deep_value_is_refused_comes_after_a_short_path() -> None:
    deep: Any = {}
    for _ in range(DEPTH_MAX + 1):
        deep = {"a rather long key of somebody's": deep}
    with pytest.raises(StepValueError, match=r"….* is nested more than") as caught:
        encode(deep)
    assert len(str(caught.value)) < 1000


def test_depth_is_bounded_and_a_circle_is_told() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(StepValueError, match=f"nested more than {DEPTH_MAX} deep"):
        encode(circle)
    deep: Any = "x"
    for _ in range(DEPTH_MAX):
        deep = [deep]
    assert decode(encode(deep)) == deep


def test_a_value_that_was_changed_after_it_was_kept_is_kept_as_it_was() -> None:
    value = [1]
    kept = encode(value)
    value.append(2)
    assert decode(kept) == [1]


def test_datetimes_keep_their_zone() -> None:
    when = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert decode(encode(when)).utcoffset() == timedelta(hours=5, minutes=30)
