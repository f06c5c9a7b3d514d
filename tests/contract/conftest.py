"""Real servers that several suites hold their adapters against: started once, when the first test needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_plane.journal.cassandra.tables import COMPONENT as JOURNAL
from data_plane.logs.cassandra.tables import COMPONENT as LOGS
from loader.bundles.cassandra.tables import COMPONENT as BUNDLES
from tests.contract.bundle_worlds import CassandraNodes
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import CassandraServers, cassandra_servers
from tests.contract.etcd_server import EtcdServer, etcd_server


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraServers]:
    """Of one node. Whatever uses it is marked with `cassandra_server.ON_ONE_WORKER`."""
    with cassandra_servers(tmp_path_factory.mktemp("cassandra")) as servers:
        yield servers


@pytest.fixture(scope="session")
def keyspace(cassandra: CassandraServers) -> Iterator[Keyspace]:
    made = Keyspace.make(cassandra, "contract", [JOURNAL, BUNDLES, LOGS])
    yield made
    made.close()


@pytest.fixture
async def nodes(keyspace: Keyspace, tmp_path: Path) -> CassandraNodes:
    """Of bundle stores."""
    await keyspace.emptied()
    return CassandraNodes(keyspace, tmp_path)
