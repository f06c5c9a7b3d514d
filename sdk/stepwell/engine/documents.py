"""How an instance stands, as other instances get to see it: the JSON of a status, and of the word of an end."""

from __future__ import annotations

import hashlib
import json

from stepwell.engine.instance import Instance
from stepwell.engine.records import Completed, Errored, Failure
from stepwell.engine.status import status_of


def status_document(instance: Instance, output: bytes) -> bytes:
    """`status`; `output`, whose JSON is given, once it is complete; `error` if one ended it, or paused it."""
    failure: Failure | None = instance.outcome.failure if isinstance(instance.outcome, Errored) else None
    if instance.paused is not None:
        failure = instance.paused.failure
    parts = [b'{"status":"' + status_of(instance).encode() + b'"']
    if isinstance(instance.outcome, Completed):
        parts.append(b',"output":' + output)
    if failure is not None:
        error = json.dumps({"type": failure.type, "message": failure.message})
        parts.append(b',"error":' + error.encode())
    return b"".join(parts) + b"}"


def end_id(instance: Instance) -> str:
    """Names this end: a restart may lead to another."""
    return hashlib.sha256(f"{instance.uid}\x00{instance.ended_at}".encode()).hexdigest()[:40]
