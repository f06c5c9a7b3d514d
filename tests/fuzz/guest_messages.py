"""What a guest may say, made from the types that the host decodes it to, so that new messages are tried too."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from loader.messages import GuestMessage

_NAMES = ["", "a", "b", "nap", "go", "ü", "\x00", "\u202e"]


def _values(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    """JSON values of that type, at its bounds as often as not."""
    match kind:
        case inspect.IntType():
            low, high = kind.ge if kind.ge is not None else -5, kind.le if kind.le is not None else 5
            return st.integers(low, min(high, low + 3)) | st.integers(low, high)
        case inspect.StrType():
            low, high = kind.min_length or 0, kind.max_length or 64
            short = [name for name in _NAMES if low <= len(name) <= high]
            return st.sampled_from([*short, "x" * high]) | st.text(min_size=low, max_size=min(high, 20))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType():
            return st.sampled_from(list(kind.values))
        case inspect.UnionType():
            kinds = [each for each in kind.types if depth or not isinstance(each, inspect.StructType)]
            return st.one_of([_values(each, depth) for each in kinds])
        case inspect.StructType():
            fields = [_values(field.type, depth - 1) for field in kind.fields]
            tag = [] if kind.tag is None else [st.just(kind.tag)]
            return st.tuples(*tag, *fields).map(list)
    raise AssertionError(f"what values has {kind}?")


_UNION = inspect.type_info(GuestMessage)
assert isinstance(_UNION, inspect.UnionType)

ENVELOPES: st.SearchStrategy[list[Any]] = st.one_of([_values(kind, 3) for kind in _UNION.types])
"""As JSON; those that name an activation name 0 to 3 as often as not."""

PAYLOADS = st.sampled_from([b"", b"null", b'{"a":1}', b"not JSON \xff\x00", b"[" * 3_000, b"x" * 20_000])


def encoded(envelope: Any) -> bytes:
    return msgspec.json.encode(envelope)
