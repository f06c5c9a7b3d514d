"""Frames as either side reads them: what is one comes out whole, what is none is refused before it takes memory."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.messages import decode_guest_message
from stepwell.frames import ENVELOPE_BYTES_MAX, HEADER, PAYLOAD_BYTES_MAX, FrameError, FrameReader, frame
from tests.fuzz.budget import tries
from tests.fuzz.guest_messages import ENVELOPES, encoded
from tests.fuzz.rubbish import in_pieces, spoilt

SIZES = st.integers(0, 40) | st.sampled_from([ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX, 2**31, 2**32 - 1])
HEADERS = st.builds(HEADER.pack, SIZES, SIZES)
PAIRS = st.tuples(st.binary(max_size=50), st.binary(max_size=50))


@tries(300)
@given(in_pieces(st.lists(PAIRS, max_size=5).map(lambda pairs: b"".join(frame(*pair) for pair in pairs))))
def test_frames_come_out_alike_however_they_come_in(pieces: list[bytes]) -> None:
    reader = FrameReader()
    found = [each for piece in pieces for each in reader.feed(piece)]
    assert found == FrameReader().feed(b"".join(pieces))
    assert b"".join(frame(*pair) for pair in found) == b"".join(pieces)


@tries(500)
@given(in_pieces(st.lists(HEADERS | st.binary(max_size=60), max_size=6).map(b"".join)))
def test_whatever_comes_in_is_cut_or_refused_and_at_most_a_frame_is_kept(pieces: list[bytes]) -> None:
    reader = FrameReader()
    with suppress(FrameError):
        for piece in pieces:
            for envelope, payload in reader.feed(piece):
                assert len(envelope) <= ENVELOPE_BYTES_MAX
                assert len(payload) <= PAYLOAD_BYTES_MAX
    assert len(reader._buffer) <= sum(map(len, pieces))


@tries(500)
@given(ENVELOPES)
def test_every_message_is_decoded_to_what_it_says(envelope: list[object]) -> None:
    message = decode_guest_message(encoded(envelope))
    assert msgspec.to_builtins(message)[0] == envelope[0]
    assert decode_guest_message(msgspec.json.encode(message)) == message


@tries(1_000)
@given(spoilt(ENVELOPES.map(encoded)) | st.binary(max_size=200))
def test_what_is_no_message_is_refused_as_the_host_expects_it(data: bytes) -> None:
    try:
        message = decode_guest_message(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    assert len(getattr(message, "name", "")) <= 256


@pytest.mark.parametrize("deep", [b"[" * 190_000, b'["raised",1,' + b'["","","","",' * 20_000])
def test_depth_is_refused_and_ends_nothing(deep: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        decode_guest_message(deep)
