"""Asks an interpreter of this machine what it is. No tenant's code is involved."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from loader.bundles.runtime import GuestRuntime
from loader.sandbox.sandbox import SandboxError

_ASK: Final = """
import json, os, platform, sys
try:
    libc, _, libc_version = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")
except (AttributeError, OSError, ValueError):
    libc = libc_version = ""
print(json.dumps([platform.python_version(), sys.implementation.name, platform.machine(), libc, libc_version]))
"""


async def runtime_of(python: str) -> GuestRuntime:
    """What that interpreter says of itself. Raises SandboxError."""
    try:
        process = await asyncio.create_subprocess_exec(
            python, "-I", "-S", "-c", _ASK, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise SandboxError(f"{python}: {error}") from error
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SandboxError(f"{python} does not say what it is: it ended with {process.returncode}")
    return GuestRuntime(*json.loads(output))
