"""`stepwell import`: what `stepwell export` wrote becomes a cluster's."""

from __future__ import annotations

from pathlib import Path

import click

from stepwell.cli.app import App, output_option, print_json
from stepwell.cli.server_module import server_module

_SHOWN = ("tenants", "versions", "routes", "tokens", "instances", "unfinished")


@click.command("import")
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="A node's, as TOML."
)
@click.option("--give-up", is_flag=True, help="End an import that was begun, without finishing it.")
@output_option
@click.pass_obj
def command(app: App, folder: Path, config: Path | None, give_up: bool, output: str) -> None:
    """Put all that FOLDER, which `stepwell export` wrote, has into a cluster whose data nodes are stopped.

    Everything is checked before the first write and read back after the last. An import that was interrupted goes on
    when it is started again; until it has ended, no node of the cluster serves anything.
    """
    if give_up:
        server_module("importer").run_give_up(config)
        if output == "json":
            print_json({"folder": str(folder), "givenUp": True})
        else:
            click.echo("Given up. Nodes claim shards again.")
        return
    imported = server_module("importer").run(folder, config)
    if output == "json":
        print_json(imported)
        return
    if imported["alreadyImported"]:
        click.echo(f"{folder} was imported before: nothing was done")
        return
    click.echo(f"Imported {folder}, checksum {imported['checksum']}: read back, and as it was exported")
    click.echo(", ".join(f"{imported[name]} {name}" for name in _SHOWN))
