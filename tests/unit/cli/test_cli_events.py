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


def test_an_instance_tells_of_its_dead_events(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server).dead_events = 2
    described = ("instances", "describe", "order", "o-1", "--tenant", "acme")
    assert "dead events" in cli(*described).out
    document = cli(*described, "-o", "json").document
    assert (document["bufferedEvents"], document["deadEvents"]) == (None, 2)
