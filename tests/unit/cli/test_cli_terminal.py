"""What a person sees: the command on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.fake_server import OPERATOR, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order, step

RED, GREEN = "\x1b[31m", "\x1b[32m"


def seen(server: FakeServer, *arguments: str) -> str:
    """All that the command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environ = {
        **os.environ, "STEPWELL_ENDPOINT": server.endpoint, "STEPWELL_TOKEN": OPERATOR,
        "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40",
    }  # fmt: skip
    environ.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "stepwell.cli.main", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:
            pass  # Linux's way to say that the other side has closed
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_describe_has_colour_and_signs_and_fits(server: FakeServer, environ: pytest.MonkeyPatch) -> None:
    put_errored_order(server, message="[bold]x[/bold] :tada: \x1b[2J" + "long " * 60)
    shown = seen(server, "instances", "describe", "order", "o-1", "--tenant", "acme")
    assert f"{RED}✗ errored" in shown
    assert f"{GREEN}✓ complete" in shown
    assert "CardError: [bold]x[/bold] :tada: [2J" in without_colour(shown)
    assert "\x1b[2J" not in shown
    table = without_colour(shown).split("ATTEMPTS")[1].splitlines()[1:4]
    assert table[2].split()[:5] == ["3", "charge", "do", "✗", "errored"]
    assert max(map(len, table)) <= 100


def test_watch_has_a_line_an_event(server: FakeServer, environ: pytest.MonkeyPatch) -> None:
    put_errored_order(server)
    server.events[ORDER] = [
        event(1, "created", i.INSTANCE_STATUS_QUEUED),
        event(2, "stepCompleted", i.INSTANCE_STATUS_RUNNING, step("reserve", output=b"7")),
        event(3, "completed", i.INSTANCE_STATUS_COMPLETE),
    ]
    lines = without_colour(seen(server, "instances", "watch", "order", "o-1", "--tenant", "acme")).splitlines()
    assert lines[1] == "03:04:02     +1.0 s  running          ✓ complete  reserve  (1.5 s)  7"


def test_a_list_has_no_colour_when_it_is_not_wanted(server: FakeServer, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NO_COLOR", "1")
    assert "acme" in seen(server, "tenants", "list")
