"""The wheel as a user has it: built, installed by pip beside what it asks for and nothing else, and typed."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stepwell.cli.init import WRITTEN
from tests.unit.cli.fake_server import OPERATOR, FakeServer

ROOT = Path(__file__).resolve().parents[3]

TYPED = """\
from typing import Any, assert_type

from stepwell import StepContext, WorkflowEntrypoint
from stepwell.client import Client, Json, connect, value_of
from stepwell.client import sync
from stepwell.errors import ApiError
from stepwell.v1.instances_pb2 import Instance, InstanceEvent, ListInstancesResponse


async def main(client: Client) -> None:
    made = await client.instances.create("acme", "order", {"card": "4242"}, request_id="order-1")
    assert_type(made, Instance)
    assert_type(made.name, str)
    async for event in client.within(5).instances.watch(made.name):
        assert_type(event, InstanceEvent)
    assert_type(await client.instances.result(made.name), Any)
    assert_type(value_of(made.params), Any)


with sync.connect("127.0.0.1:7837", "token") as client:
    assert_type(client.instances.create("acme", "order", Json(b"1")), Instance)
    assert_type(client.instances.list(None, "order", page_size=3), ListInstancesResponse)
    with client.instances.watch("name", status_only=True) as events:
        for event in events:
            assert_type(event, InstanceEvent)
    try:
        client.instances.pause("name")
    except ApiError as error:
        assert_type(error.retryable, bool)
"""

WRONG = """\
from stepwell.client import Client, sync


async def main(client: Client) -> None:
    await client.instances.create("acme")
    await client.instances.watch("name")


def wait(client: sync.Client) -> None:
    client.instances.create("acme")
    client.instances.create("acme", "order", card="4242")
    client.instances.send_event(7, "paid")
    next(client.instances.watch("name")).cursor + 1
"""

ASKS = """\
import sys
from stepwell.client import connect as connect_async
from stepwell.client.sync import connect

with connect(*sys.argv[1:]) as client:
    print([tenant.name for tenant in client.tenants.list().tenants])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("wheel")
    building = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run([sys.executable, *building], cwd=ROOT / "sdk", check=True, capture_output=True)
    (wheel,) = (folder / "dist").iterdir()
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (info,) = packages.glob("stepwell-*.dist-info")
    for needed in needs(Distribution.at(info), set()):
        for file in needed.files or ():
            source, place = Path(str(needed.locate_file(file))), packages / file
            if ".." not in file.parts and source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(source)
    return python


def needs(wheel: Distribution, known: set[str]) -> Iterator[Distribution]:
    """What is installed with it where no extra is asked for, as it lies in this environment."""
    for line in wheel.requires or ():
        asked = Requirement(line)
        if asked.name not in known and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            known.add(asked.name)
            found = distribution(asked.name)
            yield found
            yield from needs(found, known)


def test_it_has_all_that_it_needs_to_ask_a_server(python: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        ran = subprocess.run(
            [python, "-I", "-c", ASKS, server.endpoint, OPERATOR], capture_output=True, text=True, cwd=tmp_path
        )
    assert (ran.stdout, ran.stderr) == ("['tenants/acme']\n", "")


def test_its_types_reach_a_users_program(python: Path, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(WRONG)
    checking = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={python}"]
    ran = subprocess.run(
        [*checking, "--cache-dir", tmp_path / "cache", "typed.py", "wrong.py"],
        env={"PATH": ""}, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert ran.stderr == ""
    found = set(re.findall(r"^(\w+\.py):(\d+): error", ran.stdout, re.MULTILINE))
    calls = [number for number, line in enumerate(WRONG.splitlines(), 1) if line.startswith("    ")]
    assert found == {("wrong.py", str(number)) for number in calls}, ran.stdout


def test_it_tells_an_index_who_it_is(python: Path) -> None:
    (info,) = python.parent.parent.glob("lib/python*/site-packages/stepwell-*.dist-info")
    told = Distribution.at(info).metadata
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Description-Content-Type"] == "text/markdown"
    assert "stepwell.client" in told.json["description"]
    assert (info / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    for package in ("stepwell", "workers"):
        assert (info.parent / package / "py.typed").is_file()


def test_the_command_says_what_it_lacks_where_its_extra_is_not_installed(python: Path, tmp_path: Path) -> None:
    ran = subprocess.run([python.parent / "stepwell", "tenants", "list"], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert "pip install 'stepwell[cli]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_it_brings_the_new_project(python: Path) -> None:
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    brought = {path.name for path in (packages / "stepwell" / "cli" / "new_project").iterdir() if path.is_file()}
    assert brought == set(WRITTEN.values())
