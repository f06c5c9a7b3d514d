"""`stepwell schedules`: which instances the clock creates, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stepwell.cli.app import App, output_option, page_options, print_json, tenant_option, workflow_argument
from stepwell.cli.lists import show_page
from stepwell.cli.screen import Cell

if TYPE_CHECKING:
    from stepwell.v1 import workflows_pb2


@click.group("schedules")
def command() -> None:
    """Which instances the clock creates, and when."""


@command.command("list")
@tenant_option
@page_options
@output_option
@click.pass_obj
def list_(app: App, tenant: str | None, page_size: int, page_token: str, output: str) -> None:
    """List the schedules that are in force, and paused workflows, by workflow."""
    from stepwell.cli import documents, schedule_documents
    from stepwell.client.resource_names import id_in

    page = app.ask(lambda client: client.workflows.list_schedules(tenant, page_size=page_size, page_token=page_token))
    if output == "json":
        items = [schedule_documents.schedules(each) for each in page.workflows]
        print_json(documents.page(items, page.next_page_token))
        return
    rows = []
    for each in page.workflows:
        name = id_in(each.name, "workflows") or ""
        if not each.schedules:
            rows.append([name, "", "", "", "paused", ""])
        for active in each.schedules:
            schedule = active.schedule
            catch_up = schedule_documents.catch_up_text(schedule.catch_up)
            coming = "paused" if each.paused else _time(active, "next_tick_time")
            rows.append([name, schedule.cron, schedule.timezone, catch_up, coming, _time(active, "last_tick_time")])
    headers = ["WORKFLOW", "CRON", "TIME ZONE", "CATCH UP", "NEXT", "LAST"]
    show_page(
        app.screen, headers, rows, page.next_page_token, "No schedules: write some into stepwell.toml, and deploy"
    )


@command.command("pause")
@workflow_argument
@tenant_option
@output_option
@click.pass_obj
def pause(app: App, workflow: str, tenant: str | None, output: str) -> None:
    """Let no schedule of the workflow create an instance until `resume`, whatever is deployed meanwhile.

    Instances that are there go on.
    """
    told = app.ask(lambda client: client.workflows.pause_schedules(tenant, workflow))
    _show_changed(app, workflow, told, output)


@command.command("resume")
@workflow_argument
@tenant_option
@output_option
@click.pass_obj
def resume(app: App, workflow: str, tenant: str | None, output: str) -> None:
    """Let the workflow's schedules go on with their next times. What was due while they were paused never comes."""
    told = app.ask(lambda client: client.workflows.resume_schedules(tenant, workflow))
    _show_changed(app, workflow, told, output)


def _time(active: workflows_pb2.ActiveSchedule, field: str) -> str:
    from stepwell.cli.documents import datetime_of
    from stepwell.cli.durations import clock

    return clock(datetime_of(getattr(active, field))) if active.HasField(field) else "never"  # type: ignore[arg-type]


def _show_changed(app: App, workflow: str, told: workflows_pb2.WorkflowSchedules, output: str) -> None:
    from stepwell.cli import schedule_documents

    if output == "json":
        print_json(schedule_documents.schedules(told))
        return
    app.screen.line("Paused: " if told.paused else "In force: ", Cell(workflow, "bold"))
    for each in told.schedules:
        coming = "" if told.paused else f", next {_time(each, 'next_tick_time')}"
        app.screen.line(f"  {each.schedule.cron}  {each.schedule.timezone}{coming}")
