"""What every verb is given: the environment, the clock, the screen, and a way to ask the server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stepwell import names
from stepwell.cli.durations import ago
from stepwell.cli.json_text import Json, dump
from stepwell.cli.screen import Screen

if TYPE_CHECKING:
    from stepwell.client.connection import Client

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class App:
    """Made once by `main`."""

    environ: Mapping[str, str]
    now: Callable[[], datetime]
    screen: Screen

    def since(self, then: datetime) -> str:
        """How long ago that was."""
        return ago(then, self.now())

    def ask(self, question: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The answer of the server that the environment and the contexts name."""
        from stepwell.client import contexts

        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own log lines are no words for users
        context = contexts.resolve(self.environ)
        try:
            return asyncio.run(_talk(context, question))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _talk(context: Any, question: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    from stepwell.client.connection import connect

    _hear_interrupts()
    async with connect(context.endpoint, context.token, tries_max=1) as client:  # a person hears of it at once
        return await question(client)


def _hear_interrupts() -> None:
    """Cancel this task at Ctrl-C; a second one waits for nothing.

    `asyncio.run` alone misses a signal that comes as the loop goes to sleep, or that the kernel gives to one of gRPC's
    threads: it is the loop's own handler that wakes it.
    """
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if task.cancelling():
            raise KeyboardInterrupt
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)


def print_json(document: Json) -> None:
    """The one document of a verb, on stdout."""
    click.echo(dump(document))


def validated(rule: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """An option's or argument's callback that applies a rule of `stepwell.names`, or one like it."""

    def check(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            return rule(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return check


def validated_each(
    rule: Callable[[str], str],
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    """The same, of an argument that may be several."""
    check = validated(rule)

    def check_each(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for each in texts if (text := check(context, parameter, each)) is not None)

    return check_each


def utf8(text: str) -> str:
    """Any text that can be sent. Raises ValueError for what was not UTF-8 on the command line."""
    if not text.isascii() and any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError("it is not UTF-8")
    return text


def instance_id_or_latest(text: str) -> str:
    """An instance's id, or the word that stands for the newest one."""
    return text if text in names.RESERVED_INSTANCE_IDS else names.instance_id(text)


tenant_argument = click.argument("tenant", metavar="TENANT", callback=validated(names.tenant_id))
token_argument = click.argument("token", metavar="ID", callback=validated(names.token_id))
version_argument = click.argument("version", metavar="VERSION", callback=validated(names.digest))
workflow_argument = click.argument("workflow", metavar="NAME", callback=validated(names.workflow_id))
instance_argument = click.argument("instance", metavar="ID", callback=validated(instance_id_or_latest))
id_option = click.option(
    "--id",
    "instance",
    metavar="ID",
    default="",
    help="The instance's id; one is made when left out.",
    callback=lambda context, parameter, text: validated(names.instance_id)(context, parameter, text or None) or "",
)
type_option = click.option(
    "--type",
    "type",
    metavar="TYPE",
    required=True,
    callback=validated(names.event_type),
    help="The event's type, as the workflow waits for it.",
)
tenant_option = click.option(
    "--tenant",
    metavar="TENANT",
    callback=validated(names.tenant_id),
    help="Whose; may be left out with a tenant's token.",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What to print."
)


def page_options(function: F) -> F:
    """A list's own options."""
    size = click.option(
        "--page-size", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many items."
    )
    token = click.option(
        "--page-token",
        metavar="TOKEN",
        default="",
        callback=validated(utf8),
        help="The page after the one that gave this.",
    )
    return size(token(function))


def about_one(function: F) -> F:
    """NAME ID --tenant T -o json"""
    return workflow_argument(instance_argument(tenant_option(output_option(function))))
