from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

import stepwell.client
from stepwell.client.sync import Client, connect
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.fake_server import OPERATOR, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order

PATIENCE_S = 20.0


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        put_errored_order(running)
        running.events[ORDER] = [event(number, "stepStarted", i.INSTANCE_STATUS_RUNNING) for number in (1, 2, 3)]
        yield running
        running.let_go.set()


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with connect(server.endpoint, OPERATOR) as connected:
        yield connected


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)


def public(thing: object) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}


async def test_every_method_has_its_twin_with_the_same_signature(server: FakeServer, client: Client) -> None:
    async with stepwell.client.connect(server.endpoint, OPERATOR) as twin:
        for ours, theirs in [(client, twin), *((public(client)[part], public(twin)[part]) for part in PARTS)]:
            assert public(ours).keys() == public(theirs).keys()
            methods = {name: method for name, method in public(theirs).items() if inspect.ismethod(method)}
            for name in methods.keys() - {"within", "close"}:
                assert inspect.signature(public(ours)[name]) == inspect.signature(methods[name])
                assert public(ours)[name].__doc__ == methods[name].__doc__
                assert not inspect.iscoroutinefunction(public(ours)[name])
        assert {name for name in public(twin) if not callable(public(twin)[name])} == {*PARTS, "endpoint"}
    assert [*inspect.signature(connect).parameters.values()] == [
        *inspect.signature(stepwell.client.connect).parameters.values()
    ]


PARTS = ("tenants", "workflows", "instances", "nodes")


def test_calls_wait_for_their_answers_and_raise_their_errors(server: FakeServer, client: Client) -> None:
    assert client.instances.create("acme", "order", {"a": 1}, instance="o-2").params == b'{"a":1}'
    with pytest.raises(AlreadyExistsError):
        client.instances.create("acme", "order", instance="o-2")
    assert client.serves()
    assert client.endpoint == server.endpoint
    assert client.within(3).instances.get(ORDER).name == ORDER


def test_a_watch_is_iterated_over(server: FakeServer, client: Client) -> None:
    server.watch_breaks_after = 2
    assert [each.cursor for each in client.instances.watch(ORDER)] == ["1", "2", "3"]
    with pytest.raises(NotFoundError):
        next(client.instances.watch_logs(f"{ORDER}-not"))


def test_a_watch_that_is_left_ends(server: FakeServer, client: Client) -> None:
    server.watch_hangs = True
    with client.instances.watch(ORDER) as events:
        assert next(events).cursor == "1"
    assert [*events] == []
    events.close()


def test_many_threads_share_a_client(client: Client) -> None:
    made: list[str] = []

    def make(number: int) -> None:
        made.append(client.instances.create("acme", "order", number, instance=f"t-{number}").name)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20


@pytest.mark.parametrize("wait", ["next(events)", "client.instances.result(name)", "[*events]"])
def test_ctrl_c_ends_the_call_that_waits_and_no_other(server: FakeServer, wait: str) -> None:
    server.watch_hangs = True
    script = (
        "from stepwell.client.sync import connect\n"
        f"name = {ORDER!r}\n"
        f"with connect({server.endpoint!r}, {OPERATOR!r}) as client, client.instances.watch(name) as events:\n"
        "    for _ in range(3): next(events)\n"
        "    try:\n"
        "        print('waits', flush=True)\n"
        f"        {wait}\n"
        "    except KeyboardInterrupt:\n"
        "        print(client.instances.get(name).name, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline() == "waits\n"
        until_it_sleeps(ran.pid)
        ran.send_signal(signal.SIGINT)
        out, err = ran.communicate(timeout=PATIENCE_S)
    assert (out, err, ran.returncode) == (f"{ORDER}\n", "", 0)


def until_it_sleeps(pid: int) -> None:
    """Until its main thread sleeps: it waits for what does not come."""
    stat = Path(f"/proc/{pid}/task/{pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")


def environ() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_program_that_closes_nothing_ends_all_the_same(server: FakeServer) -> None:
    server.watch_hangs = True
    script = (
        "from stepwell.client.sync import connect\n"
        f"client = connect({server.endpoint!r}, {OPERATOR!r})\n"
        f"events = client.instances.watch({ORDER!r})\n"
        "print(next(events).cursor)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("1\n", "", 0)


def test_closing_ends_what_waits_in_other_threads(server: FakeServer) -> None:
    server.watch_hangs = True
    client = connect(server.endpoint, OPERATOR)
    failures: list[BaseException] = []

    def wait(call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError as failure:
            failures.append(failure)

    waits = [lambda: [*client.instances.watch(ORDER)], lambda: client.instances.result(ORDER)]
    threads = [threading.Thread(target=wait, args=(call,)) for call in waits]
    for thread in threads:
        thread.start()
    until(lambda: len(server.watched_from) == 2)
    client.close()
    client.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [str(failure) for failure in failures] == ["the client was closed meanwhile"] * 2
    with pytest.raises(RuntimeError, match="closed"):
        client.serves()


def test_no_thread_is_left_of_what_was_closed_dropped_or_never_connected(server: FakeServer) -> None:
    def ours() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name == "stepwell-client"]

    with connect(server.endpoint, OPERATOR) as closed:
        assert closed.serves()
    dropped = connect(server.endpoint, OPERATOR)
    assert ours() == ["stepwell-client"]
    del dropped
    gc.collect()
    with pytest.raises(InvalidArgumentError):
        connect("nowhere")
    assert ours() == []


def test_a_call_carries_the_trace_that_it_is_made_in(server: FakeServer, client: Client) -> None:
    span = NonRecordingSpan(SpanContext(0xAB, 0xCD, False, TraceFlags(TraceFlags.SAMPLED)))
    with use_span(span):
        client.tenants.create("park")
    assert server.metadata_seen[-1]["traceparent"] == f"00-{0xAB:032x}-{0xCD:016x}-01"


async def test_clients_of_both_kinds_live_in_one_process(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    def ask(waiting: Client) -> None:
        for _ in range(50):
            waiting.tenants.list()

    with connect(server.endpoint, OPERATOR) as one, connect(server.endpoint, OPERATOR) as other:
        async with stepwell.client.connect(server.endpoint, OPERATOR) as ours:
            threads = [threading.Thread(target=ask, args=(each,)) for each in (one, other)]
            for thread in threads:
                thread.start()
            for _ in range(50):
                await ours.tenants.list()
            for thread in threads:
                await asyncio.to_thread(thread.join)
    assert caplog.records == []
