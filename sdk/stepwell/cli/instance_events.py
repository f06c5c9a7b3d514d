"""`stepwell instances`, of events: what is sent to instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli.app import App, about_one, print_json, type_option, validated
from stepwell.cli.json_argument import json_argument

if TYPE_CHECKING:
    from stepwell.client.connection import Client

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
