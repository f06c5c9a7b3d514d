"""The examples' own parts do what their workflows rely on."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from stepwell import NonRetryableError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
Load = Callable[[str, str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports a bundle's module from its folder, as a sandbox would, and forgets it afterwards."""
    known = set(sys.modules)

    def from_bundle(bundle: str, module: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(EXAMPLES / bundle))
        return import_module(module)

    yield from_bundle
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("own_tmp")
def test_a_workspace_that_vanished_is_rebuilt_into_the_same_archive(load: Load) -> None:
    workspace, archive = load("ci_pipeline", "workspace"), load("ci_pipeline", "archive")
    source = workspace.check_out("run-1")
    built = archive.build(workspace.ensure("run-1", source["digest"]))
    workspace.remove("run-1")
    again = workspace.ensure("run-1", source["digest"])
    assert archive.build(again) == built
    assert archive.smoke_test(again) == "the 3\nsea 2"


@pytest.mark.usefixtures("own_tmp")
def test_a_workspace_that_was_changed_is_refused(load: Load) -> None:
    workspace = load("ci_pipeline", "workspace")
    source = workspace.check_out("run-1")
    (workspace.ensure("run-1", source["digest"]) / "tally" / "counting.py").write_text("changed = True\n")
    with pytest.raises(NonRetryableError, match="the workspace is"):
        workspace.ensure("run-1", source["digest"])


@pytest.mark.usefixtures("own_tmp")
def test_the_pipelines_checks_pass_its_repository_and_can_fail(load: Load) -> None:
    workspace, checks = load("ci_pipeline", "workspace"), load("ci_pipeline", "checks")
    folder = workspace.ensure("run-1", workspace.check_out("run-1")["digest"])
    assert checks.lint(folder) == []
    assert checks.unit_tests(folder)["ran"] == 7
    (folder / "tally" / "counting.py").write_text(
        '"""Broken."""\nimport os\n\n\ndef words(text=[]):\n    return text\n'
    )
    assert len(checks.lint(folder)) == 2
    with pytest.raises(NonRetryableError, match="unit tests failed"):
        checks.unit_tests(folder)


def test_the_agents_default_plan_finds_what_it_needs(load: Load) -> None:
    agent, tools = load("agent_plan", "agent"), load("agent_plan", "tools")
    found: dict[str, object] = {}
    for call in tools.checked(agent.make_plan(agent.DEFAULT_GOAL)):
        found[call["save_as"]] = tools.TOOLS[call["tool"]](tools.filled_in(call["args"], found), 2)
    assert found["saved_kwh"] == 3000
    assert found["price"] == {"item": "freezer", "count": 2, "total": 1280}
    assert "freezers" in str(found["summary"])


def test_the_price_service_fails_its_first_attempt_alone(load: Load) -> None:
    tools = load("agent_plan", "tools")
    with pytest.raises(ConnectionError):
        tools.price({"item": "freezer", "count": 1}, 1)
    assert tools.price({"item": "freezer", "count": 1}, 2)["total"] == 640


@pytest.mark.parametrize("call", [{"tool": "rm"}, {"tool": "search", "args": []}, {"tool": "search", "args": {}}])
def test_a_plan_with_a_call_that_is_none_is_refused(load: Load, call: dict[str, object]) -> None:
    tools = load("agent_plan", "tools")
    with pytest.raises(NonRetryableError, match="not a call"):
        tools.checked([call])


def test_a_sum_is_no_program(load: Load) -> None:
    tools = load("agent_plan", "tools")
    with pytest.raises(NonRetryableError, match="not a sum"):
        tools.calculate({"expression": "__import__('os')"}, 1)
