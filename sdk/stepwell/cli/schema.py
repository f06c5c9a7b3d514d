"""`stepwell schema`: a cluster's tables in Cassandra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stepwell.cli.app import App, output_option
from stepwell.cli.server_module import server_module


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="A process's, as TOML.",
        ),
        click.option(
            "--replication-factor",
            type=click.IntRange(1, 9),
            default=3,
            show_default=True,
            help="Copies of everything, where the keyspace is made.",
        ),
        output_option,
    ):
        command = option(command)
    return command


@click.group("schema")
def command() -> None:
    """A cluster's tables in Cassandra (whoever has its configuration)."""


@command.command("show")
@_options
@click.pass_obj
def show(app: App, config: Path | None, replication_factor: int, output: str) -> None:
    """Print the statements that make a new cluster's tables."""
    _run("show", config, replication_factor)


@command.command("apply")
@_options
@click.pass_obj
def apply(app: App, config: Path | None, replication_factor: int, output: str) -> None:
    """Make what is missing, or bring it to this program's version. Safe to run again."""
    _run("apply", config, replication_factor)


@command.command("verify")
@_options
@click.pass_obj
def verify(app: App, config: Path | None, replication_factor: int, output: str) -> None:
    """Say what is not as this program needs it: 0 when all is, 1 when not."""
    _run("verify", config, replication_factor)


def _run(verb: str, config: Path | None, replication_factor: int) -> None:
    status = server_module("schema").run(verb, config, replication_factor)
    raise click.exceptions.Exit(int(status or 0))
