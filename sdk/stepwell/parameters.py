"""What a step's body wants to be called with: its parameters' names decide what it depends on."""

from __future__ import annotations

from types import FunctionType
from typing import Any, NamedTuple

from stepwell.errors import StepDefinitionError

CONTEXT = "ctx"
"""A parameter of this name gets the attempt's context, whatever steps there are."""


class Parameter(NamedTuple):
    """One parameter of a body."""

    name: str
    positional_only: bool
    keyword_only: bool
    has_default: bool


def parameters_of(function: Any, step_name: str) -> tuple[Parameter, ...]:
    """The body's parameters without `*args` and `**kwargs`. Raises StepDefinitionError when it can't be called."""
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return _inspected(function, step_name)
    code = function.__code__
    count, keyword_only = code.co_argcount, code.co_kwonlyargcount
    if not count and not keyword_only:
        return ()
    names = code.co_varnames
    required = count - len(function.__defaults__ or ())
    defaults = function.__kwdefaults__ or {}
    return tuple(
        Parameter(names[index], index < code.co_posonlyargcount, False, index >= required) for index in range(count)
    ) + tuple(Parameter(name, False, True, name in defaults) for name in names[count : count + keyword_only])


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives a coroutine, so that it need not run in a thread."""
    if type(function) is FunctionType:
        return bool(function.__code__.co_flags & 0x80)
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _inspected(function: Any, step_name: str) -> tuple[Parameter, ...]:
    from inspect import Parameter as Inspected
    from inspect import signature

    try:
        found = signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise StepDefinitionError(f"step {step_name!r} can't be run: {error}") from None
    return tuple(
        Parameter(
            each.name,
            each.kind is Inspected.POSITIONAL_ONLY,
            each.kind is Inspected.KEYWORD_ONLY,
            each.default is not Inspected.empty,
        )
        for each in found
        if each.kind not in (Inspected.VAR_POSITIONAL, Inspected.VAR_KEYWORD)
    )
