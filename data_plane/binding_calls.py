"""What travels between a node and the owners of other instances: calls through bindings, and ends of children.

Values alone: `bindings` carries them out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from data_plane.journal.store import InstanceKey
from stepwell.engine.documents import end_id, status_document
from stepwell.engine.family import Parent, child_name
from stepwell.engine.instance import Instance
from stepwell.engine.records import StepKey
from stepwell.errors import UnavailableError
from stepwell.names import TenantUid
from stepwell.retention import NOT_SAID, Retention

Method = Literal["create", "get", "status", "pause", "resume", "restart", "terminate", "cancel", "delete", "sendEvent"]


class Caller(NamedTuple):
    """Who calls, and from which call of which step, or of its rollback, by `kind`. `ordinal` is the call's own among
    those of one attempt, from 1."""

    key: InstanceKey
    instance: Instance
    kind: str
    step: str
    number: int
    ordinal: int

    @property
    def request_id(self) -> str:
        """The same for the same call of another attempt."""
        text = "\x00".join((self.instance.uid, self.kind, self.step, str(self.number), str(self.ordinal)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class CallOptions(NamedTuple):
    """A create's retention, a terminate's rollback, a restart's step."""

    retention: Retention = NOT_SAID
    rollback: bool = False
    from_step: StepKey | None = None


PLAIN: Final = CallOptions()


@dataclass(frozen=True, slots=True)
class BindingCall:
    """A call as the owner of the called instance gets it. `payload` is a create's params, or an event's."""

    key: InstanceKey
    method: Method
    event_type: str
    payload: bytes
    request_id: str
    parent: Parent
    depth: int
    options: CallOptions = PLAIN


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """The word of a child's end, for its parent's owner."""

    tenant: TenantUid
    parent: Parent
    child: str
    document: bytes
    request_id: str

    @property
    def key(self) -> InstanceKey:
        return InstanceKey(self.tenant, self.parent.workflow, self.parent.instance)


class Elsewhere(Protocol):
    """The other nodes. Both raise what serving it raised there, and UnavailableError where nobody owns the shard."""

    async def carry_out(self, shard: int, call: BindingCall) -> bytes: ...

    async def take_end(self, shard: int, end: ChildEnd) -> None: ...


class Nowhere:
    """There is no other node."""

    async def carry_out(self, shard: int, call: BindingCall) -> bytes:
        raise UnavailableError("the instance is moving to another server; try again in a moment")

    async def take_end(self, shard: int, end: ChildEnd) -> None:
        raise UnavailableError("the instance is moving to another server; try again in a moment")


def end_of(key: InstanceKey, instance: Instance, output: bytes) -> ChildEnd:
    """The word of this instance's end. It names the end, since a restart may lead to another."""
    assert instance.parent is not None
    child = child_name(key.workflow, key.instance)
    return ChildEnd(key.tenant, instance.parent, child, status_document(instance, output), end_id(instance))
