"""The server's own commands are in another package; this finds it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from stepwell.errors import WrongStateError


class ServerNotInstalledError(WrongStateError):
    """`stepwell_server` is not in this environment."""

    reason = "SERVER_NOT_INSTALLED"


def server_module(name: str) -> Any:
    """That module of the server, by whose `run` its commands are run. Raises ServerNotInstalledError."""
    if find_spec("stepwell_server") is None:
        raise ServerNotInstalledError(
            "the server is not installed in this environment: pip install stepwell-server",
        )
    return import_module(f"stepwell_server.{name}")
