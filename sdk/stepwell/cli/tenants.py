"""`stepwell tenants`: whom the server works for. For the operator."""

from __future__ import annotations

import click

from stepwell.cli.app import App, output_option, page_options, print_json, tenant_argument
from stepwell.cli.lists import show_page


@click.group("tenants")
def command() -> None:
    """Whom the server works for (operator)."""


@command.command("create")
@tenant_argument
@click.option(
    "--spread",
    type=click.IntRange(1, 1024),
    metavar="N",
    default=1,
    help="Over how many shards of a cluster its instances lie: 1, 2, 4, … 1024. Never changes.",
)
@output_option
@click.pass_obj
def create(app: App, tenant: str, spread: int, output: str) -> None:
    """Create TENANT: 1 to 63 of a-z, 0-9 and '-'."""
    from stepwell.cli import documents

    made = app.ask(lambda client: client.tenants.create(tenant, spread=spread))
    if output == "json":
        print_json(documents.tenant(made))
    else:
        app.screen.line(f"Created tenant {tenant}")


@command.command("list")
@page_options
@output_option
@click.pass_obj
def list_(app: App, page_size: int, page_token: str, output: str) -> None:
    """List tenants by name."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    page = app.ask(lambda client: client.tenants.list(page_size=page_size, page_token=page_token))
    if output == "json":
        print_json(documents.page([documents.tenant(each) for each in page.tenants], page.next_page_token))
        return
    rows = [
        [id_in(each.name, "tenants") or "", app.since(documents.datetime_of(each.create_time))] for each in page.tenants
    ]
    show_page(app.screen, ["TENANT", "CREATED"], rows, page.next_page_token, "No tenants: stepwell tenants create NAME")
