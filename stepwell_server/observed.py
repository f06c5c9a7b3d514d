"""What the ports of calls and instances tell, as figures and spans. Either may be absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from data_plane.journal.store import InstanceKey
from rpc.auth import Metadata
from rpc.trace_context import TraceContext, from_stored, received, set_current
from stepwell.engine.instance import Instance
from stepwell.engine.records import (
    Activated,
    ActivationEnded,
    AttemptFailed,
    Completed,
    Created,
    Errored,
    Migrated,
    Paused,
    Record,
    Restarted,
    Resumed,
    SandboxDied,
    StepCompleted,
    StepFailed,
    Terminated,
)
from stepwell_server.metrics import Metrics

if TYPE_CHECKING:
    from stepwell_server.tracing import Linked, Spans

_OUTCOMES: Final[dict[type, str]] = {StepCompleted: "succeeded", AttemptFailed: "retried", StepFailed: "failed"}
_ENDINGS: Final[dict[type, str]] = {Completed: "completed", Errored: "errored", Terminated: "terminated"}
_FAILURES: Final = frozenset({"errored", "sandbox_died", "lost"})
_NS_A_MS: Final = 1_000_000

_SERVERS_FAULT: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""By which OpenTelemetry's conventions have a server's span failed; the other codes are answers."""


class ObservedCalls:
    """`rpc.observing.CallObserver`. `monotonic` gives seconds, `clock_ns` ns since the epoch."""

    def __init__(
        self,
        metrics: Metrics | None,
        spans: Spans | None,
        *,
        monotonic: Callable[[], float],
        clock_ns: Callable[[], int],
    ) -> None:
        self.metrics = metrics
        self.spans = spans
        self.monotonic = monotonic
        self.clock_ns = clock_ns

    def begun(self, method: str, metadata: Metadata, *, streams: bool) -> _Call:
        parent = context = None
        if self.spans is not None:
            parent = received(metadata)
            context = self.spans.of_call(parent)
            set_current(context)
        return _Call(self, method, streams, parent, context, self.monotonic())


@dataclass(slots=True)
class _Call:
    calls: ObservedCalls
    method: str
    streams: bool
    parent: TraceContext | None
    context: TraceContext | None
    began_s: float

    def ended(self, code: grpc.StatusCode) -> None:
        calls = self.calls
        seconds = calls.monotonic() - self.began_s
        if calls.metrics is not None:
            calls.metrics.call_ended(self.method, code, None if self.streams else seconds)
        if calls.spans is not None and self.context is not None:
            now_ns = calls.clock_ns()
            calls.spans.ended(
                self.method,
                self.context,
                now_ns - int(seconds * 1e9),
                now_ns,
                {"rpc.system.name": "grpc", "rpc.method": self.method, "rpc.response.status_code": code.name},
                parent=self.parent,
                parent_is_remote=True,
                is_call=True,
                failed=code in _SERVERS_FAULT,
            )


@dataclass(slots=True)
class _Activation:
    """One that was not seen to end. `context` is None where its instance is not traced."""

    at: int
    context: TraceContext | None = None
    links: Sequence[Linked] = ()
    attributes: dict[str, str | int] = field(default_factory=dict)
    begun: bool = False
    """It is recorded: otherwise there never was one."""
    paused: bool = False


class ObservedInstances:
    """`data_plane.observing.InstanceObserver`. `clock` gives ms since the epoch.

    Whether an instance is traced was decided by the call that created it and is in its journal, so all its activations
    are, on whatever node. A step's span is made of its record: a replay makes none.
    """

    def __init__(self, metrics: Metrics | None, spans: Spans | None, *, clock: Callable[[], int]) -> None:
        self._metrics = metrics
        self._spans = spans
        self._clock = clock
        self._activations: dict[InstanceKey, _Activation] = {}

    def activating(self, key: InstanceKey, instance: Instance, at: int) -> bytes:
        self._end(key, at)
        activation = self._activations[key] = _Activation(at)
        created = from_stored(instance.trace)
        if self._spans is None or created is None:
            return b""
        activation.context, activation.links = self._spans.linked(created, from_stored(instance.activation_trace))
        activation.attributes = {
            "stepwell.tenant.uid": key.tenant,
            "stepwell.workflow": key.workflow,
            "stepwell.instance": key.instance,
            "stepwell.instance.uid": instance.uid,
            "stepwell.version": instance.digest,
        }
        return activation.context.stored()

    def appended(self, key: InstanceKey, records: Sequence[Record]) -> None:
        for record in records:
            kind = type(record)
            if kind in _OUTCOMES:
                assert isinstance(record, StepCompleted | AttemptFailed | StepFailed)
                self._attempted(key, record, _OUTCOMES[kind])
            elif kind in _ENDINGS:
                if self._metrics is not None:
                    self._metrics.endings[_ENDINGS[kind]].inc()
                self._end(key, record.at, _ENDINGS[kind])
            else:
                self._passed(key, record)

    def left(self, key: InstanceKey) -> None:
        if key in self._activations:
            self._end(key, self._clock())

    def _passed(self, key: InstanceKey, record: Record) -> None:
        activation = self._activations.get(key)
        match record:
            case Created():
                if self._metrics is not None:
                    self._metrics.created.inc()
                    if record.schedule is not None and record.origin is None:
                        self._metrics.schedule_late.observe((record.at - record.schedule.scheduled_at) / 1000)
            case Activated():
                if self._metrics is not None:
                    self._metrics.begun.inc()
                if activation is not None:
                    activation.begun = True
            case ActivationEnded():
                self._end(key, record.at, "drained" if record.runnable else "hibernated")
            case Restarted():
                self._end(key, record.at, "restarted")
            case Migrated():
                self._end(key, record.at, "migrated")
            case SandboxDied():
                self._end(key, record.at, "sandbox_died")
            case Paused() if record.failure is not None:
                self._end(key, record.at, "paused")
            case Paused() | Resumed() if activation is not None:
                # Bodies that run when a call pauses it end first; a resume may come before.
                activation.paused = isinstance(record, Paused)

    def _attempted(self, key: InstanceKey, record: StepCompleted | AttemptFailed | StepFailed, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.attempts[outcome].inc()
            self._metrics.step_seconds.observe((record.at - record.started_at) / 1000)
        activation = self._activations.get(key)
        if self._spans is None or activation is None or activation.context is None:
            return
        attributes: dict[str, str | int] = {
            "stepwell.step": record.key.name,
            "stepwell.step.count": record.key.count,
            "stepwell.step.attempt": record.attempt,
            "stepwell.step.outcome": outcome,
        }
        if not isinstance(record, StepCompleted):
            attributes["error.type"] = record.failure.type
        self._spans.ended(
            "step",
            self._spans.below(activation.context),
            record.started_at * _NS_A_MS,
            record.at * _NS_A_MS,
            attributes,
            parent=activation.context,
            failed=outcome != "succeeded",
        )

    def _end(self, key: InstanceKey, at: int, reason: str = "") -> None:
        """Without a reason it was given up: paused, once nothing of it ran any more, or its shard was lost."""
        activation = self._activations.pop(key, None)
        if activation is None or not activation.begun:
            return
        reason = reason or ("paused" if activation.paused else "lost")
        if self._metrics is not None:
            self._metrics.reasons[reason].inc()
        if self._spans is not None and activation.context is not None:
            self._spans.ended(
                "activation",
                activation.context,
                activation.at * _NS_A_MS,
                at * _NS_A_MS,
                {**activation.attributes, "stepwell.activation.end": reason},
                links=activation.links,
                failed=reason in _FAILURES,
            )
