"""`stepwell instances`: the runs of a workflow: what they did, what they do, and a hand on them."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli import instance_events, instance_forks
from stepwell.cli.app import (
    App,
    about_one,
    instance_id_or_latest,
    output_option,
    page_options,
    print_json,
    tenant_option,
    utf8,
    validated,
    validated_each,
    workflow_argument,
)
from stepwell.cli.instance_forks import from_step_options, kind_number
from stepwell.cli.lists import show_more, show_page
from stepwell.cli.steering import steer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from stepwell.cli.reading import Reading
    from stepwell.client.connection import Client
    from stepwell.errors import ApiError
    from stepwell.v1.instances_pb2 import Instance, ListLogsResponse

MIN_TIME = datetime.fromtimestamp(0, UTC)

STATUSES = ("queued", "running", "paused", "waiting", "waitingForPause", "complete", "errored", "terminated")


@click.group("instances")
def command() -> None:
    """The runs of a workflow. `latest` stands for the newest one's ID."""


command.add_command(instance_events.send_event)
command.add_command(instance_events.broadcast_event)
command.add_command(instance_events.events)
command.add_command(instance_events.resend_event)
command.add_command(instance_forks.fork)


def _time(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """ISO 8601, of UTC where it says nothing else; a date alone is where it begins."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter at either end of the calendar
        raise click.BadParameter(f"{text!r} is no time, such as 2026-01-31 or 2026-01-31T13:00:00Z") from None
    if found < MIN_TIME:
        raise click.BadParameter(f"{text!r} is before 1970")
    return found


@command.command("list")
@workflow_argument
@tenant_option
@click.option("--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only these; may be repeated.")
@click.option("--date-start", metavar="DATE", callback=_time, help="Created then or later, in UTC: 2026-01-31.")
@click.option("--date-end", metavar="DATE", callback=_time, help="Created then or before: 2026-01-31T13:00:00Z.")
@page_options
@output_option
@click.pass_obj
def list_(
    app: App,
    workflow: str,
    tenant: str | None,
    statuses: tuple[str, ...],
    date_start: datetime | None,
    date_end: datetime | None,
    page_size: int,
    page_token: str,
    output: str,
) -> None:
    """List a workflow's instances, newest first, without params and output."""
    from stepwell.cli import documents
    from stepwell.cli.instance_view import list_row

    numbers = [documents.status_number(each) for each in statuses]
    page = app.ask(
        lambda client: client.instances.list(
            tenant,
            workflow,
            statuses=numbers,
            created_from=date_start,
            created_to=date_end,
            page_size=page_size,
            page_token=page_token,
        )
    )
    if output == "json":
        print_json(documents.page([documents.instance(each, None) for each in page.instances], page.next_page_token))
        return
    rows = [list_row(app.screen, each, app.now()) for each in page.instances]
    headers = ["ID", "STATUS", "CREATED", "TOOK", "VERSION", "ERROR"]
    show_page(app.screen, headers, rows, page.next_page_token, f"No instances: stepwell workflows trigger {workflow}")


@command.command("describe")
@about_one
@click.option(
    "--steps-page-token",
    metavar="TOKEN",
    default="",
    callback=validated(utf8),
    help="Show the steps after those that gave this.",
)
@click.pass_obj
def describe(app: App, workflow: str, instance: str, tenant: str | None, output: str, steps_page_token: str) -> None:
    """Show an instance and up to 1,000 of its steps."""
    from stepwell.cli import documents
    from stepwell.cli.instance_view import show
    from stepwell.cli.reading import read

    async def ask(client: Client) -> Reading:
        return await read(client, await client.instances.name_of(tenant, workflow, instance), steps_page_token)

    found = app.ask(ask)
    if output == "json":
        print_json(documents.instance(found.instance, found.steps, found.more))
    else:
        show(app.screen, found, app.now())


@command.command("watch")
@about_one
@click.option("--cursor", default="", callback=validated(utf8), help="Go on after the event that had this.")
@click.option("--status-only", is_flag=True, help="Leave out what happens to steps.")
@click.pass_obj
def watch(
    app: App, workflow: str, instance: str, tenant: str | None, output: str, cursor: str, status_only: bool
) -> None:
    """Show what happened to an instance and what happens, until it has ended."""
    from stepwell.cli import documents
    from stepwell.cli.watch_view import WatchView

    view = WatchView(app.screen)

    async def follow(client: Client) -> None:
        name = await client.instances.name_of(tenant, workflow, instance)
        async with aclosing(client.instances.watch(name, cursor=cursor, status_only=status_only)) as events:
            async for event in events:
                if output == "json":
                    print_json(documents.event(event))
                else:
                    view.show(event)

    app.ask(follow)


@command.command("logs")
@about_one
@click.option(
    "--step",
    metavar="NAME",
    default="",
    callback=validated(utf8),
    help="Only what this step printed, of any count and attempt.",
)
@click.option("--follow", is_flag=True, help="All that is kept, then what is printed, until the instance has ended.")
@click.option(
    "--cursor", default="", callback=validated(utf8), help="With --follow: go on after the line that had this."
)
@page_options
@click.pass_obj
def logs(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    step: str,
    follow: bool,
    cursor: str,
    page_size: int,
    page_token: str,
) -> None:
    """Show what an instance's code printed, oldest first."""
    from stepwell.cli import documents, log_view

    if follow and page_token:
        raise click.UsageError("--page-token is for a page; with --follow, --cursor goes on after a line.")
    if cursor and not follow:
        raise click.UsageError("--cursor goes with --follow; without it, --page-token shows the page after another.")

    async def ask(client: Client) -> ListLogsResponse:
        name = await client.instances.name_of(tenant, workflow, instance)
        return await client.instances.list_logs(name, step=step, page_size=page_size, page_token=page_token)

    async def tail(client: Client) -> None:
        name = await client.instances.name_of(tenant, workflow, instance)
        async with aclosing(client.instances.watch_logs(name, step=step, cursor=cursor)) as entries:
            async for entry in entries:
                if output == "json":
                    print_json(documents.log_entry(entry))
                else:
                    log_view.show(app.screen, entry)

    if follow:
        app.ask(tail)
        return
    page = app.ask(ask)
    if output == "json":
        print_json(documents.page([documents.log_entry(each) for each in page.entries], page.next_page_token))
        return
    for entry in page.entries:
        log_view.show(app.screen, entry)
    show_more(app.screen, bool(page.entries), page.next_page_token, "Nothing that was printed is kept.")


@command.command("pause")
@about_one
@click.pass_obj
def pause(app: App, workflow: str, instance: str, tenant: str | None, output: str) -> None:
    """Pause an instance. Steps that run are finished and recorded first."""
    steer(app, workflow, instance, tenant, output, lambda client, name: client.instances.pause(name))


@command.command("resume")
@about_one
@click.pass_obj
def resume(app: App, workflow: str, instance: str, tenant: str | None, output: str) -> None:
    """Let a paused instance go on."""
    steer(app, workflow, instance, tenant, output, lambda client, name: client.instances.resume(name))


@command.command("restart")
@about_one
@from_step_options(required=False)
@click.pass_obj
def restart(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    step: str,
    kind: str | None,
    count: int | None,
) -> None:
    """Run an instance again, whatever it is at: the same id, params and version. Its history keeps what it did."""
    if not step and (kind or count):
        raise click.UsageError("--kind and --count say more of a step: name it with --from.")

    def call(client: Client, name: str) -> Awaitable[Instance]:
        return client.instances.restart(name, step_name=step, step_kind=kind_number(kind), step_count=count or 1)

    steer(app, workflow, instance, tenant, output, call)


@command.command("cancel")
@about_one
@click.option("--reason", default="", callback=validated(utf8), help="For its code, and for whoever looks at it.")
@click.pass_obj
def cancel(app: App, workflow: str, instance: str, tenant: str | None, output: str, reason: str) -> None:
    """Let an instance clean up and end: its code is cancelled at what it waits for. It is terminated if that takes
    too long."""
    steer(app, workflow, instance, tenant, output, lambda client, name: client.instances.cancel(name, reason=reason))


@command.command("migrate")
@workflow_argument
@click.argument("instance", metavar="[ID]", required=False, callback=validated(instance_id_or_latest))
@click.option("--version", metavar="VERSION", required=True, callback=validated(names.digest), help="To this version.")
@click.option("--all", "of_all", is_flag=True, help="In place of ID: all that have not ended.")
@tenant_option
@output_option
@click.pass_context
def migrate(
    context: click.Context,
    workflow: str,
    instance: str | None,
    version: str,
    of_all: bool,
    tenant: str | None,
    output: str,
) -> None:
    """Let an instance go on with another version, if that version's code does what the instance did so far.

    Bodies of steps that run are given up, and run again on the new version: pause it first where that must not be.
    """
    app: App = context.obj
    if of_all == (instance is not None):
        raise click.UsageError("Say which to migrate: ID, or --all.")
    if instance is not None:
        steer(app, workflow, instance, tenant, output, lambda client, name: client.instances.migrate(name, version))
        return
    from stepwell.cli import documents

    done = app.ask(lambda client: client.instances.migrate_all(tenant, workflow, version))
    if output == "json":
        print_json(documents.migrated_all(tenant, workflow, version, done))
    else:
        for name, error in done.refusals:
            app.screen.aside(f"Not migrated: {name.rpartition('/')[2]}: {error.message}")
        refused = f"; {done.refused:,} are not" if done.refused else ""
        app.screen.line(f"Migrated {done.migrated:,} of {workflow} to {version}{refused}")
    if done.refused:
        context.exit(1)


@command.command("terminate")
@about_one
@click.option("--rollback", is_flag=True, help="Run its steps' rollback handlers first; it ends once they have run.")
@click.pass_obj
def terminate(app: App, workflow: str, instance: str, tenant: str | None, output: str, rollback: bool) -> None:
    """End an instance now. Results of steps that run are dropped; their side effects may have happened."""

    def call(client: Client, name: str) -> Awaitable[Instance]:
        return client.instances.terminate(name, rollback=rollback)

    steer(app, workflow, instance, tenant, output, call)


@command.command("terminate-all")
@workflow_argument
@tenant_option
@click.option(
    "--status", "statuses", type=click.Choice(STATUSES[:5]), multiple=True, help="Only these; may be repeated."
)
@output_option
@click.pass_obj
def terminate_all(app: App, workflow: str, tenant: str | None, statuses: tuple[str, ...], output: str) -> None:
    """End all instances of a workflow that have not ended. Results of steps that run are dropped."""
    from stepwell.cli import documents

    numbers = [documents.status_number(each) for each in statuses]
    count = app.ask(lambda client: client.instances.terminate_all(tenant, workflow, statuses=numbers))
    if output == "json":
        print_json({"tenant": tenant, "workflow": workflow, "terminated": count})
    else:
        app.screen.line(f"Terminated {count:,} of {workflow}")


@command.command("delete")
@workflow_argument
@click.argument("ids", metavar="ID...", nargs=-1, required=True, callback=validated_each(instance_id_or_latest))
@tenant_option
@output_option
@click.pass_context
def delete(context: click.Context, workflow: str, ids: tuple[str, ...], tenant: str | None, output: str) -> None:
    """Delete instances, up to 100: their data goes, their ids are free again. What has not ended is ended first."""
    from stepwell.cli import documents

    app: App = context.obj
    if len(ids) > 1:
        _delete_several(context, workflow, ids, tenant, output)
        return

    async def remove(client: Client) -> str:
        name = await client.instances.name_of(tenant, workflow, ids[0])
        await client.instances.delete(name)
        return name

    name = app.ask(remove)
    if output == "json":
        print_json(documents.instance_reference(name, deleted=True))
    else:
        app.screen.line(f"Deleted {workflow} {name.rpartition('/')[2]}")


def _delete_several(
    context: click.Context, workflow: str, ids: tuple[str, ...], tenant: str | None, output: str
) -> None:
    """Each by itself: the exit status is 1 where one could not be."""
    from stepwell.cli import documents

    async def remove(client: Client) -> list[tuple[str, ApiError | None]]:
        found = [(await client.instances.name_of(tenant, workflow, each)).rpartition("/")[2] for each in ids]
        return list(zip(found, await client.instances.delete_batch(tenant, workflow, found), strict=True))

    app: App = context.obj
    outcomes = app.ask(remove)
    refused = sum(error is not None for _, error in outcomes)
    if output == "json":
        print_json(documents.deleted_several(tenant, workflow, outcomes))
    else:
        for id, error in outcomes:
            if error is not None:
                app.screen.aside(f"Not deleted: {id}: {error.message}")
        stay = f"; {refused:,} {'is' if refused == 1 else 'are'} not" if refused else ""
        app.screen.line(f"Deleted {len(outcomes) - refused:,} of {workflow}{stay}")
    if refused:
        context.exit(1)
