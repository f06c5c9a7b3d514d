"""What type checkers are told of steps and events beyond classes: which results and payloads they carry.

None of it does anything when it runs. Without an argument a variable stands for Any, so that `WorkflowEvent` alone is
an event of anything. What may be awaited is a `Coroutine[object, None, …]`: with an Any among its arguments, mypy takes
what `asyncio.gather` makes of several for Any.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, overload

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # every type checker brings it; nothing imports it

    from stepwell.steps import Step

    Payload = TypeVar("Payload", default=Any)
    Result = TypeVar("Result", default=Any)
else:
    from typing import TypeVar

    Payload = TypeVar("Payload")
    Result = TypeVar("Result")


class Declare(Protocol):
    """What `step.do(…)` gives: it makes a step of the function below it, a plain or an async one."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Result]], /) -> Step[Result]: ...
    @overload
    def __call__(self, function: Callable[..., Result], /) -> Step[Result]: ...
