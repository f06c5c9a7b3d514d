"""The caller's trace goes with its calls, where its process traces at all: OpenTelemetry is no dependency here.

A process that has a current span has imported its API, so it is looked for among what is imported, and never imported.
"""

from __future__ import annotations

import sys
from typing import Any


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """`traceparent` of the span that is current here, as W3C has it; nothing without one."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ()
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ()
    return (("traceparent", f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 0xFF:02x}"),)
