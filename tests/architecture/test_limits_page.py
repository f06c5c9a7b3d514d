"""Every limit of the code is documented with its value: fixed ones in docs/limits.md, settings in configuration.md.

A constant is a limit when its name says so: `…_MAX…`.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

from stepwell.guest.limits import Limits
from stepwell_server.config import SECTIONS, DevConfig
from tests.architecture.sources import PACKAGES, ROOT, written
from tests.architecture.tables import Row, rows

LIMITS = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
REFUSING = rows(LIMITS, "That a call is refused by")
OTHERS = [*rows(LIMITS, "In a workflow"), *rows(LIMITS, "Inside")]
_CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*_MAX(?:_\w+)?)(?:: Final(?:\[\w+\])?)? = ", re.MULTILINE)


def constants() -> Iterator[str]:
    """Every fixed limit, as module.NAME."""
    for source in written(*PACKAGES):
        if source.is_python:
            yield from (f"{source.module}.{name}" for name in _CONSTANT.findall(source.text))


def value_of(place: str) -> float:
    """What `module.NAME` or `[section].setting` is, the latter by default."""
    owner, _, name = place.rpartition(".")
    if owner.startswith("["):
        return float(getattr(SECTIONS[owner.strip("[]")](), name))
    return float(getattr(import_module(owner), name))


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def place(row: Row) -> str:
    return (row.get("set by") or row["limit"]).strip("`")


def test_every_fixed_limit_has_one_row() -> None:
    documented = [place(row) for row in (*REFUSING, *OTHERS) if not place(row).startswith("[")]
    assert sorted(documented) == sorted(constants())


@pytest.mark.parametrize("row", [*REFUSING, *OTHERS], ids=place)
def test_a_row_has_the_limits_value(row: Row) -> None:
    assert number(row["value"]) == value_of(place(row))


def refusals() -> Iterator[tuple[str, set[str]]]:
    """Where the code makes an error of a limit, and what it says besides words."""
    for source in written(*PACKAGES):
        if source.is_python:
            for node in ast.walk(ast.parse(source.text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("LimitExceededError", "RateLimitedError"):
                    yield f"{source.path}:{node.lineno}", {keyword.arg or "" for keyword in node.keywords}


def test_whatever_is_refused_by_a_limit_is_told_its_name_its_value_and_what_was_seen() -> None:
    found = list(refusals())
    assert len(found) > 10
    assert [place for place, told in found if not {"limit", "value", "seen"} <= told] == []


def settings(section: str) -> list[Row]:
    """The table of that section of config.toml."""
    (heading,) = re.findall(rf"^### (`\[{section}\]`.*)$", CONFIGURATION, re.MULTILINE)
    return rows(CONFIGURATION, heading)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_one_row_with_its_default(section: str) -> None:
    kind = SECTIONS[section]
    defaults = {field.name: getattr(kind(), field.name) for field in dataclasses.fields(kind)}
    documented = {row["setting"].strip("`"): row["default"] for row in settings(section)}
    assert documented.keys() == defaults.keys()
    for name, default in defaults.items():
        assert documented[name] == shown(default), name


def shown(default: object) -> str:
    """As configuration.md writes it."""
    match default:
        case bool():
            return str(default).lower()
        case int():
            return f"{default:,}"
        case float():
            return str(default)
        case "":
            return "none"
        case dict():
            return "none" if not default else str(default)
        case _:
            return f"`{default}`"


def test_every_setting_at_the_top_is_in_a_table() -> None:
    tables = [*rows(CONFIGURATION, "On the command line"), *rows(CONFIGURATION, "At the top of the file")]
    documented = {row["setting"].strip("`") for row in tables}
    assert documented == {field.name for field in dataclasses.fields(DevConfig)} - set(SECTIONS)


@pytest.mark.parametrize("name", Limits._fields)
def test_what_a_guest_is_told_is_documented_with_its_default(name: str) -> None:
    assert f"`{name}` ({getattr(Limits(), name):,}" in CONFIGURATION
