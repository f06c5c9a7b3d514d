"""An instance's life by the shipped command, as a script would live it: documents, statuses and exit codes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.api import BUNDLES
from tests.e2e.server import Server
from tests.e2e.shell import Shell

PATIENCE_S = 30.0


class OrderShell(Shell):
    """Knows how to wait for the order."""

    async def reaches(self, status: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = await self.document("instances", "describe", "order", "latest", "--tenant", "acme")
                if seen["status"] == status:
                    return seen
                await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_life_by_the_command(server: Server) -> None:
    await server.start()
    shell, acme = OrderShell(server), ("--tenant", "acme")
    assert (await shell.document("doctor"))["status"] in ("ok", "warning")
    await shell.document("tenants", "create", "acme")
    deployed = await shell.document("deploy", str(BUNDLES / "story"), *acme)
    assert deployed["created"] is True
    assert (await shell.document("deploy", str(BUNDLES / "story"), *acme))["created"] is False

    first = await shell.document("workflows", "trigger", "order", *acme, "--id", "a1", "--params", '{"x": 1}')
    assert (first["id"], first["params"], first["version"]) == ("a1", {"x": 1}, deployed["version"])
    taken = await shell.refused("workflows", "trigger", "order", *acme, "--id", "a1")
    assert taken["reason"] == "ALREADY_EXISTS"

    await shell.reaches("waiting")
    await shell.document("instances", "send-event", "order", "a1", *acme, "--type", "approve", "--payload", '"me"')
    async with asyncio.timeout(PATIENCE_S):
        while "slow" not in {step["name"] for step in (await shell.reaches("running"))["steps"]}:
            await asyncio.sleep(0.1)
    paused = await shell.document("instances", "pause", "order", "a1", *acme)
    assert paused["status"] == "waitingForPause"
    held = await shell.reaches("paused")
    assert [(step["name"], step["status"], step["attempts"]) for step in held["steps"]] == [
        ("charge", "complete", 2),
        ("approval", "complete", 1),
        ("slow", "complete", 1),
    ]
    await shell.document("instances", "resume", "order", "a1", *acme)
    assert (await shell.reaches("complete"))["output"] == {"approved": "me"}

    status, out, _ = await shell.run("instances", "watch", "order", "a1", *acme, "-o", "json")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert (events[0]["type"], events[-1]["type"], events[-1]["status"]) == ("created", "completed", "complete")

    await shell.document("instances", "delete", "order", "a1", *acme)
    assert (await shell.refused("instances", "describe", "order", "a1", *acme))["reason"] == "NOT_FOUND"
    await shell.document("workflows", "trigger", "order", *acme, "--id", "a1")
    ended = await shell.document("instances", "terminate", "order", "a1", *acme)
    assert ended["status"] == "terminated"
    late = await shell.refused("instances", "send-event", "order", "a1", *acme, "--type", "approve")
    assert late["reason"] == "WRONG_STATE"
    listed = await shell.document("instances", "list", "order", *acme)
    assert [(item["id"], item["status"]) for item in listed["items"]] == [("a1", "terminated")]

    assert (await shell.run("workflows", "trigger", "order", *acme, "--params", "{nope"))[0] == 2
    assert await server.stop() == 0
    assert (await shell.run("instances", "list", "order", *acme))[0] == 3
