"""What a bundle says of itself: its workflows and its plain values. Part of the digest, hence the canonical bytes.

The manifest arrives typed; the file that an author wrote is read where the author is, never here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.records import CatchUp, Schedule
from loader.limits import (
    MANIFEST_BINDINGS_MAX,
    MANIFEST_BYTES_MAX,
    MANIFEST_SCHEDULES_MAX,
    MANIFEST_VAR_NAME_LENGTH_MAX,
    MANIFEST_VARS_MAX,
    MANIFEST_WORKFLOWS_MAX,
)
from stepwell import cron, names, workflow_limits
from stepwell.errors import BundleRefusedError, LimitExceededError
from stepwell.names import WorkflowId
from stepwell.retention import NOT_SAID, Retention, refuse_unusual
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """One workflow of a bundle: `entrypoint` is module:Class within the bundle."""

    workflow_id: WorkflowId
    entrypoint: str
    schedules: tuple[Schedule, ...] = ()
    retention: Retention = NOT_SAID
    """Of its instances, where their create says nothing else."""
    limits: WorkflowLimits = UNLIMITED


@dataclass(frozen=True, slots=True)
class Manifest:
    """The workflows of a bundle, and the values that its code finds in `self.env`."""

    workflows: tuple[WorkflowEntry, ...]
    vars: Mapping[str, str]
    bindings: Mapping[str, WorkflowId] = field(default_factory=dict)
    """Workflows of the same tenant that its code may create and steer instances of, by the name that `self.env` has."""

    def canonical(self) -> bytes:
        """The same bytes for equal manifests, whatever order their parts came in. What is not said is not in them: so
        digests of manifests from before it could be said stay as they are."""
        workflows = {entry.workflow_id: entry.entrypoint for entry in self.workflows}
        value: dict[str, object] = {"vars": dict(self.vars), "workflows": workflows}
        if self.bindings:  # those without keep the digest that they had before there were any
            value["bindings"] = dict(self.bindings)
        schedules = {entry.workflow_id: sorted(entry.schedules) for entry in self.workflows if entry.schedules}
        if schedules:
            value["schedules"] = schedules
        retentions = {each.workflow_id: each.retention for each in self.workflows if each.retention != NOT_SAID}
        if retentions:
            value["retention"] = retentions
        limits = {each.workflow_id: each.limits for each in self.workflows if each.limits != UNLIMITED}
        if limits:
            value["limits"] = limits
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @classmethod
    def from_canonical(cls, data: bytes) -> Manifest:
        """The manifest that `canonical` wrote, its workflows in the order of their names."""
        value = json.loads(data)
        schedules, retentions, limits = value.get("schedules", {}), value.get("retention", {}), value.get("limits", {})
        workflows = (
            WorkflowEntry(
                WorkflowId(name),
                entry,
                tuple(_schedule(*each) for each in schedules.get(name, ())),
                Retention(*retentions.get(name, NOT_SAID)),
                WorkflowLimits(*limits.get(name, UNLIMITED)),
            )
            for name, entry in sorted(value["workflows"].items())
        )
        bindings = {name: WorkflowId(workflow) for name, workflow in value.get("bindings", {}).items()}
        return cls(tuple(workflows), dict(value["vars"]), bindings)

    def entrypoints(self) -> list[str]:
        """Each entrypoint once, in the manifest's order."""
        return list(dict.fromkeys(entry.entrypoint for entry in self.workflows))


def check_manifest(manifest: Manifest) -> None:
    """Raise BundleRefusedError or LimitExceededError, saying what to change, unless this can become a version's."""
    if not manifest.workflows:
        raise BundleRefusedError("The bundle has no workflow: name at least one, with its entrypoint.")
    _check_limit("manifest_workflows_max", MANIFEST_WORKFLOWS_MAX, len(manifest.workflows), "workflows")
    _check_limit("manifest_vars_max", MANIFEST_VARS_MAX, len(manifest.vars), "values in [vars]")
    seen: set[str] = set()
    for entry in manifest.workflows:
        try:
            names.workflow_id(entry.workflow_id)
            names.entrypoint(entry.entrypoint)
            for ms in entry.retention:
                if ms is not None:
                    refuse_unusual(ms)
            workflow_limits.refuse_unusual(entry.limits)
        except names.TooLongError as error:
            raise BundleRefusedError(f"The manifest can't be used: {error}.", **error.metadata) from None
        except ValueError as error:
            raise BundleRefusedError(f"The manifest can't be used: {error}.") from None
        if entry.workflow_id in seen:
            raise BundleRefusedError(f"The workflow {entry.workflow_id!r} is named twice: give each its own name.")
        seen.add(entry.workflow_id)
        _check_schedules(entry)
    for name in manifest.vars:
        _check_limit(
            "manifest_var_name_length_max", MANIFEST_VAR_NAME_LENGTH_MAX, len(name), "characters in a name of [vars]"
        )
        if not name or not name.isprintable():
            raise BundleRefusedError(
                f"A name in [vars] can't be used: 1 to {MANIFEST_VAR_NAME_LENGTH_MAX} printable characters, please."
            )
    _check_bindings(manifest)
    _check_limit("manifest_bytes_max", MANIFEST_BYTES_MAX, len(manifest.canonical()), "bytes of manifest")


def _schedule(text: str, timezone: str, catch_up: str) -> Schedule:
    return Schedule(text, timezone, CatchUp(catch_up))


def _check_schedules(entry: WorkflowEntry) -> None:
    _check_limit(
        "manifest_schedules_max",
        MANIFEST_SCHEDULES_MAX,
        len(entry.schedules),
        f"schedules of the workflow {entry.workflow_id!r}",
    )
    seen: set[tuple[str, str]] = set()
    for schedule in entry.schedules:
        shown = schedule.cron[: cron.CRON_LENGTH_MAX]
        where = f"The schedule {shown!r} of the workflow {entry.workflow_id!r} can't be used"
        try:
            cron.parsed(schedule.cron)
            cron.zone(schedule.timezone)
        except (cron.CronError, names.TooLongError) as error:
            more = error.metadata if isinstance(error, names.TooLongError) else {}
            raise BundleRefusedError(f"{where}: {error}.", workflow=entry.workflow_id, schedule=shown, **more) from None
        if schedule[:2] in seen:
            raise BundleRefusedError(f"{where}: it is there twice.", workflow=entry.workflow_id, schedule=shown)
        seen.add(schedule[:2])


def _check_bindings(manifest: Manifest) -> None:
    _check_limit("manifest_bindings_max", MANIFEST_BINDINGS_MAX, len(manifest.bindings), "bindings")
    for name, workflow in manifest.bindings.items():
        _check_limit(
            "manifest_var_name_length_max", MANIFEST_VAR_NAME_LENGTH_MAX, len(name), "characters in a binding's name"
        )
        if not name.isidentifier() or not name.isascii():
            raise BundleRefusedError(
                f"A binding's name can't be used: 1 to {MANIFEST_VAR_NAME_LENGTH_MAX} of a-z, A-Z, 0-9 and '_', please."
            )
        if name in manifest.vars:
            raise BundleRefusedError(f"{name!r} is both a binding and a value of [vars]: call one of them otherwise.")
        try:
            names.workflow_id(workflow)
        except names.TooLongError as error:
            raise BundleRefusedError(f"The binding {name!r} can't be used: {error}.", **error.metadata) from None
        except ValueError as error:
            raise BundleRefusedError(f"The binding {name!r} can't be used: {error}.") from None


def _check_limit(name: str, limit: int, seen: int, what: str) -> None:
    if seen > limit:
        raise LimitExceededError(
            f"The bundle has {seen:,} {what}; at most {limit:,} can be deployed.",
            limit=name, value=str(limit), seen=str(seen),
        )  # fmt: skip
