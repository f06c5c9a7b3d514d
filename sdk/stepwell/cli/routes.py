"""`stepwell routes`: which versions new instances of a workflow get."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli.app import (
    App,
    output_option,
    page_options,
    print_json,
    tenant_option,
    utf8,
    validated,
    workflow_argument,
)
from stepwell.cli.lists import show_page
from stepwell.cli.screen import Cell

if TYPE_CHECKING:
    from stepwell.v1 import workflows_pb2

WHOLE = 100
"""Weights are so many of a hundred new instances."""

etag_option = click.option(
    "--etag",
    default="",
    callback=validated(utf8),
    help="Refuse when the route has changed since it had this; `describe` shows it.",
)


def targets_text(targets: Iterable[workflows_pb2.RouteTarget], *, digest_characters: int | None = None) -> str:
    """Versions with their percentages; a version alone has everything."""
    from stepwell.client.resource_names import id_in

    shown = [((id_in(each.version, "versions") or "")[:digest_characters], each.weight) for each in targets]
    return ", ".join(digest if weight == WHOLE else f"{digest} {weight}%" for digest, weight in shown)


def _shares(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, int]]:
    """Of VERSION[=PERCENT]...: a version alone gets all; one of several without a percentage gets what is left."""
    given = [text.partition("=") for text in texts]
    shares: list[tuple[str, int | None]] = []
    for digest, equals, percent in given:
        try:
            names.digest(digest)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if equals and not (percent.isascii() and percent.isdigit() and 1 <= len(percent) <= 3 and int(percent) >= 1):
            raise click.BadParameter(f"{percent!r} is no percentage: a whole number from 1 to {WHOLE}")
        shares.append((digest, int(percent) if equals else None))
    rest = WHOLE - sum(weight or 0 for _, weight in shares)
    without = [digest for digest, weight in shares if weight is None]
    if len(without) > 1:
        raise click.BadParameter("of several versions at most one may be without =PERCENT: it gets what is left")
    if (without and rest < 1) or (not without and rest != 0):
        total = WHOLE - rest
        raise click.BadParameter(f"the percentages add up to {total}, and have to leave something, or be {WHOLE}")
    return [(digest, rest if weight is None else weight) for digest, weight in shares]


@click.group("routes")
def command() -> None:
    """Which versions new instances of a workflow get."""


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
            targets_text(each.targets),
            ", ".join(dict.fromkeys(target.entrypoint for target in each.targets)),
            app.since(documents.datetime_of(each.update_time)),
        ]
        for each in page.routes
    ]
    show_page(
        app.screen, ["WORKFLOW", "VERSION", "ENTRYPOINT", "SET"], rows, page.next_page_token,
        "No routes: stepwell deploy FOLDER, or stepwell routes set NAME VERSION",
    )  # fmt: skip


@command.command("describe")
@workflow_argument
@tenant_option
@output_option
@click.pass_obj
def describe(app: App, workflow: str, tenant: str | None, output: str) -> None:
    """Show a route: its versions, by weight, and what it would be rolled back to."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    route = app.ask(lambda client: client.workflows.get_route(tenant, workflow))
    if output == "json":
        print_json(documents.route(route))
        return
    app.screen.line(Cell(workflow, "bold"))
    app.screen.facts(
        [
            ("tenant", id_in(route.name, "tenants") or ""),
            ("etag", route.etag),
            ("set", app.since(documents.datetime_of(route.update_time))),
            ("before", targets_text(route.previous_targets) or "nothing to roll back to"),
        ]
    )
    rows = [[id_in(each.version, "versions") or "", f"{each.weight}%", each.entrypoint] for each in route.targets]
    app.screen.table(["VERSION", "WEIGHT", "ENTRYPOINT"], rows)


@command.command("set")
@workflow_argument
@click.argument("versions", metavar="VERSION[=PERCENT]...", nargs=-1, required=True, callback=_shares)
@tenant_option
@etag_option
@output_option
@click.pass_obj
def set_(app: App, workflow: str, versions: list[tuple[str, int]], tenant: str | None, etag: str, output: str) -> None:
    """Let new instances of a workflow begin with VERSION, or with several, each so many of a hundred.

    Of several, one may be without =PERCENT: it gets what is left. Running instances stay on the version that they began
    with.
    """
    from stepwell.cli import documents

    route = app.ask(lambda client: client.workflows.set_route(tenant, workflow, versions, etag=etag))
    if output == "json":
        print_json(documents.route(route))
    else:
        app.screen.line("New instances of ", Cell(workflow, "bold"), f" get {targets_text(route.targets)}")


@command.command("promote")
@workflow_argument
@click.argument("version", metavar="[VERSION]", required=False, callback=validated(names.digest))
@tenant_option
@etag_option
@output_option
@click.pass_obj
def promote(app: App, workflow: str, version: str | None, tenant: str | None, etag: str, output: str) -> None:
    """Give one of a route's versions all new instances: VERSION, or the last of two."""
    changed = app.ask(lambda client: client.workflows.promote_route(tenant, workflow, version, etag=etag))
    _show_changed(app, workflow, changed, output)


@command.command("rollback")
@workflow_argument
@tenant_option
@etag_option
@output_option
@click.pass_obj
def rollback(app: App, workflow: str, tenant: str | None, etag: str, output: str) -> None:
    """Make a route what it was before the last version came in, whatever became of its weights since.

    Run again, it goes back once more; with --etag it is done once.
    """
    changed = app.ask(lambda client: client.workflows.roll_back_route(tenant, workflow, etag=etag))
    _show_changed(app, workflow, changed, output)


def _show_changed(
    app: App,
    workflow: str,
    changed: workflows_pb2.PromoteRouteResponse | workflows_pb2.RollBackRouteResponse,
    output: str,
) -> None:
    from stepwell.cli import documents

    if output == "json":
        print_json(documents.changed_route(changed))
        return
    app.screen.line("New instances of ", Cell(workflow, "bold"), f" get {targets_text(changed.route.targets)}")
    app.screen.line(f"  before: {targets_text(changed.replaced_targets)}")
