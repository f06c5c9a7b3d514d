"""No line of the operator's log has a token's secret, however it came there."""

from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Iterator
from contextvars import copy_context

import pytest
import structlog

from cluster import credentials
from cluster.records import Token
from rpc.trace_context import TraceContext, set_current
from stepwell_server.log import configure_log, tell

MINTED = credentials.mint(secrets.token_bytes)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The log from here on; what was there before comes back."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    level = root.level
    written = io.StringIO()
    configure_log(written)
    yield written
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def test_a_token_is_logged_without_its_secret(stream: io.StringIO) -> None:
    log = structlog.get_logger("test")
    log.info(f"a {MINTED.text}")
    log.warning("b", field=MINTED.text, fields=[MINTED.text], record=MINTED)
    try:
        raise ValueError(MINTED.text)
    except ValueError as error:
        log.error("c", exc_info=error)
        logging.getLogger("library").exception("d %s", MINTED.text)
    written = stream.getvalue()
    assert written.count(f"swk_{MINTED.id}_…") >= 5
    assert MINTED.secret not in written


def test_no_repr_has_a_secret() -> None:
    token = Token(MINTED.id, MINTED.sha256, None, None, 1)
    assert MINTED.secret not in repr((MINTED, token))
    assert MINTED.sha256 not in repr(token)


def test_a_log_of_json_has_one_object_a_line_with_the_trace_that_the_work_belongs_to(stream: io.StringIO) -> None:
    structlog.reset_defaults()
    logging.getLogger().handlers = []
    configure_log(stream, "json")
    log = structlog.get_logger("test")

    def work() -> None:
        set_current(TraceContext(0xAB, 0xCD, True))
        log.warning("a\nb", field=MINTED.text)
        try:
            raise ValueError(MINTED.text)
        except ValueError:
            logging.getLogger("library").exception("of a library")
        tell("ready", stream, "json")

    copy_context().run(work)
    log.info("outside")
    *within, outside = [json.loads(line) for line in stream.getvalue().splitlines()]
    ids = {"trace_id": f"{0xAB:032x}", "span_id": f"{0xCD:016x}"}
    assert [line["event"] for line in within] == ["a\nb", "of a library", "ready"]
    assert all(line.items() >= ids.items() for line in within)
    assert [line["level"] for line in within] == ["warning", "error", "info"]
    assert all(line["timestamp"].endswith("Z") for line in within)
    assert (within[1]["logger"], "ValueError" in within[1]["exception"]) == ("library", True)
    assert (outside["event"], "trace_id" in outside) == ("outside", False)
    assert MINTED.secret not in stream.getvalue()


def test_a_sentence_is_printed_as_it_is_in_a_log_of_text(stream: io.StringIO) -> None:
    tell("ready on 127.0.0.1:1", stream, "text")
    assert stream.getvalue() == "stepwell: ready on 127.0.0.1:1\n"
