"""What a version says of a workflow's instances, in a few words."""

from __future__ import annotations

from stepwell.cli.durations import took
from stepwell.v1.resources_pb2 import Retention
from stepwell.v1.workflows_pb2 import WorkflowEntry, WorkflowLimits


def terms_of(entry: WorkflowEntry) -> tuple[str, str]:
    """How long they are kept, and how much they may do; empty where nothing is said."""
    return (
        retention_text(entry.retention) if entry.HasField("retention") else "",
        limits_text(entry.limits) if entry.HasField("limits") else "",
    )


def retention_text(told: Retention) -> str:
    """success 7 d, error for ever"""
    success = took(told.success_ms / 1000) if told.HasField("success_ms") else "for ever"
    error = took(told.error_ms / 1000) if told.HasField("error_ms") else "for ever"
    return f"success {success}, error {error}"


def limits_text(told: WorkflowLimits) -> str:
    """steps 100, concurrency 2"""
    return ", ".join(f"{field.name} {value}" for field, value in told.ListFields())
