"""A whole cluster of real processes with what may befall it: partitions, wrong clocks, full disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.local_cluster import Part
from tests.servers.clocks import Clock
from tests.servers.disks import Disk
from tests.servers.firewall import Firewall
from tests.servers.secured import SecuredCluster

DISK_BYTES: Final = {"node": 32 << 20, "etcd": 256 << 20, "cassandra": 768 << 20}
"""By the first word of a part's name. Of Cassandra's, a quarter is for its commit log."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The cluster, and by the name of a part: its disk; of a data node also its clock and the group it runs as."""

    cluster: SecuredCluster
    firewall: Firewall
    groups: dict[str, int]
    clocks: dict[str, Clock]
    disks: dict[str, Disk]

    @property
    def addresses(self) -> str:
        """Of the data nodes, for a client."""
        return f"ipv4:{','.join(self.cluster.endpoints[part.name] for part in self.cluster.nodes)}"

    @property
    def certificates(self) -> Path:
        """The folder that they are in."""
        return self.cluster.certificates.folder

    @property
    def authority(self) -> bytes:
        """By whom clients trust Stepwell's processes."""
        return (self.certificates / "server-ca.pem").read_bytes()


@contextmanager
def installed(folder: Path, cassandra: int) -> Iterator[Installation]:
    """Three data nodes, whose sandboxes are plain processes: what isolates them is tested elsewhere."""
    cluster = SecuredCluster(folder, cassandra=cassandra, nodes=3, sandbox="process", java="-XX:TieredStopAtLevel=1")
    with ExitStack() as stack:
        firewall = stack.enter_context(Firewall("stepwell_test"))
        groups, clocks, disks = dict[str, int](), dict[str, Clock](), dict[str, Disk]()
        for part in cluster.nodes:
            groups[part.name] = part.group = firewall.group()
            clocks[part.name] = Clock(part, folder)
        for part in (*cluster.nodes, cluster.etcd, *cluster.cassandra):
            disks[part.name] = stack.enter_context(_disk(part, folder))
        stack.callback(cluster.stop)
        cluster.start()
        yield Installation(cluster, firewall, groups, clocks, disks)


def _disk(part: Part, folder: Path) -> Disk:
    return Disk(folder / part.name, DISK_BYTES[part.name.partition("-")[0]])
