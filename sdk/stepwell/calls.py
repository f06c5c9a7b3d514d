"""What an attempt calls, and with what: everything is described, so that each attempt gets its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Raised(NamedTuple):
    """An exception as an argument: an ERROR of `stepwell.frames`, in JSON."""

    described: str


Argument = bytes | Raised | None
"""A value's JSON, an exception, or the attempt's context."""


class Call(NamedTuple):
    """A function and its arguments."""

    function: Callable[..., Any]
    positional: tuple[Argument, ...] = ()
    keywords: tuple[tuple[str, Argument], ...] = ()
