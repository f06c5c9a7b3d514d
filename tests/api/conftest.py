from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests of a module; it may have failed in nothing."""
    with running(tmp_path_factory.mktemp("server")) as serving:
        yield serving
        assert serving.log.faults == []
