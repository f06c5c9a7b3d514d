"""A step's retry delay as a function: it says after each failed attempt how long to wait before the next.

It runs where bodies do, once for each attempt that is to be followed by another, and what it says is recorded with the
failure. From Cloudflare's changelog of 2026-07-09; there it gets one object, here what it has parameters for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from stepwell.durations import Duration, duration_ms
from stepwell.errors import StepDefinitionError
from stepwell.parameters import CONTEXT, is_coroutine_function, parameters_of

ERROR: Final = "error"
"""A parameter of this name gets what the attempt failed with, the exception itself."""


class Delay(NamedTuple):
    """A function, and what it wants of `error` and `ctx`."""

    function: Callable[..., Duration]
    wants: tuple[str, ...]

    def ms(self, error: BaseException, context: object) -> int:
        """Before the backoff. Raises whatever the function does, and ValueError for what is no duration."""
        values = {ERROR: error, CONTEXT: context}
        return duration_ms(self.function(**{name: values[name] for name in self.wants}))


def delay_of(where: str, function: Callable[..., Any]) -> Delay:
    """The function, checked; `where` is what its author calls it. Raises ValueError."""
    if is_coroutine_function(function):
        raise ValueError(f"{where} is an async function; write a plain one: it computes, and waits for nothing")
    try:
        parameters = parameters_of(function, where)
    except StepDefinitionError as error:
        raise ValueError(f"{where}: {error}") from None
    wants: list[str] = []
    for parameter in parameters:
        if parameter.name in (ERROR, CONTEXT) and not parameter.positional_only:
            wants.append(parameter.name)
        elif not parameter.has_default:
            raise ValueError(
                f"{where} takes {parameter.name!r}, but is given {ERROR!r} and {CONTEXT!r} only, by their names"
            )
    return Delay(function, tuple(wants))
