"""The programs on the pages run, against a server as their pages have it, and print what the pages say."""

from __future__ import annotations

import asyncio
import sys
from asyncio import subprocess
from pathlib import Path

from tests.e2e.api import Api
from tests.e2e.server import Server
from tests.unit.docs.pages import ROOT, Block, blocks

PATIENCE_S = 60.0


async def test_each_program_does_what_its_page_says(server: Server, tmp_path: Path) -> None:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", ROOT / "examples" / "agent_plan", {"CURRENCY": "EUR"})
    programs = [*blocks("program")]
    assert len(programs) >= 3
    for program in programs:
        assert await last_line(program, server, tmp_path) == program.terms["last line"], program.page
    assert await server.stop() == 0


async def last_line(program: Block, server: Server, folder: Path) -> str:
    environ = server.environ | {
        "STEPWELL_ENDPOINT": server.endpoint,
        "STEPWELL_TOKEN": server.token,
        "PYTHONPATH": str(ROOT / "sdk"),
    }
    file = folder / "program.py"
    file.write_text(program.source, encoding="utf-8")
    ran = await subprocess.create_subprocess_exec(
        sys.executable, "-W", "error", str(file), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(ran.communicate(), PATIENCE_S)
    assert (ran.returncode, err.decode()) == (0, ""), program.page
    return out.decode().splitlines()[-1]
