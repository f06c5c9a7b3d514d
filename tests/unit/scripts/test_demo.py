"""The demo's claims are checked: each of them can turn out false."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.demo import RUNS, Run, compare, ended_steps, verdict
from scripts.demo_server import DemoFailedError, until

PLAN, BUILD, ADA = RUNS[0], RUNS[2], RUNS[4]


def step(name: str, status: str, output: object = None) -> dict[str, Any]:
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:01Z"}
    return {"kind": "do", "name": name, "count": 1, "status": status, "attempts": 1, "output": output, **times}


def test_only_steps_that_have_ended_are_held_against_the_server() -> None:
    steps = ended_steps({"steps": [step("a", "complete", 1), step("b", "running"), step("c", "errored")]})
    assert [name for _, name, _ in steps] == ["a", "c"]


def test_what_is_new_since_is_fine() -> None:
    before = ended_steps({"steps": [step("a", "complete", 1)]})
    after = ended_steps({"steps": [step("a", "complete", 1), step("b", "complete", 2)]})
    compare({PLAN: before}, {PLAN: after})


@pytest.mark.parametrize("later", [[], [step("a", "complete", 2)], [step("a", "running", 1)]])
def test_a_result_that_is_lost_or_changed_fails_the_demo(later: list[dict[str, Any]]) -> None:
    before = ended_steps({"steps": [step("a", "complete", 1)]})
    with pytest.raises(DemoFailedError, match="committed was"):
        compare({PLAN: before}, {PLAN: ended_steps({"steps": later})})


@pytest.mark.parametrize(
    ("run", "instance", "says"),
    [
        (ADA, {"status": "errored", "error": "boom", "output": None, "steps": []}, "errored: boom"),
        (ADA, {"status": "complete", "output": {"company": "Globex"}, "steps": []}, "ran the code of Globex"),
        (
            PLAN,
            {"status": "complete", "output": {}, "steps": [step("3. price → price", "complete")]},
            "no second attempt",
        ),
        (BUILD, {"status": "complete", "output": {}, "steps": []}, "unexpected output"),
        (
            BUILD,
            {"status": "complete", "output": {"deployment": {"digest": "a"}, "artifact": {"digest": "b"}}, "steps": []},
            "another archive",
        ),
    ],
)
def test_an_instance_that_is_not_its_tenants_own_fails_the_demo(run: Run, instance: dict[str, Any], says: str) -> None:
    with pytest.raises(DemoFailedError, match=says):
        verdict(run, instance)


def test_a_condition_that_never_comes_fails_the_demo() -> None:
    with pytest.raises(DemoFailedError, match="in vain until pigs fly"):
        until("pigs fly", lambda: False, patience_s=0)
