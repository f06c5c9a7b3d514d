"""The pytest plugin, by the entry point `pytest11`: the fixture `workflows`. It loads the kit when a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stepwell.testing.workflows import Workflows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("stepwell").addoption(
        "--stepwell-crash-at",
        type=int,
        metavar="N",
        help="rerun tests below @crash_at_every_record with a crash after their record N alone",
    )


@pytest.fixture
def workflows(request: pytest.FixtureRequest) -> Iterator[Workflows]:
    """Workflows in memory, on skipped time: `stepwell.testing.Workflows`."""
    from stepwell.testing.workflows import Workflows

    with Workflows() as made:
        made.only_crash = request.config.getoption("--stepwell-crash-at", default=None)
        made.rerun_with = f"pytest '{request.node.nodeid}' --stepwell-crash-at"
        yield made
