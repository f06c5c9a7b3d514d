"""What a call through a binding may say beside its id and payload, checked where the author says it.

The words are Cloudflare's. What can't be is an InvalidArgumentError, as what the server refuses for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from stepwell.errors import InvalidArgumentError
from stepwell.names import step_name
from stepwell.retention import NOT_SAID, Retention

StepKind = Literal["do", "sleep", "waitForEvent"]

_RETENTIONS: Final = ("successRetention", "errorRetention")
_OF_A_STEP: Final = frozenset({"name", "count", "type"})
_COUNTS: Final = range(1, 1_000_001)


class CallOptions(NamedTuple):
    """`retention` is of a create, `rollback` of a terminate, `from_step` of a restart: (kind, name, count)."""

    retention: Retention = NOT_SAID
    rollback: bool = False
    from_step: tuple[StepKind, str, int] | None = None


PLAIN: Final = CallOptions()


def kept(retention: object) -> CallOptions:
    """Of a `Retention`, or of a dict with Cloudflare's keys; of None, what says nothing."""
    if retention is None:
        return PLAIN
    said = dict(zip(_RETENTIONS, retention, strict=True)) if isinstance(retention, Retention) else retention
    if not isinstance(said, Mapping) or not said.keys() <= set(_RETENTIONS):
        raise InvalidArgumentError(f"retention is a Retention, or a dict of {' and '.join(_RETENTIONS)}")
    success, error = (_kept_ms(said, key) for key in _RETENTIONS)
    return CallOptions(Retention(success, error))


def rolled_back(rollback: object) -> CallOptions:
    """Whether handlers are to run first."""
    if not isinstance(rollback, bool):
        raise InvalidArgumentError(f"rollback is True or False, not a {type(rollback).__name__}")
    return CallOptions(rollback=rollback)


def restarted_from(step: object) -> CallOptions:
    """Of a step's name, or of a dict with Cloudflare's keys; of None, the beginning."""
    if step is None:
        return PLAIN
    said: object = {"name": step} if isinstance(step, str) else step
    if not isinstance(said, Mapping) or not {"name"} <= said.keys() <= _OF_A_STEP:
        raise InvalidArgumentError("from_ is a step's name, or a dict of its name, count and type")
    name, count, kind = said["name"], said.get("count", 1), said.get("type", "do")
    if type(count) is not int or count not in _COUNTS:
        raise InvalidArgumentError(f"from_: count: {str(count)[:80]} is no count of a step: they are from 1")
    if kind not in get_args(StepKind):
        raise InvalidArgumentError(f"from_: type: {str(kind)[:80]!r} is none of {', '.join(get_args(StepKind))}")
    if not isinstance(name, str):
        raise InvalidArgumentError(f"from_: name: a {type(name).__name__} is no step's name")
    try:
        step_name(name).encode()
    except ValueError as why:
        raise InvalidArgumentError(f"from_: name: {why}") from None
    return CallOptions(from_step=(kind, name, count))


def _kept_ms(said: Mapping[Any, Any], key: str) -> int | None:
    try:
        return Retention.of(success=said.get(key)).success_ms
    except ValueError as why:
        raise InvalidArgumentError(f"retention: {key}: {why}") from None
