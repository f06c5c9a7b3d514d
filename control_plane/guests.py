"""The port to those that run guests: what tenants' code runs on."""

from __future__ import annotations

from typing import Protocol

from loader.bundles.runtime import GuestRuntime


class Guests(Protocol):
    """Answered by a data node; a control server has no guests. It starts none and changes nothing: ask again at will.

    Nodes of one installation are taken to be alike. Where they are not, as while they are renewed one by one, the
    answer is one of theirs.
    """

    async def runtime(self) -> GuestRuntime:
        """Raises SandboxUnavailableError when nobody could tell."""
