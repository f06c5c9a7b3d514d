"""`stepwell instances fork`, and how a verb names the step that an instance begins again from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from stepwell import names
from stepwell.cli.app import App, about_one, utf8, validated
from stepwell.cli.steering import steer

if TYPE_CHECKING:
    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import Instance, StepKind

STEP_COUNT_MAX = 1_000_000
"""No instance has so many steps of one name."""


def from_step_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`step`, `kind` and `count`, all of one step."""

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--count",
                type=click.IntRange(1, STEP_COUNT_MAX),
                help="Which of the steps of that name, from 1. [default: 1]",
            ),
            click.option(
                "--kind", type=click.Choice(["do", "sleep", "waitForEvent"]), help="The step's kind. [default: do]"
            ),
            click.option(
                "--from-step",
                "--from",
                "step",
                metavar="STEP",
                default=None if required else "",
                required=required,
                callback=validated(utf8),
                help="From this step on; what came before its result is kept.",
            ),
        ):
            verb = option(verb)
        return verb

    return decorate


def kind_number(kind: str | None) -> StepKind.ValueType:
    """The API's number for a kind as it is written."""
    from stepwell.v1 import instances_pb2 as pb

    kinds = {"do": pb.STEP_KIND_DO, "sleep": pb.STEP_KIND_SLEEP, "waitForEvent": pb.STEP_KIND_WAIT_FOR_EVENT}
    return kinds[kind or "do"]


@click.command("fork")
@about_one
@from_step_options(required=True)
@click.option("--id", "fork_id", metavar="NEW", callback=validated(names.instance_id), help="The new one's.")
@click.option(
    "--version",
    metavar="VERSION",
    callback=validated(names.digest),
    help="To run this version, whose code does what is copied. [default: the instance's own]",
)
@click.pass_obj
def fork(
    app: App,
    workflow: str,
    instance: str,
    tenant: str | None,
    output: str,
    step: str,
    kind: str | None,
    count: int | None,
    fork_id: str | None,
    version: str | None,
) -> None:
    """Start a new instance with a copy of what this one did before a step. This one stays as it is."""

    def call(client: Client, name: str) -> Awaitable[Instance]:
        return client.instances.fork(
            name,
            step,
            step_kind=kind_number(kind),
            step_count=count or 1,
            instance=fork_id or "",
            version=version or "",
        )

    steer(app, workflow, instance, tenant, output, call)
