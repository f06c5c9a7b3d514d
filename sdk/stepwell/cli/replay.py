"""`stepwell replay`: whether new code does what instances did so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stepwell import names
from stepwell.cli.app import App, instance_id_or_latest, output_option, print_json, tenant_option, validated
from stepwell.cli.bundling import bundled, quietly
from stepwell.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import Replay
    from stepwell.v1.workflows_pb2 import Version

SAMPLE_SIZE = 20
SAMPLE_SIZE_MAX = 1_000
"""Instances of a workflow that one command replays."""


def _instances(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(instance_id_or_latest(each) for each in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("replay")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--version", metavar="VERSION", callback=validated(names.digest), help="In place of FOLDER: one that was deployed."
)
@click.option("--workflow", metavar="NAME", callback=validated(names.workflow_id), help="Only this one.")
@click.option(
    "--instance", "instances", metavar="ID", multiple=True, callback=_instances, help="Only this; may be repeated."
)
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1, SAMPLE_SIZE_MAX),
    default=SAMPLE_SIZE,
    show_default=True,
    help="At most so many instances of a workflow.",
)
@tenant_option
@output_option
@click.pass_context
def command(
    context: click.Context,
    folder: Path | None,
    version: str | None,
    workflow: str | None,
    instances: tuple[str, ...],
    sample: int,
    tenant: str | None,
    output: str,
) -> None:
    """Replay what instances did so far on the code in FOLDER, or of a version, and say where it would do otherwise.

    Instances are those that have not ended, of any version, spread over their ages; where these are fewer than the
    sample, the newest of the others too. FOLDER is uploaded and checked as by `stepwell deploy --no-route`. Nothing is
    recorded, no step runs, and the instances go on meanwhile. Exit status 1 when a replay differs, or came to no end.
    """
    from stepwell.cli import replay_view
    from stepwell.client.resource_names import id_in

    app: App = context.obj
    if (folder is None) == (version is None):
        raise click.UsageError("Say what to replay on: FOLDER, or --version.")
    if instances and workflow is None:
        raise click.UsageError("--instance names a run of a workflow: name that with --workflow.")
    if folder is not None:
        with bundled(app, folder, tenant, app.screen.aside if output == "text" else quietly) as bundle:
            on = app.ask(
                lambda client: client.workflows.deploy(tenant, bundle.manifest, bundle.files, no_route=True)
            ).version
    else:
        assert version is not None
        on = app.ask(lambda client: client.workflows.get_version(tenant, version))
    digest = id_in(on.name, "versions") or ""

    async def ask(client: Client) -> Sequence[Replay]:
        found: list[Replay] = []
        for each in _workflows(on, workflow):
            if instances:
                named = [await client.instances.name_of(tenant, each, instance) for instance in instances]
                found += [await client.instances.replay(name, digest) for name in named]
            else:
                sampled = await client.instances.sample(tenant, each, sample, ended=True)
                found += await client.instances.replay_all([one.name for one in sampled], digest)
        return found

    replays = app.ask(ask)
    if output == "json":
        print_json(replay_view.document(digest, replays))
    else:
        replay_view.show(app.screen, digest, replays)
    if not replay_view.all_match(replays):
        context.exit(1)


def _workflows(version: Version, wanted: str | None) -> list[str]:
    there = [entry.workflow_id for entry in version.manifest.workflows]
    if wanted is None:
        return there
    if wanted not in there:
        raise NotFoundError(f"the version has no workflow {wanted!r}: it has {', '.join(map(repr, there))}")
    return [wanted]
