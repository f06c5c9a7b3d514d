"""What Cloudflare's `workers` has and a workflow here can't use: it imports and subclasses, and says so when it is
used.

So a module with an HTTP handler beside its workflow deploys as it is. The error is a NonRetryableError: a step that
meets it fails at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from stepwell.errors import NonRetryableError


class NotServedError(NonRetryableError, NotImplementedError):
    """A part of Cloudflare's API that is not served here."""


def refuse(name: str, instead: str) -> NoReturn:
    """Raise the error that names the part and what to do."""
    raise NotServedError(f"workers.{name} is not served here: {instead}")


_HTTP = "Stepwell runs workflows and serves no HTTP; keep requests and responses in the code that calls its API"
_JAVASCRIPT = "there is no JavaScript in the sandbox"


class _NotServed:
    """Subclasses may be made, instances may not."""

    _instead = _HTTP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse(type(self).__name__, self._instead)


class WorkerEntrypoint(_NotServed):
    """An HTTP handler: deploys beside a workflow, and is never called."""


class DurableObject(_NotServed):
    """A durable object: deploys beside a workflow, and is never called."""

    _instead = "keep state in the results of steps, or in a store of your own"


class Request(_NotServed):
    """An HTTP request."""


class Response(_NotServed):
    """An HTTP response."""

    @staticmethod
    def json(*args: Any, **kwargs: Any) -> NoReturn:
        refuse("Response.json", _HTTP)

    @staticmethod
    def redirect(*args: Any, **kwargs: Any) -> NoReturn:
        refuse("Response.redirect", _HTTP)

    @staticmethod
    def error(*args: Any, **kwargs: Any) -> NoReturn:
        refuse("Response.error", _HTTP)


class FetchResponse(_NotServed):
    """What `fetch` would return."""


class Headers(_NotServed):
    """HTTP headers."""


class FormData(_NotServed):
    """An HTTP form."""


class HTMLRewriter(_NotServed):
    """A rewriter of HTML responses."""


class Blob(_NotServed):
    """Bytes with a content type."""


class File(Blob):
    """A named Blob."""


async def fetch(*args: Any, **kwargs: Any) -> NoReturn:
    """An HTTP request of one's own."""
    refuse(
        "fetch", "the sandbox has no network; let what calls Stepwell's API fetch it, and send it as params or an event"
    )


def import_from_javascript(module_name: str) -> NoReturn:
    """A JavaScript module."""
    refuse("import_from_javascript", _JAVASCRIPT)


def patch_env(*args: Any, **kwargs: Any) -> NoReturn:
    """A changed environment."""
    refuse("patch_env", "`env` has the manifest's [vars], which don't change while a version runs")


def wait_until(*args: Any, **kwargs: Any) -> NoReturn:
    """Work that outlives a request."""
    refuse("waitUntil", "what must outlive a moment is a step")


def handler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark an HTTP handler: it stays as it is, since nothing calls it."""
    return function


def python_from_rpc(value: Any) -> Any:
    """The value: nothing here is JavaScript's."""
    return value


def python_to_rpc(value: Any) -> Any:
    """The value: nothing here is JavaScript's."""
    return value
