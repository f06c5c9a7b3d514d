"""`stepwell deploy FOLDER`: upload a folder's workflows and route new instances to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stepwell.cli.app import App, output_option, print_json, tenant_option
from stepwell.cli.bundling import bundled, quietly
from stepwell.cli.replay import SAMPLE_SIZE, SAMPLE_SIZE_MAX
from stepwell.cli.screen import Cell
from stepwell.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import Replay
    from stepwell.v1.workflows_pb2 import DeployVersionResponse


@click.command("deploy")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@tenant_option
@click.option("--no-route", is_flag=True, help="Leave all routes as they are; see `stepwell routes set`.")
@click.option(
    "--check",
    is_flag=True,
    help="Replay instances of the routed versions first, and leave routes if one differs.",
)
@click.option("--force", is_flag=True, help="With --check: tell of differences, and route all the same.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1, SAMPLE_SIZE_MAX),
    help=f"With --check: at most so many instances of a workflow. [default: {SAMPLE_SIZE}]",
)
@output_option
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    tenant: str | None,
    no_route: bool,
    check: bool,
    force: bool,
    sample: int | None,
    output: str,
) -> None:
    """Upload FOLDER, check it in a sandbox, and route new instances of its workflows to it.

    FOLDER has a stepwell.toml with [[workflows]] name = "…", entrypoint = "module:Class", and its code beside it; or a
    Cloudflare project's wrangler.jsonc or wrangler.toml, of which workflows, main and vars are taken.
    .git, .venv, .env*, .dev.vars*, .wrangler, __pycache__, *.pyc and the caches of mypy, ruff and pytest stay out.
    What its requirements.lock, or else its requirements.txt, asks for goes along: pip finds wheels for the server's
    Python; nothing is built here.
    Running instances stay on the version that they began with.
    """
    from stepwell.cli import replay_view, version_documents
    from stepwell.client.resource_names import id_in

    app: App = context.obj
    if check and no_route:
        raise click.UsageError("--check guards a change of routes, and --no-route makes none; see `stepwell replay`.")
    if not check and (force or sample is not None):
        raise click.UsageError("--force and --sample go with --check.")
    tell = app.screen.aside if output == "text" else quietly
    replays: Sequence[Replay] = ()
    with bundled(app, folder, tenant, tell) as bundle:

        def deploy(*, no_route: bool) -> DeployVersionResponse:
            return app.ask(
                lambda client: client.workflows.deploy(tenant, bundle.manifest, bundle.files, no_route=no_route)
            )

        answer = deploy(no_route=no_route or check)
        routed = not no_route
        if check:
            digest = id_in(answer.version.name, "versions") or ""
            workflows = [entry.workflow_id for entry in answer.version.manifest.workflows]
            replays = app.ask(lambda client: _replayed(client, tenant, workflows, digest, sample or SAMPLE_SIZE))
            if output == "text":
                replay_view.show(app.screen, digest, replays)
            routed = force or replay_view.all_match(replays)
            if routed:
                created = answer.created
                answer = deploy(no_route=False)
                answer.created = created
    for warning in answer.warnings:
        app.screen.aside(f"Warning: {warning}")
    if output == "json":
        document = version_documents.deployment(answer)
        if check:
            document |= {"routed": routed, "check": replay_view.document(digest, replays)}
        print_json(document)
    else:
        _show(app, answer, routed=routed)
        if check and not routed:
            app.screen.aside("Routes stay as they were: --force routes all the same.")
    if check and not routed:
        context.exit(1)


async def _replayed(
    client: Client, tenant: str | None, workflows: Sequence[str], digest: str, sample: int
) -> Sequence[Replay]:
    """Of each workflow, instances that have not ended and run what its route leads to now."""
    from stepwell.client.resource_names import id_in

    found: list[Replay] = []
    for workflow in workflows:
        try:
            route = await client.workflows.get_route(tenant, workflow)
        except NotFoundError:
            continue  # a workflow that is new has no instances
        versions = {id_in(target.version, "versions") or "" for target in route.targets} - {digest}
        if versions:
            sampled = await client.instances.sample(tenant, workflow, sample, versions=versions)
            found += await client.instances.replay_all([each.name for each in sampled], digest)
    return found


def _show(app: App, answer: DeployVersionResponse, *, routed: bool) -> None:
    from stepwell.client.resource_names import id_in

    version, owner = id_in(answer.version.name, "versions") or "", id_in(answer.version.name, "tenants") or ""
    if routed:
        what = "Deployed" if answer.created else "Nothing new: routed to the version that was there,"
    else:
        what = "Deployed without a route" if answer.created else "Nothing new: the version was there, its routes stay:"
    app.screen.line(f"{what} ", Cell(version, "bold"), f" for tenant {owner}")
    app.screen.table(
        ["WORKFLOW", "ENTRYPOINT"],
        [[entry.workflow_id, entry.entrypoint] for entry in answer.version.manifest.workflows],
    )
