"""What `[telemetry]` of the configuration may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LogFormat = Literal["text", "json"]

PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Of one server process. By default nothing is measured, traced or sent. Raises ValueError for what can't be."""

    otlp_endpoint: str = ""
    """Where spans are sent, as OTLP over gRPC: `http://host:port` in plaintext, `https://host:port` with TLS. Empty
    sends none."""

    trace_ratio: float = 1.0
    """The part of traces that is kept, from 0 to 1; an instance goes with the call that created it."""

    metrics_port: int = 0
    """Where `/metrics` is served, for Prometheus; 0 serves none."""

    metrics_address: str = "127.0.0.1"
    """Figures have no tenant's name or data in them; they are served in plaintext to whoever asks."""

    log_format: LogFormat = "text"
    """`json` is one object a line, with the trace's id where there is one."""

    def __post_init__(self) -> None:
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise ValueError(
                f"otlp_endpoint is http://host:port, or https://host:port with TLS, not {self.otlp_endpoint!r}"
            )
        if not 0 <= self.trace_ratio <= 1:
            raise ValueError(f"trace_ratio is from 0 to 1, not {self.trace_ratio}")
        if not 0 <= self.metrics_port <= PORT_MAX:
            raise ValueError(f"metrics_port is from 1 to {PORT_MAX}, or 0 for none, not {self.metrics_port}")
