"""How the modelled Cassandra misbehaves: how often each fault comes, how long things take, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

COORDINATOR_TIMEOUT_S: Final = 2.0
"""How long a coordinator waits for replicas (write_request_timeout, read_request_timeout)."""

CLIENT_TIMEOUT_S: Final = 3.0
"""How long a client waits for its coordinator."""


class Fault(StrEnum):
    """What really happened, each time: the keys of the counter that a cluster is given."""

    WRITE_LOST = "cassandra write lost"
    """A whole write reached no replica; its client timed out."""

    WRITE_LATE = "cassandra write applied late"
    """A replica got its copy of a write whose client had given up before any replica had one."""

    WRITE_TWICE = "cassandra write applied twice"
    """A replica got its copy of a write a second time, later."""

    WRITE_TIMEOUT = "cassandra write timeout"
    """Two acknowledgements did not come in time (WriteTimeoutException)."""

    WRITE_UNAVAILABLE = "cassandra write unavailable"
    """Fewer than two replicas were up, so nothing was sent (UnavailableException)."""

    ANSWER_LOST = "cassandra answer lost"
    """A write had its two acknowledgements, and its client timed out all the same."""

    COPY_LOST = "cassandra copy lost"
    """One replica never got its copy: a dropped mutation, or a hint that expired."""

    COPY_LATE = "cassandra copy applied late"
    """One replica got its copy later than any client waits: it was slow, or hinted handoff brought it."""

    WITHOUT_EFFECT = "cassandra late write without effect"
    """A late copy met something newer, a tombstone or itself."""

    HALF_DONE = "cassandra deletion half done"
    """Of an instance's deletion, some writes were acknowledged, and then no more was sent or known."""

    REPLICA_DOWN = "cassandra replica down"

    READ_REPAIR = "cassandra read repair"
    """Two replicas said different things of the rows that were read."""

    READ_FAILED = "cassandra read failed"
    """A read repaired one replica at most, and then its client heard of no result."""

    READ_TORN = "cassandra read torn by a deletion"
    """A journal was deleted between two pages of it, and was read again."""

    READ_TIMEOUT = "cassandra read timeout"
    READ_UNAVAILABLE = "cassandra read unavailable"

    CALLBACK_DROPPED = "cassandra callback dropped"
    """An answer came for a process that is dead."""


@dataclass(frozen=True, slots=True)
class CassandraFaults:
    """Calm by default: nothing fails, and everything takes a moment. Probabilities are between 0 and 1."""

    hop_s: tuple[float, float] = (0.0002, 0.002)
    """How long a message takes one way, from and to."""

    coordinator_timeout_s: float = COORDINATOR_TIMEOUT_S
    client_timeout_s: float = CLIENT_TIMEOUT_S

    slow: float = 0.0
    """Of a message: it takes up to `slow_s` longer."""

    slow_s: float = 3.0

    write_lost: float = 0.0
    """Of a write: it gets nowhere."""

    write_late: float = 0.0
    """Of a write: it gets to every replica after its client gave up."""

    answer_lost: float = 0.0
    """Of a write that two replicas acknowledged: its client does not hear of it."""

    copy_lost: float = 0.0
    """Of a write to one replica: it never gets there."""

    copy_late: float = 0.0
    """Of a write to one replica: it gets there after its client had its answer."""

    copy_twice: float = 0.0
    """Of a write to one replica: it gets there again."""

    late_s: float = 60.0
    """What is late comes up to so long after its client gave up; soon after is more likely."""

    read_failed: float = 0.0
    """Of a page that is read."""

    falls_a_second: float = 0.0
    """Replicas that go down while the cluster is in use."""

    down_s: float = 15.0
    """A replica that went down is back after so long at most."""

    hint_lost: float = 0.0
    """Of a write to a replica that is down: hinted handoff does not bring it later."""


CALM: Final = CassandraFaults()

HOSTILE: Final = CassandraFaults(
    hop_s=(0.0005, 0.02),
    slow=0.03,
    write_lost=0.01,
    write_late=0.02,
    answer_lost=0.02,
    copy_lost=0.05,
    copy_late=0.05,
    copy_twice=0.05,
    read_failed=0.02,
    falls_a_second=1 / 30,
    hint_lost=0.3,
)
"""Some one write in ten ends unknown."""

SLUGGISH: Final = replace(HOSTILE, hop_s=(0.01, 1.2))
"""What is acknowledged is so late: often after whoever asked has lost its lease."""
