"""How a failure ends the command: an exit status, and words on stderr that say what to do. Never a stack trace."""

from __future__ import annotations

import sys

import click

from stepwell.cli.clean import clean, clean_block
from stepwell.cli.hints import BY_REASON
from stepwell.cli.json_text import Json, dump
from stepwell.errors import ApiError
from stepwell.tokens import hidden

FAILED, USAGE, NOT_REACHABLE, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141


def report(error: Exception, *, as_json: bool) -> int:
    """Tell the user what went wrong, and return the exit status."""
    match error:
        case click.exceptions.NoArgsIsHelpError() if not as_json:
            click.echo(error.format_message(), err=True)
            return USAGE
        case click.UsageError():
            _tell("INVALID_ARGUMENT", "USAGE", error.format_message(), {}, as_json, _where_to_look(error))
            return USAGE
        case ApiError():
            hint = BY_REASON.get(error.reason)
            if error.reason == "NOT_REACHABLE" and not error.metadata:
                hint = None  # no server is known: the message says what to do
            _tell(_code(error), error.reason, error.message, error.metadata, as_json, hint)
            return NOT_REACHABLE if error.reason in ("NOT_REACHABLE", "NOT_SERVING") else FAILED
        case click.ClickException():
            _tell("INVALID_ARGUMENT", "USAGE", error.format_message(), {}, as_json, None)
            return error.exit_code
        case OSError():
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            _tell("UNKNOWN", "SYSTEM", message, {}, as_json, None)
            return FAILED
        case _:
            _tell(
                "INTERNAL", "CLI_FAULT", _fault(error), {}, as_json, "This is a fault of stepwell's: please report it."
            )
            return FAILED


def _tell(code: str, reason: str, message: str, metadata: dict[str, str], as_json: bool, hint: str | None) -> None:
    message = hidden(message)
    if as_json:
        told: dict[str, Json] = {key: hidden(value) for key, value in metadata.items()}
        document: Json = {"code": code, "reason": reason, "message": message, "metadata": told}
        click.echo(dump(document), err=True)
        return
    first, _, rest = clean_block(message).rstrip().partition("\n")
    click.echo(click.style("Error: ", fg="red", bold=True) + first, err=True)
    for line in rest.splitlines():
        click.echo(f"  {line}", err=True)
    if hint:
        click.echo(clean(hint), err=True)


def _where_to_look(error: click.UsageError) -> str | None:
    return f"See: {error.ctx.command_path} --help" if error.ctx is not None else None


def _code(error: ApiError) -> str:
    """gRPC's word for it: the server's own, or the table's for what was found out on this side."""
    code = getattr(error.__cause__, "code", None)
    if callable(code):
        return str(code().name)
    from stepwell.client.errors import code_of

    return str(code_of(error).name)


def _fault(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{where}"


def hush_stdout() -> None:
    """Nobody reads our output any more: let Python's own flush at exit meet nothing."""
    import os

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
