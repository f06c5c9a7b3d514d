"""What verbs that steer an instance have in common: the call, and the instance as it is after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.cli.app import App, print_json
from stepwell.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import Instance


def steer(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    call: Callable[[Client, str], Awaitable[Instance]],
) -> None:
    """Do what `call` does to the instance of that name, and show the one that it answers with."""
    from stepwell.cli import documents
    from stepwell.cli.reading import Reading, steps_of

    async def steered(client: Client) -> Reading:
        name = await client.instances.name_of(tenant, workflow, instance)
        after = await call(client, name)
        if output != "json":
            return Reading(after, None, "")
        try:
            return Reading(after, *await steps_of(client, after.name, ""))
        except ApiError:
            return Reading(after, None, "")  # what was asked for is done: not to see its steps is no failure

    found = app.ask(steered)
    if output == "json":
        print_json(documents.instance(found.instance, found.steps, found.more))
    else:
        name = found.instance.name.rpartition("/")[2]
        app.screen.line(f"{workflow} {name} is ", app.screen.marked(documents.status_text(found.instance.status)))
