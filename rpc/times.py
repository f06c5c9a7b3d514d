"""Times as protobuf has them, from and to the milliseconds that records have."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from stepwell.errors import InvalidArgumentError
from stepwell.step_arguments import UNTIL_MS_MAX


def ms_of(message: Timestamp, field: str) -> int:
    """Milliseconds since the epoch, rounded down. Raises InvalidArgumentError for what is before it or after 9999."""
    if not 0 <= message.seconds <= UNTIL_MS_MAX // 1_000:
        raise InvalidArgumentError(f"{field}: a time is from 1970 to 9999, in UTC", field=f"{field}.seconds")
    if not 0 <= message.nanos < 1_000_000_000:
        raise InvalidArgumentError(f"{field}: nanos are from 0 to 999,999,999", field=f"{field}.nanos")
    return message.seconds * 1_000 + message.nanos // 1_000_000


def timestamp(ms: int) -> Timestamp:
    """Milliseconds since the epoch, UTC."""
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)
