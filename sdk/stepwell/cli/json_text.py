"""JSON as it goes out: one line, ASCII, and values of tenants' code passed through as they are.

A value that Python parsed and wrote again would lose digits (1.10, 1e400, a number of 5,000 digits), so the text of a
value is checked, then copied. What a guest sent is not checked by any server: a text that is no JSON value is shown as
such, and can't add keys to the document around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.cli.clean import clean

INVALID_SHOWN_MAX = 1024


@dataclass(frozen=True, slots=True)
class Raw:
    """The checked text of one JSON value."""

    text: str


Json = None | bool | int | str | Raw | Sequence["Json"] | Mapping[str, "Json"]


def check(payload: bytes) -> str:
    """The payload as text, when it is one JSON value by the standard. Raises ValueError saying where it is not."""
    text = payload.decode()
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return text


def value(payload: bytes) -> Json:
    """A payload as a value of a document; empty is null."""
    if not payload:
        return None
    try:
        return Raw(check(payload))
    except ValueError:
        shown = clean(payload.decode(errors="replace"))[:INVALID_SHOWN_MAX]
        return {"$stepwell": "invalid", "value": shown}


def dump(document: Json) -> str:
    """The document on one line, in ASCII."""
    match document:
        case Raw(text):
            return _one_line(text)
        case Mapping():
            return "{" + ", ".join(f"{json.dumps(key)}: {dump(item)}" for key, item in document.items()) + "}"
        case None | bool() | int() | str():
            return json.dumps(document)
        case _:
            return "[" + ", ".join(map(dump, document)) + "]"


def pretty(payload: bytes, *, indent: int | None = None) -> str:
    """A payload for people: spaced alike, letters as they are. Not yet clean."""
    try:
        parsed: Any = json.loads(check(payload or b"null"), parse_int=_Number, parse_float=_Number)
        return _shown(parsed, indent, "")
    except (ValueError, RecursionError):
        return payload.decode(errors="replace")


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _shown(value: Any, indent: int | None, margin: str) -> str:
    inner = margin + " " * (indent or 0)
    match value:
        case _Number():
            return str(value)
        case dict() if value:
            items = [f"{json.dumps(key, ensure_ascii=False)}: {_shown(v, indent, inner)}" for key, v in value.items()]
            opening, closing = "{", "}"
        case list() if value:
            items = [_shown(item, indent, inner) for item in value]
            opening, closing = "[", "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
    if indent is None:
        return opening + ", ".join(items) + closing
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{margin}{closing}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _one_line(text: str) -> str:
    """Line breaks can only stand between tokens, and what is not printable ASCII only in strings: both have equals."""
    line = text.replace("\r", " ").replace("\n", " ").replace("\t", " ").replace("\x7f", "\\u007f")
    if line.isascii():
        return line
    return "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in line)
