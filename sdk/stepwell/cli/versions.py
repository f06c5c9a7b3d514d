"""`stepwell versions`: the code that a tenant has deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli.app import App, output_option, page_options, print_json, tenant_option, validated, version_argument
from stepwell.cli.lists import show_page
from stepwell.cli.routes import targets_text
from stepwell.cli.screen import Cell

if TYPE_CHECKING:
    from stepwell.cli.version_diff import VersionDiff
    from stepwell.client.connection import Client
    from stepwell.v1 import workflows_pb2 as pb


@click.group("versions")
def command() -> None:
    """The code that a tenant has deployed."""


@command.command("list")
@tenant_option
@page_options
@click.option("--usage", is_flag=True, help="Count instances that need each, too, which reads lists of instances.")
@output_option
@click.pass_obj
def list_(app: App, tenant: str | None, page_size: int, page_token: str, usage: bool, output: str) -> None:
    """List versions, newest first."""
    from stepwell.cli import documents, version_documents
    from stepwell.client.resource_names import id_in

    page, used = app.ask(lambda client: _listed(client, tenant, page_size, page_token, usage))
    if output == "json":
        items = [version_documents.described(each, of) if of else version_documents.version(each) for each, of in used]
        print_json(documents.page(items, page.next_page_token))
        return
    rows = [
        [
            id_in(each.name, "versions") or "",
            app.since(documents.datetime_of(each.create_time)),
            str(each.file_count),
            str(each.size_bytes),
            version_documents.used_state_text(each, of) if of else version_documents.state_text(each.state),
            *([str(of.pinned_instances)] if of else []),
            ", ".join(entry.workflow_id for entry in each.manifest.workflows),
        ]
        for each, of in used
    ]
    headers = ["VERSION", "CREATED", "FILES", "BYTES", "STATE", *(["PINNED"] if usage else []), "WORKFLOWS"]
    show_page(app.screen, headers, rows, page.next_page_token, "No versions: stepwell deploy FOLDER")


@command.command("describe")
@version_argument
@tenant_option
@output_option
@click.pass_obj
def describe(app: App, version: str, tenant: str | None, output: str) -> None:
    """Show a version: what it declares, how large it is, and who needs it."""
    from stepwell.cli import documents, version_documents
    from stepwell.cli.schedule_documents import catch_up_text
    from stepwell.cli.terms_view import terms_of
    from stepwell.client.resource_names import id_in

    found, usage = app.ask(lambda client: _described(client, tenant, version))
    if output == "json":
        print_json(version_documents.described(found, usage))
        return
    app.screen.line(Cell(version, "bold"))
    app.screen.facts(
        [
            ("tenant", id_in(found.name, "tenants") or ""),
            ("created", app.since(documents.datetime_of(found.create_time))),
            ("files", str(found.file_count)),
            ("bytes", str(found.size_bytes)),
            ("state", version_documents.used_state_text(found, usage)),
            (
                "routed by",
                ", ".join(id_in(name, "workflows") or "" for name in usage.routed_workflows) or "no workflow",
            ),
            ("pinned", f"{usage.pinned_instances} instances that have not ended"),
            *((f"var {name}", value) for name, value in sorted(found.manifest.vars.items())),
            *((f"binding {name}", workflow) for name, workflow in sorted(found.manifest.bindings.items())),
        ]
    )
    entries = [[entry.workflow_id, entry.entrypoint, *terms_of(entry)] for entry in found.manifest.workflows]
    app.screen.table(["WORKFLOW", "ENTRYPOINT", "KEPT", "LIMITS"], entries)
    schedules = [
        [entry.workflow_id, each.cron, each.timezone, catch_up_text(each.catch_up)]
        for entry in found.manifest.workflows
        for each in entry.schedules
    ]
    if schedules:
        app.screen.table(["SCHEDULE OF", "CRON", "TIME ZONE", "CATCH UP"], schedules)


@command.command("drain")
@version_argument
@tenant_option
@output_option
@click.pass_obj
def drain(app: App, version: str, tenant: str | None, output: str) -> None:
    """Take VERSION out of all routes at once: it gets no new instances, and those that it has go on."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    drained = app.ask(lambda client: client.workflows.drain_version(tenant, version))
    if output == "json":
        print_json({"version": version, "routes": [documents.route(each) for each in drained.routes]})
        return
    for route in drained.routes:
        workflow = Cell(id_in(route.name, "workflows") or "", "bold")
        app.screen.line("New instances of ", workflow, f" get {targets_text(route.targets)}")
    if not drained.routes:
        app.screen.line("No route names ", Cell(version, "bold"))


@command.command("retire")
@version_argument
@tenant_option
@output_option
@click.pass_obj
def retire(app: App, version: str, tenant: str | None, output: str) -> None:
    """Delete VERSION for good; refused while a route names it, or instances of it have not ended.

    Takes some 16 s in a cluster. Run it again when it was interrupted.
    """
    if output == "text":
        app.screen.aside("Waiting until nobody begins instances by what a route was before: some 16 s in a cluster")
    app.ask(lambda client: client.workflows.retire_version(tenant, version))
    if output == "json":
        print_json({"version": version, "retired": True})
        return
    app.screen.line("Retired ", Cell(version, "bold"))


async def _listed(
    client: Client, tenant: str | None, page_size: int, page_token: str, usage: bool
) -> tuple[pb.ListVersionsResponse, list[tuple[pb.Version, pb.VersionUsage | None]]]:
    """The page, and each of its versions with its usage, if that is asked for."""
    workflows = client.workflows
    page = await workflows.list_versions(tenant, page_size=page_size, page_token=page_token)
    names = [(each, each.name.rpartition("/")[2]) for each in page.versions]
    return page, [(each, await workflows.version_usage(tenant, name) if usage else None) for each, name in names]


async def _described(client: Client, tenant: str | None, version: str) -> tuple[pb.Version, pb.VersionUsage]:
    found = await client.workflows.get_version(tenant, version)
    return found, await client.workflows.version_usage(tenant, version)


@command.command("diff")
@version_argument
@click.argument("other", metavar="OTHER", callback=validated(names.digest))
@tenant_option
@output_option
@click.pass_obj
def diff(app: App, version: str, other: str, tenant: str | None, output: str) -> None:
    """Show what OTHER has that VERSION has not, and the other way round: files by content, workflows,
    vars, and bindings."""
    from stepwell.cli import version_diff

    found = app.ask(lambda client: _compared(client, tenant, version, other))
    if output == "json":
        print_json(version_diff.document(found))
        return
    app.screen.line("From ", Cell(version, "bold"), " to ", Cell(other, "bold"))
    for sign, text in version_diff.lines(found):
        app.screen.line("  ", sign, f" {text}")


async def _compared(client: Client, tenant: str | None, version: str, other: str) -> VersionDiff:
    from stepwell.cli.version_diff import compared

    before, after = [await client.workflows.get_version(tenant, each) for each in (version, other)]
    old, new = [await client.workflows.version_files(tenant, each) for each in (version, other)]
    return compared(before, after, (old, new))
