"""What a process tells of itself: composed once, handed to its parts as their ports, and null where it is off.

telemetry = await stack.enter_async_context(opened(settings, service="stepwell-dev", …))
journal = telemetry.measured(journal)
… observer=telemetry.boots, observer=telemetry.instances, observer=telemetry.calls …
await stack.enter_async_context(telemetry.serving(node, loader, tasks))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from data_plane.journal.store import JournalStore
from data_plane.journal.store_measured import MeasuredJournalStore
from data_plane.observing import InstanceObserver
from loader.observing import BootObserver
from rpc.observing import CallObserver
from stepwell_server.telemetry_settings import TelemetrySettings

if TYPE_CHECKING:
    from stepwell_server.metrics import Metrics
    from stepwell_server.tracing import Spans

LAG_EVERY_S: Final = 0.25
"""Between two looks at how late the event loop is."""


class TelemetryError(Exception):
    """What can't be served, and what would do."""


class Nodes(Protocol):
    """What figures need of `data_plane.node.Node`."""

    @property
    def activations(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def resident_count(self) -> int: ...
    def unstarted_ms(self) -> dict[int, int]: ...


class Sandboxes(Protocol):
    """What they need of `loader.loader.Loader`."""

    @property
    def sandboxes(self) -> int: ...
    @property
    def warm_sandboxes(self) -> int: ...


class Telemetry:
    """The ports' other sides; each None where nobody listens. `opened` makes one."""

    def __init__(
        self,
        settings: TelemetrySettings,
        metrics: Metrics | None,
        *,
        calls: CallObserver | None,
        instances: InstanceObserver | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.calls = calls
        self.instances = instances
        self.boots: BootObserver | None = metrics
        self._settings = settings
        self._metrics = metrics
        self._monotonic = monotonic

    def measured(self, store: JournalStore) -> JournalStore:
        """The store, timed where figures are wanted."""
        return store if self._metrics is None else MeasuredJournalStore(store, self._metrics, self._monotonic)

    @asynccontextmanager
    async def serving(
        self,
        node: Nodes | None,
        loader: Sandboxes | None,
        tasks: asyncio.TaskGroup,
        *,
        lease_left_s: Callable[[], float] | None = None,
    ) -> AsyncIterator[str]:
        """Serve `/metrics` until the block ends, where that is wanted; gives where, or nothing. A control server has no
        node and no loader.

        Raises TelemetryError when it can't listen there.
        """
        metrics = self._metrics
        if metrics is None:
            yield ""
            return
        from stepwell_server.metrics_server import serving_metrics

        def refresh() -> None:
            if node is not None:
                metrics.active.set(node.activations)
                metrics.queued.set(node.queued)
                metrics.resident.set(node.resident_count)
                metrics.set_unstarted(node.unstarted_ms())
            if loader is not None:
                metrics.sandboxes.labels("loaded").set(loader.sandboxes)
                metrics.sandboxes.labels("warm").set(loader.warm_sandboxes)
            if metrics.lease_left is not None and lease_left_s is not None:
                metrics.lease_left.set(lease_left_s())

        address, port = self._settings.metrics_address, self._settings.metrics_port
        async with AsyncExitStack() as stack:
            try:
                bound = await stack.enter_async_context(
                    serving_metrics(metrics.registry, refresh, tasks, address=address, port=port)
                )
            except OSError as error:
                raise TelemetryError(
                    f"[telemetry] metrics_port {port} on {address} can't be served: {error.strerror}; end what listens"
                    " there, choose another, or 0 for none"
                ) from None
            watching = tasks.create_task(self._watch_loop(metrics))
            stack.callback(watching.cancel)
            yield f"http://{address}:{bound}/metrics"

    async def _watch_loop(self, metrics: Metrics) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            metrics.loop_lag.observe(max(0.0, loop.time() - due_s))


@asynccontextmanager
async def opened(
    settings: TelemetrySettings,
    *,
    service: str,
    instance: str,
    clock_ns: Callable[[], int],
    monotonic: Callable[[], float],
    random_bits: Callable[[int], int],
    leased: bool = False,
) -> AsyncIterator[Telemetry]:
    """Open it before what it watches and close it after, so that the last spans are sent.

    `service` and `instance` say who tells: `stepwell-dev`, say, and a name that no other start has.
    `leased` where the process keeps a lease on its shards.
    """
    metrics = spans = None
    if settings.metrics_port:
        from stepwell_server.metrics import Metrics

        metrics = Metrics(leased=leased)
    if settings.otlp_endpoint:
        spans = _spans(settings, metrics, service, instance, random_bits)
    calls: CallObserver | None = None
    instances: InstanceObserver | None = None
    if metrics is not None or spans is not None:
        from stepwell_server.observed import ObservedCalls, ObservedInstances

        calls = ObservedCalls(metrics, spans, monotonic=monotonic, clock_ns=clock_ns)
        instances = ObservedInstances(metrics, spans, clock=lambda: clock_ns() // 1_000_000)
    try:
        yield Telemetry(settings, metrics, calls=calls, instances=instances, monotonic=monotonic)
    finally:
        if spans is not None:
            await spans.close()


def _spans(
    settings: TelemetrySettings,
    metrics: Metrics | None,
    service: str,
    instance: str,
    random_bits: Callable[[int], int],
) -> Spans:
    from stepwell_server import tracing

    def told(spans: int, sent: bool) -> None:
        if metrics is not None:
            (metrics.spans_sent if sent else metrics.spans_lost).inc(spans)

    who = {"service.name": service, "service.version": version("stepwell-server"), "service.instance.id": instance}
    exporter = tracing.otlp_exporter(settings.otlp_endpoint, told)
    return tracing.Spans(exporter, tracing.resource(who), settings.trace_ratio, random_bits)
