"""What workflows print, end to end: kept by step, followed through a SIGKILL, and in nobody's way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server, until
from tests.e2e.shell import Shell

ACME = ("--tenant", "acme")


async def started(server: Server, shell: Shell) -> None:
    await server.start()
    await shell.document("tenants", "create", "acme")
    await shell.document("deploy", str(BUNDLES / "prints"), *ACME)


async def listed(shell: Shell, workflow: str, *more: str) -> list[Any]:
    """All pages of a log."""
    items: list[Any] = []
    token: tuple[str, ...] = ()
    while True:
        page = await shell.document("instances", "logs", workflow, "latest", *ACME, "--page-size", "500", *more, *token)
        items += page["items"]
        if page["nextPageToken"] is None:
            return items
        token = ("--page-token", page["nextPageToken"])


@pytest.mark.timeout(180)
async def test_a_log_is_followed_through_a_sigkill_of_the_server(server: Server) -> None:
    shell = Shell(server)
    await started(server, shell)
    await shell.document("workflows", "trigger", "quiet", *ACME, "--params", "8000")
    following = await asyncio.create_subprocess_exec(
        server.command_line()[0], "instances", "logs", "quiet", "latest", *ACME, "--follow", "-o", "json",
        env=server.environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert following.stdout is not None
    lines = [json.loads(await asyncio.wait_for(following.stdout.readline(), 30)) for _ in range(5)]
    await server.kill()
    await server.start()
    rest, _ = await asyncio.wait_for(following.communicate(), 60)
    lines += map(json.loads, rest.decode().splitlines())
    assert following.returncode == 0
    assert [(line["step"], line["attempt"], line["stream"], line["text"]) for line in lines] == [
        (None, None, "stdout", "begins"),
        ("work", 1, "stderr", "tries"),
        ("work", 2, "stderr", "tries"),
        ("work", 2, "stdout", "done"),
        (None, None, "stdout", "sleeps"),
        (None, None, "stdout", "slept"),
    ]
    assert await listed(shell, "quiet") == lines
    assert [line["text"] for line in await listed(shell, "quiet", "--step", "work")] == ["tries", "tries", "done"]
    deleted = await shell.document("instances", "delete", "quiet", "latest", *ACME)
    await shell.document("workflows", "trigger", "quiet", *ACME, "--id", deleted["id"], "--params", "600000")
    async with asyncio.timeout(30):
        while len(again := await listed(shell, "quiet")) < 5:
            await asyncio.sleep(0.1)
    assert {line["cursor"] for line in again}.isdisjoint(line["cursor"] for line in lines)


@pytest.mark.timeout(180)
async def test_whoever_prints_without_end_loses_its_own_lines_alone(server: Server) -> None:
    shell = Shell(server)
    await started(server, shell)
    async with Api(server.endpoint, server.token) as api:
        loud = await api.create("tenants/acme/workflows/loud", None)
        quiet = [await api.create("tenants/acme/workflows/quiet", 10) for _ in range(5)]
        await api.ended(loud.name)
        for instance in quiet:
            await api.ended(instance.name)
    assert [line["text"] for line in await listed(shell, "quiet")][-1] == "slept"
    lines = await listed(shell, "loud")
    assert lines[-1]["text"].startswith('{"$stepwell": "forged"}\x00\x1b[2J\u202e')
    texts = [line["text"] or "" for line in lines]
    assert max(len(text.encode()) for text in texts) <= 8 * 1024
    assert sum(line["dropped"] for line in lines) > 10_000
    status, shown, _ = await shell.run("instances", "logs", "loud", "latest", *ACME)
    assert status == 0
    assert all(character == "\n" or character.isprintable() for character in shown)
    await until("the operator's log is quiet", lambda: server.log.stat().st_size < 200_000, 1)
    written = server.log.read_text()
    assert not [line for line in written.splitlines() if line.startswith("2026-01-01T00:00:00Z")]
    assert written.count("forged by fd") <= 40
    assert await server.stop() == 0
