"""A whole cluster of real processes, for the tests of this folder together: starting one takes half a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scripts.local_cluster import LocalCluster

CASSANDRA = int(os.environ.get("NEMESIS_CASSANDRA", "1"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three data nodes, whose sandboxes are plain processes: what isolates them is tested elsewhere."""
    made = LocalCluster(
        tmp_path_factory.mktemp("cluster"),
        cassandra=CASSANDRA,
        nodes=3,
        sandbox="process",
        java="-XX:TieredStopAtLevel=1",
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()
