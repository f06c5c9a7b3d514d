"""Other workflows of the same tenant, as an author meets them in `self.env`: create instances of them, steer these, and
wait for what they come to.

Nothing here knows a host: a `BindingHost` does, the guest's. Which workflows there are, the manifest says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.attributes import AttributeDict
from stepwell.call_options import PLAIN, CallOptions, kept, restarted_from, rolled_back
from stepwell.durations import Duration
from stepwell.errors import AlreadyExistsError, ApiError, ChildFailedError
from stepwell.retention import Retention
from stepwell.values import decode, encode

BATCH_MAX: Final = 100
"""Instances that one `create_batch` creates, or one `delete_batch` deletes."""


class BindingHost(Protocol):
    """Who carries calls out."""

    async def call(
        self, binding: str, method: str, id: str, type: str, payload: bytes, options: CallOptions = PLAIN
    ) -> bytes:
        """The answer's JSON. In `run` it is a step of its own; in a step's body it is a part of that step."""
        ...

    async def end(self, binding: str, id: str) -> bytes:
        """What a child came to, as JSON, once it has ended. In `run` alone."""
        ...


class ChildStatus(AttributeDict):
    """How an instance stands."""

    if TYPE_CHECKING:
        status: str
        """As `stepwell instances describe` spells it."""
        output: Any
        """None until it is complete."""
        error: dict[str, str] | None
        """`type` and `message` of what it failed with, or was paused by."""


class BatchDeleted(AttributeDict):
    """What became of each id, in their order; one that was given twice is there twice."""

    if TYPE_CHECKING:
        deleted: list[dict[str, str]]
        """`id`."""
        errors: list[dict[str, str]]
        """`id`, `type` and `message`."""


class WorkflowInstance:
    """An instance of a bound workflow. `child` says that the instance which asks has created it."""

    __slots__ = ("_binding", "_host", "child", "id")

    def __init__(self, host: BindingHost, binding: str, id: str, *, child: bool) -> None:
        self._host = host
        self._binding = binding
        self.id: Final = id
        self.child: Final = child

    def __repr__(self) -> str:
        return f"<instance {self.id!r} of {self._binding}>"

    async def result(self) -> Any:
        """Wait until it has ended, and return its output: of a child, in `run`, without asking again and again.

        Raises ChildFailedError when it ended otherwise, RunRestrictionError for one that is no child or in a step.
        """
        if not self.child:
            from stepwell.errors import RunRestrictionError

            raise RunRestrictionError(
                f"{self._binding} {self.id!r} was not created by this instance: only the end of a child can be "
                "awaited; look at its status() in a step"
            )
        ended = decode(await self._host.end(self._binding, self.id))
        if ended["status"] == "complete":
            return ended["output"]
        error = ended.get("error") or {}
        raise ChildFailedError(self._binding, self.id, ended["status"], error.get("type", ""), error.get("message", ""))

    async def status(self) -> ChildStatus:
        """How it stands."""
        found = decode(await self._call("status"))
        return ChildStatus(status=found["status"], output=found.get("output"), error=found.get("error"))

    async def pause(self) -> None:
        """Steps that run end first."""
        await self._call("pause")

    async def resume(self) -> None:
        """Go on after a pause."""
        await self._call("resume")

    async def restart(self, *, from_: str | Mapping[str, Any] | None = None) -> None:
        """Run it again from the beginning, or from a step: its name, or `{"name": …, "count": 1, "type": "do"}`. Raises
        InvalidArgumentError for a step that it has not come to."""
        await self._call("restart", options=restarted_from(from_))

    async def cancel(self) -> None:
        """Let it clean up and end."""
        await self._call("cancel")

    async def terminate(self, *, rollback: bool = False) -> None:
        """End it now; with `rollback`, once the rollback handlers of its steps have run."""
        await self._call("terminate", options=rolled_back(rollback))

    async def delete(self) -> None:
        """End it, where it has not ended, and delete it: its data goes, its id is free again. One that is gone already
        counts as deleted, since a step may be tried again. Who deletes itself goes no further."""
        await self._call("delete")

    async def send_event(self, type: str, payload: Any = None) -> None:
        """Send it an event. Raises WrongStateError once it has ended."""
        await self._call("sendEvent", type, encode(payload))

    async def _call(self, method: str, type: str = "", payload: bytes = b"null", options: CallOptions = PLAIN) -> bytes:
        return await self._host.call(self._binding, method, self.id, type, payload, options)

    sendEvent = send_event  # Cloudflare's name for it


class WorkflowBinding:
    """A workflow of the same tenant: `self.env.NAME`."""

    __slots__ = ("_host", "_name")

    def __init__(self, host: BindingHost, name: str) -> None:
        self._host = host
        self._name = name

    def __repr__(self) -> str:
        return f"<binding {self._name}>"

    async def create(
        self,
        id: str | None = None,
        params: Any = None,
        *,
        retention: Retention | Mapping[str, Duration | None] | None = None,
    ) -> WorkflowInstance:
        """A new instance, on the version that the workflow's route gives it. Without an id, one is made. Once it has
        ended it is kept for as long as `retention` says, `Retention.of(success="1 day")` or `{"successRetention":
        "1 day", "errorRetention": …}`, or else its workflow, or else for ever.

        What is tried again creates the same one again. Raises AlreadyExistsError for an id that is taken,
        LimitExceededError for one child or one parent above another too many, InvalidArgumentError for a retention
        that can't be.
        """
        return await self._create(id, params, kept(retention))

    async def _create(self, id: str | None, params: Any, options: CallOptions) -> WorkflowInstance:
        answer = decode(await self._host.call(self._name, "create", id or "", "", encode(params), options))
        return WorkflowInstance(self._host, self._name, answer["id"], child=True)

    async def create_batch(self, batch: Sequence[Mapping[str, Any]]) -> list[WorkflowInstance]:
        """One each, of `{"id": …, "params": …, "retention": …}`, at most 100. Those whose id is taken are left out, as
        there."""
        if len(batch) > BATCH_MAX:
            raise ValueError(f"create_batch creates {BATCH_MAX} instances at most, not {len(batch)}")
        options = [kept(item.get("retention")) for item in batch]
        created = []
        for item, its_options in zip(batch, options, strict=True):
            try:
                created.append(await self._create(item.get("id"), item.get("params"), its_options))
            except AlreadyExistsError:
                continue
        return created

    async def delete_batch(self, ids: Sequence[str]) -> BatchDeleted:
        """`delete` of each, at most 100. What could not be deleted is told of, and the others are."""
        if len(ids) > BATCH_MAX:
            raise ValueError(f"delete_batch deletes {BATCH_MAX} instances at most, not {len(ids)}")
        outcomes: dict[str, dict[str, str] | None] = {}
        for id in dict.fromkeys(ids):
            try:
                await self._host.call(self._name, "delete", id, "", b"null")
                outcomes[id] = None
            except ApiError as error:
                outcomes[id] = {"id": id, "type": error.__class__.__name__, "message": str(error)}
        errors = [outcome for id in ids if (outcome := outcomes[id]) is not None]
        return BatchDeleted(deleted=[{"id": id} for id in ids if outcomes[id] is None], errors=errors)

    async def get(self, id: str) -> WorkflowInstance:
        """One that is there. Raises NotFoundError."""
        answer = decode(await self._host.call(self._name, "get", id, "", b"null"))
        return WorkflowInstance(self._host, self._name, answer["id"], child=answer["child"])

    createBatch = create_batch
    deleteBatch = delete_batch
