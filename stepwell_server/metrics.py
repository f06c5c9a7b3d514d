"""All figures of a process, for Prometheus. docs/operations-metrics.md says what each means, and what to do about it.

Labels are names that the program has, never a tenant's or an instance's: their number does not grow with use. Children
of the step path are looked up once, here.
"""

from __future__ import annotations

from typing import Final

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from data_plane.journal.store_measured import KINDS

CALL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Up to the client's deadline."""

STEP_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300, 1_800)
"""Bodies of steps may do anything: from a computation to half an hour."""

BOOT_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

LATE_SECONDS: Final = (1, 5, 10, 20, 30, 45, 60, 120, 300, 3_600)
"""A tenant's jitter is up to 30 s; over 300 s, times count as missed."""

WRITE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""From an fsync of a good disk to a store that is about to be given up."""

LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

ATTEMPTS: Final = ("succeeded", "retried", "failed")
"""How attempts of steps end; `retried` failed and is to be tried again."""

ENDINGS: Final = ("completed", "errored", "terminated")
"""How instances end."""

REASONS: Final = (*ENDINGS, "hibernated", "paused", "restarted", "migrated", "drained", "sandbox_died", "lost")
"""Why activations end."""


class Metrics:
    """Registered with a registry of its own. `leased` says that this process keeps a lease on what it owns."""

    def __init__(self, *, leased: bool = False) -> None:
        # They would be a second figure for each: when the process began to count.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._calls = Counter("stepwell_calls", "Calls, by how they ended.", ("method", "code"), registry=registry)
        self._call_seconds = Histogram(
            "stepwell_call_seconds", "Calls with one answer.", ("method",), buckets=CALL_SECONDS, registry=registry
        )
        attempts = Counter("stepwell_step_attempts", "Attempts of steps, recorded.", ("outcome",), registry=registry)
        self.attempts = {outcome: attempts.labels(outcome) for outcome in ATTEMPTS}
        self.step_seconds = Histogram(
            "stepwell_step_seconds", "Bodies of steps.", buckets=STEP_SECONDS, registry=registry
        )
        self.created = Counter("stepwell_instances_created", "Instances created.", registry=registry)
        self.schedule_late = Histogram(
            "stepwell_schedule_late_seconds",
            "How long after their time instances of schedules were created.",
            buckets=LATE_SECONDS,
            registry=registry,
        )
        endings = Counter("stepwell_instances_ended", "Instances ended.", ("outcome",), registry=registry)
        self.endings = {outcome: endings.labels(outcome) for outcome in ENDINGS}
        self.begun = Counter("stepwell_activations_begun", "Activations begun.", registry=registry)
        reasons = Counter("stepwell_activations_ended", "Activations ended.", ("reason",), registry=registry)
        self.reasons = {reason: reasons.labels(reason) for reason in REASONS}
        self.active = Gauge("stepwell_activations_active", "Instances with a place to run.", registry=registry)
        self.queued = Gauge("stepwell_activations_queued", "Instances waiting for one.", registry=registry)
        self.resident = Gauge("stepwell_instances_resident", "Instances in memory.", registry=registry)
        self.unstarted = Gauge(
            "stepwell_oldest_unstarted_seconds",
            "For how long what waits longest to be started has waited.",
            ("shard",),
            registry=registry,
        )
        self.shards = Gauge("stepwell_shards_owned", "Shards served here.", registry=registry)
        self.lease_left: Gauge | None = None
        if leased:
            self.lease_left = Gauge("stepwell_lease_left_seconds", "Until it would end.", registry=registry)
        self.sandboxes = Gauge("stepwell_sandboxes", "Sandboxes.", ("state",), registry=registry)
        boots = Counter("stepwell_sandbox_boots", "Starts of sandboxes.", ("outcome",), registry=registry)
        self._booted, self._boot_failed = boots.labels("started"), boots.labels("failed")
        self._boot_seconds = Histogram(
            "stepwell_sandbox_boot_seconds", "Starts that went well.", buckets=BOOT_SECONDS, registry=registry
        )
        writes = Histogram(
            "stepwell_journal_write_seconds", "Writes.", ("kind",), buckets=WRITE_SECONDS, registry=registry
        )
        self._writes = {kind: writes.labels(kind) for kind in KINDS.values()}
        unknown = Counter(
            "stepwell_journal_writes_unknown", "Writes whose outcome is unknown.", ("kind",), registry=registry
        )
        self._unknown = {kind: unknown.labels(kind) for kind in KINDS.values()}
        self.loop_lag = Histogram(
            "stepwell_event_loop_lag_seconds", "How late a timer rang.", buckets=LAG_SECONDS, registry=registry
        )
        spans = Counter("stepwell_spans", "Spans, by what became of them.", ("outcome",), registry=registry)
        self.spans_sent, self.spans_lost = spans.labels("sent"), spans.labels("lost")
        self._ended_calls: dict[tuple[str, grpc.StatusCode], Counter] = {}
        self._timed_calls: dict[str, Histogram] = {}

    # ---------------------------------------------------------------- rpc
    def call_ended(self, method: str, code: grpc.StatusCode, seconds: float | None) -> None:
        """`seconds` is None where they say nothing, as of a stream that its client ends when it likes."""
        counter = self._ended_calls.get((method, code))
        if counter is None:
            counter = self._ended_calls[method, code] = self._calls.labels(method, code.name)
        counter.inc()
        if seconds is not None:
            timed = self._timed_calls.get(method)
            if timed is None:
                timed = self._timed_calls[method] = self._call_seconds.labels(method)
            timed.observe(seconds)

    # ---------------------------------------------------------------- loader.observing.BootObserver
    def booted(self, seconds: float) -> None:
        self._booted.inc()
        self._boot_seconds.observe(seconds)

    def boot_failed(self) -> None:
        self._boot_failed.inc()

    # ---------------------------------------------------------------- store_measured.WriteObserver
    def written(self, kind: str, seconds: float, *, unknown: bool) -> None:
        self._writes[kind].observe(seconds)
        if unknown:
            self._unknown[kind].inc()

    # ---------------------------------------------------------------- when it is asked for
    def set_unstarted(self, by_shard_ms: dict[int, int]) -> None:
        """Replace what was known: a shard that is served no more has no figure here."""
        self.unstarted.clear()
        for shard, ms in by_shard_ms.items():
            self.unstarted.labels(str(shard)).set(ms / 1000)
        self.shards.set(len(by_shard_ms))
