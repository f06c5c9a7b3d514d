"""The whole server in this process: as it is shipped, on real stores and a real port, but for its sandboxes.

It runs in a thread, on a loop of its own, so that a test calls it as any client does and may count what it looks up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from cluster.directory import Directory
from cluster.store_sqlite import SqliteStore
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.logs.store_sqlite import SqliteLogStore
from data_plane.shard_server import ShardServer
from data_plane.ticking import Ticker
from loader.sandbox.sandbox import SandboxLauncher
from stepwell.client.contexts import load
from stepwell.client.errors import DETAILS_TRAILER, error_from
from stepwell.errors import ApiError
from stepwell_server import dev
from stepwell_server.config import DevConfig
from tests.api.puppets import PuppetLauncher, Says, two_lines_and_two_sleeps

START_S_MAX = 30.0
CALL_S_MAX = 20.0

Request = bytes | Iterable[bytes]
"""One message, or the parts of a stream."""

LOOK_UPS: tuple[tuple[type, str], ...] = (
    (SqliteStore, "get"),
    (SqliteStore, "range"),
    (SqliteStore, "txn"),
    (Directory, "tenant"),
    (Directory, "route"),
    (Directory, "version"),
    (SqliteJournalStore, "read_journal"),
    (SqliteJournalStore, "read_blob"),
    (SqliteJournalStore, "list_instances"),
    (SqliteLogStore, "read"),
    (ShardServer, "resident"),
    (ShardServer, "peek"),
)
"""What answers depend on, in memory and on disk: each call of these is written down."""


@dataclass
class Log:
    """What the operator would read of calls that failed by a fault of the server's."""

    faults: list[dict[str, Any]] = field(default_factory=list)

    def error(self, event: str, **fields: Any) -> None:
        self.faults.append({"event": event, **fields})

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


@dataclass
class Running:
    """A server that serves. `looked_up` has what it asked its stores and caches for, as `Class.method argument`."""

    endpoint: str
    operator: str
    channel: grpc.Channel
    log: Log
    looked_up: list[str]

    def call(self, method: str, request: Request, token: str | None) -> list[bytes]:
        """The answers to those bytes, whatever kind of method it is. Raises grpc.RpcError.

        A stream of answers is given up after the first.
        """
        if not isinstance(request, bytes):
            channel: Any = self.channel
            return [channel.stream_unary(method)(iter(request), metadata=bearer(token), timeout=CALL_S_MAX)]
        with self.opened(method, request, token) as answers:
            return [*islice(answers, 1)]

    @contextmanager
    def opened(
        self, method: str, request: bytes, token: str | None, *, within_s: float = CALL_S_MAX
    ) -> Iterator[Iterator[bytes]]:
        """A call whose answers may still come, until the block ends."""
        channel: Any = self.channel
        call = channel.unary_stream(method)(request, metadata=bearer(token), timeout=within_s)
        try:
            yield call
        finally:
            call.cancel()

    def refused(self, method: str, request: Request, token: str | None) -> ApiError:
        """The error that such a call ends with, as a client has it; it came with its ErrorInfo, from Stepwell."""
        try:
            answers = self.call(method, request, token)
        except grpc.RpcError as error:
            return told(error)
        raise AssertionError(f"not refused: {answers}")


def told(error: grpc.RpcError) -> ApiError:
    """An answer of Stepwell's as a client has it; gRPC's own answers are none."""
    ended = cast(grpc.aio.AioRpcError, error)  # the two have the same methods
    if any(key == DETAILS_TRAILER for key, _ in ended.trailing_metadata() or ()):
        return error_from(ended)
    raise AssertionError(f"gRPC's own answer: {error}") from error


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


@contextmanager
def running(folder: Path, *, says: Says = two_lines_and_two_sleeps, **config: Any) -> Iterator[Running]:
    """`stepwell dev` on data in that folder, until the block ends. `config` is `DevConfig`'s; guests say what `says`
    gives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, looked_up = Log(), []  # type: ignore[var-annotated]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        stop = _Stop()
        patch.setattr(dev, "stop_on_signals", stop.made)
        patch.setattr(dev, "settle_memory", lambda: None)
        launcher: SandboxLauncher = PuppetLauncher(folder, says)
        patch.setattr(dev, "sandbox_launcher", lambda *_: launcher)
        patch.setattr(dev, "log", log)
        for name in ("_follow", "_scan_once", "_drive"):
            patch.setattr(Ticker, name, _by_itself(name))
        for owner, name in LOOK_UPS:
            patch.setattr(owner, name, _told(owner, name, looked_up.append))
        settings = DevConfig(data=folder / "data", port=0, sandbox="process", **config)
        serving = _Thread(lambda: dev._serve(settings))
        serving.start()
        try:
            stop.wait(serving)
            context = load().find(load().current or "")
            assert context is not None
            assert context.token is not None
            with grpc.insecure_channel(context.endpoint) as channel:
                grpc.channel_ready_future(channel).result(START_S_MAX)
                yield Running(context.endpoint, context.token, channel, log, looked_up)
        finally:
            stop.now()
            serving.join()
    serving.raise_failure()


class _Stop:
    """Stands in for the signals that end the server. Waiting for it is how the server says that it serves."""

    def __init__(self) -> None:
        self._waited_for = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def made(self) -> asyncio.Event:
        self._loop = asyncio.get_running_loop()
        waited_for = self._waited_for

        class Told(asyncio.Event):
            async def wait(self) -> Any:
                waited_for.set()
                return await super().wait()

        self._event = Told()
        return self._event

    def wait(self, serving: _Thread) -> None:
        while not self._waited_for.wait(0.05):
            assert serving.is_alive(), serving.failure

    def now(self) -> None:
        if self._loop is not None and self._event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)


class _Thread(threading.Thread):
    def __init__(self, serve: Callable[[], Any]) -> None:
        super().__init__(name="server")
        self._serve = serve
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            self.failure = failure

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


_BY_ITSELF: ContextVar[bool] = ContextVar("by_itself", default=False)
"""What schedules are looked up for no call asked for."""


def _by_itself(name: str) -> Any:
    method = getattr(Ticker, name)

    async def marked(self: Any, *arguments: Any) -> Any:
        _BY_ITSELF.set(True)
        return await method(self, *arguments)

    return marked


def _told(owner: type, name: str, tell: Callable[[str], None]) -> Any:
    method = getattr(owner, name)

    def told(self: Any, *arguments: Any, **named: Any) -> Any:
        if _BY_ITSELF.get():
            return method(self, *arguments, **named)
        tell(f"{owner.__name__}.{name} {arguments[0] if arguments else ''}")
        return method(self, *arguments, **named)

    return told
