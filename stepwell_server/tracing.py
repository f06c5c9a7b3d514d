"""Spans, made once they are over, and sent to a collector as OTLP over gRPC by a thread of the SDK's.

What is traced is known when it has ended: a call by its status, a step by its record. So spans are made whole, as what
exporters take, and not by a tracer, which would keep each open and costs five times as much (docs/adr/0019). Ids, links
and what is kept follow W3C Trace Context and the SDK's own ratio sampler.

Only imported where spans are to be sent: the SDK takes a tenth of a second and some 6 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from rpc.trace_context import TraceContext

SPANS_WAITING_MAX: Final = 8_192
"""Made and not sent yet; more are left out, the oldest first. Some 7 MB."""

SPANS_AT_ONCE_MAX: Final = 512
"""In one message to the collector."""

SEND_EVERY_MS: Final = 1_000

EXPORT_SECONDS_MAX: Final = 5.0
"""For one message, what is tried again included; it is lost then."""

FLUSH_SECONDS_MAX: Final = 5.0
"""For what still waits when the server stops."""

Attributes = Mapping[str, str | int]

_SCOPE: Final = InstrumentationScope("stepwell")
_FAILED: Final = Status(StatusCode.ERROR)
_UNSET: Final = Status(StatusCode.UNSET)


class Linked(NamedTuple):
    """Another trace's span, and what it is to this one."""

    context: TraceContext
    what: str


class Spans:
    """`random_bits` gives so many random bits. `exporter` is closed with this."""

    def __init__(
        self, exporter: SpanExporter, resource: Resource, ratio: float, random_bits: Callable[[int], int]
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)
        self._random_bits = random_bits
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=SPANS_WAITING_MAX,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=SPANS_AT_ONCE_MAX,
        )

    def of_call(self, parent: TraceContext | None) -> TraceContext:
        """A new span below its caller's, or the first of a new trace.

        What the caller does not keep is not kept here. Of what it keeps, and of what begins here, the ratio is: by the
        trace's id, so that all who sample by it choose alike.
        """
        if parent is None:
            trace_id = self._id(128)
            return TraceContext(trace_id, self._id(64), self._is_kept(trace_id))
        return TraceContext(parent.trace_id, self._id(64), parent.sampled and self._is_kept(parent.trace_id))

    def linked(self, created: TraceContext, previous: TraceContext | None) -> tuple[TraceContext, list[Linked]]:
        """The first span of a trace that is kept, and its links: to the call and to the activation before it."""
        links = [Linked(created, "create")]
        if previous is not None:
            links.append(Linked(previous, "previous"))
        return TraceContext(self._id(128), self._id(64), True), links

    def below(self, parent: TraceContext) -> TraceContext:
        return TraceContext(parent.trace_id, self._id(64), parent.sampled)

    def ended(
        self,
        name: str,
        context: TraceContext,
        began_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        parent: TraceContext | None = None,
        parent_is_remote: bool = False,
        links: Sequence[Linked] = (),
        is_call: bool = False,
        failed: bool = False,
    ) -> None:
        """Have it sent, if it is kept. Times are ns since the epoch; `name` is the program's, never a tenant's."""
        if not context.sampled:
            return
        self._processor.on_end(
            ReadableSpan(
                name,
                _sdks(context),
                _sdks(parent, is_remote=parent_is_remote) if parent is not None else None,
                self._resource,
                attributes,
                links=[Link(_sdks(each.context, is_remote=True), {"stepwell.link": each.what}) for each in links],
                kind=SpanKind.SERVER if is_call else SpanKind.INTERNAL,
                status=_FAILED if failed else _UNSET,
                start_time=began_ns,
                end_time=max(began_ns, ended_ns),
                instrumentation_scope=_SCOPE,
            )
        )

    async def close(self) -> None:
        """Send what waits, within FLUSH_SECONDS_MAX; a collector that does not answer holds nothing up for longer."""
        flushing = asyncio.get_running_loop().run_in_executor(None, self._processor.force_flush)
        await asyncio.wait((flushing,), timeout=FLUSH_SECONDS_MAX)
        self._exporter.shutdown()
        await asyncio.to_thread(self._processor.shutdown)

    def _id(self, bits: int) -> int:
        """Not 0, which stands for none."""
        return self._random_bits(bits) or 1

    def _is_kept(self, trace_id: int) -> bool:
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound


def otlp_exporter(endpoint: str, told: Callable[[int, bool], None]) -> SpanExporter:
    """To a collector at `http://…` or `https://…`. `told` hears of so many spans whether they were sent, in a thread.

    Headers, certificates and compression are read from the environment, as OpenTelemetry names it.
    """
    return _Telling(OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS_MAX), told)


def resource(attributes: Mapping[str, str]) -> Resource:
    """Who sends; OTEL_RESOURCE_ATTRIBUTES may say more."""
    return Resource.create(dict(attributes))


class _Telling(SpanExporter):
    def __init__(self, exporter: SpanExporter, told: Callable[[int, bool], None]) -> None:
        self._exporter = exporter
        self._told = told

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._told(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _sdks(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(context.trace_id, context.span_id, is_remote, flags)
