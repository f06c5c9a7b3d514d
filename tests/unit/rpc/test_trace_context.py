"""A call's trace is taken as W3C has it, and what is malformed is as if it had not come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.trace_context import STORED_BYTES, TraceContext, from_stored, received

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IDS = {"trace_id": int(TRACE, 16), "span_id": int(SPAN, 16)}

contexts = st.builds(TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", True),
    ],
)
def test_a_callers_span_is_taken_with_its_word_whether_it_is_kept(header: str, sampled: bool) -> None:
    assert received([("other", "x"), ("traceparent", header)]) == TraceContext(**IDS, sampled=sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 100}",
        f"00-{'٣' * 32}-{SPAN}-01",
    ],
)
def test_what_is_malformed_is_no_trace(header: str) -> None:
    assert received([("traceparent", header)]) is None


def test_two_headers_are_no_trace_and_bytes_are_none() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    assert received([("traceparent", header), ("traceparent", header)]) is None
    assert received([("traceparent", header.encode())]) is None
    assert received([]) is None


@given(contexts)
def test_a_header_says_what_it_was_made_of(context: TraceContext) -> None:
    assert received([("traceparent", context.header())]) == context


@given(contexts)
def test_a_journal_keeps_what_is_kept_and_nothing_else(context: TraceContext) -> None:
    stored = context.stored()
    assert len(stored) == (STORED_BYTES if context.sampled else 0)
    assert from_stored(stored) == (context if context.sampled else None)
