"""How much a gRPC server takes in, and how many calls at a time. One place, so that nothing is unbounded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Of one server process. The defaults suit payloads of 1 MiB and pages of 2 MiB."""

    receive_bytes_max: int = 2 * 1024 * 1024
    """Of one request message: a payload or a chunk is 1 MiB, the rest is names."""

    send_bytes_max: int = 8 * 1024 * 1024
    """Of one response: an instance carries its params and its output, a page of steps 2 MiB and its last step."""

    metadata_bytes_max: int = 8 * 1024
    """Of one call's metadata, at gRPC's soft limit; twice that is refused by the transport."""

    calls_max: int = 10_000
    """Calls in flight, watches included; more are answered RESOURCE_EXHAUSTED."""

    calls_per_tenant_max: int = 1_000
    """Calls of one tenant in flight, watches included; of an operator's there is no such limit."""

    calls_a_second_per_tenant_max: int = 500
    """Of one tenant's tokens; more wait, so that nobody has the server to itself. An operator's are not counted."""

    watches_per_tenant_max: int = 200
    """Open streams of responses of one tenant."""

    request_seconds_max: float = 30.0
    """From the beginning of a call to its one request, to the second. Until then its client takes up a call's place."""

    calls_per_connection_max: int = 1_000
    """Of one HTTP/2 connection; a client waits with more."""

    ping_interval_ms_min: int = 10_000
    """Between a client's keep-alive pings; one that pings faster is disconnected."""

    def channel_arguments(self) -> tuple[tuple[str, int], ...]:
        """As gRPC names them."""
        return (
            ("grpc.max_receive_message_length", self.receive_bytes_max),
            ("grpc.max_send_message_length", self.send_bytes_max),
            ("grpc.max_metadata_size", self.metadata_bytes_max),
            ("grpc.absolute_max_metadata_size", 2 * self.metadata_bytes_max),
            ("grpc.max_concurrent_streams", self.calls_per_connection_max),
            ("grpc.http2.min_ping_interval_without_data_ms", self.ping_interval_ms_min),
            ("grpc.keepalive_permit_without_calls", 1),
            # Two servers on one port would share its calls at random; the second is to fail instead.
            ("grpc.so_reuseport", 0),
        )
