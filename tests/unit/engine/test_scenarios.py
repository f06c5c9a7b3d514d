"""The stories in scenarios/: each reads as what the engine does, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engine.scenario import run

STORIES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_a_story_goes_as_it_is_told(story: Path) -> None:
    script = story.read_text()
    assert run(script) == script


def test_there_are_stories() -> None:
    assert len(STORIES) >= 10
