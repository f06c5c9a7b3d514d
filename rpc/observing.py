"""The port to whoever counts and traces calls. Nothing depends on it: a server without one answers alike."""

from __future__ import annotations

from typing import Protocol

import grpc

from rpc.auth import Metadata


class ObservedCall(Protocol):
    """One call, from its first moment on."""

    def ended(self, code: grpc.StatusCode) -> None:
        """Called once, by the task that served it."""


class CallObserver(Protocol):
    """Called on the event loop: it returns at once and raises nothing."""

    def begun(self, method: str, metadata: Metadata, *, streams: bool) -> ObservedCall:
        """A call came in, before it is known whose it is; in the task that serves it.

        `method` is `package.Service/Method`, of those that are served; `streams` says that it answers with a stream,
        which may stay open for as long as its client likes.
        """
