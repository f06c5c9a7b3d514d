"""Values as they are kept: UTF-8 JSON, with one escaped tag for bytes and datetimes.

`{"$stepwell": "bytes", "value": base64}` and `{"$stepwell": "datetime", "value": RFC 3339}` stand for what JSON
lacks; an author's own dict with a key "$stepwell" is kept as `{"$stepwell": "dict", "value": {...}}`, whose inner
dict is taken as it stands. Tuples become lists. Anything that would not come back as it was is refused, naming where
in the value it is. Standard library only: guests import this.
"""

from __future__ import annotations

import binascii
from datetime import datetime
from json import JSONDecoder, JSONEncoder
from math import isfinite
from typing import Any

from stepwell.errors import StepValueError

DEPTH_MAX = 200
"""Lists and dicts within each other. Far from every JSON parser's own limit; the tag of a datetime counts as one."""

PATH_SHOWN_MAX = 12
"""Parts of a path in an error's text: keys may be long."""

INT_BITS_MAX = 13_000
"""Keeps an integer under Python's own limit of 4,300 digits for reading one back."""

_TAG = "$stepwell"
_encode = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_decoder = JSONDecoder()
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # typeshed leaves it out


class _Refused(Exception):
    """Why a value can't be kept; its path grows from the inside out."""

    def __init__(self, why: str) -> None:
        self.why = why
        self.path: list[str] = []


def encode(value: object) -> bytes:
    """The value's JSON. Raises StepValueError naming the first part that can't be kept, such as `value['when'][2]`."""
    try:
        return _encode(_plain(value, DEPTH_MAX)).encode()
    except _Refused as refused:
        raise StepValueError(f"value{_shown_path(refused.path)} {refused.why}") from None


def decode(data: bytes) -> Any:
    """What was encoded; also any other JSON, such as a client's. A dict that is no valid tag stays a dict.

    Raises ValueError when it is no JSON.
    """
    text = data.decode()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    if end != len(text):  # white space around it, or no JSON
        value = _decoder.decode(text)
    return _untagged(value) if _TAG in text or "\\u" in text else value


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _refuse_surrogates(value)
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if value.bit_length() > INT_BITS_MAX:
            raise _Refused("is an integer of more than 3,900 digits; keep it as a text")
        return value
    if kind is dict or isinstance(value, dict):
        return _plain_dict(value, depth)
    if kind is list or isinstance(value, (list, tuple)):
        if not depth:
            raise _Refused(f"is nested more than {DEPTH_MAX} deep (does it contain itself?)")
        return [_plain_item(item, depth - 1, index) for index, item in enumerate(value)]
    return _plain_scalar(value)


def _plain_item(item: Any, depth: int, key: object) -> Any:
    try:
        return _plain(item, depth)
    except _Refused as refused:
        refused.path.append(f"[{_short(key)}]")
        raise


def _plain_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if not depth:
        raise _Refused(f"is nested more than {DEPTH_MAX} deep (does it contain itself?)")
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Refused(f"has the key {_short(key)}, a {type(key).__name__}; keys must be text, as JSON's are")
        if not key.isascii():
            _refuse_surrogates(key)
        plain[str(key)] = _plain_item(item, depth - 1, key)
    return {_TAG: "dict", "value": plain} if _TAG in plain else plain


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, float):
        if not isfinite(value):
            raise _Refused(f"is {value!r}, which JSON does not have")
        return float(value)
    if isinstance(value, int):
        return _plain(int(value), 0)
    if isinstance(value, str):
        return _plain(str.__str__(value), 0)
    if isinstance(value, bytes):
        return {_TAG: "bytes", "value": binascii.b2a_base64(value, newline=False).decode()}
    if isinstance(value, datetime):
        return {_TAG: "datetime", "value": value.isoformat()}
    raise _Refused(
        f"is a {type(value).__module__}.{type(value).__qualname__}, which can't be kept: "
        "use None, bool, int, float, str, bytes, datetime, list, tuple or dict"
    )


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refused(
            f"has a lone surrogate, {_short(text)}, which is no character; decode text without 'surrogateescape'"
        ) from None


def _shown_path(path: list[str]) -> str:
    """From the outside in; of a deep one its ends, so that why it is refused is not cut off behind it."""
    if len(path) > PATH_SHOWN_MAX:
        half = PATH_SHOWN_MAX // 2
        return f"{''.join(reversed(path[-half:]))}…{''.join(reversed(path[:half]))}"
    return "".join(reversed(path))


def _short(value: object) -> str:
    try:
        text = ascii(value) if isinstance(value, str) else repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _untagged(value: Any) -> Any:
    if type(value) is list:
        return [_untagged(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 2 and _TAG in value and "value" in value:
        tag, inner = value[_TAG], value["value"]
        try:
            if tag == "dict" and type(inner) is dict:
                return {key: _untagged(item) for key, item in inner.items()}
            if tag == "bytes" and type(inner) is str:
                return binascii.a2b_base64(inner, strict_mode=True)
            if tag == "datetime" and type(inner) is str:
                return datetime.fromisoformat(inner)
        except ValueError:
            pass
    return {key: _untagged(item) for key, item in value.items()}
