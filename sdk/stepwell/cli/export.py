"""`stepwell export`: a stopped server's data as a folder of files, for a cluster to import."""

from __future__ import annotations

from pathlib import Path

import click

from stepwell.cli.app import App, output_option, print_json
from stepwell.cli.server_module import server_module

_SHOWN = ("tenants", "versions", "routes", "tokens", "instances", "unfinished")


@click.command("export")
@click.argument("data", metavar="DATA", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path))
@output_option
@click.pass_obj
def command(app: App, data: Path, folder: Path, output: str) -> None:
    """Write all tenants, versions, routes and instances of a stopped server into FOLDER, for a cluster to import.

    DATA is its data directory, which stays as it is. FOLDER is new, or empty, or has what an interrupted export left,
    which begins anew. It holds what tenants have and hashes of their tokens: keep it to yourself.
    """
    exported = server_module("export").run(data, folder)
    if output == "json":
        print_json(exported)
        return
    click.echo(f"Exported to {folder}, checksum {exported['checksum']}")
    click.echo(", ".join(f"{exported[name]} {name}" for name in _SHOWN))
    if exported["deleted"]:
        click.echo(f"left out: {exported['deleted']} instances that are deleted, of which something was still there")
