from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import ACME, DIGEST, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order, step


def test_what_is_suggested_can_be_pasted(cli: Cli, server: FakeServer) -> None:
    triggered = cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "o-1")
    assert "stepwell instances watch order o-1 --tenant acme" in triggered.err


def test_what_failed_says_where_its_prints_are(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    shown = cli("instances", "describe", "order", "latest", "--tenant", "acme").out
    assert "stepwell instances logs order o-1 --tenant acme\n" in shown
    assert "stepwell workflows trigger order --tenant acme\n" in shown


def test_trigger_prints_the_new_instance(cli: Cli, server: FakeServer) -> None:
    made = cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "o-1", "--params", '{"a": 1}', "-o", "json")
    assert made.status == 0
    assert made.document == {
        "tenant": "acme",
        "workflow": "order",
        "id": "o-1",
        "uid": "iu1",
        "status": "queued",
        "version": DIGEST,
        "params": {"a": 1},
        "output": None,
        "error": None,
        "forkedFrom": None,
        "rollback": None,
        "steps": [],
        "stepsNextPageToken": None,
        "createTime": "2026-01-02T03:04:05.678Z",
        "startTime": None,
        "endTime": None,
        "cancelTime": None,
        "cancelReason": None,
        "parent": None,
        "retention": None,
        "expireTime": None,
        "bufferedEvents": None,
        "deadEvents": None,
        "schedule": None,
    }
    assert server.created[0].request_id


def test_a_trigger_may_say_how_long_the_instance_is_kept(cli: Cli, server: FakeServer) -> None:
    cli("workflows", "trigger", "order", "--tenant", "acme", "--success-retention", "7 days")
    cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "o-2", "--error-retention", "60000")
    kept = [request.retention for request in server.created]
    assert [(each.success_ms, each.HasField("error_ms")) for each in kept] == [(604_800_000, False), (0, True)]
    assert (kept[1].error_ms, kept[1].HasField("success_ms")) == (60_000, False)


def test_describe_says_when_it_is_deleted(cli: Cli, server: FakeServer) -> None:
    order = put_errored_order(server)
    order.retention.error_ms = 86_400_000
    order.expire_time.FromJsonString("2026-01-03T03:04:36Z")
    document = cli("instances", "describe", "order", "o-1", "--tenant", "acme", "-o", "json").document
    assert document["retention"] == {"successMs": None, "errorMs": 86_400_000}
    assert document["expireTime"] == "2026-01-03T03:04:36Z"
    shown = cli("instances", "describe", "order", "o-1", "--tenant", "acme").out
    assert "2026-01-03 03:04:36 UTC" in shown


def test_omitted_params_are_null(cli: Cli, server: FakeServer) -> None:
    assert cli("workflows", "trigger", "order", "--tenant", "acme", "-o", "json").document["params"] is None
    assert server.created[0].params == b""


def test_json_arguments_come_from_files_and_from_stdin_unchanged(
    cli: Cli, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.json").write_bytes(b'{"n": 1e400}\n')
    cli("workflows", "trigger", "order", "--tenant", "acme", "--params", f"@{tmp_path}/params.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1.10]")))
    given = cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "b", "--params", "-")
    assert given.status == 0, given
    assert [request.params for request in server.created] == [b'{"n": 1e400}\n', b"[1.10]"]


@pytest.mark.parametrize("text", ["{", "NaN", "'a'", "[1] 2", "@/does/not/exist", "[" * 100_000, ""])
def test_params_that_are_no_json_are_wrong_usage(cli: Cli, server: FakeServer, text: str) -> None:
    refused = cli("workflows", "trigger", "order", "--tenant", "acme", "--params", text, "-o", "json")
    assert refused.status == 2
    assert refused.error["reason"] == "USAGE"
    assert "--params" in refused.error["message"]
    assert server.created == []


def test_a_taken_id_is_refused_with_one_json_error(cli: Cli) -> None:
    cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "o-1")
    refused = cli("workflows", "trigger", "order", "--tenant", "acme", "--id", "o-1", "-o", "json")
    assert refused.status == 1
    assert refused.error == {
        "code": "ALREADY_EXISTS",
        "reason": "ALREADY_EXISTS",
        "message": f"{ORDER} exists",
        "metadata": {},
    }


def test_latest_is_no_id_for_a_new_instance(cli: Cli) -> None:
    assert cli("workflows", "trigger", "order", "--id", "latest").status == 2


def test_describe_has_steps_with_outputs_as_they_were_written(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    shown = cli("instances", "describe", "order", "o-1", "--tenant", "acme", "-o", "json")
    assert '"output": {"id": 12345678901234567890.50}' in shown.out
    document = shown.document
    assert document["status"] == "errored"
    assert document["error"]["type"] == "CardError"
    assert document["steps"][2] == {
        "name": "charge",
        "count": 1,
        "kind": "do",
        "status": "errored",
        "attempts": 6,
        "output": None,
        "outputTruncated": False,
        "error": {
            "type": "CardError",
            "message": "card refused",
            "traceback": "Traceback (most recent call last):\n  File …\n",
        },
        "startTime": "2026-01-02T03:04:06Z",
        "endTime": "2026-01-02T03:04:07.500Z",
    }
    assert document["steps"][1]["kind"] == "waitForEvent"


def test_describe_reads_on_to_1000_steps_and_names_the_next_page(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    server.steps[ORDER] = [step(f"s{number}") for number in range(1005)]
    server.steps_page_max = 300
    first = cli("instances", "describe", "order", "latest", "--tenant", "acme", "-o", "json").document
    assert (len(first["steps"]), first["stepsNextPageToken"]) == (1000, "1000")
    second = cli("instances", "describe", "order", "o-1", "--tenant", "acme", "-o", "json",
                 "--steps-page-token", "1000").document  # fmt: skip
    assert [one["name"] for one in second["steps"]] == ["s1000", "s1001", "s1002", "s1003", "s1004"]
    assert second["stepsNextPageToken"] is None


def test_describe_for_people_says_what_failed_and_what_to_do(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    shown = cli("instances", "describe", "order", "o-1", "--tenant", "acme").out
    assert "errored  order o-1" in shown
    assert 'params   {"price": 1.10}' in shown
    assert "(took 30.0 s)" in shown
    assert "3  charge             do            errored   6         1.5 s  CardError: card refused" in shown
    assert "stepwell workflows trigger order" in shown
    assert "\x1b" not in shown


def test_tenant_text_reaches_no_terminal_with_its_controls(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server, message="\x1b[31m[bold]red\u202e\x9b2J\x07")
    shown = cli("instances", "describe", "order", "o-1", "--tenant", "acme").out
    assert "CardError: [31m[bold]red2J" in shown
    assert not set(shown) & {"\x1b", "\x9b", "\u202e", "\x07"}


def test_an_output_that_is_no_json_adds_no_keys_to_the_document(cli: Cli, server: FakeServer) -> None:
    order = put_errored_order(server)
    order.output = b'1, "status": "complete"'
    document = cli("instances", "describe", "order", "o-1", "--tenant", "acme", "-o", "json").document
    assert document["status"] == "errored"
    assert document["output"] == {"$stepwell": "invalid", "value": '1, "status": "complete"'}


def test_a_list_names_its_next_page_and_leaves_what_it_does_not_know_null(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    server.instances["tenants/acme/workflows/order/instances/o-0"] = i.Instance(
        name="tenants/acme/workflows/order/instances/o-0", status=i.INSTANCE_STATUS_COMPLETE
    )
    page = cli("instances", "list", "order", "--tenant", "acme", "--page-size", "1", "-o", "json").document
    assert [item["id"] for item in page["items"]] == ["o-1"]
    assert page["nextPageToken"] == "more"
    assert page["items"][0]["steps"] is None
    done = cli("instances", "list", "order", "--tenant", "acme", "--status", "complete", "-o", "json").document
    assert [item["id"] for item in done["items"]] == ["o-0"]
    assert done["nextPageToken"] is None


def test_a_list_for_people_is_aligned_and_plain(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    lines = cli("instances", "list", "order", "--tenant", "acme").out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "CREATED", "TOOK", "VERSION", "ERROR"]
    assert lines[0].index("STATUS") == lines[1].index("errored")


def test_latest_of_no_instances_is_not_found(cli: Cli) -> None:
    missing = cli("instances", "pause", "order", "latest", "--tenant", "acme", "-o", "json")
    assert (missing.status, missing.error["code"], missing.error["reason"]) == (1, "NOT_FOUND", "NOT_FOUND")


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("pause", "waitingForPause"),
        ("resume", "running"),
        ("restart", "queued"),
        ("cancel", "running"),
        ("terminate", "terminated"),
    ],
)
def test_steering_prints_the_instance_as_it_is_then(cli: Cli, server: FakeServer, verb: str, status: str) -> None:
    put_errored_order(server)
    document = cli("instances", verb, "order", "latest", "--tenant", "acme", "-o", "json").document
    assert document["status"] == status
    assert len(document["steps"]) == 3
    assert cli("instances", verb, "order", "o-1", "--tenant", "acme").out == f"order o-1 is {status}\n"


def test_an_event_is_sent_with_its_payload(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    sent = cli("instances", "send-event", "order", "latest", "--tenant", "acme", "--type", "approval",
               "--payload", '{"ok": true}', "-o", "json")  # fmt: skip
    assert sent.document == {"tenant": "acme", "workflow": "order", "id": "o-1", "type": "approval"}
    request = server.sent[0]
    assert (request.name, request.type, request.payload) == (ORDER, "approval", b'{"ok": true}')
    assert request.request_id
    assert request.event_id == ""
    cli("instances", "send-event", "order", "o-1", "--tenant", "acme", "--type", "approval", "--event-id", "evt_1")
    assert server.sent[1].event_id == "evt_1"


def test_all_that_have_not_ended_are_ended_by_one_command(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    for number, status in enumerate((2, 2, 4, 1)):
        name = f"tenants/acme/workflows/order/instances/more-{number}"
        server.instances[name] = i.Instance(name=name, status=i.InstanceStatus.values()[status])
    some = cli("instances", "terminate-all", "order", "--status", "queued", "--tenant", "acme", "-o", "json")
    assert some.document == {"tenant": "acme", "workflow": "order", "terminated": 1}
    assert cli("instances", "terminate-all", "order", "--tenant", "acme").out == "Terminated 3 of order\n"
    assert {each.status for name, each in server.instances.items() if "more" in name} == {i.INSTANCE_STATUS_TERMINATED}
    assert server.instances[ORDER].status == i.INSTANCE_STATUS_ERRORED


def test_a_deleted_instance_is_gone(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    gone = cli("instances", "delete", "order", "o-1", "--tenant", "acme", "-o", "json")
    assert gone.document == {"tenant": "acme", "workflow": "order", "id": "o-1", "deleted": True}
    assert cli("instances", "describe", "order", "o-1", "--tenant", "acme", "-o", "json").status == 1


def test_a_tenants_token_needs_no_tenant(cli: Cli, server: FakeServer, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("STEPWELL_TOKEN", ACME)
    put_errored_order(server)
    assert cli("instances", "describe", "order", "o-1", "-o", "json").document["tenant"] == "acme"
    assert cli("instances", "describe", "order", "latest", "-o", "json").document["id"] == "o-1"


def test_an_operator_without_a_tenant_sees_the_servers_refusal(cli: Cli) -> None:
    refused = cli("instances", "list", "order", "-o", "json")
    assert (refused.status, refused.error["message"]) == (1, "an operator's token has no tenant of its own")


def test_watch_prints_a_line_an_event(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    server.events[ORDER] = [
        event(1, "created", i.INSTANCE_STATUS_QUEUED),
        event(2, "stepCompleted", i.INSTANCE_STATUS_RUNNING, step("reserve", output=b'{\n"a": 1}')),
    ]
    watched = cli("instances", "watch", "order", "latest", "--tenant", "acme", "-o", "json")
    first, second = map(json.loads, watched.out.splitlines())
    assert first == {"cursor": "1", "time": "2026-01-02T03:04:01Z", "type": "created", "status": "queued", "step": None}
    assert (second["step"]["name"], second["step"]["output"]) == ("reserve", {"a": 1})


def test_watch_for_people_tells_the_story(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    server.events[ORDER] = [
        event(1, "created", i.INSTANCE_STATUS_QUEUED),
        event(4, "stepCompleted", i.INSTANCE_STATUS_RUNNING, step("reserve", output=b"7", attempts=2)),
        event(9, "completed", i.INSTANCE_STATUS_COMPLETE),
    ]
    assert cli("instances", "watch", "order", "o-1", "--tenant", "acme").out.splitlines() == [
        "03:04:01      +0 ms  queued           created",
        "03:04:04     +3.0 s  running          complete  reserve  (attempt 2, 1.5 s)  7",
        "03:04:09     +8.0 s  complete         completed",
    ]


def test_a_watch_that_breaks_goes_on_after_its_last_event(
    cli: Cli, server: FakeServer, environ: pytest.MonkeyPatch
) -> None:
    environ.setattr("stepwell.client.patience.DELAY_S_FIRST", 0.0)
    put_errored_order(server)
    server.events[ORDER] = [event(number, "stepStarted", i.INSTANCE_STATUS_RUNNING) for number in range(1, 6)]
    server.watch_breaks_after = 3
    watched = cli("instances", "watch", "order", "o-1", "--tenant", "acme", "-o", "json")
    assert [json.loads(line)["cursor"] for line in watched.out.splitlines()] == ["1", "2", "3", "4", "5"]
    assert server.watched_from == ["", "3"]


NEWER = "sha256-" + "cd" * 32


def put_orders(server: FakeServer, *ids: str) -> None:
    for id in ids:
        name = f"tenants/acme/workflows/order/instances/{id}"
        server.instances[name] = i.Instance(
            name=name, status=i.INSTANCE_STATUS_WAITING, version=f"tenants/acme/versions/{DIGEST}"
        )


def test_a_fork_is_shown_with_where_it_came_from(cli: Cli, server: FakeServer) -> None:
    put_orders(server, "one")
    of = ("instances", "fork", "order", "one", "--tenant", "acme")
    made = cli(*of, "--from", "charge", "-o", "json").document
    assert (made["id"], made["status"], made["version"]) == ("made", "queued", DIGEST)
    assert made["forkedFrom"] == {"id": "one", "uid": "u-1", "step": "charge", "kind": "do", "count": 1}
    more = ("--from-step", "nap", "--kind", "sleep", "--count", "2", "--id", "two", "--version", NEWER)
    assert cli(*of, *more).out == "order two is queued\n"
    described = cli("instances", "describe", "order", "two", "--tenant", "acme", "-o", "json").document
    assert described["version"] == NEWER
    assert described["forkedFrom"] == {"id": "one", "uid": "u-1", "step": "nap", "kind": "sleep", "count": 2}
    assert "forked from  one at nap #2" in cli("instances", "describe", "order", "two", "--tenant", "acme").out
    assert cli("instances", "describe", "order", "one", "--tenant", "acme", "-o", "json").document["forkedFrom"] is None


def test_one_is_migrated_and_shown_as_it_is_then(cli: Cli, server: FakeServer) -> None:
    put_orders(server, "one")
    done = cli("instances", "migrate", "order", "one", "--version", NEWER, "--tenant", "acme", "-o", "json")
    assert done.document["version"] == NEWER
    server.verdicts["tenants/acme/workflows/order/instances/one"] = i.Replay()
    error = cli("instances", "migrate", "order", "one", "--version", DIGEST, "--tenant", "acme", "-o", "json").error
    assert (error["reason"], error["metadata"]) == ("REPLAY_MISMATCH", {"position": "2"})


def test_all_are_migrated_but_those_that_differ_which_are_told_of(cli: Cli, server: FakeServer) -> None:
    put_orders(server, "one", "two", "three")
    server.instances["tenants/acme/workflows/order/instances/three"].version = f"tenants/acme/versions/{NEWER}"
    server.verdicts["tenants/acme/workflows/order/instances/two"] = i.Replay()
    words = ("instances", "migrate", "order", "--all", "--version", NEWER, "--tenant", "acme")
    done = cli(*words, "-o", "json")
    assert done.status == 1
    assert done.document == {
        "tenant": "acme", "workflow": "order", "version": NEWER, "migrated": 1, "refused": 1,
        "refusals": [{"id": "two", "reason": "REPLAY_MISMATCH", "message": "it differs"}],
    }  # fmt: skip
    assert server.migrated == ["tenants/acme/workflows/order/instances/one"]
    server.verdicts.clear()
    shown = cli(*words)
    assert (shown.status, shown.out) == (0, f"Migrated 1 of order to {NEWER}\n")


@pytest.mark.parametrize("words", [["order"], ["order", "one", "--all"]])
def test_which_to_migrate_is_said_once(cli: Cli, words: list[str]) -> None:
    assert cli("instances", "migrate", *words, "--version", NEWER, "--tenant", "acme", "-o", "json").status == 2
