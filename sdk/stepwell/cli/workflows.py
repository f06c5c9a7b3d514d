"""`stepwell workflows`: what can be run, and a way to run it."""

from __future__ import annotations

import click

from stepwell.cli.app import (
    App,
    id_option,
    output_option,
    page_options,
    print_json,
    tenant_option,
    workflow_argument,
)
from stepwell.cli.json_argument import json_argument
from stepwell.cli.lists import show_page
from stepwell.cli.routes import targets_text
from stepwell.cli.screen import Cell


@click.group("workflows")
def command() -> None:
    """What a tenant can run."""


@command.command("list")
@tenant_option
@page_options
@output_option
@click.pass_obj
def list_(app: App, tenant: str | None, page_size: int, page_token: str, output: str) -> None:
    """List workflows by name, with the versions that new instances get."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    page = app.ask(lambda client: client.workflows.list(tenant, page_size=page_size, page_token=page_token))
    if output == "json":
        print_json(documents.page([documents.workflow(each) for each in page.workflows], page.next_page_token))
        return
    rows = [
        [
            id_in(each.name, "workflows") or "",
            each.entrypoint,
            targets_text(each.targets, digest_characters=19),
            app.since(documents.datetime_of(each.update_time)),
        ]
        for each in page.workflows
    ]
    headers = ["WORKFLOW", "ENTRYPOINT", "VERSION", "ROUTED"]
    show_page(app.screen, headers, rows, page.next_page_token, "No workflows: stepwell deploy FOLDER")


@command.command("describe")
@workflow_argument
@tenant_option
@output_option
@click.pass_obj
def describe(app: App, workflow: str, tenant: str | None, output: str) -> None:
    """Show a workflow and the versions that its new instances get."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    found = app.ask(lambda client: client.workflows.get(tenant, workflow))
    if output == "json":
        print_json(documents.workflow(found))
        return
    app.screen.line(Cell(workflow, "bold"))
    app.screen.facts(
        [
            ("tenant", id_in(found.name, "tenants") or ""),
            ("entrypoint", found.entrypoint),
            *(("version", targets_text([each])) for each in found.targets),
            ("created", app.since(documents.datetime_of(found.create_time))),
            ("routed", app.since(documents.datetime_of(found.update_time))),
        ]
    )


def _duration(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """How long something that has ended is kept, in ms."""
    from stepwell.retention import Retention

    if text is None:
        return None
    try:
        return Retention.of(success=int(text) if text.isascii() and text.isdigit() else text).success_ms
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@command.command("trigger")
@workflow_argument
@tenant_option
@id_option
@click.option("--params", callback=json_argument, metavar="JSON", help="Its params: JSON, @FILE, or - for stdin.")
@click.option(
    "--success-retention", callback=_duration, metavar="DURATION", help="Kept for so long once complete: '7 days'."
)
@click.option(
    "--error-retention", callback=_duration, metavar="DURATION", help="Kept for so long once errored or terminated."
)
@output_option
@click.pass_obj
def trigger(
    app: App,
    workflow: str,
    tenant: str | None,
    instance: str,
    params: bytes,
    success_retention: int | None,
    error_retention: int | None,
    output: str,
) -> None:
    """Start an instance of a workflow."""
    from stepwell.cli import documents
    from stepwell.client.payloads import Json
    from stepwell.client.resource_names import id_in
    from stepwell.retention import Retention

    retention = Retention(success_retention, error_retention)
    made = app.ask(
        lambda client: client.instances.create(tenant, workflow, Json(params), instance=instance, retention=retention)
    )
    if output == "json":
        print_json(documents.instance(made, []))
        return
    name = id_in(made.name, "instances") or ""
    app.screen.line("Triggered ", Cell(f"{workflow} {name}", "bold"))
    whose = f" --tenant {tenant}" if tenant else ""
    app.screen.aside(f"Follow it: stepwell instances watch {workflow} {name}{whose}")
