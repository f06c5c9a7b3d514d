"""The client for programs without an event loop: the same names, arguments, answers and errors, each call waiting.

    from stepwell.client.sync import connect

    with connect("127.0.0.1:7837", token) as client:
        made = client.instances.create("acme", "order", {"item": 7})
        for event in client.instances.watch(made.name):
            print(event.type)

What a method does is said where it is written: `stepwell.client.instances` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from stepwell.client import connection
from stepwell.client.connection import new_id
from stepwell.client.loop_thread import LoopThread, Stream
from stepwell.client.patience import TRIES_MAX

__all__ = ["Client", "Stream", "connect"]


class Client:
    """One server's API, by resource. Safe for many threads.

    Ctrl-C ends the call that waits, and no other. Close it, or use it in `with`; in a process that was forked, connect
    again.
    """

    def __init__(self, thread: LoopThread, inner: connection.Client) -> None:
        self._thread = thread
        self._inner = inner
        self.tenants = Tenants(thread, inner)
        self.workflows = Workflows(thread, inner)
        self.instances = Instances(thread, inner)
        self.nodes = Nodes(thread, inner)
        self.serves = thread.call(inner.serves)
        self.part = thread.call(inner.part)

    @property
    def endpoint(self) -> str:
        """Where this client speaks to."""
        return self._inner.endpoint

    def within(self, seconds: float) -> Client:
        """The same connection, by which a call has so many seconds for all of its tries. Closing either closes both.

        Raises ValueError for what is no time.
        """
        return Client(self._thread, self._inner.within(seconds))

    def close(self) -> None:
        """End what is in flight, in other threads too, and disconnect. Idempotent."""
        self._thread.close(self._inner.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tenants:
    """TenantService. A token's tenant is named; None stands for the operator."""

    def __init__(self, thread: LoopThread, client: connection.Client) -> None:
        inner = client.tenants
        self.create = thread.call(inner.create)
        self.get = thread.call(inner.get)
        self.list = thread.call(inner.list)
        self.create_token = thread.call(inner.create_token)
        self.list_tokens = thread.call(inner.list_tokens)
        self.revoke_token = thread.call(inner.revoke_token)


class Workflows:
    """WorkflowService. Without a tenant, the token's own is meant."""

    def __init__(self, thread: LoopThread, client: connection.Client) -> None:
        inner = client.workflows
        self.deploy = thread.call(inner.deploy)
        self.get = thread.call(inner.get)
        self.list = thread.call(inner.list)
        self.delete = thread.call(inner.delete)
        self.get_version = thread.call(inner.get_version)
        self.list_versions = thread.call(inner.list_versions)
        self.list_routes = thread.call(inner.list_routes)
        self.get_route = thread.call(inner.get_route)
        self.set_route = thread.call(inner.set_route)
        self.promote_route = thread.call(inner.promote_route)
        self.roll_back_route = thread.call(inner.roll_back_route)
        self.list_schedules = thread.call(inner.list_schedules)
        self.pause_schedules = thread.call(inner.pause_schedules)
        self.resume_schedules = thread.call(inner.resume_schedules)
        self.version_usage = thread.call(inner.version_usage)
        self.drain_version = thread.call(inner.drain_version)
        self.retire_version = thread.call(inner.retire_version)
        self.version_files = thread.call(inner.version_files)
        self.guest_runtime = thread.call(inner.guest_runtime)


class Instances:
    """InstanceService. Without a tenant, the token's own is meant."""

    def __init__(self, thread: LoopThread, client: connection.Client) -> None:
        inner = client.instances
        self.name_of = thread.call(inner.name_of)
        self.create = thread.call(inner.create)
        self.create_batch = thread.call(inner.create_batch)
        self.get = thread.call(inner.get)
        self.list = thread.call(inner.list)
        self.list_steps = thread.call(inner.list_steps)
        self.result = thread.call(inner.result)
        self.send_event = thread.call(inner.send_event)
        self.broadcast_event = thread.call(inner.broadcast_event)
        self.list_events = thread.call(inner.list_events)
        self.get_event = thread.call(inner.get_event)
        self.resend_event = thread.call(inner.resend_event)
        self.pause = thread.call(inner.pause)
        self.resume = thread.call(inner.resume)
        self.restart = thread.call(inner.restart)
        self.cancel = thread.call(inner.cancel)
        self.fork = thread.call(inner.fork)
        self.replay = thread.call(inner.replay)
        self.replay_all = thread.call(inner.replay_all)
        self.migrate = thread.call(inner.migrate)
        self.migrate_all = thread.call(inner.migrate_all)
        self.sample = thread.call(inner.sample)
        self.terminate = thread.call(inner.terminate)
        self.terminate_all = thread.call(inner.terminate_all)
        self.delete = thread.call(inner.delete)
        self.delete_batch = thread.call(inner.delete_batch)
        self.delete_all = thread.call(inner.delete_all)
        self.watch = thread.stream(inner.watch)
        self.list_logs = thread.call(inner.list_logs)
        self.watch_logs = thread.stream(inner.watch_logs)


class Nodes:
    """NodeService, for the operator's token alone."""

    def __init__(self, thread: LoopThread, client: connection.Client) -> None:
        self.list = thread.call(client.nodes.list)


def connect(
    endpoint: str,
    token: str | None = None,
    *,
    within_s: float | None = None,
    tries_max: int = TRIES_MAX,
    new_request_id: Callable[[], str] = new_id,
) -> Client:
    """A client of the server at `host:port`, or `https://host:port`; it has a thread of its own.

    What it takes and raises is what `stepwell.client.connect` does.
    """

    async def connected() -> connection.Client:
        return connection.connect(
            endpoint, token, within_s=within_s, tries_max=tries_max, new_request_id=new_request_id
        )

    thread = LoopThread()
    try:
        return Client(thread, thread.run(connected()))
    except BaseException:
        thread.close()
        raise
