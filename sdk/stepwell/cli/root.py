"""The tree of commands for click: a verb's module is imported when that verb is asked for."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib import import_module

import click

from stepwell.cli.app import App
from stepwell.cli.screen import Screen
from stepwell.cli.verbs import HOMES, help_text
from stepwell.tokens import id_within


class Root(click.Group):
    """The top level."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in HOMES:
            return None
        command = import_module(HOMES[cmd_name]).command
        assert isinstance(command, click.Command)
        return command

    def get_help(self, ctx: click.Context) -> str:
        return help_text().rstrip()


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(version("stepwell"))
        except PackageNotFoundError:
            click.echo("unknown: not installed as a package")
        ctx.exit()


root = Root(
    "stepwell",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version)],
)


def refuse_tokens(arguments: list[str]) -> None:
    """Raise UsageError when a token stands among the arguments, before any of them is told back."""
    for argument in arguments:
        token_id = id_within(argument)
        if token_id is not None:
            raise click.UsageError(
                f"the secret of token {token_id} was given as an argument, where others on this machine see it and the"
                " shell keeps it: revoke that token (`stepwell tokens revoke ID`). Tokens are handed over by"
                " STEPWELL_TOKEN, or to `stepwell contexts add`, which asks for it or reads it from standard input"
            )


def run(arguments: list[str]) -> int:
    """Run one command line. Raises what the verb raises; KeyboardInterrupt when the user has had enough."""
    refuse_tokens(arguments)
    app = App(os.environ, lambda: datetime.now(UTC), Screen(terminal=sys.stdout.isatty()))
    try:
        with root.make_context("stepwell", arguments, obj=app) as context:
            root.invoke(context)
    except click.exceptions.Exit as exit:
        return exit.exit_code
    except (click.Abort, EOFError):
        raise KeyboardInterrupt from None
    return 0
