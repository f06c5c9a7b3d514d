"""An instance as people read it: where it stands, what it did, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stepwell.cli import hints
from stepwell.cli.clean import clean, shortened
from stepwell.cli.documents import datetime_of, status_text, step_kind_text, step_status_text
from stepwell.cli.durations import ago, clock, took
from stepwell.cli.json_text import pretty
from stepwell.cli.reading import Reading
from stepwell.cli.screen import Cell, Screen
from stepwell.client.resource_names import id_in
from stepwell.v1.instances_pb2 import (
    STEP_KIND_WAIT_FOR_EVENT,
    STEP_STATUS_WAITING,
    ForkedFrom,
    Instance,
    Rollback,
    Step,
)
from stepwell.v1.resources_pb2 import Failure

VALUE_SHOWN_MAX = 200
OUTPUT_LINES_MAX = 40
TRACEBACK_LINES_MAX = 25


def show(screen: Screen, found: Reading, now: datetime) -> None:
    """`instances describe` for people."""
    instance, steps = found.instance, found.steps or []
    status = status_text(instance.status)
    workflow, name = id_in(instance.name, "workflows") or "", id_in(instance.name, "instances") or ""
    screen.line(screen.marked(status), "  ", Cell(f"{workflow} {name}", "bold"))
    screen.facts(_facts(instance, now))
    if instance.HasField("output"):
        _show_output(screen, instance.output)
    if instance.HasField("error"):
        _show_error(screen, instance.error)
    if steps:
        screen.line("")
        screen.table(["#", "STEP", "KIND", "STATUS", "ATTEMPTS", "TOOK", "RESULT"], _step_rows(screen, steps, now))
    if found.more:
        screen.aside(f"There are more steps: --steps-page-token {found.more}")
    waits = any(s.kind == STEP_KIND_WAIT_FOR_EVENT and s.status == STEP_STATUS_WAITING for s in steps)
    hint = hints.for_instance(
        status,
        failed=instance.HasField("error"),
        waits_for_event=waits,
        tenant=id_in(instance.name, "tenants") or "",
        workflow=workflow,
        instance=name,
    )
    if hint:
        screen.line("")
        for line in hint.splitlines():
            screen.line(Cell(line, "dim"))


def list_row(screen: Screen, instance: Instance, now: datetime) -> list[Cell | str]:
    """One line of `instances list`."""
    error = f"{instance.error.type}: {instance.error.message}" if instance.HasField("error") else ""
    return [
        id_in(instance.name, "instances") or "",
        screen.marked(status_text(instance.status)),
        ago(datetime_of(instance.create_time), now),
        _took(instance, now),
        (id_in(instance.version, "versions") or "")[:19],
        Cell(shortened(clean(error), VALUE_SHOWN_MAX), "bad"),
    ]


def failure_line(error: Failure) -> str:
    """type: message, on one line."""
    text = f"{error.type}: {error.message}" if error.message else error.type
    return shortened(clean(text), VALUE_SHOWN_MAX)


def step_label(step: Step) -> str:
    """Its name, and which one of that name."""
    return f"{step.step_name} #{step.count}" if step.count > 1 else step.step_name


def step_took(step: Step, now: datetime) -> str:
    """How long it took, or has taken so far."""
    if not step.HasField("start_time"):
        return ""
    end = datetime_of(step.end_time) if step.HasField("end_time") else now
    return took((end - datetime_of(step.start_time)).total_seconds())


def _facts(instance: Instance, now: datetime) -> list[tuple[str, Cell | str]]:
    created = datetime_of(instance.create_time)
    facts: list[tuple[str, Cell | str]] = [
        ("tenant", id_in(instance.name, "tenants") or ""),
        ("version", id_in(instance.version, "versions") or ""),
        ("created", f"{clock(created)}  ({ago(created, now)})"),
    ]
    if instance.HasField("schedule"):
        due = clock(datetime_of(instance.schedule.scheduled_time))
        facts.append(("schedule", f"{instance.schedule.cron}, due at {due}"))
    if instance.HasField("start_time"):
        started = datetime_of(instance.start_time)
        facts.append(("started", f"{clock(started)}  (after {took((started - created).total_seconds())})"))
    if instance.HasField("end_time"):
        facts.append(("ended", f"{clock(datetime_of(instance.end_time))}  (took {_took(instance, now)})"))
    if instance.HasField("expire_time"):
        expires = datetime_of(instance.expire_time)
        facts.append(("deleted", f"{clock(expires)}  ({ago(expires, now)})"))
    if instance.parent:
        above = f"{id_in(instance.parent, 'workflows')} {id_in(instance.parent, 'instances')}"
        facts.append(("created by", above))
    if instance.HasField("cancel_time"):
        reason = shortened(clean(instance.cancel_reason), VALUE_SHOWN_MAX)
        facts.append(("cancelled", clock(datetime_of(instance.cancel_time)) + (f"  ({reason})" if reason else "")))
    if instance.HasField("forked_from"):
        facts.append(("forked from", _origin_line(instance.forked_from)))
    if instance.HasField("rollback"):
        facts.append(("rollback", _rollback_line(instance.rollback)))
    if instance.buffered_events:
        facts.append(("events", f"{instance.buffered_events:,} kept, not waited for yet"))
    if instance.dead_events:
        facts.append(("dead events", f"{instance.dead_events:,}  (stepwell instances events … --state dead)"))
    if instance.params:
        facts.append(("params", _one_line(instance.params)))
    return facts


def _origin_line(origin: ForkedFrom) -> str:
    count = f" #{origin.step_count}" if origin.step_count > 1 else ""
    return f"{id_in(origin.name, 'instances')} at {origin.step_name}{count}"


def _rollback_line(rollback: Rollback) -> Cell | str:
    if rollback.HasField("error"):
        return Cell(f"failed  ({failure_line(rollback.error)})", "bad")
    return "complete"


def _took(instance: Instance, now: datetime) -> str:
    if not instance.HasField("start_time"):
        return ""
    end = datetime_of(instance.end_time) if instance.HasField("end_time") else now
    return took((end - datetime_of(instance.start_time)).total_seconds())


def _show_output(screen: Screen, output: bytes) -> None:
    lines = pretty(output, indent=2).splitlines() or [""]
    screen.line("")
    screen.line(Cell("Output", "bold"))
    screen.block("\n".join(shortened(line, 1000) for line in lines[:OUTPUT_LINES_MAX]))
    if len(lines) > OUTPUT_LINES_MAX:
        screen.block(f"… {len(lines) - OUTPUT_LINES_MAX} more lines: -o json shows all", "dim")


def _show_error(screen: Screen, error: Failure) -> None:
    screen.line("")
    screen.line(Cell("Error", "bold"))
    screen.block(f"{error.type}: {error.message}" if error.message else error.type, "bad")
    lines = error.traceback.splitlines()
    if lines:
        cut = lines[-TRACEBACK_LINES_MAX:]
        screen.block("\n".join(["…", *cut] if len(lines) > len(cut) else cut), "dim")


def _step_rows(screen: Screen, steps: Sequence[Step], now: datetime) -> list[list[Cell | str]]:
    return [
        [
            Cell(str(number), "dim"),
            step_label(step),
            Cell(step_kind_text(step.kind), "dim"),
            screen.marked(step_status_text(step.status)),
            str(step.attempts),
            step_took(step, now),
            _result(step),
        ]
        for number, step in enumerate(steps, 1)
    ]


def _result(step: Step) -> Cell:
    if step.HasField("error"):
        return Cell(failure_line(step.error), "bad")
    if step.output_truncated:
        return Cell("(large: left out)", "dim")
    return Cell(_one_line(step.output)) if step.HasField("output") else Cell("")


def _one_line(payload: bytes) -> str:
    return shortened(clean(pretty(payload)), VALUE_SHOWN_MAX)
