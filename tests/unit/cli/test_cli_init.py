"""A new project is checked, tested and deployed as it is written, and takes nobody's files away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
from stepwell.cli.init import WRITTEN
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import FakeServer

SDK = Path(stepwell.__file__).parents[1]


@pytest.fixture
def project(unconnected: Cli, tmp_path: Path) -> Path:
    folder = tmp_path / "shop" / "orders"
    done = unconnected("init", str(folder))
    assert (done.status, done.err) == (0, "")
    assert f"cd {folder}" in done.out
    assert "stepwell deploy . --tenant TENANT" in done.out
    return folder


def tool(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A tool of authors', with their own environment: this one's packages, and nothing of this checkout's settings."""
    environ = {**os.environ, "PYTHONPATH": str(SDK)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=project, env=environ, capture_output=True, text=True, check=False
    )


def test_its_own_test_passes(project: Path) -> None:
    done = tool(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_its_types_are_right(project: Path) -> None:
    done = tool(project, "mypy", "--strict", "--no-incremental", ".")
    assert done.stdout == "Success: no issues found in 2 source files\n"


def test_it_is_in_order_by_the_houses_rules_too(project: Path) -> None:
    done = tool(
        project, "ruff", "check", "--isolated", "--no-cache", "--select", "E,F,I,UP,B", "--line-length=120", "."
    )
    assert done.returncode == 0, done.stdout


def test_it_deploys_and_needs_no_packages(project: Path, cli: Cli, server: FakeServer) -> None:
    assert cli("deploy", str(project), "--tenant", "acme").status == 0
    assert list(server.uploaded) == sorted(WRITTEN)
    assert server.runtimes_asked == []


def test_a_document_names_what_was_written(unconnected: Cli, tmp_path: Path) -> None:
    document = unconnected("init", str(tmp_path / "new"), "-o", "json").document
    assert document == {"folder": str(tmp_path / "new"), "files": sorted(WRITTEN)}
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == sorted(WRITTEN)


@pytest.mark.parametrize("name", ["README.md", "anything", ".env"])
def test_a_folder_that_has_something_stays_as_it_is(unconnected: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    error = unconnected("init", str(tmp_path), "-o", "json").error
    assert error["reason"] == "WRONG_STATE"
    assert name in error["message"]
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "mine")]


def test_a_new_repository_and_its_environment_are_no_hindrance(unconnected: Cli, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".venv").mkdir()
    assert unconnected("init", str(tmp_path)).status == 0
