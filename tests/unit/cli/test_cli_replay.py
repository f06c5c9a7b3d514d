from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import workflows_pb2 as w
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import DIGEST, FakeServer

ORDERS = "tenants/acme/workflows/order/instances"
DIFFERS = i.Replay(
    verdict=i.REPLAY_VERDICT_DIFFERS,
    position=2,
    expected="step 'charge' (call 1)",
    got="run waits for step 'book\x1b[2J' (call 1)",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "stepwell.toml").write_text('[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n')
    (made / "main.py").write_text("class Order: ...\n")
    return made


def put(server: FakeServer, count: int, status: i.InstanceStatus.ValueType = i.INSTANCE_STATUS_WAITING) -> None:
    for number in range(count):
        name = f"{ORDERS}/{status}-{number}"
        server.instances[name] = i.Instance(name=name, status=status, version=f"tenants/acme/versions/{DIGEST}")


def put_version(server: FakeServer) -> None:
    manifest = w.Manifest(workflows=[w.WorkflowEntry(workflow_id="order", entrypoint="main:Order")])
    server.versions = [w.Version(name=f"tenants/acme/versions/{DIGEST}", manifest=manifest)]


def test_a_folder_is_deployed_without_a_route_and_all_that_matches_is_well(
    cli: Cli, server: FakeServer, folder: Path
) -> None:
    put(server, 2)
    done = cli("replay", str(folder), "--tenant", "acme", "-o", "json")
    assert server.deploys == [True]
    assert (done.status, done.err) == (0, "")
    told = done.document
    assert (told["version"], told["matches"], told["differs"], told["unchecked"]) == (DIGEST, 2, 0, 0)
    assert told["replays"][0] == {
        "tenant": "acme", "workflow": "order", "instance": "4-0", "verdict": "matches", "next": "run returned",
        "position": None, "expected": None, "got": None, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "verdict", [DIFFERS, i.Replay(verdict=i.REPLAY_VERDICT_UNCHECKED, reason="its sandbox ended: it spun")]
)
def test_a_difference_or_a_replay_without_an_end_is_told_whole_with_exit_status_1(
    cli: Cli, server: FakeServer, verdict: i.Replay
) -> None:
    put_version(server)
    put(server, 2)
    server.verdicts[f"{ORDERS}/4-1"] = verdict
    done = cli("replay", "--version", DIGEST, "--tenant", "acme", "-o", "json")
    assert (done.status, done.err) == (1, "")
    (told,) = [each for each in done.document["replays"] if each["instance"] == "4-1"]
    if verdict is DIFFERS:
        assert (told["position"], told["expected"]) == (2, "step 'charge' (call 1)")
        assert done.document["differs"] == 1
    else:
        assert (told["verdict"], told["reason"]) == ("unchecked", "its sandbox ended: it spun")
    shown = cli("replay", "--version", DIGEST, "--tenant", "acme")
    assert shown.status == 1
    assert "\x1b" not in shown.out
    assert "4-1" in shown.out
    assert "1 matches" in shown.err


def test_the_sample_is_spread_over_what_has_not_ended_and_filled_with_what_has(cli: Cli, server: FakeServer) -> None:
    put_version(server)
    put(server, 10)
    put(server, 3, i.INSTANCE_STATUS_COMPLETE)
    asked = ("replay", "--version", DIGEST, "--tenant", "acme", "-o", "json")
    cli(*asked, "--sample", "5")
    assert sorted(server.replayed) == [f"{ORDERS}/4-{number}" for number in (0, 2, 4, 6, 8)]
    server.replayed.clear()
    cli(*asked, "--sample", "12")
    assert len(server.replayed) == 12
    assert {f"{ORDERS}/6-0", f"{ORDERS}/6-1"} < set(server.replayed)


def test_named_instances_alone_are_replayed_and_one_that_is_not_there_is_an_error(cli: Cli, server: FakeServer) -> None:
    put_version(server)
    put(server, 3)
    asked = ("replay", "--version", DIGEST, "--workflow", "order", "--tenant", "acme", "-o", "json")
    assert cli(*asked, "--instance", "4-1", "--instance", "4-2").status == 0
    assert server.replayed == [f"{ORDERS}/4-1", f"{ORDERS}/4-2"]
    assert cli(*asked, "--instance", "nobody").error["reason"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "words",
    [[], ["--version", DIGEST, "."], ["--version", DIGEST, "--instance", "one"]],
)
def test_what_to_replay_on_is_said_once_and_an_instance_with_its_workflow(cli: Cli, words: list[str]) -> None:
    assert cli("replay", *words, "--tenant", "acme", "-o", "json").status == 2


def test_a_workflow_that_the_version_does_not_have_is_an_error(cli: Cli, server: FakeServer) -> None:
    put_version(server)
    done = cli("replay", "--version", DIGEST, "--workflow", "other", "--tenant", "acme", "-o", "json")
    assert (done.status, done.error["reason"]) == (1, "NOT_FOUND")
