from __future__ import annotations

import json

import pytest

from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import FakeServer
from tests.unit.cli.samples import ORDER, log_entry, put_errored_order

LOGS = ("instances", "logs", "order", "o-1", "--tenant", "acme")


@pytest.fixture
def printed(server: FakeServer) -> list[i.LogEntry]:
    """What the order printed."""
    put_errored_order(server)
    server.logs[ORDER] = [
        log_entry(1, "begins"),
        log_entry(2, "reserved", step_name="reserve", count=1, attempt=1),
        log_entry(3, "refused", step_name="charge", count=2, attempt=3, stream=i.LOG_STREAM_STDERR, dropped=1),
        log_entry(4, "", stream=i.LOG_STREAM_UNSPECIFIED, dropped=4_000),
    ]
    return server.logs[ORDER]


def test_logs_are_a_list_of_documents(cli: Cli, server: FakeServer, printed: list[i.LogEntry]) -> None:
    page = cli(*LOGS, "-o", "json").document
    assert page["nextPageToken"] is None
    assert page["items"] == [
        {"cursor": "1", "time": "2026-01-02T03:04:01Z", "step": None, "count": None, "attempt": None,
         "stream": "stdout", "text": "begins", "dropped": 0},
        {"cursor": "2", "time": "2026-01-02T03:04:02Z", "step": "reserve", "count": 1, "attempt": 1,
         "stream": "stdout", "text": "reserved", "dropped": 0},
        {"cursor": "3", "time": "2026-01-02T03:04:03Z", "step": "charge", "count": 2, "attempt": 3,
         "stream": "stderr", "text": "refused", "dropped": 1},
        {"cursor": "4", "time": "2026-01-02T03:04:04Z", "step": None, "count": None, "attempt": None,
         "stream": None, "text": None, "dropped": 4_000},
    ]  # fmt: skip


def test_logs_for_people_are_a_line_a_line(cli: Cli, server: FakeServer, printed: list[i.LogEntry]) -> None:
    assert cli(*LOGS).out.splitlines() == [
        "03:04:01  run  begins",
        "03:04:02  reserve  reserved",
        "… 1 line is missing here",
        "03:04:03  charge #2 (attempt 3)  refused",
        "… 4,000 lines are missing here",
    ]


def test_pages_and_a_step_are_asked_for(cli: Cli, server: FakeServer, printed: list[i.LogEntry]) -> None:
    first = cli(*LOGS, "--page-size", "2", "--step", "charge")
    assert (len(first.out.splitlines()), first.err) == (2, "There are more: --page-token 2\n")
    page = cli(*LOGS, "--page-token", "2", "-o", "json").document
    assert [item["cursor"] for item in page["items"]] == ["3", "4"]
    assert [(asked.page_size, asked.step_name) for asked in server.logs_asked] == [(2, "charge"), (100, "")]


def test_an_instance_that_printed_nothing_says_so_beside_the_data(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    shown = cli(*LOGS)
    assert (shown.status, shown.out, shown.err) == (0, "", "Nothing that was printed is kept.\n")


def test_what_a_terminal_would_act_upon_never_reaches_it(cli: Cli, server: FakeServer) -> None:
    put_errored_order(server)
    server.logs[ORDER] = [
        log_entry(1, "\x1b[2J\x9b31m\r\x00over\u202ewritten\n03:04:05  run  forged", step_name="\x1b]0;step\x07"),
    ]
    [line] = cli(*LOGS).out.splitlines()
    assert line == "03:04:01  ]0;step  [2J31m overwritten 03:04:05  run  forged"
    [followed] = cli(*LOGS, "--follow").out.splitlines()
    assert followed == line


def test_following_prints_json_lines(cli: Cli, server: FakeServer, printed: list[i.LogEntry]) -> None:
    followed = cli("instances", "logs", "order", "latest", "--tenant", "acme", "--follow", "-o", "json")
    assert [json.loads(line)["cursor"] for line in followed.out.splitlines()] == ["1", "2", "3", "4"]
    step = cli(*LOGS, "--follow", "--step", "charge", "--cursor", "1", "-o", "json")
    assert [json.loads(line)["text"] for line in step.out.splitlines()] == ["refused"]


@pytest.mark.parametrize("breaks_after", [0, 2])
def test_following_outlives_a_server_that_is_started_again(
    cli: Cli, server: FakeServer, environ: pytest.MonkeyPatch, printed: list[i.LogEntry], breaks_after: int
) -> None:
    environ.setattr("stepwell.client.patience.DELAY_S_FIRST", 0.0)
    server.watch_breaks_after = breaks_after
    followed = cli(*LOGS, "--follow", "-o", "json")
    assert [json.loads(line)["cursor"] for line in followed.out.splitlines()] == ["1", "2", "3", "4"]
    assert server.watched_from == ["", str(breaks_after or "")]


def test_following_what_is_not_there_is_refused(cli: Cli, server: FakeServer) -> None:
    missing = cli("instances", "logs", "order", "nobody", "--tenant", "acme", "--follow", "-o", "json")
    assert (missing.status, missing.error["reason"]) == (1, "NOT_FOUND")


@pytest.mark.parametrize("words", [("--follow", "--page-token", "2"), ("--cursor", "2"), ("--page-size", "0")])
def test_options_that_do_not_go_together_are_wrong_usage(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*LOGS, *words).status == 2
