"""The tenant's bundle, imported."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from stepwell.entrypoint import WorkflowEntrypoint
from stepwell.errors import RunRestrictionError
from stepwell.guest.failures import Bundle
from stepwell.names import PACKAGES_FOLDER


class ExecutionContext:
    """`self.ctx`: there so that a class can be constructed as at Cloudflare's; it offers nothing to a workflow."""

    def __getattr__(self, name: str) -> Any:
        raise RunRestrictionError(f"ctx.{name} is not served to workflows; do it in a step instead")


def load(path: str, entrypoints: list[str]) -> dict[str, type[WorkflowEntrypoint]]:
    """Import what the entrypoints name; packages are found behind the bundle's own modules.

    Raises whatever the import does, and ImportError for a class that is not there.
    """
    random.seed()
    root = path.rstrip("/")
    Bundle.prefix = root + "/"
    sys.path.insert(0, root)
    packages = f"{root}/{PACKAGES_FOLDER}"
    if os.path.isdir(packages):
        sys.path.append(packages)
    return {entrypoint: _class(entrypoint) for entrypoint in entrypoints}


def _class(entrypoint: str) -> type[WorkflowEntrypoint]:
    module_name, _, class_name = entrypoint.partition(":")
    try:
        __import__(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ImportError(f"entrypoint {entrypoint!r}: the bundle has no module {error.name!r}") from None
        raise
    found = getattr(sys.modules[module_name], class_name, None)
    if isinstance(found, type) and issubclass(found, WorkflowEntrypoint):
        return found
    there = ", ".join(
        name
        for name, value in vars(sys.modules[module_name]).items()
        if isinstance(value, type) and issubclass(value, WorkflowEntrypoint) and value.__module__ == module_name
    )
    if found is None:
        raise ImportError(
            f"entrypoint {entrypoint!r}: {module_name} has no {class_name!r}; its workflows are: {there or 'none'}"
        )
    raise ImportError(
        f"entrypoint {entrypoint!r}: {class_name} is no subclass of WorkflowEntrypoint; those are: {there or 'none'}"
    )
