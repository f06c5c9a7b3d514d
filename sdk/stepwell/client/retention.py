"""A retention as messages have it."""

from __future__ import annotations

from stepwell.retention import NOT_SAID, Retention
from stepwell.v1 import resources_pb2 as pb


def retention_message(retention: Retention) -> pb.Retention | None:
    """None where it says nothing."""
    return None if retention == NOT_SAID else pb.Retention(**retention._asdict())
