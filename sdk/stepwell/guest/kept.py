"""What steps and `run` return, as it is kept."""

from __future__ import annotations

from typing import Any

from stepwell.errors import StepValueError
from stepwell.values import encode


def kept(what: str, result: Any, bytes_max: int) -> bytes:
    """The result's JSON. Raises StepValueError, which says what it is of, where it can't be kept."""
    try:
        payload = encode(result)
    except StepValueError as error:
        raise StepValueError(f"{what} can't be kept: {error}") from None
    if len(payload) > bytes_max:
        raise StepValueError(
            f"{what} is {len(payload)} bytes of JSON, over the limit of {bytes_max}; return a reference to it instead"
        )
    return payload
