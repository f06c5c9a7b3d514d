"""The operator's log: one line an event, on stderr, with its fields, and without the secret of any token.

As text for a person, or as JSON for a machine: then everything is one object a line, with the ids of the trace that the
work belongs to where there is one.
"""

from __future__ import annotations

import json
import logging
from typing import Any, TextIO

import structlog

from rpc.trace_context import current
from stepwell.tokens import hidden
from stepwell_server.telemetry_settings import LogFormat

_log = structlog.get_logger("stepwell")


def configure_log(stream: TextIO, log_format: LogFormat = "text") -> None:
    """Once, before anything logs. The libraries' own log goes the same way."""
    render: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    formatter: logging.Formatter = _Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    if log_format == "json":
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
        formatter = _JsonFormatter()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_trace,
            structlog.processors.format_exc_info,
            render,
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def tell(text: str, stream: TextIO, log_format: LogFormat) -> None:
    """A sentence for whoever started the server; in a log of JSON, an event like others."""
    if log_format == "json":
        _log.info(text)
    else:
        print(f"stepwell: {text}", file=stream, flush=True)


def _with_trace(_: Any, __: str, event: Any) -> Any:
    event.update(_trace())
    return event


def _trace() -> dict[str, str]:
    context = current()
    if context is None:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _without_secrets(_: Any, __: str, line: Any) -> Any:
    """Last of all, on the line as it is printed: whichever field the token came in."""
    return hidden(line)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))


class _JsonFormatter(logging.Formatter):
    """The libraries' lines with the keys that structlog's have, and who logged."""

    def format(self, record: logging.LogRecord) -> str:
        moment = structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "", {})["timestamp"]
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": moment,
            "logger": record.name,
            **_trace(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return hidden(json.dumps(line, ensure_ascii=False))
