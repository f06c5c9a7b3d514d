"""What scripts may rely on around `stepwell dev`: how it begins, ends and refuses, and the exit codes of the others."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server

INSTANCE_KEYS = frozenset(
    "tenant workflow id status version params output error steps createTime startTime endTime".split()
)
STEP_KEYS = frozenset("name count kind status attempts output error startTime endTime".split())
REFUSED_S_MAX = 20


def run(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user of that server's contexts."""
    return subprocess.run(
        [server.command_line()[0], *words],
        env=server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def document(server: Server, *words: str) -> Any:
    done = run(server, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused_start(server: Server, command: list[str]) -> str:
    """What a server that may not start says in its one line."""
    done = subprocess.run(
        command, env=server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=REFUSED_S_MAX,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.timeout(180)
async def test_documents_have_what_is_promised_and_latest_is_the_newest(server: Server) -> None:
    await server.start()
    context = Path(server.environ["XDG_CONFIG_HOME"]) / "stepwell" / "contexts.toml"
    assert stat.S_IMODE(context.stat().st_mode) == 0o600
    doctor = document(server, "doctor")
    assert {"status", "checks"} <= doctor.keys()
    assert all({"name", "status", "detail"} <= check.keys() for check in doctor["checks"])
    document(server, "tenants", "create", "acme")
    assert [each["tenant"] for each in document(server, "tenants", "list")["items"]] == ["acme"]
    acme = ("--tenant", "acme")
    deployed = document(server, "deploy", str(BUNDLES / "behaviours"), *acme)
    assert (deployed["tenant"], deployed["created"]) == ("acme", True)
    unsaid: dict[str, object] = {"schedules": [], "retention": None, "limits": None}
    assert deployed["workflows"] == [{"name": "behaviours", "entrypoint": "behaviours:Behaviours", **unsaid}]
    assert [each["version"] for each in document(server, "versions", "list", *acme)["items"]] == [deployed["version"]]
    assert [each["name"] for each in document(server, "workflows", "list", *acme)["items"]] == ["behaviours"]
    document(server, "workflows", "trigger", "behaviours", *acme, "--id", "first", "--params", '{"do": "nothing"}')
    document(server, "workflows", "trigger", "behaviours", *acme, "--id", "second", "--params", '{"do": "events"}')
    instances = ("instances",)
    for number in range(2):
        document(
            server, *instances, "send-event", "behaviours", "latest", *acme, "--type", "go", "--payload", str(number)
        )
    watched = run(server, *instances, "watch", "behaviours", "latest", *acme, "-o", "json")
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert all(line.keys() == {"cursor", "time", "type", "status", "step"} for line in lines)
    assert (lines[0]["type"], lines[-1]["type"]) == ("created", "completed")
    described = document(server, *instances, "describe", "behaviours", "latest", *acme)
    assert described.keys() >= INSTANCE_KEYS
    assert all(step.keys() >= STEP_KEYS for step in described["steps"])
    assert (described["id"], described["status"], described["output"]) == ("second", "complete", [0, 1])
    assert [(step["name"], step["count"], step["kind"], step["attempts"]) for step in described["steps"]] == [
        ("nap", 1, "sleep", 1),
        ("go", 1, "waitForEvent", 1),
        ("go", 2, "waitForEvent", 1),
    ]
    failed = run(server, *instances, "describe", "behaviours", "nobody", *acme, "-o", "json")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert json.loads(failed.stderr)["reason"] == "NOT_FOUND"
    assert run(server, *instances, "describe", "behaviours", "-x", *acme).returncode == 2
    assert document(server, *instances, "delete", "behaviours", "latest", *acme)["id"] == "second"
    assert [each["id"] for each in document(server, *instances, "list", "behaviours", *acme)["items"]] == ["first"]
    assert await server.stop() == 0
    assert run(server, "doctor").returncode == 3
    assert run(server, "tenants", "list").returncode == 3


async def test_sigterm_ends_it_in_good_order_in_the_middle_of_a_step(server: Server) -> None:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "behaviours")
        created = await api.create("tenants/acme/workflows/behaviours", {"do": "slow", "s": 2})
        await api.reached(created.name, lambda instance: instance.status == pb.INSTANCE_STATUS_RUNNING)
        children = server.processes()
        began = time.monotonic()
        assert await server.stop() == 0
        assert time.monotonic() - began < 12
        assert children
        assert server.processes() == []
        assert "Traceback" not in server.log.read_text()
        await server.start()
        ended = await api.ended(created.name)
        assert json.loads(ended.output) == ["slow is done", "next is done"]
        assert await server.stop() == 0


async def test_a_second_server_on_the_same_data_is_refused(server: Server) -> None:
    await server.start()
    words = server.command_line()
    words[words.index("--port") + 1] = "0"
    said = await asyncio.to_thread(refused_start, server, words)
    assert str(server.data) in said
    assert run(server, "doctor").returncode == 0
    assert await server.stop() == 0


async def test_a_taken_port_is_named(make_server: Any) -> None:
    server, other = make_server(), make_server()
    await server.start()
    words = other.command_line()
    port = server.endpoint.rpartition(":")[2]
    words[words.index("--port") + 1] = port
    said = await asyncio.to_thread(refused_start, other, words)
    assert f"port {port}" in said
    assert "--port" in said
    assert await server.stop() == 0


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("[loader]\nwarm = 1\n", "'warm'"),
        ("[lauder]\n", "'lauder'"),
        ("[loader]\nwarm_sandboxes = '1'\n", "loader.warm"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named_with_its_file(make_server: Any, config: str, named: str) -> None:
    server = make_server(config=config)
    said = refused_start(server, server.command_line())
    assert named in said
    assert str(server.data / "config.toml") in said
