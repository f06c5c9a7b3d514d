from __future__ import annotations

from tests.api.conftest import folder, server, world

__all__ = ["folder", "server", "world"]
