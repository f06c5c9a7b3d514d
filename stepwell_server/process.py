"""What every server process of Stepwell has: clocks, ids, signals, an exit status, and words for what went wrong."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import structlog

from cluster.sqlite_file import SqliteFileError
from data_plane.logs.sqlite_file import LogFileError
from data_plane.ownership_solo import DataInUseError
from loader.sandbox.sandbox import SandboxError
from rpc.tls import CertificateError
from stepwell.client.contexts import ContextFileError
from stepwell.errors import ApiError
from stepwell.tokens import hidden
from stepwell_server.log import configure_log, tell
from stepwell_server.sections import ConfigError
from stepwell_server.telemetry import TelemetryError
from stepwell_server.telemetry_settings import LogFormat

GC_THRESHOLDS: Final = (10_000, 10, 10)
"""Objects and rounds between collections. At the default, a twentieth of the step path went to looking for cycles."""

log = structlog.get_logger("stepwell")


class StartError(Exception):
    """Why the server can't start, and what to do."""


EXPECTED: Final = (
    ConfigError,
    StartError,
    DataInUseError,
    SqliteFileError,
    SandboxError,
    LogFileError,
    ContextFileError,
    CertificateError,
    TelemetryError,
    ApiError,
    OSError,
)
"""What may go wrong for reasons outside this program, each with words of its own."""


def clock() -> int:
    """ms since the epoch."""
    return time.time_ns() // 1_000_000


def boottime() -> float:
    """Seconds of a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def mint() -> str:
    """An id that nobody guesses: 160 bits in the alphabet of instance ids."""
    return secrets.token_hex(20)


def exit_status(serving: Coroutine[Any, Any, int], where: str, log_format: LogFormat = "text") -> int:
    """Serve to the end; what went wrong for an expected reason is told in a sentence. `where` names what can't be
    opened, when the error doesn't."""
    configure_log(sys.stderr, log_format)
    try:
        return asyncio.run(serving)
    except EXPECTED as error:
        problem: BaseException = error
    except BaseExceptionGroup as group:
        expected = group.subgroup(EXPECTED)
        if expected is None or group.split(EXPECTED)[1] is not None:
            raise
        problem = _first_of(expected)
    return refused(problem, where)


def refused(problem: BaseException, where: str) -> int:
    """Say why the server can't start or go on; the exit status."""
    if isinstance(problem, OSError):
        problem = StartError(f"{problem.filename or where}: {problem.strerror}")
    print(f"stepwell: {hidden(str(problem))}", file=sys.stderr)
    return 1


def teller(log_format: LogFormat = "text") -> Callable[[str], None]:
    """Says a sentence to whoever started the server."""
    return partial(tell, stream=sys.stderr, log_format=log_format)


def die(error: BaseException) -> None:
    """A commit failed: what was promised can't be kept, so nothing more may be."""
    print(f"stepwell: the data directory can't be written, the server ends: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def log_callbacks_that_fail() -> None:
    """To the operator's log, from now on."""
    asyncio.get_running_loop().set_exception_handler(_log_loop_error)


def settle_memory() -> None:
    """What stands now stands for good, and what comes and goes has no cycles: look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    log.error("a callback failed", exc_info=context.get("exception"), what=context.get("message"))
