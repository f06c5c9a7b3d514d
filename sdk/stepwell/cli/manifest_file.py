"""`stepwell.toml`: what a folder says of itself. The server gets what is read here as a typed manifest.

[[workflows]]
name = "order"
entrypoint = "main:Order"
schedules = ["0 * * * *", { cron = "0 9 * * MON-FRI", timezone = "Europe/Berlin", catch_up = "all" }]

[workflows.retention]
success = "7 days"
error = "30 days"

[workflows.limits]
steps = 1000
concurrency = 10

[vars]
GREETING = "hello"

[[bindings]]
name = "SHIPPING"
workflow = "shipping"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stepwell import names
from stepwell.cli.clean import clean, shortened
from stepwell.cli.schedule_entries import schedule_entries
from stepwell.cli.workflow_settings import DeclaredWorkflow, WrongSettingError, limits_in, retention_in
from stepwell.errors import BundleRefusedError
from stepwell.workflow_limits import WorkflowLimits

FILE = "stepwell.toml"
SIZE_MAX = 64 * 1024
T = TypeVar("T")

EXAMPLE = '[[workflows]]\nname = "order"\nentrypoint = "main:Order"'


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What the file says, its names checked."""

    workflows: tuple[DeclaredWorkflow, ...]
    vars: Mapping[str, str]
    root: Path
    """The folder that is uploaded."""
    ignored: tuple[str, ...] = ()
    """What else it says, that has no meaning here."""
    bindings: Mapping[str, str] = field(default_factory=dict)
    """Workflows of the same tenant, by the names that the code has for them."""


def read_manifest(folder: Path) -> ManifestFile:
    """The folder's manifest. Raises BundleRefusedError with the line that is wrong and what to write there."""
    source = source_of(folder / FILE)
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise refused(str(error), _line_in(str(error))) from None
    _only(document, {"workflows", "vars", "bindings"}, source, "")
    bindings = _bindings(document, source)
    return ManifestFile(_workflows(document, source), _vars(document, source), folder, bindings=bindings)


def source_of(path: Path, size_max: int = SIZE_MAX) -> str:
    """The file's text, of at most so many bytes. Raises BundleRefusedError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BundleRefusedError(f"{path} is missing: create it, with at least\n{EXAMPLE}", path=str(path)) from None
    except OSError as error:
        why = "it is a link" if path.is_symlink() else error.strerror
        raise BundleRefusedError(f"{path} can't be read: {why}", path=str(path)) from None
    with os.fdopen(file, "rb") as opened:
        content = opened.read(size_max + 1)
    if len(content) > size_max:
        raise BundleRefusedError(f"{path} is larger than {size_max // 1024} KiB", path=str(path))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refused("it is not UTF-8", line, path.name) from None


def _workflows(document: Mapping[str, Any], source: str) -> tuple[DeclaredWorkflow, ...]:
    tables = document.get("workflows")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise refused(f"it declares no workflow: write\n{EXAMPLE}", _line_of(source, r"\[?\[?\s*workflows"))
    found: dict[str, DeclaredWorkflow] = {}
    for number, table in enumerate(tables):
        line = _line_of(source, r"\[\[\s*workflows\s*\]\]", number)
        _only(table, {"name", "entrypoint", "schedules", "retention", "limits"}, source, " in [[workflows]]", line)
        name = _text(table, "name", names.workflow_id, source, line, "a workflow", '"order"')
        if name in found:
            raise refused(f"workflow {name} is declared twice", line)
        entrypoint = _text(table, "entrypoint", names.entrypoint, source, line, "a workflow", '"main:Order"')
        retention = _part(
            table, "retention", {"success", "error"}, lambda said: retention_in(said, "success", "error"), source, line
        )
        limits = _part(table, "limits", set(WorkflowLimits._fields), limits_in, source, line)
        try:
            schedules = schedule_entries(table.get("schedules", []))
        except ValueError as error:
            raise refused(str(error), _line_of(source, r"(\[\[\s*workflows\.)?schedules\b", after=line)) from None
        found[name] = DeclaredWorkflow(name, entrypoint, retention, limits, schedules)
    return tuple(found.values())


def _part(
    table: Mapping[str, Any],
    name: str,
    known: set[str],
    read: Callable[[Mapping[str, Any]], T],
    source: str,
    line: int | None,
) -> T:
    """What a workflow's table of that name says."""
    said = table.get(name, {})
    here = _line_of(source, rf"(\[\s*workflows\s*\.\s*)?{name}", after=line)
    if not isinstance(said, dict):
        raise refused(f"[workflows.{name}] is a table of {' and '.join(sorted(known))}", here)
    _only(said, known, source, f" in [workflows.{name}]", here)
    try:
        return read(said)
    except WrongSettingError as error:
        raise refused(str(error), _line_of(source, rf"{error.key}\s*=", after=here) or here) from None


def _bindings(document: Mapping[str, Any], source: str) -> Mapping[str, str]:
    tables = document.get("bindings", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        example = '[[bindings]]\nname = "SHIPPING"\nworkflow = "shipping"'
        raise refused(f"bindings are tables: write\n{example}", _line_of(source, r"\[?\[?\s*bindings"))
    found: dict[str, str] = {}
    for number, table in enumerate(tables):
        line = _line_of(source, r"\[\[\s*bindings\s*\]\]", number)
        _only(table, {"name", "workflow"}, source, " in [[bindings]]", line)
        name = _text(table, "name", _identifier, source, line, "a binding", '"SHIPPING"')
        if name in found:
            raise refused(f"binding {name} is declared twice", line)
        found[name] = _text(table, "workflow", names.workflow_id, source, line, "a binding", '"shipping"')
    return found


def _identifier(text: str) -> str:
    if not text.isidentifier() or not text.isascii():
        raise ValueError(f"{shortened(clean(text), 60)!r} can't be a binding's name: use a-z, A-Z, 0-9 and '_'")
    return text


def _text(
    table: Mapping[str, Any],
    key: str,
    rule: Callable[[str], str],
    source: str,
    line: int | None,
    what: str,
    example: str,
) -> str:
    text = table.get(key)
    here = _line_of(source, rf"{key}\s*=", after=line) if key in table else line
    if not isinstance(text, str):
        raise refused(f"{what} needs a text as its {key}: {key} = {example}", here)
    try:
        return rule(text)
    except ValueError as error:
        raise refused(str(error), here) from None


def _vars(document: Mapping[str, Any], source: str) -> Mapping[str, str]:
    table = document.get("vars", {})
    line = _line_of(source, r"\[?\s*vars")
    if not isinstance(table, dict):
        raise refused("[vars] is a table of texts", line)
    for key, text in table.items():
        if not isinstance(text, str):
            here = _line_of(source, rf"[\"']?{re.escape(key)}[\"']?\s*=", after=line)
            raise refused(f'the value of {key} in [vars] must be a text: {key} = "…"', here)
    return table


def _only(table: Mapping[str, Any], known: set[str], source: str, where: str, line: int | None = None) -> None:
    for key in table:
        if key not in known:
            here = _line_of(source, rf"\[*\s*[\"']?{re.escape(key)}", after=line) or line
            shown = shortened(clean(key), 60)
            raise refused(f"unknown key {shown!r}{where}; known are {', '.join(sorted(known))}", here)


def _line_of(source: str, pattern: str, number: int = 0, after: int | None = None) -> int | None:
    """The line of the numbered match that begins a line, not above line `after`; None when there is none."""
    matches = (at for at, line in enumerate(source.splitlines(), 1) if re.match(rf"\s*{pattern}", line))
    eligible = [at for at in matches if at >= (after or 1)]
    return eligible[number] if number < len(eligible) else None


def _line_in(message: str) -> int | None:
    match = re.search(r"at line (\d+)", message)
    return int(match[1]) if match else None


def refused(why: str, line: int | None, file: str = FILE) -> BundleRefusedError:
    """What is wrong in that file, and where."""
    where = file if line is None else f"{file}, line {line}"
    return BundleRefusedError(f"{where}: {why}", path=file, **({} if line is None else {"line": str(line)}))
