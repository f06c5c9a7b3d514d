"""The manifest's `[vars]` and bindings: `self.env` of every workflow, and `env` of Cloudflare's `workers`.

One for a process, since a process that runs workflows holds one version of one tenant's code; filled before that code
is
imported, so that a module's top level may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stepwell.bindings import WorkflowBinding


class Env:
    """Variables as attributes, whose values are text, and bindings, which are workflows."""

    def fill(self, variables: Mapping[str, str], bindings: Mapping[str, WorkflowBinding] | None = None) -> None:
        """Have these variables and bindings from now on."""
        self.__dict__.clear()
        self.__dict__.update(variables)
        self.__dict__.update(bindings or {})

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(vars(self))) or "nothing"
        raise AttributeError(
            f"env has no {name!r}: put it below [vars] or [[bindings]] in stepwell.toml (env has {known})"
        )

    def __repr__(self) -> str:
        return f"Env({', '.join(sorted(vars(self)))})"


ENV: Final = Env()
