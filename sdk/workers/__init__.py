"""Cloudflare's import names for Stepwell's authoring API, so that their Python workflows run unchanged.

The names are those that Cloudflare's runtime SDK exports (cloudflare/workers-py, packages/runtime-sdk). What
workflows use is the same object as in `stepwell`; the rest is in `workers.not_served`.
"""

from typing import Any

from stepwell.entrypoint import WorkflowEntrypoint
from stepwell.environment import ENV as env
from workers.not_served import (
    Blob,
    DurableObject,
    FetchResponse,
    File,
    FormData,
    Headers,
    HTMLRewriter,
    NotServedError,
    Request,
    Response,
    WorkerEntrypoint,
    fetch,
    handler,
    import_from_javascript,
    patch_env,
    python_from_rpc,
    python_to_rpc,
    wait_until,
)

waitUntil = wait_until

BlobEnding = Any
BlobValue = Any
Body = Any
Context = Any
FetchKwargs = Any
FormDataValue = Any
JSBody = Any
RequestInitCfProperties = Any

__all__ = [
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "Context",
    "DurableObject",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "HTMLRewriter",
    "Headers",
    "JSBody",
    "NotServedError",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]
