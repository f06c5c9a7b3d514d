"""`stepwell control`: a control-plane server of a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from stepwell.cli.app import App, output_option
from stepwell.cli.server_module import server_module


@click.command("control")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="TOML; see the docs."
)
@click.option("--print-config", is_flag=True, help="Show what would be used, secrets hidden, and end.")
@click.option("--new-operator", is_flag=True, help="Mint a token of the operator's, print it this once, and end.")
@output_option
@click.pass_obj
def command(app: App, config: Path | None, print_config: bool, new_operator: bool, output: str) -> None:
    """Run a server that keeps tenants, versions and routes, over the cluster's etcd and Cassandra.

    Settings are read from FILE, and from variables such as STEPWELL__ETCD__ENDPOINTS over it.
    """
    status = server_module("control").run(config, print_config=print_config, new_operator=new_operator)
    raise click.exceptions.Exit(int(status or 0))
