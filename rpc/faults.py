"""How a call ends when it does not end well: errors of the API as they are, everything else behind a correlation id.

A caller learns nothing of a fault of ours but the id under which the operator finds it in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import grpc

from stepwell.client.errors import DETAILS_TRAILER, MESSAGE_BYTES_MAX, code_of, cut, status_of
from stepwell.errors import ApiError, InternalError


class Log(Protocol):
    """The part of a structlog logger that is used here."""

    def error(self, event: str, **fields: Any) -> Any: ...


class Faults:
    """Ends calls with errors. Correlation ids come from `mint_correlation_id`."""

    def __init__(self, log: Log, mint_correlation_id: Callable[[], str]) -> None:
        self._log = log
        self._mint_correlation_id = mint_correlation_id

    async def end(self, context: Any, method: str, error: Exception) -> NoReturn:
        """End the call with that error, logging it when it is a fault of ours. Always raises."""
        told = error if isinstance(error, ApiError) and type(error) is not InternalError else self.fault(method, error)
        status = status_of(told)
        await context.abort(
            code_of(told), cut(told.message, MESSAGE_BYTES_MAX), ((DETAILS_TRAILER, status.SerializeToString()),)
        )
        raise AssertionError("abort always raises")

    def fault(self, method: str, error: Exception) -> InternalError:
        """What a caller is told of that error; the rest goes to the log under the same id."""
        correlation_id = self._mint_correlation_id()
        self._log.error("call_failed", method=method, correlation_id=correlation_id, exc_info=error)
        return InternalError(
            f"the server failed; its operator finds the cause in the log under {correlation_id}",
            correlation_id=correlation_id,
        )


def already_ended(error: BaseException) -> bool:
    """Whether the call was aborted by its servicer, and gRPC knows."""
    return isinstance(error, grpc.aio.AbortError)
