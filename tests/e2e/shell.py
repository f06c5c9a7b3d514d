"""The shipped command as a user of a server's contexts runs it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.e2e.server import Server


class Shell:
    """Runs the command against the server's own context; or with another token, where one is given."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self._command = server.command_line()[0]
        self._environ = server.environ | ({} if token is None else {"STEPWELL_TOKEN": token})
        self._endpoint = server.endpoint

    async def begin(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self._command, *words, env=self._environ, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        process = await self.begin(*words)
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def document(self, *words: str, stdin: str = "") -> Any:
        status, out, err = await self.run(*words, "-o", "json", stdin=stdin)
        assert status == 0, err
        return json.loads(out)

    async def refused(self, *words: str) -> Any:
        status, out, err = await self.run(*words, "-o", "json")
        assert status == 1, (out, err)
        assert out == ""
        return json.loads(err.splitlines()[-1])
