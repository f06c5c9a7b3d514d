"""One cluster for the tests of this folder together: starting it takes half a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.installation import Installation, installed

CASSANDRA = int(os.environ.get("NEMESIS_CASSANDRA", "1"))


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("cluster"), CASSANDRA) as made:
        yield made
