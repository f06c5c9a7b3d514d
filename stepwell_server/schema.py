"""`stepwell schema`: the tables that an installation has in Cassandra."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.cassandra import schema
from cluster.cassandra.schema import Component
from cluster.cassandra.session import CassandraSession
from data_plane.journal.cassandra.tables import COMPONENT as JOURNAL
from data_plane.logs.cassandra.tables import COMPONENT as LOGS
from loader.bundles.cassandra.tables import COMPONENT as BUNDLES
from stepwell_server.cluster_config import ControlConfig, read_cluster_config
from stepwell_server.process import EXPECTED, exit_status, refused

COMPONENTS: Final[Sequence[Component]] = (JOURNAL, BUNDLES, LOGS)


def run(verb: str, config_path: Path | None, replication_factor: int) -> int:
    """`show`, `apply` or `verify`; the exit status."""
    try:
        config = read_cluster_config(ControlConfig, config_path, os.environ)
        settings = config.cassandra_settings()
    except EXPECTED as error:
        return refused(error, str(config_path))
    if verb == "show":
        statements = schema.script(settings.keyspace, settings.datacenter, replication_factor, COMPONENTS)
        print("\n".join(f"{statement};" for statement in statements))
        return 0

    async def work() -> int:
        session = await CassandraSession.connect(settings, keyspace=verb == "verify")
        try:
            if verb == "apply":
                owner = f"process {os.getpid()} on {socket.gethostname()}"
                done = await schema.apply(session, settings.datacenter, replication_factor, COMPONENTS, owner=owner)
                for line in done or ["all was there"]:
                    print(line)
                return 0
            faults = await schema.faults(session, COMPONENTS)
            for fault in faults:
                print(f"stepwell: {fault}", file=sys.stderr)
            if not faults:
                print(f"the keyspace {settings.keyspace} is as this program needs it")
            return 1 if faults else 0
        finally:
            await session.close()

    return exit_status(work(), str(config_path))
