"""Bytes that are nearly right: what was good, with some of it changed, cut out, said twice or put in."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def spoilt(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """One to four changes to good bytes."""
    data = bytearray(draw(good))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 8)))
        match draw(st.sampled_from(["change", "cut", "repeat", "insert", "end"])):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:to]
            case "repeat":
                data[at:at] = data[at:to] * draw(st.integers(1, 3))
            case "insert":
                data[at:at] = draw(st.binary(max_size=8) | st.sampled_from(TOKENS))
            case "end":
                del data[at:]
    return bytes(data)


TOKENS = (
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"null",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"\\ud800",
    b"\xff",
    b"\0",
    b"[" * 2_000,
)


@st.composite
def in_pieces(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """The same bytes, as a socket might bring them."""
    data = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
