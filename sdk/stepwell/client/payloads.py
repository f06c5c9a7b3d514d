"""Params, payloads and outputs: values of Python in a program, UTF-8 JSON on the wire.

They are what a workflow's code sees: None, bool, int, float, str, bytes, datetime, lists and dicts, as
`stepwell.values` keeps them. Whoever has JSON already sends it as `Json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stepwell import values


@dataclass(frozen=True, slots=True)
class Json:
    """UTF-8 JSON that is sent as it stands, where a value could be given. The server checks it."""

    data: bytes = field(repr=False)


def payload_of(value: object) -> bytes:
    """The value's JSON. Raises StepValueError naming the first part of it that can't be kept."""
    return value.data if isinstance(value, Json) else values.encode(value)


def value_of(payload: bytes) -> Any:
    """What a message's `params`, `output` or another field of JSON stands for: `value_of(instance.output)`.

    Raises ValueError where there is none: lists leave out params and outputs, and only what is complete has an output.
    """
    if not payload:
        raise ValueError("there is no value: lists leave it out, and there is no output before the end")
    return values.decode(payload)
