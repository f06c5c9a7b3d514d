"""What a workflow's own entry says of its instances, whichever file it is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stepwell.cli.schedule_entries import ScheduleEntry
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits, refuse_unusual


class DeclaredWorkflow(NamedTuple):
    """A workflow as its folder declares it."""

    name: str
    entrypoint: str
    retention: Retention = NOT_SAID
    limits: WorkflowLimits = UNLIMITED
    schedules: tuple[ScheduleEntry, ...] = ()


class WrongSettingError(ValueError):
    """`key` is the one that is wrong."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key


def retention_in(table: Mapping[str, Any], success: str, error: str) -> Retention:
    """The retention that the table says under these two keys. Raises WrongSettingError."""
    retention = NOT_SAID
    for key, side in ((success, "success"), (error, "error")):
        if key in table:
            try:
                retention = Retention.of(**{side: table[key]}).or_else(retention)
            except ValueError as why:
                raise WrongSettingError(key, str(why)) from None
    return retention


def limits_in(table: Mapping[str, Any]) -> WorkflowLimits:
    """The limits that the table says by their names. Raises WrongSettingError."""
    limits = UNLIMITED
    for key in WorkflowLimits._fields:
        value = table.get(key)
        if key in table and type(value) is not int:
            raise WrongSettingError(key, f"it is a whole number: {key} = 100")
        try:
            limits = limits._replace(**{key: value})
            refuse_unusual(limits)
        except ValueError as why:
            raise WrongSettingError(key, str(why).partition(": ")[2]) from None
    return limits
