"""What a package may import, where the answer is a list of what is allowed: import-linter forbids, this permits.

Imports inside functions and under TYPE_CHECKING count like all others: a room's guests are known by its text.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.architecture.sources import Source

# What can neither read a clock, draw a random number, do I/O nor start anything.
PURE_STANDARD_LIBRARY = frozenset(
    "__future__ abc bisect collections dataclasses enum functools hashlib heapq itertools json math operator re string "
    "struct types typing".split()
)
THIRD_PARTY_OF_THE_SDK = ("stepwell.client", "stepwell.cli", "stepwell.testing", "stepwell.v1")
USERS_OF_THE_ENGINE = ("stepwell.engine", "stepwell.testing")


def is_in(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these packages or lies below one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@dataclass(frozen=True, slots=True)
class Arrow:
    """The modules of one place, and what they may import."""

    says: str
    applies: Callable[[str], bool]
    allows: Callable[[str], bool]


ARROWS = (
    Arrow(
        "the engine imports pure standard library and stepwell's value types",
        applies=lambda module: is_in(module, "stepwell.engine"),
        allows=lambda name: (
            name.split(".")[0] in PURE_STANDARD_LIBRARY
            or is_in(name, "stepwell.engine", "stepwell.names", "stepwell.errors", "stepwell.durations")
            or is_in(name, "stepwell.retention", "stepwell.workflow_limits")
        ),
    ),
    Arrow(
        "in the SDK, only client, cli, testing and v1 import anything but the standard library",
        applies=lambda module: is_in(module, "stepwell", "workers") and not is_in(module, *THIRD_PARTY_OF_THE_SDK),
        allows=lambda name: (
            name.split(".")[0] in sys.stdlib_module_names
            or name == "typing_extensions.TypeVar"  # for type checkers, each of which brings it
            or (is_in(name, "stepwell", "workers") and not is_in(name, *THIRD_PARTY_OF_THE_SDK))
        ),
    ),
    Arrow(
        "in the SDK, only testing imports the engine",
        applies=lambda module: is_in(module, "stepwell", "workers") and not is_in(module, *USERS_OF_THE_ENGINE),
        allows=lambda name: not is_in(name, "stepwell.engine"),
    ),
    Arrow(
        "the control plane uses loader.bundles alone of the loader",
        applies=lambda module: is_in(module, "control_plane"),
        allows=lambda name: not is_in(name, "loader", "data_plane") or is_in(name, "loader.bundles"),
    ),
    Arrow(
        "bundles know nothing else of the loader but its limits",
        applies=lambda module: is_in(module, "loader.bundles"),
        allows=lambda name: not is_in(name, "loader") or is_in(name, "loader.bundles", "loader.limits"),
    ),
)


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported name with its line: `from a.b import c` is a.b.c."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                above = source.package.split(".")
                above = above[: len(above) - node.level + 1]
                start = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{start}.{alias.name}"


def wrong_imports(arrow: Arrow, source: Source) -> list[str]:
    """Where a module imports what its place may not."""
    if not arrow.applies(source.module):
        return []
    return [f"{source.path}:{line}: {name}" for line, name in imports(source) if not arrow.allows(name)]
