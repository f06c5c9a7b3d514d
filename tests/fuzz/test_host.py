"""A guest that is told rubbish, as by a host gone mad: it ends, and never hangs or lives on without its host."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loader import messages
from stepwell.frames import frame
from tests.fuzz.budget import tries
from tests.fuzz.guest_messages import PAYLOADS, encoded
from tests.fuzz.rubbish import in_pieces, spoilt
from tests.replay.guest_process import NOW_MS, GuestProcess

CODE = """
from stepwell import WorkflowEntrypoint

class Main(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("one")
        async def one():
            return 1
        await one()
        await step.sleep("nap", "1 hour")
"""

ENDED = (0, 70)
"""Without a host any more; by a frame that is none."""

ACTS, COUNTS = st.integers(0, 2), st.integers(0, 3)
NAMES = st.sampled_from(["", "one", "nap", "other", "x" * 300])
COMPLETIONS = st.builds(
    messages.completion,
    ACTS,
    st.sampled_from(["do", "sleep", "waitForEvent", "timer"]),
    NAMES,
    COUNTS,
    st.integers(0, 2**40),
    st.sampled_from(["value", "held", "error", "fired", "event", "timeout"]),
    st.none() | st.sampled_from([["go", 1], ["builtins", "ValueError", "text", "", None], "x", 1]),
    PAYLOADS,
)
ORDERS = (
    st.builds(messages.go, ACTS, NAMES, COUNTS, COUNTS)
    | st.builds(messages.hold, ACTS, COUNTS)
    | st.builds(messages.order, st.sampled_from(["release", "stop"]), ACTS)
    | st.builds(messages.start, ACTS, st.just("main:Main"), st.just({"now": NOW_MS}), COUNTS, st.just([]), PAYLOADS)
    | st.just(messages.PING)
)
FRAMES = COMPLETIONS | ORDERS
RUBBISH = st.builds(frame, st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists).map(encoded))
SAID = st.lists(FRAMES | spoilt(FRAMES) | RUBBISH | st.binary(max_size=30), min_size=1, max_size=6).map(b"".join)


def test_a_guest_ends_with_its_host_whatever_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(CODE)

    @tries(20)
    @given(in_pieces(SAID))
    def every(pieces: list[bytes]) -> None:
        with GuestProcess() as guest:
            assert type(guest.load(tmp_path, "main:Main")).__name__ == "Loaded"
            guest.start()
            guest.until("Result")
            with suppress(ConnectionError):
                for piece in pieces:
                    guest.send(piece)
            with suppress(OSError):
                guest.close()
            assert guest.process.wait(20) in ENDED

    every()
