"""Instances: create, read, steer and watch them. Without a tenant, the token's own is meant.

Params and payloads are values, as `stepwell.client.payloads` says. Every call that changes something carries a request
id: one of its own, the same for each of its tries, or one that the caller gives, so that another process which makes
the same call again makes it once. `name` is an instance's full resource name, as a create answers it.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import AsyncGenerator, Awaitable, Collection, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from stepwell.client.calls import Doubt
from stepwell.client.errors import error_by
from stepwell.client.events import Events
from stepwell.client.migrating import MigratedAll, migrate_all
from stepwell.client.payloads import payload_of, value_of
from stepwell.client.replaying import replay_all
from stepwell.client.resource_names import id_in, instance_name, version_name, workflow_name
from stepwell.client.sampling import PAGE_SIZE, SAMPLED_FROM_MAX, first, spread
from stepwell.client.streams import RESUME_S_MAX, resumed
from stepwell.client.workflow_terms import retention_message
from stepwell.errors import ApiError, InstanceFailedError, NotFoundError, WrongStateError
from stepwell.retention import NOT_SAID, Retention
from stepwell.v1 import instances_pb2 as pb

LATEST = "latest"

AT_ONCE_MAX = 20
"""Instances that `terminate_all` ends at once."""

DELETES_AT_ONCE_MAX = 100
"""Instances that `delete_all` deletes by one call."""

REPLAYS_AT_ONCE_MAX = 4
"""Replays that `replay_all` asks for at once: as many as one node runs of a tenant's."""

REPLAY_S_MAX = 120.0
"""Of one replay, the start of its sandbox and waiting for others included."""


_UNENDED = (
    pb.INSTANCE_STATUS_QUEUED,
    pb.INSTANCE_STATUS_RUNNING,
    pb.INSTANCE_STATUS_WAITING,
    pb.INSTANCE_STATUS_PAUSED,
    pb.INSTANCE_STATUS_WAITING_FOR_PAUSE,
)
_ENDED = (pb.INSTANCE_STATUS_COMPLETE, pb.INSTANCE_STATUS_ERRORED, pb.INSTANCE_STATUS_TERMINATED)


class Instances(Events):
    """InstanceService."""

    async def name_of(self, tenant: str | None, workflow: str, instance: str) -> str:
        """The full name; `latest` stands for the newest instance, and NotFoundError says that there is none."""
        if instance != LATEST:
            return instance_name(tenant, workflow, instance)
        newest = await self.list(tenant, workflow, page_size=1)
        if not newest.instances:
            raise NotFoundError(f"workflow {workflow} has no instances: there is no latest", workflow=workflow)
        return newest.instances[0].name

    async def create(
        self,
        tenant: str | None,
        workflow: str,
        params: object = None,
        *,
        instance: str = "",
        retention: Retention = NOT_SAID,
        request_id: str = "",
    ) -> pb.Instance:
        """A new run with these params. An empty id: one is made. AlreadyExistsError when the id is taken.

        Once it has ended it is kept for as long as `retention` says, or else its workflow, or else for ever.
        """
        request = pb.CreateInstanceRequest(
            parent=workflow_name(tenant, workflow),
            instance_id=instance,
            params=payload_of(params),
            retention=retention_message(retention),
            request_id=request_id or self._caller.new_request_id(),
        )
        return await self._caller.unary(self._stub.CreateInstance, request)

    async def create_batch(
        self,
        tenant: str | None,
        workflow: str,
        items: Iterable[tuple[str, object]],
        *,
        retention: Retention = NOT_SAID,
        request_id: str = "",
    ) -> Sequence[pb.Instance | ApiError]:
        """A run for each (instance id, params), up to 100: what came of each, in their order. An empty id: one is made.
        `retention` is that of all.

        An item that could not be done is the error that a create of its own would have raised; the same items under the
        same request id try it again. InvalidArgumentError, and nothing created, for what is no item at all.
        """
        item, kept = pb.BatchCreateInstancesRequest.Item, retention_message(retention)
        request = pb.BatchCreateInstancesRequest(
            parent=workflow_name(tenant, workflow),
            items=[item(instance_id=id, params=payload_of(params), retention=kept) for id, params in items],
            request_id=request_id or self._caller.new_request_id(),
        )
        answer = await self._caller.unary(self._stub.BatchCreateInstances, request)
        return [each.instance if each.HasField("instance") else _error_of(each.error) for each in answer.results]

    async def get(self, name: str) -> pb.Instance:
        """NotFoundError when there is none."""
        return await self._caller.unary(self._stub.GetInstance, pb.GetInstanceRequest(name=name))

    async def list(
        self,
        tenant: str | None,
        workflow: str,
        *,
        statuses: Iterable[pb.InstanceStatus.ValueType] = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> pb.ListInstancesResponse:
        """A page of instances without params and output, newest first; of those that were created within these times,
        both included, to the millisecond. A datetime without a zone is the machine's own."""
        request = pb.ListInstancesRequest(
            parent=workflow_name(tenant, workflow), page_size=page_size, page_token=page_token, statuses=statuses
        )
        if created_from is not None:
            request.created_from.FromDatetime(created_from.astimezone(UTC))
        if created_to is not None:
            request.created_to.FromDatetime(created_to.astimezone(UTC))
        return await self._caller.unary(self._stub.ListInstances, request)

    async def list_steps(self, name: str, *, page_size: int = 0, page_token: str = "") -> pb.ListStepsResponse:
        """A page of an instance's steps, in the order in which they began. A page may be short before the last."""
        request = pb.ListStepsRequest(parent=name, page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListSteps, request)

    async def result(self, name: str, *, resume_s: float = RESUME_S_MAX) -> Any:
        """Its output as a value, once it is complete, however long that takes; one that is paused is waited for.

        InstanceFailedError when it ended otherwise. `resume_s` as for `watch`.
        """
        async with aclosing(self.watch(name, status_only=True, resume_s=resume_s)) as events:
            async for _ in events:
                pass
        ended = await self.get(name)
        if ended.status == pb.INSTANCE_STATUS_COMPLETE:
            return value_of(ended.output)
        status = pb.InstanceStatus.Name(ended.status).removeprefix("INSTANCE_STATUS_").lower()
        error = ended.error
        raise InstanceFailedError(ended.name, status, error.type, error.message, error.traceback)

    async def pause(self, name: str) -> pb.Instance:
        """paused, or waitingForPause while steps run."""
        request = pb.PauseInstanceRequest(name=name, request_id=self._caller.new_request_id())
        return await self._caller.unary(self._stub.PauseInstance, request)

    async def resume(self, name: str) -> pb.Instance:
        """Go on after a pause; an instance that was paused by a failure tries again."""
        request = pb.ResumeInstanceRequest(name=name, request_id=self._caller.new_request_id())
        return await self._caller.unary(self._stub.ResumeInstance, request)

    async def restart(
        self,
        name: str,
        *,
        step_name: str = "",
        step_kind: pb.StepKind.ValueType = pb.STEP_KIND_DO,
        step_count: int = 1,
    ) -> pb.Instance:
        """Begin again, from the beginning or from a step, whatever it is at, or once it has ended."""
        request = pb.RestartInstanceRequest(name=name, request_id=self._caller.new_request_id())
        if step_name:
            request.step_name, request.step_kind, request.step_count = step_name, step_kind, step_count
        return await self._caller.unary(self._stub.RestartInstance, request)

    async def cancel(self, name: str, *, reason: str = "") -> pb.Instance:
        """Let its code come to an end: it is cancelled at what it waits for, may clean up, and is terminated when that
        takes too long. One that is paused hears of it when it is resumed."""
        request = pb.CancelInstanceRequest(name=name, reason=reason, request_id=self._caller.new_request_id())
        return await self._caller.unary(self._stub.CancelInstance, request)

    async def fork(
        self,
        name: str,
        step_name: str,
        *,
        step_kind: pb.StepKind.ValueType = pb.STEP_KIND_DO,
        step_count: int = 1,
        instance: str = "",
        version: str = "",
        request_id: str = "",
    ) -> pb.Instance:
        """A new instance that begins with a copy of what this one did before that step's result; this one stays as it
        is. On its version, or on another, by its digest: ReplayMismatchError where that one's code does not do what is
        copied. An empty id: one is made. AlreadyExistsError when the id is taken."""
        request = pb.ForkInstanceRequest(
            name=name, step_name=step_name, step_kind=step_kind, step_count=step_count, instance_id=instance
        )
        request.request_id = request_id or self._caller.new_request_id()
        if version:
            request.version = version_name(id_in(name, "tenants"), version)
        return await self._caller.unary(self._stub.ForkInstance, request, usual_s=REPLAY_S_MAX)

    async def replay(self, name: str, version: str) -> pb.Replay:
        """Whether that version's code, by its digest, does what the instance's journal says. Nothing comes of it.

        NotFoundError for a version that has no such workflow; BundleRefusedError for one that can't be imported.
        """
        return await self._caller.unary(
            self._stub.ReplayInstance,
            pb.ReplayInstanceRequest(name=name, version=version_name(id_in(name, "tenants"), version)),
            usual_s=REPLAY_S_MAX,
        )

    async def replay_all(self, names: Iterable[str], version: str) -> Sequence[pb.Replay]:
        """The same of several, some at once, in their order. One that is deleted meanwhile is left out."""

        def replay(name: str) -> Awaitable[pb.Replay]:
            return self.replay(name, version)

        return await replay_all(replay, names, at_once=REPLAYS_AT_ONCE_MAX)

    async def sample(
        self, tenant: str | None, workflow: str, size: int, *, versions: Collection[str] = (), ended: bool = False
    ) -> Sequence[pb.Instance]:
        """So many of a workflow's instances that have not ended, spread evenly over their ages; with `ended`, where
        these are fewer, the newest of those that have ended too. With versions, by their digests, only of those."""

        def page(statuses: Iterable[pb.InstanceStatus.ValueType], token: str) -> Awaitable[pb.ListInstancesResponse]:
            return self.list(tenant, workflow, statuses=statuses, page_size=PAGE_SIZE, page_token=token)

        found = spread(await first(page, _UNENDED, SAMPLED_FROM_MAX, versions), size)
        if ended and len(found) < size:
            found += await first(page, _ENDED, size - len(found), versions)
        return found

    async def migrate(self, name: str, version: str) -> pb.Instance:
        """It goes on with that version, by its digest, whose code does what it did so far: ReplayMismatchError where
        it does not. ConflictError where it does not stand still for long enough to be sure; pause it then."""
        request = pb.MigrateInstanceRequest(
            name=name,
            version=version_name(id_in(name, "tenants"), version),
            request_id=self._caller.new_request_id(),
        )
        return await self._caller.unary(self._stub.MigrateInstance, request, usual_s=REPLAY_S_MAX)

    async def migrate_all(self, tenant: str | None, workflow: str, version: str) -> MigratedAll:
        """As `migrate`, of all of a workflow's instances that have not ended, some at once. One that can't be migrated
        stays as it is, and is told of. Any other ApiError is raised, and the same call goes on with what is left."""

        def page(size: int, token: str) -> Awaitable[pb.ListInstancesResponse]:
            return self.list(tenant, workflow, statuses=_UNENDED, page_size=size, page_token=token)

        def migrate(name: str) -> Awaitable[pb.Instance]:
            return self.migrate(name, version)

        return await migrate_all(page, migrate, version, at_once=REPLAYS_AT_ONCE_MAX)

    async def terminate(self, name: str, *, rollback: bool = False) -> pb.Instance:
        """End it now; results of running steps are dropped. With `rollback`, it ends once its steps' rollback handlers
        have run."""
        request_id = self._caller.new_request_id()
        request = pb.TerminateInstanceRequest(name=name, request_id=request_id, rollback=rollback)
        return await self._caller.unary(self._stub.TerminateInstance, request)

    async def terminate_all(
        self, tenant: str | None, workflow: str, *, statuses: Iterable[pb.InstanceStatus.ValueType] = ()
    ) -> int:
        """End all instances of a workflow that have one of these statuses; without any, all that have not ended.

        Answers how many it ended. One that ends by itself meanwhile is passed over, and one that is created meanwhile
        may be; where a call fails, its ApiError is raised, and the same call goes on with what is left.
        """
        wanted, token, ended = list(statuses) or _UNENDED, "", 0
        while True:
            page = await self.list(tenant, workflow, statuses=wanted, page_size=AT_ONCE_MAX, page_token=token)
            terminated = (self._terminated(each.name) for each in page.instances)
            outcomes = await gather(*terminated, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                ended += outcome
            token = page.next_page_token
            if not token:
                return ended

    async def _terminated(self, name: str) -> bool:
        """Whether it had not ended before."""
        try:
            await self.terminate(name)
        except (NotFoundError, WrongStateError):
            return False
        return True

    async def delete(self, name: str) -> None:
        """Its data goes, its id is free again. One that has not ended is terminated first."""
        request = pb.DeleteInstanceRequest(name=name, request_id=self._caller.new_request_id())
        await self._caller.removal(self._stub.DeleteInstance, request)

    async def delete_batch(
        self, tenant: str | None, workflow: str, instances: Iterable[str]
    ) -> Sequence[ApiError | None]:
        """As `delete`, of up to 100 by their ids: for each the error that a delete of its own would have raised, or
        None where it is deleted. InvalidArgumentError, and nothing deleted, for what is no id."""
        request = pb.BatchDeleteInstancesRequest(
            parent=workflow_name(tenant, workflow),
            instance_ids=instances,
            request_id=self._caller.new_request_id(),
        )
        doubt = Doubt()
        answer = await self._caller.unary(self._stub.BatchDeleteInstances, request, repeats=doubt.repeats)
        errors = [_error_of(each.error) if each.HasField("error") else None for each in answer.results]
        return [None if doubt.raised and isinstance(error, NotFoundError) else error for error in errors]

    async def delete_all(self, tenant: str | None, workflow: str) -> int:
        """Delete all instances of a workflow, those too that have not ended. Answers how many it deleted.

        One that is created meanwhile may be passed over, and so may one whose parent has yet to hear of its end; where
        a call fails, its ApiError is raised. The same call goes on with what is left.
        """
        token, deleted = "", 0
        while True:
            page = await self.list(tenant, workflow, page_size=DELETES_AT_ONCE_MAX, page_token=token)
            if page.instances:
                ids = [each.name.rpartition("/")[2] for each in page.instances]
                for error in await self.delete_batch(tenant, workflow, ids):
                    if error is not None and not isinstance(error, NotFoundError | WrongStateError):
                        raise error
                    deleted += error is None
            token = page.next_page_token
            if not token:
                return deleted

    def watch(
        self, name: str, *, cursor: str = "", status_only: bool = False, resume_s: float = RESUME_S_MAX
    ) -> AsyncGenerator[pb.InstanceEvent]:
        """What happened to it and what happens, each once, until it has ended; from after the event that had `cursor`.

        When the stream breaks it is taken up after its last event, again and again for up to `resume_s` seconds in
        which nothing came. Leave it by `aclosing`, or it stays open until it is collected.
        """

        def begin(after: str) -> AsyncGenerator[pb.InstanceEvent]:
            request = pb.WatchInstanceRequest(name=name, cursor=after, status_only=status_only)
            return self._caller.stream(self._stub.WatchInstance, request)

        def had_ended(last: pb.InstanceEvent | None) -> bool:
            return last is not None and last.status in _ENDED

        return resumed(begin, cursor, self._caller.patience, resume_s=resume_s, over_once_gone=had_ended)

    async def list_logs(
        self, name: str, *, step: str = "", page_size: int = 0, page_token: str = ""
    ) -> pb.ListLogsResponse:
        """A page of what its code printed, oldest first; of one step's, where one is named. A page may be short before
        the last."""
        request = pb.ListLogsRequest(parent=name, step_name=step, page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListLogs, request)

    async def watch_logs(
        self, name: str, *, step: str = "", cursor: str = "", resume_s: float = RESUME_S_MAX
    ) -> AsyncGenerator[pb.LogEntry]:
        """What its code printed and what it prints, each line once, until it has ended or is deleted; as `watch`.

        NotFoundError when there is no such instance: it is looked for first, since one that prints nothing gives no
        sign that a stream has begun.
        """

        def begin(after: str) -> AsyncGenerator[pb.LogEntry]:
            request = pb.WatchLogsRequest(name=name, cursor=after, step_name=step)
            return self._caller.stream(self._stub.WatchLogs, request)

        await self.get(name)
        lines = resumed(
            begin, cursor, self._caller.patience, resume_s=resume_s, begun=True, over_once_gone=lambda _: True
        )
        async with aclosing(lines) as entries:
            async for entry in entries:
                yield entry


def _error_of(error: pb.ItemError) -> ApiError:
    return error_by(error.reason, error.code, error.message, error.metadata)
