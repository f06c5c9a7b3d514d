"""A guest that lies over its socket to the whole server: what was recorded of it can be read by every call, and again
after a restart; another tenant's instance goes on.
"""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from loader.settings import LoaderSettings
from stepwell.frames import frame
from stepwell.v1 import instances_pb2 as i
from tests.api.puppets import two_lines_and_two_sleeps
from tests.api.running import Running, running, told
from tests.api.world import World, made
from tests.fuzz.budget import tries
from tests.fuzz.guest_messages import ENVELOPES, PAYLOADS, encoded

QUICK = LoaderSettings(warm_sandboxes=0, starts_a_minute_per_tenant_max=1_000_000)
"""A liar ends one sandbox after the other, and is not held up here."""

PARENT = "tenants/-/workflows/order"
SETTLED_S_MAX = 2.0
OWN = ("hello", "loaded", "unloadable", "pong")
SAID = st.lists(st.tuples(ENVELOPES, PAYLOADS), min_size=1, max_size=8)
READS: tuple[tuple[str, Any], ...] = (
    ("GetInstance", lambda name: i.GetInstanceRequest(name=name)),
    ("ListSteps", lambda name: i.ListStepsRequest(parent=name)),
    ("ListLogs", lambda name: i.ListLogsRequest(parent=name)),
    ("WatchInstance", lambda name: i.WatchInstanceRequest(name=name)),
    ("ListInstances", lambda name: i.ListInstancesRequest(parent=PARENT)),
)
CHANGES: tuple[tuple[str, Any], ...] = (
    ("PauseInstance", lambda name: i.PauseInstanceRequest(name=name)),
    ("SendEvent", lambda name: i.SendEventRequest(name=name, type="go")),
    ("ResumeInstance", lambda name: i.ResumeInstanceRequest(name=name)),
)
TERMINATE: tuple[str, Any] = ("TerminateInstance", lambda name: i.TerminateInstanceRequest(name=name))
"""After each try: a tenant has so many sandboxes, and the next one is not to wait for a place."""


class Script:
    """What liars say, of whichever activation they are told to start."""

    def __init__(self) -> None:
        self.said: list[tuple[list[Any], bytes]] = []

    def __call__(self, act: int, instance: str) -> bytes:
        if not instance.startswith("liar"):
            return two_lines_and_two_sleeps(act, instance)
        return b"".join(frame(encoded(_of(act, envelope)), payload) for envelope, payload in self.said)


def _of(act: int, envelope: list[Any]) -> list[Any]:
    return envelope if envelope[0] in OWN else [envelope[0], act, *envelope[2:]]


def test_what_a_liar_left_can_be_read_and_steered_now_and_later(tmp_path: Path) -> None:
    script, numbers, liars = Script(), count(1), list[str]()
    with capture_logs() as entries:
        with running(tmp_path, says=script, loader=QUICK) as server:
            world = made(server)

            @tries(40)
            @given(SAID, st.lists(st.sampled_from(CHANGES), max_size=3))
            def every(said: list[tuple[list[Any], bytes]], changes: list[tuple[str, Any]]) -> None:
                script.said = said
                name = f"liar-{next(numbers)}"
                liars.append(f"{PARENT}/instances/{name}")
                call(
                    server, world.ours.token, "CreateInstance", i.CreateInstanceRequest(parent=PARENT, instance_id=name)
                )
                started(server, world, liars[-1])
                for method, asked in (*READS, *changes, *READS, TERMINATE):
                    call(server, world.ours.token, method, asked(liars[-1]))
                assert status(server, world.theirs.token, f"{PARENT}/instances/one") == i.INSTANCE_STATUS_RUNNING

            every()
        script.said = []
        with running(tmp_path, says=script, loader=QUICK) as server:
            for liar in liars[-100:]:
                for method, asked in (*READS, *CHANGES, TERMINATE):
                    call(server, world.ours.token, method, asked(liar))
            assert status(server, world.theirs.token, f"{PARENT}/instances/one") in (
                i.INSTANCE_STATUS_RUNNING, i.INSTANCE_STATUS_QUEUED, i.INSTANCE_STATUS_WAITING,
            )  # fmt: skip
    assert [entry for entry in entries if entry["log_level"] in ("error", "critical")] == []


def call(server: Running, token: str, method: str, asked: Any) -> bytes:
    """The answer, or nothing where it is refused for a reason."""
    try:
        answers = server.call(f"/stepwell.v1.InstanceService/{method}", asked.SerializeToString(), token)
    except grpc.RpcError as error:
        reason, answers = told(error).reason, []
    else:
        reason = ""
    assert reason in ("", "WRONG_STATE", "LIMIT_EXCEEDED")
    assert server.log.faults == []
    return answers[0] if answers else b""


def status(server: Running, token: str, name: str) -> int:
    return i.Instance.FromString(call(server, token, "GetInstance", i.GetInstanceRequest(name=name))).status


def started(server: Running, world: World, name: str) -> None:
    """Until it runs, or has ended: what it says comes with that."""
    deadline = time.monotonic() + SETTLED_S_MAX
    while status(server, world.ours.token, name) == i.INSTANCE_STATUS_QUEUED and time.monotonic() < deadline:
        pass
