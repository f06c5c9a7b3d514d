"""Python runs this as it starts, where it is on its path: the time of day is off by what a file says.

The file is looked at each second. Only the time of day is wrong, as it is where a clock is set; the monotonic clocks,
by which timeouts run, stay true.
"""

import os
import time

LOOK_NS = 1_000_000_000

_file = os.environ["WRONG_CLOCK"]
_true_ns = time.time_ns
_ahead_ns = 0
_looks_at = 0


def _time_ns() -> int:
    global _ahead_ns, _looks_at
    now = time.monotonic_ns()
    if now >= _looks_at:
        _looks_at = now + LOOK_NS
        with open(_file, encoding="ascii") as told:
            _ahead_ns = round(float(told.read()) * 1e9)
    return _true_ns() + _ahead_ns


def _time() -> float:
    return _time_ns() / 1e9


time.time_ns, time.time = _time_ns, _time
