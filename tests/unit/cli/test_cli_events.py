"""`stepwell instances`, of events."""

from __future__ import annotations

from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import FakeServer
from tests.unit.cli.samples import ORDER, put_errored_order, received_event

LARGE = b'"' + b"x" * 30 + b'"'


def put_events(server: FakeServer) -> None:
    put_errored_order(server)
    server.received[ORDER] = [
        received_event(1, i.EVENT_STATE_TAKEN, step_name="payment", step_count=2, event_id="evt_1", resend_id="evt_1"),
        received_event(2, i.EVENT_STATE_DEAD, LARGE, resend_id="iu1.2"),
        received_event(3, i.EVENT_STATE_DEAD, b'{"a": 1}', resend_id="iu1.3"),
    ]


def test_events_are_listed_with_what_became_of_them(cli: Cli, server: FakeServer) -> None:
    put_events(server)
    document = cli("instances", "events", "order", "latest", "--tenant", "acme", "-o", "json").document
    assert document["nextPageToken"] is None
    assert document["items"][0] == {
        "number": 1,
        "eventId": "evt_1",
        "type": "paid",
        "payload": 1,
        "payloadTruncated": False,
        "state": "taken",
        "step": "payment",
        "count": 2,
        "resendId": "evt_1",
        "receiveTime": "2026-01-02T03:04:01Z",
    }
    large = document["items"][1]
    assert (large["payload"], large["payloadTruncated"], large["eventId"], large["step"]) == (None, True, None, None)
    shown = cli("instances", "events", "order", "o-1", "--tenant", "acme").out
    assert "payment #2" in shown
    assert "(large: left out)" in shown


def test_events_of_a_state_come_page_by_page(cli: Cli, server: FakeServer) -> None:
    put_events(server)
    words = ("instances", "events", "order", "o-1", "--tenant", "acme", "--state", "dead", "--page-size", "1")
    first = cli(*words, "-o", "json").document
    assert [each["number"] for each in first["items"]] == [2]
    second = cli(*words, "--page-token", first["nextPageToken"], "-o", "json").document
    assert ([each["number"] for each in second["items"]], second["nextPageToken"]) == ([3], None)
    server.received.clear()
    assert cli(*words).err == "No events.\n"


def test_an_event_is_sent_again_whole_and_under_the_id_that_the_server_names(cli: Cli, server: FakeServer) -> None:
    put_events(server)
    other = "tenants/acme/workflows/refund/instances/r-1"
    server.instances[other] = i.Instance(name=other, status=i.INSTANCE_STATUS_WAITING)
    sent = cli("instances", "resend-event", "order", "o-1", "2", "--to", "r-1", "--to-workflow", "refund",
               "--tenant", "acme", "-o", "json")  # fmt: skip
    assert sent.document == {
        "tenant": "acme", "workflow": "refund", "id": "r-1", "type": "paid", "eventId": "iu1.2",
    }  # fmt: skip
    (request,) = server.sent
    assert (request.name, request.type, request.payload, request.event_id) == (other, "paid", LARGE, "iu1.2")
    again = cli("instances", "resend-event", "order", "latest", "1", "--to", "o-1", "--tenant", "acme")
    assert again.out == "Sent paid to order o-1\n"
    missing = cli("instances", "resend-event", "order", "o-1", "9", "--to", "o-1", "--tenant", "acme", "-o", "json")
    assert missing.status == 1


def test_the_end_of_a_child_is_listed_and_not_sent_again(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    end = received_event(1, i.EVENT_STATE_TAKEN, b'{"output": 7}', step_name="REFUND r-1")
    end.type = "refund/r-1"
    server.received[ORDER] = [end]
    shown = cli("instances", "events", "order", "o-1", "--tenant", "acme").out
    assert all(text in shown for text in ("refund/r-1", "taken", "REFUND r-1", '{"output": 7}'))
    (listed,) = cli("instances", "events", "order", "o-1", "--tenant", "acme", "-o", "json").document["items"]
    assert (listed["type"], listed["resendId"]) == ("refund/r-1", None)
    refused = cli("instances", "resend-event", "order", "o-1", "1", "--to", "o-1", "--tenant", "acme", "-o", "json")
    assert (refused.status, refused.error["reason"], refused.error["metadata"]) == (
        1, "INVALID_ARGUMENT", {"field": "number"},
    )  # fmt: skip
    assert "the end of refund/r-1" in refused.error["message"]
    assert server.sent == []


def test_an_instance_tells_of_its_dead_events(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server).dead_events = 2
    described = ("instances", "describe", "order", "o-1", "--tenant", "acme")
    assert "dead events" in cli(*described).out
    document = cli(*described, "-o", "json").document
    assert (document["bufferedEvents"], document["deadEvents"]) == (None, 2)


BROADCAST = ("instances", "broadcast-event", "order", "--tenant", "acme", "--type", "rates", "--payload", "[1]")


def test_a_broadcast_goes_through_all_pages_under_one_event_id(cli: Cli, server: FakeServer) -> None:
    answer = i.BroadcastEventResponse
    server.broadcast_answers = [answer(sent=2, skipped=1, next_page_token="more"), answer(sent=1, skipped=4)]
    document = cli(*BROADCAST, "--event-id", "rates-7", "-o", "json").document
    assert document == {
        "tenant": "acme", "workflow": "order", "type": "rates", "eventId": "rates-7", "sent": 3, "skipped": 5,
    }  # fmt: skip
    assert [(each.page_token, each.event_id, each.payload) for each in server.broadcasts] == [
        ("", "rates-7", b"[1]"),
        ("more", "rates-7", b"[1]"),
    ]
    server.broadcast_answers = [answer(sent=1)]
    assert cli(*BROADCAST).out == "1 of order took rates; 0 did not wait for it\n"
    assert server.broadcasts[-1].event_id


def test_a_broadcast_that_did_not_reach_all_fails_and_says_how_to_go_on(cli: Cli, server: FakeServer) -> None:
    failure = i.BroadcastEventResponse.Failure(
        name=ORDER, error=i.ItemError(code=14, reason="UNAVAILABLE", message="its shard moves")
    )
    server.broadcast_answers = [
        i.BroadcastEventResponse(sent=2, failed=1, failures=[failure], next_page_token="more"),
        i.BroadcastEventResponse(sent=1, failed=200, failures=[failure] * 100),
    ]
    ended = cli(*BROADCAST, "--event-id", "rates-7", "-o", "json")
    assert (ended.status, ended.out) == (1, "")
    assert (ended.error["reason"], ended.error["metadata"]["failed"]) == ("UNAVAILABLE", "201")
    assert "--event-id rates-7" in ended.error["message"]
    assert "its shard moves" in ended.error["message"]
