"""Versions as documents of `-o json`, with what their manifests declare."""

from __future__ import annotations

from stepwell.cli.documents import enum_text, retention, time_text
from stepwell.cli.json_text import Json
from stepwell.cli.schedule_documents import declared
from stepwell.client.resource_names import id_in
from stepwell.v1 import workflows_pb2 as pb


def deployment(message: pb.DeployVersionResponse) -> dict[str, Json]:
    return {
        "tenant": id_in(message.version.name, "tenants"),
        "version": id_in(message.version.name, "versions"),
        "workflows": _entries(message.version.manifest),
        "created": message.created,
    }


def version(message: pb.Version) -> dict[str, Json]:
    return {
        "tenant": id_in(message.name, "tenants"),
        "version": id_in(message.name, "versions"),
        "workflows": _entries(message.manifest),
        "vars": dict(sorted(message.manifest.vars.items())),
        "bindings": dict(sorted(message.manifest.bindings.items())),
        "fileCount": message.file_count,
        "sizeBytes": message.size_bytes,
        "state": state_text(message.state),
        "createTime": time_text(message, "create_time"),
    }


def described(message: pb.Version, usage: pb.VersionUsage) -> Json:
    """A version, and who needs it."""
    return {
        **version(message),
        "state": used_state_text(message, usage),
        "routedWorkflows": [id_in(name, "workflows") for name in usage.routed_workflows],
        "pinnedInstances": usage.pinned_instances,
    }


def limits(message: pb.WorkflowLimits) -> Json:
    """How much a workflow's instances may do."""
    return {
        "steps": message.steps if message.HasField("steps") else None,
        "concurrency": message.concurrency if message.HasField("concurrency") else None,
    }


def state_text(state: pb.VersionState.ValueType) -> str:
    """routed, unrouted, retiring"""
    return enum_text(pb.VersionState.DESCRIPTOR.values_by_number, state, "VERSION_STATE_")


def used_state_text(message: pb.Version, usage: pb.VersionUsage) -> str:
    """The same, and `draining` for one that no route names while instances are pinned to it."""
    if message.state == pb.VERSION_STATE_UNROUTED and usage.pinned_instances:
        return "draining"
    return state_text(message.state)


def _entries(manifest: pb.Manifest) -> Json:
    return [
        {
            "name": entry.workflow_id,
            "entrypoint": entry.entrypoint,
            "schedules": [declared(each) for each in entry.schedules],
            "retention": retention(entry.retention) if entry.HasField("retention") else None,
            "limits": limits(entry.limits) if entry.HasField("limits") else None,
        }
        for entry in manifest.workflows
    ]
