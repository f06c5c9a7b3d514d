"""What real guests and servers are known to make of a workflow, the kit makes of it too.

The documentation's examples are run in a guest process by `tests/unit/docs`, the bundles of `tests/e2e` on gVisor by
`tests/e2e/test_api_story.py`: outputs, steps and attempts here are those.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepwell.testing import Rollback, Workflows, crash_at_every_record
from tests.unit.docs.test_authoring_examples import _class_in, examples

BUNDLES = Path(__file__).resolve().parents[2] / "e2e" / "bundles"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], ModuleType]:
    """Imports a file as a module, so that its errors' classes are found again."""
    return lambda path: _loaded(path, monkeypatch)


def _loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"kit_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("terms", "source"), examples())
@crash_at_every_record(every=2)
def test_the_examples_return_what_their_pages_say(
    workflows: Workflows, terms: dict[str, Any], source: str, tmp_path: Path, load: Callable[[Path], ModuleType]
) -> None:
    (tmp_path / "main.py").write_text(source, encoding="utf-8")
    instance = workflows.start(getattr(load(tmp_path / "main.py"), _class_in(source)), terms.get("params"))
    if "event" in terms:
        for wait in ("approval", "answer", "go"):
            instance.send_event(wait, terms["event"])
    if "cancel" in terms:
        workflows.settle()
        instance.cancel(terms["cancel"])
    if "errored" in terms:
        assert (str(instance.error()), instance.rollback()) == (terms["errored"], Rollback("complete"))
    else:
        assert instance.result() == terms["output"]


@pytest.mark.parametrize(
    ("params", "sent", "output", "steps"),
    [
        ({"do": "nothing", "turn": 2}, [], {"do": "nothing", "turn": 2}, []),
        ({"do": "sleep", "ms": 2_500}, [], "awake", [("nap", 1)]),
        ({"do": "slow", "s": 1.5}, [], ["slow is done", "next is done"], [("slow", 1), ("next", 1)]),
        (
            {"do": "events", "ms": 1_200},
            ["first", "second"],
            ["first", "second"],
            [("nap", 1), ("go", 1), ("go", 1)],
        ),
    ],
)
def test_behaviours_are_those_of_the_server(
    workflows: Workflows,
    load: Callable[[Path], ModuleType],
    params: Any,
    sent: list[str],
    output: Any,
    steps: list[tuple[str, int]],
) -> None:
    instance = workflows.start(load(BUNDLES / "behaviours" / "behaviours.py").Behaviours, params)
    for payload in sent:
        instance.send_event("go", payload)
    assert instance.result() == output
    assert [(step.name, step.attempts) for step in instance.steps] == steps


def test_the_storys_order_is_retried_once(workflows: Workflows, load: Callable[[Path], ModuleType]) -> None:
    order = workflows.start(load(BUNDLES / "story" / "main.py").Order)
    order.send_event("approve", {"by": "me"})
    assert order.result() == {"approved": {"by": "me"}}
    assert [(step.name, step.attempts) for step in order.steps] == [("charge", 2), ("approval", 1), ("slow", 1)]
