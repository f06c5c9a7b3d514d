"""Beats over a clock of the test's: who is found stuck, and who is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loader.pulse import Pulse


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Beats:
    """A loop with one timer, a guest that may be asked, and a pulse over both."""

    def __init__(self, stall_ms: int = 10_000) -> None:
        self.delays: list[float] = []
        self.timer: Timer | None = None
        self.asked = 0
        self.due = True
        self.stalls = 0
        self.pulse = Pulse(self, stall_ms, self._beat, self._stalled)  # type: ignore[arg-type]
        self.pulse.start()

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.delays.append(delay_s)
        self.timer = Timer(call)
        return self.timer

    def _beat(self) -> bool:
        self.asked += 1
        return self.due

    def _stalled(self) -> None:
        self.stalls += 1

    def pass_by(self, beats: int) -> None:
        for _ in range(beats):
            if self.timer is not None and not self.timer.cancelled:
                timer, self.timer = self.timer, None
                timer.call()


def test_a_guest_that_never_answers_is_stuck_after_its_time_and_once() -> None:
    beats = Beats()
    beats.pass_by(10)
    assert (beats.stalls, set(beats.delays)) == (0, {1.0})
    beats.pass_by(10)
    assert beats.stalls == 1


def test_one_sign_of_life_begins_anew() -> None:
    beats = Beats()
    beats.pass_by(10)
    beats.pulse.heard = True
    beats.pass_by(10)
    assert beats.stalls == 0
    beats.pass_by(1)
    assert beats.stalls == 1


def test_silence_does_not_count_while_no_answer_is_due() -> None:
    beats = Beats()
    beats.due = False
    beats.pass_by(100)
    assert beats.stalls == 0


def test_a_stopped_pulse_beats_no_more_until_it_is_started() -> None:
    beats = Beats()
    beats.pulse.stop()
    beats.pass_by(100)
    assert beats.asked == 0
    beats.pulse.start()
    beats.pass_by(1)
    assert beats.asked == 1


@pytest.mark.parametrize(("stall_ms", "delay_s", "beats"), [(1_000, 0.25, 4), (3_999, 0.99975, 4), (60_000, 1.0, 60)])
def test_short_limits_beat_faster(stall_ms: int, delay_s: float, beats: int) -> None:
    found = Beats(stall_ms)
    found.pass_by(beats)
    assert found.stalls == 0
    found.pass_by(1)
    assert (found.stalls, found.delays[0]) == (1, delay_s)
