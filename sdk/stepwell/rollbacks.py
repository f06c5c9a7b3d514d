"""How a step is undone: its rollback handler, as an author gives it with the step.

Handlers run once `run` has failed for good, or a call ends it so: the last step's first. Each is a step of its own,
with retries, and its result is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from stepwell.calls import Argument, Call, Raised
from stepwell.config import StepConfig
from stepwell.errors import StepDefinitionError
from stepwell.parameters import CONTEXT, parameters_of
from stepwell.step_arguments import config_of

OUTPUT: Final = "output"
"""A parameter of this name gets what the step returned; None where it did not, so that what it did is not known."""

ERROR: Final = "error"
"""A parameter of this name gets what `run` failed with."""


class Rollback(NamedTuple):
    """A handler, what it wants of `output`, `error` and `ctx`, and its own config."""

    handler: Callable[..., Any]
    wants: tuple[str, ...]
    config: StepConfig

    def call(self, output: bytes | None, error: str) -> Call:
        """What an attempt calls: `output` is JSON, `error` an ERROR."""
        values: dict[str, Argument] = {OUTPUT: b"null" if output is None else output, ERROR: Raised(error)}
        return Call(self.handler, (), tuple([(name, values.get(name)) for name in self.wants]))


def rollback_of(name: str, handler: object, config: object) -> Rollback | None:
    """The rollback of the step, checked. Raises StepDefinitionError."""
    if handler is None:
        if config is not None:
            raise StepDefinitionError(f"step {name!r}: `rollback_config` is given without a `rollback`")
        return None
    if not callable(handler):
        raise StepDefinitionError(f"step {name!r}: its rollback, a {type(handler).__name__}, is no function")
    wants: list[str] = []
    for parameter in parameters_of(handler, name):
        known = parameter.name in (OUTPUT, ERROR, CONTEXT) and not parameter.positional_only
        if known:
            wants.append(parameter.name)
        elif not parameter.has_default:
            raise StepDefinitionError(
                f"step {name!r}: its rollback takes {parameter.name!r}, but is given {OUTPUT!r}, {ERROR!r} and "
                f"{CONTEXT!r} only, by their names"
            )
    return Rollback(handler, tuple(wants), config_of(name, config))
