"""No line of the operator's log has a token's secret, however it came there."""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Iterator

import pytest
import structlog

from cluster import credentials
from cluster.records import Token
from stepwell_server.log import configure_log

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
