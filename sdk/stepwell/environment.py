"""The manifest's `[vars]`: `self.env` of every workflow, and `env` of Cloudflare's `workers`.

One for a process, since a process that runs workflows holds one version of one tenant's code; filled before that code
is
imported, so that a module's top level may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class Env:
    """Variables as attributes. Values are text."""

    def fill(self, variables: Mapping[str, str]) -> None:
        """Have these variables from now on."""
        self.__dict__.clear()
        self.__dict__.update(variables)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(vars(self))) or "nothing"
        raise AttributeError(f"env has no {name!r}: put it below [vars] in stepwell.toml (env has {known})")

    def __repr__(self) -> str:
        return f"Env({', '.join(sorted(vars(self)))})"


ENV: Final = Env()
