"""Times as protobuf has them, from the milliseconds that records have."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(ms: int) -> Timestamp:
    """Milliseconds since the epoch, UTC."""
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)
