"""How the modelled etcd misbehaves: how often each fault comes, how long things take, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

REQUEST_TIMEOUT_S: Final = 2.0
"""How long a client waits for an answer: the deadline of each of its requests."""

LATE_S: Final = 3.0
"""A proposal may be committed for so long after its client gave up."""

NO_LEADER_S: Final = (0.5, 3.0)
"""How long an election takes, from and to."""

EXPIRY_LAG_S: Final = 0.5
"""The leader looks for expired leases so often (etcd: expiredLeaseC, each 500 ms), and then revokes them."""


class Fault(StrEnum):
    """What really happened, each time: the keys of the counter that a cluster is given."""

    REFUSED = "etcd request refused"
    """A request failed at once and did nothing (too many requests, no leader)."""

    REQUEST_LOST = "etcd request lost"
    """A request did nothing; its client timed out."""

    ANSWER_LOST = "etcd answer lost"
    """A request was done; its client timed out all the same."""

    TXN_LATE = "etcd txn applied late"
    """A transaction wrote after its client had timed out."""

    TXN_LATE_WITHOUT_EFFECT = "etcd late txn without effect"
    """A transaction came after its client had timed out, and its compares or its lease did not hold any more."""

    LEASE_REQUEST_LATE = "etcd lease request applied late"
    """A grant, a keep-alive or a revocation was done after its client had timed out."""

    LEADER_CHANGE = "etcd leader change"

    REQUEST_WAITED = "etcd request waited for a leader"
    """A request waits until its member hears of a leader again; its client may have given up by then."""

    MEMBER_CUT_OFF = "etcd member cut off"

    LEASE_EXPIRED = "etcd lease expired"

    LEASE_EXTENDED = "etcd lease extended by a new leader"

    LEASE_LOST = "etcd request on a lost lease"
    """A client was told that its lease is gone."""

    COMPACTION = "etcd compaction"

    WATCH_BROKEN = "etcd watch broken"

    WATCH_STALLED = "etcd watch stalled"
    """A watch would have told something and told nothing: it was cut off, or there was no leader."""

    WATCH_COMPACTED = "etcd watch compacted"
    """A watch was refused, or ended, since what it had to tell next was compacted."""

    ANSWER_DROPPED = "etcd answer dropped"
    """An answer came for a process that is dead."""


@dataclass(frozen=True, slots=True)
class EtcdFaults:
    """Calm by default: nothing fails, and everything takes a moment. Probabilities are between 0 and 1."""

    hop_s: tuple[float, float] = (0.0002, 0.002)
    """How long a message takes one way, from and to; short is more likely."""

    watch_hop_s: tuple[float, float] = (0.0002, 0.002)
    """How late a watch tells what happened, from and to, while its member hears of its leader."""

    refused: float = 0.0
    """Of a request: it fails at once."""

    lost: float = 0.0
    """Of a request: it gets nowhere."""

    answer_lost: float = 0.0
    """Of a request: it is done, and its client does not hear of it."""

    late: float = 0.0
    """Of a request that writes: it is done up to `LATE_S` after its client gave up."""

    watch_broken: float = 0.0
    """Of anything that a watch would tell: it breaks instead."""

    leader_changes_a_second: float = 0.0

    cut_offs_a_second: float = 0.0
    """Members that are cut off from the leader; one at a time."""

    cut_off_s: float = 30.0
    """A member that is cut off hears of the leader again after so long at most."""

    compactions_a_second: float = 0.0


CALM: Final = EtcdFaults()

HOSTILE: Final = EtcdFaults(
    hop_s=(0.0005, 0.2),
    watch_hop_s=(0.0005, 2.0),
    refused=0.01,
    lost=0.02,
    answer_lost=0.03,
    late=0.03,
    watch_broken=0.03,
    leader_changes_a_second=1 / 30,
    cut_offs_a_second=1 / 40,
    compactions_a_second=1 / 20,
)
"""Some one transaction in ten ends unknown."""
