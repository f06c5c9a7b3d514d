"""`stepwell contexts`: the servers that this user knows, and the token of each."""

from __future__ import annotations

import sys

import click

from stepwell.cli.app import App, output_option, print_json, validated
from stepwell.cli.json_text import Json
from stepwell.cli.lists import show_page
from stepwell.client import contexts
from stepwell.client.endpoints import parse_endpoint
from stepwell.tokens import TOKEN

TOKEN_INPUT_MAX = 4096
"""Characters read from standard input: a token has 85."""


@click.group("contexts")
def command() -> None:
    """The servers that you know, and the token of each."""


@command.command("list")
@output_option
@click.pass_obj
def list_(app: App, output: str) -> None:
    """List contexts. Their tokens are not shown."""
    known = contexts.load(app.environ)
    found = [(name, known.of(name)) for name in known.entries]
    if output == "json":
        items: list[Json] = [
            {
                "name": name,
                "endpoint": context.endpoint,
                "current": name == known.current,
                "hasToken": context.token is not None,
            }
            for name, context in found
        ]
        print_json({"items": items, "nextPageToken": None})
        return
    rows = [
        ["*" if name == known.current else "", name, context.endpoint, "yes" if context.token else "no"]
        for name, context in found
    ]
    show_page(app.screen, ["CURRENT", "NAME", "ENDPOINT", "TOKEN"], rows, "", "No contexts: stepwell dev writes one.")


@command.command("use")
@click.argument("name", metavar="NAME")
@output_option
@click.pass_obj
def use(app: App, name: str, output: str) -> None:
    """Let the other verbs speak to NAME's server, a context's name or endpoint, from now on."""
    used = contexts.use_context(name, environ=app.environ)
    if output == "json":
        print_json({"name": name, "endpoint": used.endpoint, "current": True})
    else:
        app.screen.line(f"The current context is {name}", f" ({used.endpoint})" if used.endpoint != name else "")
    if app.environ.get("STEPWELL_ENDPOINT", "").strip():
        app.screen.aside("STEPWELL_ENDPOINT is set, and goes before it.")


@command.command("add")
@click.argument("name", metavar="NAME", callback=validated(contexts.context_name))
@click.option("--endpoint", metavar="HOST:PORT", required=True, help="host:port on this machine, or https://host:port.")
@output_option
@click.pass_obj
def add(app: App, name: str, endpoint: str, output: str) -> None:
    """Keep a server's endpoint and token under NAME, in place of what was there.

    The token is asked for without being shown, or read from standard input: it is no argument, since others can see
    those. The first context that there is becomes the current one.
    """
    where = parse_endpoint(endpoint)
    where.refuse_plaintext()
    current = contexts.add_context(name, endpoint, _token(), environ=app.environ)
    if output == "json":
        print_json({"name": name, "endpoint": str(where), "current": current})
        return
    app.screen.line(f"Added {name} ({where})")
    if not current:
        app.screen.aside(f"To speak to it: stepwell contexts use {name}")


def _token() -> str:
    """From the terminal without echo, or the one line of standard input."""
    if sys.stdin.isatty():
        text = str(click.prompt("Token", hide_input=True, err=True))
    else:
        text = sys.stdin.read(TOKEN_INPUT_MAX)
    token = text.strip()
    if not TOKEN.fullmatch(token):
        raise click.UsageError("what was read is no token: swk_, 16 hex digits, _ and 64 more. Was it copied whole?")
    return token
