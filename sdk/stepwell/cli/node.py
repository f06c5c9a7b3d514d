"""`stepwell node`: a data-plane node of a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from stepwell.cli.app import App, output_option
from stepwell.cli.server_module import server_module


@click.command("node")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="TOML; see the docs."
)
@click.option("--print-config", is_flag=True, help="Show what would be used, secrets hidden, and end.")
@output_option
@click.pass_obj
def command(app: App, config: Path | None, print_config: bool, output: str) -> None:
    """Run a node that executes instances, over the cluster's etcd and Cassandra.

    Settings are read from FILE, and from variables such as STEPWELL__ETCD__ENDPOINTS over it. SIGTERM hands its work
    over to the other nodes.
    """
    status = server_module("node").run(config, print_config=print_config)
    raise click.exceptions.Exit(int(status or 0))
