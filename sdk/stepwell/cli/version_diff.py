"""What two versions differ in: files by content, workflows and what is said of their instances, and plain values; as a
document and as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stepwell.cli import documents, version_documents
from stepwell.cli.json_text import Json
from stepwell.cli.schedule_documents import catch_up_text
from stepwell.cli.screen import Cell
from stepwell.cli.terms_view import limits_text, retention_text
from stepwell.client.resource_names import id_in
from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1.resources_pb2 import Retention

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes(Generic[T]):
    """By name, in the order of names. What is alike in both is counted."""

    added: Mapping[str, T]
    removed: Mapping[str, T]
    changed: Mapping[str, tuple[T, T]]
    unchanged: int


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """From one version to another."""

    before: pb.Version
    after: pb.Version
    files: Changes[tuple[bool, int, str]]
    """Of each file: executable, size in bytes, SHA-256."""
    workflows: Changes[str]
    schedules: Changes[str]
    """Of each, by workflow, expression and time zone: what becomes of missed times."""
    retention: Changes[Retention]
    limits: Changes[pb.WorkflowLimits]
    """By workflow, of those that say something."""
    vars: Changes[str]
    bindings: Changes[str]

    @property
    def is_empty(self) -> bool:
        parts: tuple[Changes[Any], ...] = (
            self.files, self.workflows, self.schedules, self.retention, self.limits, self.vars, self.bindings,
        )  # fmt: skip
        return not any((each.added or each.removed or each.changed) for each in parts)


def compared(
    before: pb.Version, after: pb.Version, files: tuple[Sequence[pb.VersionFile], Sequence[pb.VersionFile]]
) -> VersionDiff:
    """`files` are those of the two versions."""
    old, new = ({each.path: (each.executable, each.size_bytes, each.sha256) for each in some} for some in files)
    return VersionDiff(
        before,
        after,
        _changes(old, new),
        _changes(_entrypoints(before), _entrypoints(after)),
        _changes(_schedules(before), _schedules(after)),
        _changes(_retentions(before), _retentions(after)),
        _changes(_limits(before), _limits(after)),
        _changes(before.manifest.vars, after.manifest.vars),
        _changes(before.manifest.bindings, after.manifest.bindings),
    )


def document(diff: VersionDiff) -> Json:
    """Of `-o json`."""

    def file(told: tuple[bool, int, str]) -> dict[str, Json]:
        return {"executable": told[0], "sizeBytes": told[1], "sha256": told[2]}

    def named(key: str, changes: Changes[T], shown: Callable[[T], Json], name: str = "name") -> Json:
        return {
            "added": [{name: each, key: shown(value)} for each, value in changes.added.items()],
            "removed": [{name: each, key: shown(value)} for each, value in changes.removed.items()],
            "changed": [
                {name: each, "from": shown(old), "to": shown(new)} for each, (old, new) in changes.changed.items()
            ],
            "unchanged": changes.unchanged,
        }

    return {
        "tenant": id_in(diff.before.name, "tenants"),
        "from": id_in(diff.before.name, "versions"),
        "to": id_in(diff.after.name, "versions"),
        "files": {
            "added": [{"path": path, **file(told)} for path, told in diff.files.added.items()],
            "removed": [{"path": path, **file(told)} for path, told in diff.files.removed.items()],
            "changed": [
                {"path": path, "from": file(old), "to": file(new)} for path, (old, new) in diff.files.changed.items()
            ],
            "unchanged": diff.files.unchanged,
        },
        "workflows": named("entrypoint", diff.workflows, str),
        "schedules": named("catchUp", diff.schedules, str, "schedule"),
        "retention": named("retention", diff.retention, documents.retention),
        "limits": named("limits", diff.limits, version_documents.limits),
        "vars": named("value", diff.vars, str),
        "bindings": named("workflow", diff.bindings, str),
    }


def lines(diff: VersionDiff) -> Iterator[tuple[Cell, str]]:
    """Each a sign (+, -, ~) and what it is about."""
    if diff.is_empty:
        yield Cell("="), "the same files, workflows, schedules, values and bindings"
        return
    for path, told in diff.files.added.items():
        yield Cell("+", "good"), f"{path}  {_file_text(told)}"
    for path, told in diff.files.removed.items():
        yield Cell("-", "bad"), f"{path}  {_file_text(told)}"
    for path, (old, new) in diff.files.changed.items():
        content = "" if old[2] != new[2] else "  the same bytes"
        yield Cell("~", "waiting"), f"{path}  {_file_text(old)} → {_file_text(new)}{content}"
    yield from _named("workflow", diff.workflows, str)
    yield from _named("schedule", diff.schedules, str)
    yield from _named("retention of", diff.retention, retention_text)
    yield from _named("limits of", diff.limits, limits_text)
    yield from _named("var", diff.vars, str)
    yield from _named("binding", diff.bindings, str)


def _named(what: str, changes: Changes[T], shown: Callable[[T], str]) -> Iterator[tuple[Cell, str]]:
    for name, value in changes.added.items():
        yield Cell("+", "good"), f"{what} {name}  {shown(value)}"
    for name, value in changes.removed.items():
        yield Cell("-", "bad"), f"{what} {name}  {shown(value)}"
    for name, (was, is_now) in changes.changed.items():
        yield Cell("~", "waiting"), f"{what} {name}  {shown(was)} → {shown(is_now)}"


def _changes(old: Mapping[str, T], new: Mapping[str, T]) -> Changes[T]:
    both = sorted(old.keys() & new.keys())
    changed = {name: (old[name], new[name]) for name in both if old[name] != new[name]}
    return Changes(
        {name: new[name] for name in sorted(new.keys() - old.keys())},
        {name: old[name] for name in sorted(old.keys() - new.keys())},
        changed,
        len(both) - len(changed),
    )


def _entrypoints(version: pb.Version) -> dict[str, str]:
    return {each.workflow_id: each.entrypoint for each in version.manifest.workflows}


def _schedules(version: pb.Version) -> dict[str, str]:
    return {
        f"{entry.workflow_id}: {each.cron} {each.timezone}": catch_up_text(each.catch_up)
        for entry in version.manifest.workflows
        for each in entry.schedules
    }


def _retentions(version: pb.Version) -> dict[str, Retention]:
    return {each.workflow_id: each.retention for each in version.manifest.workflows if each.HasField("retention")}


def _limits(version: pb.Version) -> dict[str, pb.WorkflowLimits]:
    return {each.workflow_id: each.limits for each in version.manifest.workflows if each.HasField("limits")}


def _file_text(told: tuple[bool, int, str]) -> str:
    return f"{told[1]} bytes{' executable' if told[0] else ''}"
