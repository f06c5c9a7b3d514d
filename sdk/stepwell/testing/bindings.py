"""Bindings in a test: calls between its instances, carried out at once, and the ends of children on their way.

What the server does on nodes that may die in between happens here between two records, which a test's crash may be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from stepwell.bindings import WorkflowBinding
from stepwell.call_options import PLAIN, CallOptions
from stepwell.engine import events
from stepwell.engine.documents import end_id, status_document
from stepwell.engine.family import Parent, child_name
from stepwell.engine.instance import Phase
from stepwell.engine.records import BlobRef, Completed, StepKey
from stepwell.errors import AlreadyExistsError, ApiError, InvalidArgumentError, NotFoundError
from stepwell.names import event_type, instance_id, workflow_id
from stepwell.retention import NOT_SAID, Retention

if TYPE_CHECKING:
    from stepwell.testing.host import Host
    from stepwell.testing.resident import Resident


class Create(NamedTuple):
    """What a child is to be."""

    workflow: type[Any]
    name: str
    id: str
    params: bytes
    request_id: str
    parent: Parent | None
    depth: int
    retention: Retention = NOT_SAID


class TestBindings:
    """Implements `BindingHost` over whatever sandbox there is at the time. `create` makes an instance."""

    __test__ = False

    def __init__(self, host: Host, create: Callable[[Create], Resident]) -> None:
        self._host = host
        self._create = create
        self._classes: dict[str, type[Any]] = {}

    def bind(self, name: str, workflow: type[Any]) -> None:
        """`self.env` has that workflow by this name."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} can't be a binding's name")
        self._classes[name] = workflow

    def env(self) -> dict[str, WorkflowBinding]:
        """What `self.env` is to have."""
        return {name: WorkflowBinding(self, name) for name in self._classes}

    def workflows(self) -> dict[str, str]:
        """The workflows' names, by those of their bindings."""
        return {name: _name_of(workflow) for name, workflow in self._classes.items()}

    async def call(
        self, binding: str, method: str, id: str, type: str, payload: bytes, options: CallOptions = PLAIN
    ) -> bytes:
        return await self._host.sandbox.calls.call(binding, method, id, type, payload, options)

    async def end(self, binding: str, id: str) -> bytes:
        return await self._host.sandbox.calls.end(binding, id)

    # ---------------------------------------------------------------- calls
    def carry_out(self, caller: Resident, message: list[Any], payload: bytes) -> None:
        """What the guest of that instance asks for, and its answer."""
        _, _, number, step, count, ordinal, binding, method, id, type, *more = message
        kind, options = more[0] if more else "do", _options(more[1]) if len(more) > 1 else PLAIN
        calls, error, answer = self._host.sandbox.calls, None, b"null"
        try:
            request_id = ":".join(map(str, (caller.state.uid, kind, step, count, ordinal)))
            answer = self._carried_out(caller, (binding, method, id, type), payload, options, request_id)
        except ApiError as refused:
            error = ["stepwell.errors", refused.__class__.__name__, refused.message, "", None]
        except ValueError as refused:
            error = ["stepwell.errors", InvalidArgumentError.__name__, str(refused), "", None]
        if self._host.ending is None:
            calls.answer(number, error, answer)

    def _carried_out(
        self, caller: Resident, what: tuple[str, str, str, str], payload: bytes, options: CallOptions, request_id: str
    ) -> bytes:
        binding, method, id, type = what
        now = self._host.clock.now_ms
        parent = Parent(workflow_id(caller.workflow), instance_id(caller.id), caller.state.uid)
        if method == "create":
            create = Create(
                self._classes[binding], _name_of(self._classes[binding]), id, payload, request_id, parent,
                caller.state.depth + 1, options.retention,
            )  # fmt: skip
            return _reference(self._created(caller, create), parent)
        if method == "delete":
            self._delete(binding, id, request_id)
            return b"null"
        called = self._found(binding, id)
        if method == "get":
            return _reference(called, parent)
        if method == "status":
            return _document(called)
        event: events.Event
        match method:
            case "pause":
                event = events.PauseRequested(now, request_id)
            case "resume":
                event = events.ResumeRequested(now, request_id)
            case "restart":
                step = options.from_step
                event = events.RestartRequested(now, None if step is None else StepKey(*step), request_id)
            case "cancel":
                event = events.CancelInstanceRequested(now, "", request_id)
            case "terminate":
                event = events.TerminateRequested(now, request_id, options.rollback)
            case _:
                event = events.EventSent(now, event_type(type), payload, request_id)
        called.step(event)
        return b"null"

    def _delete(self, binding: str, id: str, request_id: str) -> None:
        """As there: ended first, then told to its parent, then deleted; by an earlier try, for all that is known."""
        try:
            called = self._found(binding, id)
        except NotFoundError:
            return
        now = self._host.clock.now_ms
        if called.state.phase is not Phase.FINISHED:
            called.step(events.TerminateRequested(now, ""))
        if called.state.untold and self._host.ending is None:
            self._tell_parent(called)
        if self._host.ending is None:
            called.step(events.DeleteRequested(now, request_id))

    def _created(self, caller: Resident, create: Create) -> Resident:
        known = next((each for each in self._host.there() if each.state.request_id == create.request_id), None)
        if known is not None:
            if known.state.params != create.params:
                raise InvalidArgumentError("the same call of another attempt had other params")
            if create.retention.or_else(known.state.retention) != known.state.retention:
                raise InvalidArgumentError("the same call of another attempt had another retention")
            return known
        chosen = instance_id(create.id or f"instance-{len(self._host.residents) + 1}")
        caller.step(events.ChildAsked(self._host.clock.now_ms, child_name(create.name, chosen)))
        if self._host.ending is not None:
            return caller
        if any(resident.id == chosen for resident in self._host.there()):
            raise AlreadyExistsError(f"instance {chosen!r} exists already")
        return self._create(create._replace(id=chosen))

    def _found(self, binding: str, id: str) -> Resident:
        name = _name_of(self._classes[binding])
        for resident in self._host.there():
            if (resident.workflow, resident.id) == (name, id):
                return resident
        raise NotFoundError(f"no instance {id!r} of workflow {name!r}")

    # ---------------------------------------------------------------- ends
    def tell_parents(self) -> None:
        """Of all that have ended and whose parents may not know."""
        for resident in list(self._host.residents):
            if self._host.ending is not None:
                return
            if resident.state.untold:
                self._tell_parent(resident)

    def _tell_parent(self, resident: Resident) -> None:
        state, now = resident.state, self._host.clock.now_ms
        assert state.parent is not None
        for parent in self._host.residents:
            if parent.state.uid == state.parent.uid:
                child = child_name(resident.workflow, resident.id)
                parent.step(events.ChildEnded(now, child, _document(resident), end_id(state)))
        if self._host.ending is None:
            resident.step(events.ParentHeard(now))


def _options(said: list[Any]) -> CallOptions:
    """As the frame has them."""
    success_ms, error_ms, rollback, step = said
    return CallOptions(Retention(success_ms, error_ms), rollback, None if step is None else tuple(step))


def _name_of(workflow: type[Any]) -> str:
    return workflow.__name__.strip("_")


def _reference(resident: Resident, caller: Parent) -> bytes:
    return json.dumps({"id": resident.id, "child": resident.state.parent == caller}).encode()


def _document(resident: Resident) -> bytes:
    state, output = resident.state, b""
    if isinstance(state.outcome, Completed):
        assert not isinstance(state.outcome.output, BlobRef), "a test keeps every payload inline"
        output = state.outcome.output
    if state.phase is Phase.ABSENT:
        raise NotFoundError(f"no instance {resident.id!r}")
    return status_document(state, output)
