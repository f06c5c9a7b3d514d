"""What the images need of their distribution."""

from __future__ import annotations

import re

import pytest

from tests.unit.deploy.manifests import DEPLOY


@pytest.mark.parametrize("image", ["control", "node"])
def test_an_image_knows_time_zones(image: str) -> None:
    """A control server checks those of schedules, a node follows them; Python has none of its own."""
    text = (DEPLOY / f"Dockerfile.{image}").read_text()
    last = text.rpartition("\nFROM ")[2].replace("\\\n", " ")
    installed = re.findall(r"apt-get install[^&\n]*", last)
    assert any("tzdata" in line.split() for line in installed)
