"""Requests from bytes: what is no message is the caller's error, told like any other and after it is known who calls.

Left to gRPC, it would be answered without a token, as UNKNOWN, with words of the library's and without a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from stepwell.errors import InvalidArgumentError

Decode = Callable[[bytes], Any]


def or_raise(decode: Decode | None) -> Decode | None:
    """The same, raising InvalidArgumentError where the request is read."""
    if decode is None:
        return None

    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            raise _refused() from None

    return decoded


def _refused() -> InvalidArgumentError:
    return InvalidArgumentError("the request is not this call's message: it is damaged, or a text in it is not UTF-8")
