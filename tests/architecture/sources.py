"""The files that people wrote, for the tests that read the project as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OF_THE_SERVER_ALONE = ("cluster", "rpc", "loader", "control_plane", "data_plane", "stepwell_server")
SERVER_PACKAGES = ("sdk/stepwell/engine", *_OF_THE_SERVER_ALONE)
"""The engine is in the SDK for the testing kit: it is held to what the server is held to."""
SDK_PACKAGES = ("sdk/stepwell", "sdk/workers")
PACKAGES = (*SDK_PACKAGES, *_OF_THE_SERVER_ALONE)
WRITTEN = (*PACKAGES, "scripts", "tests", "bench", "examples", "proto", "docs", "deploy")
_TEXT = {".py", ".proto", ".md", ".toml", ".sh", ".yaml", ".yml", ".sql", ".txt"}
_GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


@dataclass(frozen=True, slots=True)
class Source:
    """A file by its path from the checkout's root, with '/' between its parts."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @property
    def module(self) -> str:
        """Its import name; what lies in sdk/ is imported from there."""
        parts = self.path.removeprefix("sdk/").removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.module if self.path.endswith("/__init__.py") else self.module.rpartition(".")[0]

    def lies_in(self, *folders: str) -> bool:
        return any(self.path.startswith(f"{folder}/") for folder in folders)


def written(*folders: str) -> Iterator[Source]:
    """Every hand-written text file below these folders of the checkout, in order."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _TEXT and not path.name.endswith(_GENERATED) and path.is_file():
                yield Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
