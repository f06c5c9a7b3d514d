"""An author who runs a type checker gets real types, from either of the two names; the wheel says that it has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
import workers
from stepwell import StepEvent, WorkflowEvent

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def checked(*arguments: str, here: Path = ROOT) -> str:
    """What mypy finds fault with."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", *arguments],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_authors_get_the_types_of_their_own_functions() -> None:
    assert checked("--config-file", str(ROOT / "pyproject.toml"), str(HERE / "authors_types.py")) == ""


def test_both_import_names_have_the_same_types(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from typing import reveal_type\n"
        "from workers import WorkflowEntrypoint\n"
        "from stepwell import WorkflowEvent, WorkflowStep\n"
        "class Order(WorkflowEntrypoint):\n"
        "    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:\n"
        "        @step.do()\n"
        "        def one() -> int:\n"
        "            return 1\n"
        "        reveal_type(one)\n"
        "        return await one()\n"
    )
    told = checked("main.py", here=tmp_path)
    assert told == 'main.py:9: note: Revealed type is "stepwell.steps.Step[int]"\n'


@pytest.mark.parametrize("package", [stepwell, workers])
def test_each_package_says_that_it_is_typed(package: object) -> None:
    assert (Path(str(getattr(package, "__file__", ""))).parent / "py.typed").is_file()


def test_a_payloads_type_says_nothing_when_it_runs() -> None:
    event = WorkflowEvent[dict[str, int]].of({"a": 1}, {"created": 0, "id": "one", "workflow": "order"})
    assert event.payload == {"a": 1}
    assert type(event) is WorkflowEvent
    assert StepEvent[int].of("text", "go", 0)["payload"] == "text"
