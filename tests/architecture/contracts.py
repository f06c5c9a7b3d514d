"""What the code promises its users, read from the code: verbs, options, settings, reasons and statuses."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module

import click

from stepwell import cli, client, errors
from stepwell.cli.root import root
from stepwell.v1 import instances_pb2


def verbs(command: click.Command = root, path: tuple[str, ...] = ("stepwell",)) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, as it is typed: `stepwell instances list`."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None, f"{' '.join(path)} lists {name}, which is not there"
        yield from verbs(below, (*path, name))


def options(command: click.Command) -> list[str]:
    """The long names of a command's options."""
    return [
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]


def settings(module: object) -> list[str]:
    """Every field of the dataclasses that a configuration module defines."""
    return [
        field.name
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if dataclasses.is_dataclass(kind) and kind.__module__ == getattr(module, "__name__", None)
        for field in dataclasses.fields(kind)
    ]


def reasons() -> set[str]:
    """Every reason that a call can fail with, those that the client and the command find out among them."""
    for package in (client, cli):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    return _reasons_of(errors.ApiError)


def _reasons_of(kind: type[errors.ApiError]) -> set[str]:
    return {kind.reason}.union(*(_reasons_of(below) for below in kind.__subclasses__()))


def statuses() -> dict[str, list[str]]:
    """The values of each enum of an instance and its steps, as the CLI spells them."""
    found = {}
    for enum in (instances_pb2.InstanceStatus, instances_pb2.StepStatus, instances_pb2.StepKind):
        descriptor = enum.DESCRIPTOR
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).upper() + "_"
        found[descriptor.name] = [
            camel_case(value.name.removeprefix(prefix)) for value in descriptor.values if value.number != 0
        ]
    return found


def camel_case(name: str) -> str:
    """WAITING_FOR_PAUSE as waitingForPause."""
    first, *others = name.lower().split("_")
    return first + "".join(word.capitalize() for word in others)


def code(page: str) -> list[str]:
    """All that a Markdown page sets as code: in backticks, and the lines of its fenced blocks."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```[^\n]*\n.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return [*re.findall(r"`([^`\n]+)`", rest), *(line for block in fenced for line in block.splitlines())]


def undocumented(words: Iterator[str] | list[str] | set[str], page: str) -> list[str]:
    """Those of the words that no code of the page has as a word of its own."""
    text = "\n".join(code(page))
    return [word for word in sorted(set(words)) if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]
