"""`stepwell workflows`: what can be run, and a way to run it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

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
from stepwell.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from stepwell.client.connection import Client

LOOK_S: Final = 0.5
"""Between two looks for instances of a workflow that is deleted."""

VAIN_LOOKS_MAX: Final = 20
"""So many in a row that found none to delete and some in the list."""


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


@command.command("delete")
@workflow_argument
@tenant_option
@output_option
@click.pass_obj
def delete(app: App, workflow: str, tenant: str | None, output: str) -> None:
    """Delete a workflow for good: its route, its schedules, and all of its instances, after ending them."""
    if output == "text":
        app.screen.aside("Waiting until nobody begins instances by what its route was: some 16 s in a cluster")
    count = app.ask(lambda client: _removed(client, tenant, workflow))
    if output == "json":
        print_json({"tenant": tenant, "workflow": workflow, "deleted": True, "instances": count})
    else:
        app.screen.line(f"Deleted {workflow} and {count:,} instance{'s' * (count != 1)}")


async def _removed(client: Client, tenant: str | None, workflow: str) -> int:
    """How many instances it had. Raises NotFoundError where there is nothing of it, and ConflictError while some stay:
    lists follow, and the end of a child has to be told first."""
    missing: NotFoundError | None = None
    try:
        await client.workflows.delete(tenant, workflow)
    except NotFoundError as error:
        missing = error  # it may be what an earlier call has left
    deleted, vain_looks = 0, 0
    while True:
        some = await client.instances.delete_all(tenant, workflow)
        deleted, vain_looks = deleted + some, 0 if some else vain_looks + 1
        left = (await client.instances.list(tenant, workflow, page_size=1)).instances
        if not left:
            break
        if vain_looks == VAIN_LOOKS_MAX:
            raise ConflictError(f"{workflow} still has instances, such as {left[0].name}: the same command goes on")
        await asyncio.sleep(LOOK_S)
    if missing is not None and not deleted:
        raise missing
    return deleted


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
