"""`stepwell nodes`: the processes of an installation. For the operator."""

from __future__ import annotations

import click

from stepwell.cli.app import App, output_option, page_options, print_json
from stepwell.cli.lists import show_page


@click.group("nodes")
def command() -> None:
    """The processes of a cluster (operator)."""


@command.command("list")
@page_options
@output_option
@click.pass_obj
def list_(app: App, page_size: int, page_token: str, output: str) -> None:
    """List those that live: what they own, how much they run, and how late they are."""
    from stepwell.cli import documents

    page = app.ask(lambda client: client.nodes.list(page_size=page_size, page_token=page_token))
    if output == "json":
        print_json(documents.nodes(page))
        return
    rows = [
        [
            each.name.removeprefix("nodes/"),
            documents.node_role(each.role),
            each.address,
            str(each.owned_shards) if each.HasField("load") else "-",
            *([str(each.load.active_instances), str(each.load.queued_instances)] if each.HasField("load") else "--"),
            f"{each.load.overdue_ms} ms" if each.HasField("load") else "-",
        ]
        for each in page.nodes
    ]
    headers = ["NODE", "ROLE", "ADDRESS", "SHARDS", "ACTIVE", "QUEUED", "OVERDUE"]
    show_page(app.screen, headers, rows, page.next_page_token, "The server that was asked knows of no nodes.")
    if page.unowned_shards:
        app.screen.aside(f"{page.unowned_shards} of {page.shard_count} shards have no owner at the moment.")
