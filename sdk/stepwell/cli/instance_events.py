"""`stepwell instances`, of events: what is sent to instances, what became of it, and sending it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli.app import (
    App,
    about_one,
    output_option,
    page_options,
    print_json,
    tenant_option,
    type_option,
    validated,
    workflow_argument,
)
from stepwell.cli.json_argument import json_argument
from stepwell.cli.lists import show_page
from stepwell.errors import UnavailableError

if TYPE_CHECKING:
    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import ListEventsResponse, ReceivedEvent

EVENT_NUMBER_MAX = 2**63 - 1
"""What the API's field holds."""

STATES = ("buffered", "taken", "dead")

payload_option = click.option(
    "--payload", callback=json_argument, metavar="JSON", help="JSON, @FILE, or - for stdin; null if omitted."
)
event_id_option = click.option(
    "--event-id",
    metavar="EVENT",
    default="",
    callback=validated(names.event_id),
    help="The event's own id, such as a webhook's delivery: an instance takes one of it.",
)


@click.command("send-event")
@about_one
@type_option
@payload_option
@event_id_option
@click.pass_obj
def send_event(
    app: App, workflow: str, instance: str, tenant: str | None, output: str, type: str, payload: bytes, event_id: str
) -> None:
    """Send an event to an instance. It is kept until the instance waits for that type."""
    from stepwell.cli import documents
    from stepwell.client.payloads import Json

    async def send(client: Client) -> str:
        name = await client.instances.name_of(tenant, workflow, instance)
        await client.instances.send_event(name, type, Json(payload), event_id=event_id)
        return name

    name = app.ask(send)
    if output == "json":
        print_json(documents.instance_reference(name, type=type))
    else:
        app.screen.line(f"Sent {type} to {workflow} {name.rpartition('/')[2]}")


@click.command("broadcast-event")
@workflow_argument
@tenant_option
@type_option
@payload_option
@event_id_option
@output_option
@click.pass_obj
def broadcast_event(
    app: App, workflow: str, tenant: str | None, type: str, payload: bytes, event_id: str, output: str
) -> None:
    """Send an event to all instances of a workflow that wait for its type now."""
    from stepwell.client.payloads import Json

    done = app.ask(
        lambda client: client.instances.broadcast_event(tenant, workflow, type, Json(payload), event_id=event_id)
    )
    if done.failed:
        why = f": {done.failures[0][1].message}" if done.failures else ""
        raise UnavailableError(
            f"{done.sent:,} instances took it, {done.failed:,} could not be sent to; "
            f"the same command with --event-id {done.event_id} goes on{why}",
            event_id=done.event_id,
            sent=str(done.sent),
            skipped=str(done.skipped),
            failed=str(done.failed),
        )
    if output == "json":
        print_json(
            {
                "tenant": tenant,
                "workflow": workflow,
                "type": type,
                "eventId": done.event_id,
                "sent": done.sent,
                "skipped": done.skipped,
            }
        )
    else:
        app.screen.line(f"{done.sent:,} of {workflow} took {type}; {done.skipped:,} did not wait for it")


@click.command("events")
@about_one
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these; may be repeated.")
@page_options
@click.pass_obj
def events(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    states: tuple[str, ...],
    page_size: int,
    page_token: str,
) -> None:
    """List what was sent to an instance, and what became of it. `dead` is what it can't take any more."""
    from stepwell.cli import documents
    from stepwell.cli.event_view import HEADERS, event_row

    numbers = [documents.event_state_number(each) for each in states]

    async def ask(client: Client) -> ListEventsResponse:
        name = await client.instances.name_of(tenant, workflow, instance)
        return await client.instances.list_events(name, states=numbers, page_size=page_size, page_token=page_token)

    page = app.ask(ask)
    if output == "json":
        print_json(documents.page([documents.received_event(each) for each in page.events], page.next_page_token))
        return
    rows = [event_row(app.screen, each, app.now()) for each in page.events]
    show_page(app.screen, HEADERS, rows, page.next_page_token, "No events.")


@click.command("resend-event")
@about_one
@click.argument("number", metavar="NUMBER", type=click.IntRange(1, EVENT_NUMBER_MAX))
@click.option(
    "--to", metavar="ID", required=True, callback=validated(names.instance_id), help="The instance to send it to."
)
@click.option(
    "--to-workflow",
    metavar="NAME",
    callback=validated(names.workflow_id),
    help="That instance's workflow. [default: the same]",
)
@click.pass_obj
def resend_event(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    number: int,
    to: str,
    to_workflow: str | None,
) -> None:
    """Send one of an instance's events to another, or to itself after a restart. Twice is once."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import instance_name

    target = instance_name(tenant, to_workflow or workflow, to)

    async def resend(client: Client) -> ReceivedEvent:
        name = await client.instances.name_of(tenant, workflow, instance)
        return await client.instances.resend_event(name, number, target)

    event = app.ask(resend)
    if output == "json":
        print_json(documents.instance_reference(target, type=event.type, eventId=event.resend_id))
    else:
        app.screen.line(f"Sent {event.type} to {to_workflow or workflow} {to}")
