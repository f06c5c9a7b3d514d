"""The operator's log: one line an event, on stderr, with its fields, and without the secret of any token."""

from __future__ import annotations

import logging
from typing import Any, TextIO

import structlog

from stepwell.tokens import hidden


def configure_log(stream: TextIO) -> None:
    """Once, before anything logs. The libraries' own log goes the same way."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=stream.isatty()),
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _without_secrets(_: Any, __: str, line: Any) -> Any:
    """Last of all, on the line as it is printed: whichever field the token came in."""
    return hidden(line)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))
