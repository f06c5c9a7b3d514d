"""The clients of examples/clients, in Go, TypeScript and Java: built from proto/, run against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from asyncio import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.server import Server

ROOT = Path(__file__).resolve().parents[2]
BUILD_S_MAX = 600
RUN_S_MAX = 60

# What each does is a story of seconds; to build them takes longer, once.
pytestmark = [pytest.mark.timeout(BUILD_S_MAX + 2 * RUN_S_MAX), pytest.mark.xdist_group("polyglot")]

PAGE = (ROOT / "examples" / "clients" / "README.md").read_text(encoding="utf-8")
COMMANDS = {
    language: (folder, command)
    for language, folder, command in re.findall(
        r"^\| \[(\w+)\]\((\w+)/[^)]*\) \|[^|]*\|[^|]*\| `([^`]*)` \|$", PAGE, re.MULTILINE
    )
}
"""By language, where its client is and how the page says that it is run."""
STORY = ["created", "started", "stepStarted approval", "eventReceived", "stepCompleted place order", "completed"]


@pytest.fixture(scope="module")
def clients() -> Path:
    """The folder that they are built in. Tests beside this one come first: compilers take all there is."""
    build = ["nice", "-n", "5", str(ROOT / "scripts" / "example_clients")]
    built = asyncio.run(output_of(build, ROOT, {}, BUILD_S_MAX))
    return Path(built.splitlines()[-1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """In plain processes: what is asked of it here is what any server answers."""
    with tempfile.TemporaryDirectory(prefix="stepwell-polyglot-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), sandbox="process")
        try:
            asyncio.run(started(server))
            yield server
        finally:
            server.end()


async def started(server: Server) -> None:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", ROOT / "examples" / "agent_plan", {"CURRENCY": "EUR"})


async def output_of(command: list[str], folder: Path, environ: dict[str, str], within_s: float) -> str:
    """What it prints; what it complains of is in the failure."""
    ran = await subprocess.create_subprocess_exec(
        *command, cwd=folder, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(ran.communicate(), within_s)
    finally:
        if ran.returncode is None:
            ran.kill()
    assert ran.returncode == 0, err.decode(errors="replace")
    sys.stderr.write(err.decode(errors="replace"))
    return out.decode()


def test_the_page_has_all_of_them() -> None:
    folders = {path.name for path in (ROOT / "examples" / "clients").iterdir() if path.is_dir()}
    assert {folder for folder, _ in COMMANDS.values()} == folders == {"go", "node", "java"}


async def printed(language: str, clients: Path, server: Server) -> list[str]:
    """The lines of one run."""
    folder, command = COMMANDS[language]
    environ = {"STEPWELL_ENDPOINT": server.endpoint, "STEPWELL_TOKEN": server.token}
    return (await output_of(["/bin/sh", "-c", f"exec {command}"], clients / folder, environ, RUN_S_MAX)).splitlines()


@pytest.mark.parametrize("language", COMMANDS)
async def test_a_client_creates_watches_sends_and_reads(language: str, clients: Path, server: Server) -> None:
    *told, output = await printed(language, clients, server)
    assert [line.strip() for line in told if line.strip() in STORY] == STORY
    assert json.loads(output)["decision"] == f"approved by {language}"
    assert await printed(language, clients, server) == [*told, output], "the same call is the same instance"
