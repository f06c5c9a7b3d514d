from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from stepwell.cli.main import main
from tests.unit.cli.fake_server import OPERATOR, FakeServer


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one document on stdout."""
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The one error on stderr, with nothing on stdout."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self
        return json.loads(self.err)


class Cli(Protocol):
    def __call__(self, *arguments: str) -> Result: ...


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No contexts and no settings but the test's own."""
    for name in ("STEPWELL_ENDPOINT", "STEPWELL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return monkeypatch


@pytest.fixture
def unconnected(environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command, with no server known."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def cli(server: FakeServer, environ: pytest.MonkeyPatch, unconnected: Cli) -> Cli:
    """The command, as the operator of the fake server."""
    environ.setenv("STEPWELL_ENDPOINT", server.endpoint)
    environ.setenv("STEPWELL_TOKEN", OPERATOR)
    return unconnected
