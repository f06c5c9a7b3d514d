"""`stepwell doctor`: is there a server, does it serve, does it know us, and has it what it needs?

0 as soon as the server serves, whatever else is worth a warning; 3 before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from stepwell.cli.app import App, output_option, print_json
from stepwell.cli.json_text import Json
from stepwell.client.endpoints import NotReachableError
from stepwell.errors import ApiError, PermissionDeniedError

if TYPE_CHECKING:
    from stepwell.client.connection import Client
    from stepwell.client.part_health import PartHealth

PARTS = ("sandbox", "stores")
"""What a server may report by itself, as services of gRPC's health protocol; unknown names are left out."""


_IN_LOG = "the reason is in the server's log"


class NotServingError(NotReachableError):
    """There is a server; it starts or stops."""

    reason = "NOT_SERVING"


class Check(NamedTuple):
    """One finding."""

    name: str
    status: str
    """ok or warning; what is worse is no finding but a failure."""
    detail: str


@click.command("doctor")
@output_option
@click.pass_obj
def command(app: App, output: str) -> None:
    """Check that the server can be reached, serves, knows your token and has what it needs.

    Exit status 0 as soon as the server serves (warnings too), 3 before.
    """
    checks = app.ask(examine)
    worst = "warning" if any(check.status != "ok" for check in checks) else "ok"
    if output == "json":
        found: list[Json] = [check._asdict() for check in checks]
        print_json({"status": worst, "checks": found})
        return
    app.screen.table(["CHECK", "STATUS", "DETAIL"], [[c.name, app.screen.marked(c.status), c.detail] for c in checks])


async def examine(client: Client) -> list[Check]:
    """What there is to find. Raises NotReachableError or NotServingError while the server doesn't serve."""
    if not await client.serves():
        raise NotServingError(
            f"{client.endpoint} answers, but does not serve: it starts or stops", endpoint=client.endpoint
        )
    checks = [Check("server", "ok", f"{client.endpoint} serves"), await _token(client)]
    for name in PARTS:
        part = await client.part(name)
        if part is not None:
            checks += _told_of(name, part)
    return checks


def _told_of(name: str, part: PartHealth) -> list[Check]:
    """A part's own finding, and each warning as one more."""
    if part.serves:
        own = Check(name, "ok", part.detail or "ready")
    else:
        own = Check(name, "warning", f"not ready: {part.detail or _IN_LOG}")
    return [own, *(Check(name, "warning", warning) for warning in part.warnings)]


async def _token(client: Client) -> Check:
    try:
        await client.tenants.list(page_size=1)
    except PermissionDeniedError:
        return Check("token", "ok", "a tenant's")
    except ApiError as error:
        return Check("token", "warning", error.message)
    return Check("token", "ok", "the operator's")
