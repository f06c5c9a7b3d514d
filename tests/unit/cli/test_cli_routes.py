"""Versions and the routes to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.v1 import workflows_pb2 as w
from stepwell.v1.resources_pb2 import Retention
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import DIGEST, FakeServer

ACME = ("--tenant", "acme")
JSON = ("-o", "json")
SAME = ("same.py", False, 4, "ff")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    made = tmp_path / "order"
    made.mkdir()
    (made / "main.py").write_text("class Order: ...\n")
    (made / "stepwell.toml").write_text(
        '[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n[vars]\nREGION = "eu"\n'
    )
    return str(made)


def test_a_deploy_may_leave_the_routes_alone(cli: Cli, server: FakeServer, folder: str) -> None:
    shown = cli("deploy", folder, *ACME, "--no-route").out
    assert server.deploys == [True]
    assert "Deployed without a route" in shown
    cli("deploy", folder, *ACME)
    assert server.deploys[-1] is False
    assert "its routes stay" in cli("deploy", folder, *ACME, "--no-route").out


def test_a_version_is_described(cli: Cli, folder: str) -> None:
    cli("deploy", folder, *ACME)
    document = cli("versions", "describe", DIGEST, *ACME, *JSON).document
    assert document == {
        "tenant": "acme",
        "version": DIGEST,
        "workflows": [
            {"name": "order", "entrypoint": "main:Order", "schedules": [], "retention": None, "limits": None}
        ],
        "vars": {"REGION": "eu"},
        "bindings": {},
        "fileCount": 2,
        "sizeBytes": 0,
        "state": "unspecified",
        "routedWorkflows": [],
        "pinnedInstances": 0,
        "createTime": None,
    }
    shown = cli("versions", "describe", DIGEST, *ACME).out
    assert all(text in shown for text in (DIGEST, "acme", "var REGION", "eu", "order", "main:Order"))
    assert "SCHEDULE OF" not in shown
    ended = cli("versions", "describe", "sha256-" + "0" * 64, *ACME, *JSON)
    assert (ended.status, ended.error["reason"]) == (1, "NOT_FOUND")


@pytest.mark.parametrize("version", ["latest", DIGEST[:-1], DIGEST.upper()])
def test_what_is_no_version_is_refused_here(cli: Cli, version: str) -> None:
    for verb in (("versions", "describe", version), ("routes", "set", "order", version)):
        assert cli(*verb, *ACME, *JSON).error["reason"] == "USAGE"


def test_a_route_is_set_and_listed(cli: Cli) -> None:
    route = cli("routes", "set", "order", DIGEST, *ACME, *JSON).document
    assert route == {
        "tenant": "acme",
        "workflow": "order",
        "version": DIGEST,
        "entrypoint": "main:Order",
        "targets": [{"version": DIGEST, "weight": 100, "entrypoint": "main:Order"}],
        "previousTargets": None,
        "etag": "1",
        "updateTime": None,
    }
    assert cli("routes", "list", *ACME, *JSON).document == {"items": [route], "nextPageToken": None}
    assert DIGEST in cli("routes", "list", *ACME).out
    assert cli("routes", "set", "order", DIGEST, *ACME).out == f"New instances of order get {DIGEST}\n"


def test_an_etag_is_handed_on(cli: Cli) -> None:
    cli("routes", "set", "order", DIGEST, *ACME)
    assert cli("routes", "set", "order", DIGEST, *ACME, "--etag", "1").status == 0
    ended = cli("routes", "set", "order", DIGEST, *ACME, "--etag", "1", *JSON)
    assert (ended.status, ended.error["reason"], ended.error["code"]) == (1, "CONFLICT", "ABORTED")


def test_a_canary_is_set_shown_promoted_and_rolled_back(cli: Cli) -> None:
    canary = "sha256-" + "1" * 64
    cli("routes", "set", "order", DIGEST, *ACME)
    told = cli("routes", "set", "order", DIGEST, f"{canary}=5", *ACME).out
    assert told == f"New instances of order get {DIGEST} 95%, {canary} 5%\n"
    shown = cli("routes", "describe", "order", *ACME).out
    assert all(text in shown for text in (f"{DIGEST}  95%", f"{canary}  5%", "before", "etag"))
    (listed,) = cli("routes", "list", *ACME, *JSON).document["items"]
    assert [(each["version"], each["weight"]) for each in listed["targets"]] == [(DIGEST, 95), (canary, 5)]
    assert cli("routes", "describe", "order", *ACME, *JSON).document == listed
    assert f"{DIGEST} 95%, {canary} 5%" in cli("routes", "list", *ACME).out
    told = cli("routes", "promote", "order", *ACME).out
    assert told == f"New instances of order get {canary}\n  before: {DIGEST} 95%, {canary} 5%\n"
    changed = cli("routes", "rollback", "order", *ACME, *JSON).document
    assert [each["weight"] for each in changed["route"]["targets"]] == [95, 5]
    assert [each["version"] for each in changed["replacedTargets"]] == [canary]
    changed = cli("routes", "promote", "order", DIGEST, *ACME, *JSON).document
    assert changed["route"]["version"] == DIGEST
    ended = cli("routes", "rollback", "order", *ACME, "--etag", "1", *JSON)
    assert (ended.status, ended.error["reason"]) == (1, "CONFLICT")
    ended = cli("routes", "describe", "bill", *ACME, *JSON)
    assert (ended.status, ended.error["reason"]) == (1, "NOT_FOUND")


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (("{}=50", "{}=60"), "add up to 110"),
        (("{}", "{}"), "at most one may be without"),
        (("{}=100", "{}"), "leave something"),
        (("{}=90",), "add up to 90"),
        (("{}=0", "{}"), "no percentage"),
        (("{}=5%", "{}"), "no percentage"),
    ],
)
def test_percentages_that_are_no_whole_are_wrong_usage(cli: Cli, versions: tuple[str, ...], said: str) -> None:
    given = [text.format(f"sha256-{number:064d}") for number, text in enumerate(versions)]
    ended = cli("routes", "set", "order", *given, *ACME, *JSON)
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")
    assert said in ended.error["message"]


def test_two_versions_are_compared(cli: Cli, server: FakeServer) -> None:
    old, new = DIGEST, "sha256-" + "1" * 64
    daily = w.Schedule(cron="0 9 * * *", timezone="Europe/Berlin", catch_up=w.CATCH_UP_ALL)
    manifests = {
        old: w.Manifest(
            workflows=[
                w.WorkflowEntry(workflow_id="order", entrypoint="main:Order", retention=Retention(success_ms=60_000))
            ],
            vars={"REGION": "eu", "OLD": "1"},
        ),
        new: w.Manifest(
            workflows=[
                w.WorkflowEntry(
                    workflow_id="order",
                    entrypoint="main:Order2",
                    retention=Retention(success_ms=60_000, error_ms=86_400_000),
                ),
                w.WorkflowEntry(
                    workflow_id="bill",
                    entrypoint="main:Bill",
                    limits=w.WorkflowLimits(steps=5),
                    schedules=[daily],
                ),
            ],
            vars={"REGION": "us"},
        ),
    }
    files = {
        old: [
            ("a.py", False, 1, "aa"),
            ("gone.py", False, 2, "bb"),
            ("run", False, 3, "cc"),
            SAME,
        ],
        new: [("a.py", False, 5, "dd"), ("new.py", True, 6, "ee"), ("run", True, 3, "cc"), SAME],
    }
    for digest, manifest in manifests.items():
        name = f"tenants/acme/versions/{digest}"
        server.versions.append(w.Version(name=name, manifest=manifest))
        server.version_files[name] = [
            w.VersionFile(path=path, executable=executable, size_bytes=size, sha256=sha256)
            for path, executable, size, sha256 in files[digest]
        ]
    document = cli("versions", "diff", old, new, *ACME, *JSON).document
    assert (document["from"], document["to"], document["tenant"]) == (old, new, "acme")
    assert [each["path"] for each in document["files"]["added"]] == ["new.py"]
    assert document["files"]["removed"] == [{"path": "gone.py", "executable": False, "sizeBytes": 2, "sha256": "bb"}]
    assert [each["path"] for each in document["files"]["changed"]] == ["a.py", "run"]
    assert document["files"]["changed"][0]["to"] == {"executable": False, "sizeBytes": 5, "sha256": "dd"}
    assert document["files"]["unchanged"] == 1
    assert document["workflows"] == {
        "added": [{"name": "bill", "entrypoint": "main:Bill"}],
        "removed": [],
        "changed": [{"name": "order", "from": "main:Order", "to": "main:Order2"}],
        "unchanged": 0,
    }
    assert document["schedules"]["added"] == [{"schedule": "bill: 0 9 * * * Europe/Berlin", "catchUp": "all"}]
    assert document["retention"] == {
        "added": [],
        "removed": [],
        "changed": [
            {
                "name": "order",
                "from": {"successMs": 60_000, "errorMs": None},
                "to": {"successMs": 60_000, "errorMs": 86_400_000},
            }
        ],
        "unchanged": 0,
    }
    assert document["limits"]["added"] == [{"name": "bill", "limits": {"steps": 5, "concurrency": None}}]
    assert document["vars"]["removed"] == [{"name": "OLD", "value": "1"}]
    assert document["vars"]["changed"] == [{"name": "REGION", "from": "eu", "to": "us"}]
    shown = cli("versions", "diff", old, new, *ACME).out.splitlines()
    assert shown == [
        f"From {old} to {new}",
        "  + new.py  6 bytes executable",
        "  - gone.py  2 bytes",
        "  ~ a.py  1 bytes → 5 bytes",
        "  ~ run  3 bytes → 3 bytes executable  the same bytes",
        "  + workflow bill  main:Bill",
        "  ~ workflow order  main:Order → main:Order2",
        "  + schedule bill: 0 9 * * * Europe/Berlin  all",
        "  ~ retention of order  success 1 m, error for ever → success 1 m, error 1 d",
        "  + limits of bill  steps 5",
        "  - var OLD  1",
        "  ~ var REGION  eu → us",
    ]
    assert cli("versions", "diff", old, old, *ACME).out.endswith(
        "  = the same files, workflows, schedules, values and bindings\n"
    )


def test_a_version_is_drained_and_retired(cli: Cli, server: FakeServer, folder: str) -> None:
    cli("deploy", folder, *ACME)
    cli("routes", "set", "order", "sha256-" + "1" * 64, f"{DIGEST}=5", *ACME)
    server.versions[0].state = w.VERSION_STATE_UNROUTED
    server.pinned = 2
    document = cli("versions", "describe", DIGEST, *ACME, *JSON).document
    assert (document["state"], document["pinnedInstances"]) == ("draining", 2)
    assert "2 instances that have not ended" in cli("versions", "describe", DIGEST, *ACME).out
    assert "unrouted" in cli("versions", "list", *ACME).out
    assert "draining  2 " in cli("versions", "list", "--usage", *ACME).out
    assert cli("versions", "list", "--usage", *ACME, *JSON).document["items"] == [document]
    assert "pinnedInstances" not in cli("versions", "list", *ACME, *JSON).document["items"][0]
    assert cli("versions", "drain", DIGEST, *ACME).out == f"New instances of order get sha256-{'1' * 64} 95%\n"
    assert cli("versions", "drain", DIGEST, *ACME).out == f"No route names {DIGEST}\n"
    assert cli("versions", "drain", DIGEST, *ACME, *JSON).document == {"version": DIGEST, "routes": []}
    ended = cli("versions", "retire", DIGEST, *ACME, *JSON)
    assert (ended.status, ended.error["reason"], ended.error["metadata"]["pinned"]) == (1, "WRONG_STATE", "2")
    server.pinned = 0
    assert cli("versions", "retire", DIGEST, *ACME, *JSON).document == {"version": DIGEST, "retired": True}
    assert cli("versions", "retire", DIGEST, *ACME, *JSON).error["reason"] == "NOT_FOUND"
    cli("deploy", folder, *ACME)
    assert cli("versions", "retire", DIGEST, *ACME).out == f"Retired {DIGEST}\n"
