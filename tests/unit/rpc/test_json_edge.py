"""What passes the edge is JSON that every decoder reads alike; what doesn't is refused by the field's name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.json_edge import DEPTH_MAX, NUMBER_CHARACTERS_MAX, PAYLOAD_BYTES_MAX, checked_json
from stepwell.errors import InvalidArgumentError, LimitExceededError

ACCEPTED = [
    b"null",
    b" 1 ",
    b'"\\ud83d\\ude00 \xf0\x9f\x98\x80"',
    b'{"a":[1,2.5,-3e-7,true]}',
    b"9" * NUMBER_CHARACTERS_MAX,
    b"1e308",
    b"-1.7976931348623157e308",
    b"1e-999",
    b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
    b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX,
    b"[" + b"[]," * 500 + b"{}]",
    b'["' + b"[" * 500 + b'"]',
    b'["' + b'\\"[{' * 500 + b'"]',
    b'["' + b"1" * 5_000 + b'", "1e999"]',
    b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"',
    b'{"a":1,"a":2}',
]

MALFORMED = [
    b" ",
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b"1 2",
    b"[1,]",
    b"{1:2}",
    b"01",
    b"'a'",
    b"\xef\xbb\xbf1",
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b'"\\ud800 and more text"',
    b'"\\udc00 and more text"',
    b'"\\ud800\\u0041 and more text"',
    b'"a\x00b"',
    b"1e309",
    b"[1, -1E+999]",
    b"1" * 306 + b"e9",
    b"tru",
    b'{"a"',
]

OVER = [
    b"9" * (NUMBER_CHARACTERS_MAX + 1),
    b"[0." + b"1" * 5_000 + b"]",
    b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
    b'[{"a":' * 51 + b"1" + b"}]" * 51,
    b"[" + b"[]," * 200 + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"]",
    b"[" * 200_000 + b"]" * 200_000,
    b'"' + b"x" * (PAYLOAD_BYTES_MAX - 1) + b'"',
]


def test_nothing_is_null() -> None:
    assert checked_json(b"", "params") == b"null"


@pytest.mark.parametrize("data", ACCEPTED, ids=lambda data: repr(data[:24]))
def test_json_passes_unchanged(data: bytes) -> None:
    assert checked_json(data, "params") is data
    json.loads(data)


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data[:24]))
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgumentError, match="params is not JSON") as refused:
        checked_json(data, "params")
    assert refused.value.metadata["field"] == "params"


@pytest.mark.parametrize("data", OVER, ids=lambda data: f"{data[:12]!r} {len(data)}")
def test_what_is_over_a_limit_is_refused(data: bytes) -> None:
    with pytest.raises(LimitExceededError, match="params: JSON may have at most") as refused:
        checked_json(data, "params")
    assert refused.value.metadata["field"] == "params"
    value, seen = refused.value.metadata["value"], refused.value.metadata["seen"]
    assert int(seen) > int(value)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_whatever_python_writes_passes(value: Any, ascii_only: bool) -> None:
    try:
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    if "\\ud" in json.dumps(value) and any(0xD800 <= ord(c) < 0xE000 for c in str(value)):
        return
    assert checked_json(data, "params") == data


@given(st.text(alphabet='[]{}",:\\eE+-.019 a', max_size=40))
def test_what_passes_can_be_read_and_is_finite(text: str) -> None:
    try:
        checked_json(text.encode() or b" ", "params")
    except (InvalidArgumentError, LimitExceededError):
        return
    value = json.loads(text)
    assert depth(value) <= DEPTH_MAX
    assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("levels", range(DEPTH_MAX - 2, DEPTH_MAX + 4))
def test_the_depth_is_counted_exactly_among_many_brackets(levels: int) -> None:
    data = b"[" + b'{"a":[]},' * 100 + b"[" * (levels - 1) + b"]" * (levels - 1) + b"]"
    try:
        checked_json(data, "params")
        passed = True
    except LimitExceededError:
        passed = False
    assert passed == (levels <= DEPTH_MAX)
