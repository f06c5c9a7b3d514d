"""The documentation names all that the code offers, and nothing that it doesn't."""

from __future__ import annotations

import re
from importlib import import_module

import click
import pytest

from tests.architecture.contracts import (
    camel_case,
    code,
    options,
    reasons,
    settings,
    statuses,
    undocumented,
    verbs,
)
from tests.architecture.sources import ROOT

VERBS = dict(verbs())


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_verb_is_documented() -> None:
    assert len(VERBS) > 10
    assert undocumented(list(VERBS), page("cli.md")) == []


def test_every_option_is_documented() -> None:
    assert undocumented([option for command in VERBS.values() for option in options(command)], page("cli.md")) == []


def test_no_option_is_documented_that_is_not_there() -> None:
    known = {option for command in VERBS.values() for option in options(command)} | {"--help", "--version"}
    written = {option for line in code(page("cli.md")) for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
    assert written - known == set()


@pytest.mark.parametrize("document", ["docs/cli.md", "docs/authoring.md", "README.md"])
def test_no_verb_is_documented_that_is_not_there(document: str) -> None:
    known = {name.split()[1] for name in VERBS}
    text = code((ROOT / document).read_text(encoding="utf-8"))
    written = {verb for line in text for verb in re.findall(r"(?:^|^\$ |/)stepwell ([a-z][a-z-]+)", line)}
    assert written
    assert written - known == set()


def test_every_setting_is_documented() -> None:
    found = settings(import_module("stepwell_server.config"))
    assert found
    assert undocumented(found, page("configuration.md")) == []


def test_every_reason_of_an_error_is_documented() -> None:
    assert undocumented(reasons(), page("errors.md")) == []


def test_no_reason_is_documented_that_is_not_there() -> None:
    headings = set(re.findall(r"^(?:#+|\|) *`([A-Z][A-Z_]+)`", page("errors.md"), re.MULTILINE))
    assert headings == reasons()


@pytest.mark.parametrize("enum", ["InstanceStatus", "StepStatus", "StepKind"])
def test_every_status_is_documented(enum: str) -> None:
    assert undocumented(statuses()[enum], page("cli.md")) == []


def test_what_is_not_set_as_code_is_not_documentation() -> None:
    text = "Pause it with --force.\n\n`--id-prefix`\n\n```\nstepwell instances pause NAME ID\n```\n"
    words = ["--force", "--id", "--id-prefix", "stepwell instances", "stepwell instances pause", "NAM"]
    assert undocumented(words, text) == ["--force", "--id", "NAM"]


def test_a_commands_options_are_its_long_visible_ones() -> None:
    hidden = click.Option(["--secret"], hidden=True)
    shown = click.Option(["-o", "--output", "output"])
    assert options(click.Command("x", params=[hidden, shown, click.Argument(["name"])])) == ["--output"]


def test_statuses_are_spelt_as_the_cli_spells_them() -> None:
    assert camel_case("WAITING_FOR_PAUSE") == "waitingForPause"
    assert "waitingForPause" in statuses()["InstanceStatus"]
    assert "waitForEvent" in statuses()["StepKind"]
