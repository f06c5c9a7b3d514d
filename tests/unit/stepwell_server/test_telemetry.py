"""Telemetry is composed as its settings say, and what is off is not there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from data_plane.journal.store_measured import MeasuredJournalStore
from stepwell_server.telemetry import Telemetry, TelemetryError, opened
from stepwell_server.telemetry_settings import TelemetrySettings
from tests.unit.data_plane.fakes import MemoryStore


class Parts:
    """What figures are taken of."""

    activations = queued = resident_count = sandboxes = warm_sandboxes = 0

    def unstarted_ms(self) -> dict[int, int]:
        return {}


def telemetry(**settings: Any) -> AbstractAsyncContextManager[Telemetry]:
    return opened(
        TelemetrySettings(**settings),
        service="stepwell-test",
        instance="one",
        clock_ns=time.time_ns,
        monotonic=time.monotonic,
        random_bits=lambda bits: 1,
        leased=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_by_default_nobody_listens_to_anything() -> None:
    store = MemoryStore()
    async with telemetry() as nothing, asyncio.TaskGroup() as tasks:
        assert (nothing.calls, nothing.instances, nothing.boots) == (None, None, None)
        assert nothing.measured(store) is store
        async with nothing.serving(Parts(), Parts(), tasks) as where:
            assert where == ""


def test_what_is_off_is_not_even_imported() -> None:
    script = (
        "import sys, stepwell_server.dev\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'prometheus_client')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


async def test_figures_are_served_with_how_long_the_lease_lasts_and_how_late_the_loop_is() -> None:
    port = free_port()
    async with (
        telemetry(metrics_port=port) as figures,
        asyncio.TaskGroup() as tasks,
        figures.serving(Parts(), Parts(), tasks, lease_left_s=lambda: 7.5) as where,
    ):
        assert where == f"http://127.0.0.1:{port}/metrics"
        assert isinstance(figures.measured(MemoryStore()), MeasuredJournalStore)
        assert figures.instances is not None
        text = ""
        while "stepwell_event_loop_lag_seconds_count 0.0" in text or not text:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            text = (await reader.read()).decode()
            writer.close()
        assert "stepwell_lease_left_seconds 7.5\n" in text


async def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with telemetry(metrics_port=port) as figures, asyncio.TaskGroup() as tasks:
            with pytest.raises(TelemetryError, match=rf"metrics_port {port} on 127.0.0.1 .* choose another"):
                async with figures.serving(Parts(), Parts(), tasks):
                    pass
