"""`stepwell routes`: which version new instances of a workflow get."""

from __future__ import annotations

import click

from stepwell.cli.app import (
    App,
    output_option,
    page_options,
    print_json,
    tenant_option,
    utf8,
    validated,
    version_argument,
    workflow_argument,
)
from stepwell.cli.lists import show_page
from stepwell.cli.screen import Cell


@click.group("routes")
def command() -> None:
    """Which version new instances of a workflow get."""


@command.command("list")
@tenant_option
@page_options
@output_option
@click.pass_obj
def list_(app: App, tenant: str | None, page_size: int, page_token: str, output: str) -> None:
    """List routes by workflow."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    page = app.ask(lambda client: client.workflows.list_routes(tenant, page_size=page_size, page_token=page_token))
    if output == "json":
        print_json(documents.page([documents.route(each) for each in page.routes], page.next_page_token))
        return
    rows = [
        [
            id_in(each.name, "workflows") or "",
            id_in(each.version, "versions") or "",
            each.entrypoint,
            app.since(documents.datetime_of(each.update_time)),
        ]
        for each in page.routes
    ]
    show_page(
        app.screen, ["WORKFLOW", "VERSION", "ENTRYPOINT", "SET"], rows, page.next_page_token,
        "No routes: stepwell deploy FOLDER, or stepwell routes set NAME VERSION",
    )  # fmt: skip


@command.command("set")
@workflow_argument
@version_argument
@tenant_option
@click.option(
    "--etag",
    default="",
    callback=validated(utf8),
    help="Refuse when the route has changed since it had this; `list -o json` shows it.",
)
@output_option
@click.pass_obj
def set_(app: App, workflow: str, version: str, tenant: str | None, etag: str, output: str) -> None:
    """Let new instances of a workflow begin with VERSION. Running ones stay on the version that they began with."""
    from stepwell.cli import documents

    route = app.ask(lambda client: client.workflows.set_route(tenant, workflow, version, etag=etag))
    if output == "json":
        print_json(documents.route(route))
    else:
        app.screen.line("New instances of ", Cell(workflow, "bold"), f" get {version}")
