"""JSON from clients, judged once where it enters and carried as bytes from there.

What passes can be read by any JSON decoder without surprise: UTF-8, no lone surrogates, no NaN or Infinity, bounded in
bytes, depth and digits. It is validated without being built: a kilobyte costs microseconds, a megabyte of records some
30 ms, the most hostile megabyte 0.2 s, and none of them any memory to speak of.
"""

from __future__ import annotations

import re
from itertools import accumulate

import msgspec

from stepwell.errors import InvalidArgumentError, LimitExceededError

PAYLOAD_BYTES_MAX = 1024 * 1024

DEPTH_MAX = 100
"""Objects and arrays within each other: far below where recursive decoders give up."""

NUMBER_CHARACTERS_MAX = 308
"""Of one number: as many as a double may need, and far below where Python refuses to read an integer (4,300)."""

_syntax = msgspec.json.Decoder(msgspec.Raw)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_EXPONENT = re.compile(rb"-?[0-9.]+[eE][+-]?[0-9]+")
_TO_ARRAYS = bytes.maketrans(b"{}", b"[]")
_TO_RUNS = bytes(0x30 if byte in b"0123456789.eE+-" else 0x20 for byte in range(256))
_TO_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")


def checked_json(data: bytes, field: str, *, bytes_max: int = PAYLOAD_BYTES_MAX) -> bytes:
    """The same bytes when they are acceptable JSON; b"" is null, and comes back as such.

    Raises InvalidArgumentError or LimitExceededError, naming the field.
    """
    if not data:
        return b"null"
    if len(data) > bytes_max:
        raise _over(field, "payload_bytes_max", bytes_max, len(data), "bytes")
    try:
        _syntax.decode(data)
        data.decode()
    except UnicodeDecodeError as error:
        raise _refused(field, f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise _too_deep(field, _STRING.sub(b"", data)) from None
    except msgspec.DecodeError as error:
        raise _refused(field, str(error).removeprefix("JSON is malformed: ")) from None
    _check_numbers(data, field)
    _check_depth(data, field)
    return data


def _check_numbers(data: bytes, field: str) -> None:
    """Strings may look like numbers, so they are taken out; only when something that looks like one was found."""
    long, exponent = _has_long_number(data), _has_positive_exponent(data)
    if not long and not exponent:
        return
    bare = _STRING.sub(b'""', data)
    if long and _has_long_number(bare):
        longest = max(map(len, bare.translate(_TO_RUNS).split()))
        raise _over(field, "json_number_characters_max", NUMBER_CHARACTERS_MAX, longest, "characters in a number")
    if exponent and any(float(number) in (float("inf"), float("-inf")) for number in _EXPONENT.findall(bare)):
        raise _refused(field, "a number is too large for a double")


def _has_long_number(data: bytes) -> bool:
    """By table and substring, since both are linear in the data, which a pattern would not be."""
    return len(data) > NUMBER_CHARACTERS_MAX and b"0" * (NUMBER_CHARACTERS_MAX + 1) in data.translate(_TO_RUNS)


def _has_positive_exponent(data: bytes) -> bool:
    shapes = data.translate(_TO_SHAPES)
    return b"0e0" in shapes or b"0e+0" in shapes


def _check_depth(data: bytes, field: str) -> None:
    """Taking out every innermost pair of brackets lowers the depth by one; most data has too few of them to begin."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return
    bare = _STRING.sub(b"", data)
    brackets = bare.translate(_TO_ARRAYS, _ALL_BUT_BRACKETS)
    for _ in range(DEPTH_MAX):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise _too_deep(field, bare)


def _too_deep(field: str, bare: bytes) -> LimitExceededError:
    """`bare` is the JSON without its strings."""
    steps = (1 if byte in b"[{" else -1 for byte in bare.translate(None, _ALL_BUT_BRACKETS))
    return _over(field, "json_depth_max", DEPTH_MAX, max(accumulate(steps)), "levels of depth")


def _refused(field: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{field} is not JSON: {why}", field=field)


def _over(field: str, limit: str, value: int, seen: int, what: str) -> LimitExceededError:
    return LimitExceededError(
        f"{field}: JSON may have at most {value:,} {what}, not {seen:,}",
        field=field, limit=limit, value=str(value), seen=str(seen),
    )  # fmt: skip
