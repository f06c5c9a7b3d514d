"""`stepwell dev`: a whole server on this machine. The server is another package; this finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from stepwell.cli.app import App, output_option
from stepwell.errors import WrongStateError


class ServerNotInstalledError(WrongStateError):
    """`stepwell_server` is not in this environment."""

    reason = "SERVER_NOT_INSTALLED"


def _refuse_host(_: click.Context, __: click.Parameter, address: str | None) -> None:
    if address is not None:
        raise click.BadParameter(
            "the server listens on 127.0.0.1 and nowhere else: it has no TLS yet, and tokens would cross the network in"
            " plaintext. Let a proxy with TLS on this machine serve others"
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


def server_module(name: str) -> Any:
    """That module of the server's package. Raises ServerNotInstalledError."""
    if find_spec("stepwell_server") is None:
        raise ServerNotInstalledError(
            "the server is not installed in this environment: pip install stepwell-server",
        )
    return import_module(f"stepwell_server.{name}")


def data_home(environ: Mapping[str, str]) -> Path:
    """$XDG_DATA_HOME/stepwell; a relative XDG_DATA_HOME is ignored, as its specification says."""
    home = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(home):
        return Path(home) / "stepwell"
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".local" / "share" / "stepwell"
