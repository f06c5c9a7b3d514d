"""Schedules: in the manifest, listed, paused and resumed, and told of the instances that they create."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import workflows_pb2 as w
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import DIGEST, FakeServer

ACME = ("--tenant", "acme")
JSON = ("-o", "json")
NAME = "tenants/acme/workflows/order"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text("class Order: ...\n")
    return tmp_path


@pytest.fixture
def scheduled(server: FakeServer) -> w.WorkflowSchedules:
    daily = w.Schedule(cron="0 9 * * *", timezone="Europe/Berlin", catch_up=w.CATCH_UP_ALL)
    active = w.ActiveSchedule(schedule=daily)
    active.next_tick_time.FromJsonString("2027-01-02T08:00:00Z")
    server.schedules[NAME] = w.WorkflowSchedules(name=NAME, schedules=[active])
    return server.schedules[NAME]


def written(folder: Path, schedules: str) -> str:
    toml = f'[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n{schedules}\n'
    (folder / "stepwell.toml").write_text(toml)
    return str(folder)


@pytest.mark.parametrize(
    "schedules",
    [
        'schedules = ["0 * * * *", { cron = "0 9 * * MON-FRI", timezone = "Europe/Berlin", catch_up = "all" }]',
        '[[workflows.schedules]]\ncron = "0 * * * *"\n[[workflows.schedules]]\ncron = "0 9 * * MON-FRI"\n'
        'timezone = "Europe/Berlin"\ncatch_up = "all"',
    ],
)
def test_they_go_with_the_manifest(cli: Cli, server: FakeServer, folder: Path, schedules: str) -> None:
    cli("deploy", written(folder, schedules), *ACME)
    assert server.manifest is not None
    assert list(server.manifest.workflows[0].schedules) == [
        w.Schedule(cron="0 * * * *", timezone="UTC", catch_up=w.CATCH_UP_LAST),
        w.Schedule(cron="0 9 * * MON-FRI", timezone="Europe/Berlin", catch_up=w.CATCH_UP_ALL),
    ]


def test_a_version_is_described_with_those_that_it_declares(cli: Cli, folder: Path) -> None:
    others = '[[workflows]]\nname = "bill"\nentrypoint = "main:Bill"'
    said = 'schedules = ["0 * * * *", { cron = "0 9 * * MON-FRI", timezone = "Europe/Berlin", catch_up = "all" }]'
    deployed = cli("deploy", written(folder, f"{said}\n{others}"), *ACME, *JSON).document
    hourly = {"cron": "0 * * * *", "timezone": "UTC", "catchUp": "last"}
    daily = {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "catchUp": "all"}
    described = cli("versions", "describe", DIGEST, *ACME, *JSON).document
    for document in (deployed, described):
        assert [each["schedules"] for each in document["workflows"]] == [[hourly, daily], []]
    shown = cli("versions", "describe", DIGEST, *ACME).out.splitlines()
    assert [" ".join(line.split()) for line in shown[-3:]] == [
        "SCHEDULE OF CRON TIME ZONE CATCH UP",
        "order 0 * * * * UTC last",
        "order 0 9 * * MON-FRI Europe/Berlin all",
    ]


@pytest.mark.parametrize("declared", [["0 * * * *", "0 9 * * MON-FRI"], "0 * * * *"])
def test_cloudflares_are_read_too(cli: Cli, server: FakeServer, folder: Path, declared: object) -> None:
    workflow = {"name": "order", "binding": "ORDER", "class_name": "Order", "schedules": declared}
    (folder / "wrangler.jsonc").write_text(json.dumps({"main": "main.py", "workflows": [workflow]}))
    cli("deploy", str(folder), *ACME)
    assert server.manifest is not None
    crons = [each.cron for each in server.manifest.workflows[0].schedules]
    assert crons == (declared if isinstance(declared, list) else [declared])


@pytest.mark.parametrize(
    ("schedules", "words"),
    [
        ("schedules = 1", "schedules is a list"),
        ("schedules = [1]", "a cron expression, or a table"),
        ('schedules = [{ timezone = "UTC" }]', "a cron expression, or a table"),
        ('schedules = ["0 9 * * 1-5"]', "MON-FRI"),
        ('schedules = [{ cron = "* * * * *", often = "x" }]', "unknown key 'often'"),
        ('schedules = [{ cron = "* * * * *", timezone = 1 }]', "timezone of a schedule is a text"),
        ('schedules = [{ cron = "* * * * *", catch_up = "some" }]', "none, last, all"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(cli: Cli, folder: Path, schedules: str, words: str) -> None:
    error = cli("deploy", written(folder, schedules), *ACME, *JSON).error
    assert error["reason"] == "BUNDLE_REFUSED"
    assert words in error["message"]
    assert error["metadata"]["line"] == "4"


def test_those_in_force_are_listed(cli: Cli, scheduled: w.WorkflowSchedules) -> None:
    (listed,) = cli("schedules", "list", *ACME, *JSON).document["items"]
    assert listed == {
        "tenant": "acme",
        "workflow": "order",
        "paused": False,
        "schedules": [
            {
                "cron": "0 9 * * *",
                "timezone": "Europe/Berlin",
                "catchUp": "all",
                "nextTickTime": "2027-01-02T08:00:00Z",
                "lastTickTime": None,
            }
        ],
    }
    shown = cli("schedules", "list", *ACME).out
    assert all(text in shown for text in ("order", "0 9 * * *", "Europe/Berlin", "2027-01-02 08:00:00 UTC", "never"))


def test_none_say_where_to_write_them(cli: Cli) -> None:
    ended = cli("schedules", "list", *ACME)
    assert ended.out == ""
    assert "stepwell.toml" in ended.err


def test_they_are_paused_and_go_on(cli: Cli, server: FakeServer, scheduled: w.WorkflowSchedules) -> None:
    shown = cli("schedules", "pause", "order", *ACME).out
    assert shown.startswith("Paused: order\n")
    assert "2027" not in shown
    assert "paused" in cli("schedules", "list", *ACME).out
    assert cli("schedules", "pause", "order", *ACME, *JSON).document["paused"] is True
    assert "next 2027-01-02 08:00:00 UTC" in cli("schedules", "resume", "order", *ACME).out
    assert cli("schedules", "pause", "other", *ACME, *JSON).error["reason"] == "NOT_FOUND"


def test_a_paused_workflow_without_schedules_is_listed(cli: Cli, server: FakeServer) -> None:
    server.schedules[NAME] = w.WorkflowSchedules(name=NAME, paused=True)
    shown = cli("schedules", "list", *ACME).out
    assert "order" in shown
    assert "paused" in shown


def test_an_instance_says_which_schedule_created_it(cli: Cli, server: FakeServer) -> None:
    name = f"{NAME}/instances/x"
    made = i.Instance(name=name, status=i.INSTANCE_STATUS_RUNNING, params=b"null")
    made.schedule.cron = "0 9 * * *"
    made.schedule.scheduled_time.FromJsonString("2027-01-02T08:00:00Z")
    server.instances[name] = made
    document = cli("instances", "describe", "order", "x", *ACME, *JSON).document
    assert document["schedule"] == {"cron": "0 9 * * *", "scheduledTime": "2027-01-02T08:00:00Z"}
    assert "0 9 * * *, due at 2027-01-02 08:00:00 UTC" in cli("instances", "describe", "order", "x", *ACME).out
