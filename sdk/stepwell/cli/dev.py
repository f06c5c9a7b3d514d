"""`stepwell dev`: a whole server on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from stepwell.cli.app import App, output_option
from stepwell.cli.server_module import server_module


def _refuse_host(_: click.Context, __: click.Parameter, address: str | None) -> None:
    if address is not None:
        raise click.BadParameter(
            "this server listens on 127.0.0.1 and nowhere else, and tokens go over it in plaintext. Let a proxy with"
            " TLS on this machine serve others, or run `stepwell node`, which speaks TLS"
        )


@click.command("dev")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where everything is kept.  [default: $XDG_DATA_HOME/stepwell]",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here, on loopback only; 0 takes a free one.")
@click.option(
    "--sandbox",
    type=click.Choice(["gvisor", "process"]),
    default="gvisor",
    show_default=True,
    help="process isolates nothing: for machines without gVisor.",
)
@click.option("--host", "--listen", "--bind", expose_value=False, hidden=True, callback=_refuse_host, metavar="ADDRESS")
@output_option
@click.pass_obj
def command(app: App, data: Path | None, port: int | None, sandbox: str, output: str) -> None:
    """Run a server on this machine, for yourself: all in one process, on loopback only.

    It writes its endpoint and an operator's token to your contexts, so that the other verbs find it. Ctrl-C or SIGTERM
    ends it when it has finished what it was asked; instances go on when it is started again.
    """
    status = server_module("dev").run(data or data_home(app.environ), port, sandbox)
    raise click.exceptions.Exit(int(status or 0))


def data_home(environ: Mapping[str, str]) -> Path:
    """$XDG_DATA_HOME/stepwell; a relative XDG_DATA_HOME is ignored, as its specification says."""
    home = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(home):
        return Path(home) / "stepwell"
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".local" / "share" / "stepwell"
