"""What instances and calls tell becomes figures and spans: each activation and step once, by how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import grpc
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from data_plane.journal.store import InstanceKey
from rpc.trace_context import TraceContext, current, from_stored
from stepwell.engine import records as r
from stepwell.engine.instance import Instance
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceUid
from stepwell_server.metrics import Metrics
from stepwell_server.observed import ObservedCalls, ObservedInstances
from stepwell_server.tracing import Spans
from tests.unit.data_plane.fakes import KEY

CREATE = TraceContext(0xAB, 0xCD, True)
STEP = r.StepKey("do", "work", 3)
FAILURE = r.Failure("builtins", "ValueError", "a tenant's text")


class Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.closed = True


class Watched:
    """The observer of instances with both of its sides, on a clock that stands at 100 s."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.metrics, self.kept = Metrics(), Kept()
        ids = count(1)
        self.spans = Spans(self.kept, Resource({}), ratio, lambda bits: next(ids))
        self.instances = ObservedInstances(self.metrics, self.spans, clock=lambda: 100_000)

    def activated(self, trace: TraceContext | None = CREATE, before: bytes = b"", at: int = 1_000) -> bytes:
        """The trace of a recorded activation."""
        instance = Instance(
            uid=InstanceUid("u"), digest=Digest("d"), trace=trace.stored() if trace else b"", activation_trace=before
        )
        own = self.instances.activating(KEY, instance, at)
        self.told(r.Activated(at, "runtime", own))
        return own

    def told(self, *records: r.Record, key: InstanceKey = KEY) -> None:
        self.instances.appended(key, records)

    def figure(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def ended(self) -> dict[str, float]:
        reasons = ("completed", "errored", "terminated", "hibernated", "paused", "drained", "sandbox_died", "lost")
        figures = {each: self.figure("stepwell_activations_ended_total", reason=each) for each in reasons}
        return {reason: value for reason, value in figures.items() if value}

    async def sent(self) -> list[ReadableSpan]:
        await self.spans.close()
        assert self.kept.closed
        return self.kept.spans


@pytest.mark.parametrize(
    ("record", "reason", "failed"),
    [
        (r.ActivationEnded(2_000, False), "hibernated", False),
        (r.ActivationEnded(2_000, True), "drained", False),
        (r.Completed(2_000, b"1"), "completed", False),
        (r.Errored(2_000, FAILURE), "errored", True),
        (r.Terminated(2_000, ""), "terminated", False),
        (r.SandboxDied(2_000, "exit 137"), "sandbox_died", True),
        (r.Paused(2_000, FAILURE, ""), "paused", False),
    ],
)
async def test_an_activation_ends_by_its_record(record: r.Record, reason: str, failed: bool) -> None:
    watched = Watched()
    own = watched.activated()
    watched.told(record)
    watched.instances.left(KEY)
    assert watched.ended() == {reason: 1.0}
    (span,) = await watched.sent()
    context = from_stored(own)
    assert context is not None
    assert (span.name, span.start_time, span.end_time) == ("activation", 1_000_000_000, 2_000_000_000)
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == context[:2]
    assert (span.attributes or {})["stepwell.activation.end"] == reason
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)


async def test_a_pause_by_a_call_ends_the_activation_once_nothing_of_it_runs() -> None:
    watched = Watched()
    watched.activated()
    watched.told(r.Paused(2_000, None, "p"))
    watched.told(r.StepCompleted(3_000, STEP, 1, 1_500, b"1"))
    assert watched.ended() == {}
    watched.instances.left(KEY)
    assert watched.ended() == {"paused": 1.0}
    step, activation = await watched.sent()
    assert (step.name, activation.name, activation.end_time) == ("step", "activation", 100_000_000_000)


def test_a_resume_before_that_goes_on_with_it() -> None:
    watched = Watched()
    watched.activated()
    watched.told(r.Paused(2_000, None, "p"), r.Resumed(2_500, 500, "q"), r.Completed(3_000, b"1"))
    assert watched.ended() == {"completed": 1.0}


def test_one_that_pauses_in_memory_and_is_activated_again_ends_then() -> None:
    watched = Watched()
    watched.activated()
    watched.told(r.Paused(2_000, None, "p"))
    watched.activated(at=9_000)
    assert watched.ended() == {"paused": 1.0}
    assert watched.figure("stepwell_activations_begun_total") == 2.0


def test_one_whose_shard_is_lost_is_lost_and_one_that_was_never_recorded_never_was() -> None:
    watched = Watched()
    watched.activated()
    watched.instances.left(KEY)
    assert watched.ended() == {"lost": 1.0}
    watched.instances.activating(KEY, Instance(trace=CREATE.stored()), 1)
    watched.instances.left(KEY)
    assert watched.ended() == {"lost": 1.0}
    assert watched.figure("stepwell_activations_begun_total") == 1.0


async def test_attempts_are_below_the_activation_that_ran_them() -> None:
    watched = Watched()
    own = from_stored(watched.activated())
    assert own is not None
    watched.told(
        r.AttemptFailed(2_000, STEP, 1, 1_500, FAILURE, 2_500),
        r.StepFailed(3_000, STEP, 2, 2_600, FAILURE),
        r.StepCompleted(4_000, r.StepKey("do", "other", 1), 1, 3_100, b"1"),
    )
    spans = await watched.sent()
    assert [(span.name, span.parent and span.parent.span_id) for span in spans] == [("step", own.span_id)] * 3
    assert [(span.attributes or {})["stepwell.step.outcome"] for span in spans] == ["retried", "failed", "succeeded"]
    assert [(span.start_time, span.end_time) for span in spans] == [
        (1_500_000_000, 2_000_000_000),
        (2_600_000_000, 3_000_000_000),
        (3_100_000_000, 4_000_000_000),
    ]
    assert len({span.context.span_id for span in spans if span.context}) == 3
    assert "a tenant's text" not in str([span.to_json() for span in spans])
    counted = {
        outcome: watched.figure("stepwell_step_attempts_total", outcome=outcome)
        for outcome in ("succeeded", "retried", "failed")
    }
    assert counted == {"succeeded": 1.0, "retried": 1.0, "failed": 1.0}
    assert watched.figure("stepwell_step_seconds_sum") == pytest.approx(0.5 + 0.4 + 0.9)


async def test_an_activation_is_linked_to_its_create_and_to_the_one_before() -> None:
    watched = Watched()
    before = watched.activated()
    watched.told(r.ActivationEnded(2_000, False))
    watched.activated(before=before)
    watched.told(r.Completed(3_000, b"1"))
    first, second = await watched.sent()
    told = [
        {str((link.attributes or {})["stepwell.link"]): link.context.span_id for link in span.links}
        for span in (first, second)
    ]
    assert first.context is not None
    assert told == [{"create": CREATE.span_id}, {"create": CREATE.span_id, "previous": first.context.span_id}]


async def test_an_instance_whose_create_is_not_kept_is_counted_and_not_traced() -> None:
    watched = Watched()
    assert watched.activated(trace=None) == b""
    watched.told(r.StepCompleted(4_000, STEP, 1, 3_100, b"1"), r.Completed(5_000, b"1"))
    assert watched.ended() == {"completed": 1.0}
    assert await watched.sent() == []


@pytest.mark.parametrize("parts", ["figures alone", "spans alone"])
async def test_each_side_does_without_the_other(parts: str) -> None:
    watched = Watched()
    with_figures = parts == "figures alone"
    instances = ObservedInstances(
        watched.metrics if with_figures else None, None if with_figures else watched.spans, clock=lambda: 0
    )
    watched.instances = instances
    watched.activated()
    watched.told(r.Created(1, InstanceUid("u"), Digest("d"), "m:C", b"null", ""))
    watched.told(r.StepCompleted(4_000, STEP, 1, 3_100, b"1"), r.Completed(5_000, b"1"))
    spans = await watched.sent()
    assert len(spans) == (0 if with_figures else 2)
    assert watched.figure("stepwell_instances_created_total") == (1.0 if with_figures else 0.0)


def test_an_instance_of_a_schedule_is_counted_with_how_late_it_came() -> None:
    watched = Watched()
    tick = Schedule("0 9 * * *", 60_000)
    watched.told(r.Created(72_500, InstanceUid("u"), Digest("d"), "m:C", b"null", "", schedule=tick))
    assert watched.figure("stepwell_schedule_late_seconds_sum") == 12.5
    assert watched.figure("stepwell_schedule_late_seconds_count") == 1.0


PARENT = f"00-{'a' * 32}-{'b' * 16}-"


@pytest.mark.parametrize(
    ("header", "ratio", "kept"),
    [
        ("", 1.0, True),
        ("", 0.0, False),
        (f"{PARENT}01", 1.0, True),
        (f"{PARENT}01", 0.5, False),
        (f"{PARENT}01", 0.7, True),
        (f"{PARENT}00", 1.0, False),
        ("rubbish", 1.0, True),
    ],
)
async def test_a_call_is_kept_when_its_caller_keeps_it_and_the_ratio_takes_its_trace(
    header: str, ratio: float, kept: bool
) -> None:
    watched = Watched(ratio)
    calls = ObservedCalls(None, watched.spans, monotonic=lambda: 7.0, clock_ns=lambda: 50_000)
    call = calls.begun("p.S/M", [("traceparent", header)] if header else [], streams=False)
    context = current()
    assert context is not None
    assert context.sampled is kept
    call.ended(grpc.StatusCode.NOT_FOUND)
    spans = await watched.sent()
    assert len(spans) == kept
    for span in spans:
        assert (span.name, span.kind, span.status.status_code) == ("p.S/M", SpanKind.SERVER, StatusCode.UNSET)
        assert (span.parent.span_id if span.parent else 0) == (int("b" * 16, 16) if header.startswith("00") else 0)


def test_calls_are_counted_by_method_and_code_and_only_those_with_one_answer_are_timed() -> None:
    metrics, now_s = Metrics(), 1.0
    calls = ObservedCalls(metrics, None, monotonic=lambda: now_s, clock_ns=lambda: 0)
    unary = calls.begun("p.S/Get", (), streams=False)
    watch = calls.begun("p.S/Watch", (), streams=True)
    now_s = 1.5
    unary.ended(grpc.StatusCode.OK)
    watch.ended(grpc.StatusCode.CANCELLED)
    value = metrics.registry.get_sample_value
    assert value("stepwell_calls_total", {"method": "p.S/Get", "code": "OK"}) == 1.0
    assert value("stepwell_calls_total", {"method": "p.S/Watch", "code": "CANCELLED"}) == 1.0
    assert value("stepwell_call_seconds_sum", {"method": "p.S/Get"}) == 0.5
    assert value("stepwell_call_seconds_sum", {"method": "p.S/Watch"}) is None
