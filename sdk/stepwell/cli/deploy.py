"""`stepwell deploy FOLDER`: upload a folder's workflows and route new instances to them."""

from __future__ import annotations

from pathlib import Path

import click

from stepwell.cli.app import App, output_option, print_json, tenant_option
from stepwell.cli.screen import Cell


@click.command("deploy")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@tenant_option
@click.option("--no-route", is_flag=True, help="Leave all routes as they are; see `stepwell routes set`.")
@output_option
@click.pass_obj
def command(app: App, folder: Path, tenant: str | None, no_route: bool, output: str) -> None:
    """Upload FOLDER, check it in a sandbox, and route new instances of its workflows to it.

    FOLDER has a stepwell.toml with [[workflows]] name = "…", entrypoint = "module:Class", and its code beside it; or a
    Cloudflare project's wrangler.jsonc or wrangler.toml, of which workflows, main and vars are taken.
    .git, .venv, .env*, .dev.vars*, .wrangler, __pycache__, *.pyc and the caches of mypy, ruff and pytest stay out.
    What its requirements.lock, or else its requirements.txt, asks for goes along: pip finds wheels for the server's
    Python; nothing is built here.
    Running instances stay on the version that they began with.
    """
    from stepwell.cli import documents
    from stepwell.cli.folder import files_of
    from stepwell.cli.manifest_file import FILE, read_manifest
    from stepwell.cli.packages.bundled import packages_of
    from stepwell.cli.packages.cache import PackageCache
    from stepwell.cli.packages.target import Target
    from stepwell.cli.wrangler_file import read_wrangler
    from stepwell.client.resource_names import id_in
    from stepwell.v1.workflows_pb2 import Manifest, WorkflowEntry

    declared = (None if (folder / FILE).exists() else read_wrangler(folder)) or read_manifest(folder)
    for why in declared.ignored:
        app.screen.aside(f"Ignored: {why}")
    own = files_of(declared.root)
    entries = [WorkflowEntry(workflow_id=name, entrypoint=entrypoint) for name, entrypoint in declared.workflows]
    manifest = Manifest(workflows=entries, vars=declared.vars, bindings=declared.bindings)
    tell = app.screen.aside if output == "text" else _nothing

    def target() -> Target:
        return Target.of(app.ask(lambda client: client.workflows.guest_runtime(tenant)))

    with packages_of(folder, declared.root, target, PackageCache.of(app.environ), tell) as packages:
        files = [*own, *packages]
        tell(f"Uploading {len(files)} files; the server checks them in a sandbox …")
        answer = app.ask(lambda client: client.workflows.deploy(tenant, manifest, files, no_route=no_route))
    for warning in answer.warnings:
        app.screen.aside(f"Warning: {warning}")
    if output == "json":
        print_json(documents.deployment(answer))
        return
    version, owner = id_in(answer.version.name, "versions") or "", id_in(answer.version.name, "tenants") or ""
    if no_route:
        what = "Deployed without a route" if answer.created else "Nothing new: the version was there, its routes stay:"
    else:
        what = "Deployed" if answer.created else "Nothing new: routed to the version that was there,"
    app.screen.line(f"{what} ", Cell(version, "bold"), f" for tenant {owner}")
    app.screen.table(
        ["WORKFLOW", "ENTRYPOINT"],
        [[entry.workflow_id, entry.entrypoint] for entry in answer.version.manifest.workflows],
    )


def _nothing(_: str) -> None:
    """Where nobody reads along."""
