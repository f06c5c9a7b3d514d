"""What workflows print: passed through to the test's own stdout and stderr, and kept by instance and step.

It is the guest's own code that cuts it into lines and drops what `run` prints again on a replay.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, TextIO, cast

from stepwell.guest.logs import Logs, LogStream


class LogLine(NamedTuple):
    """What was printed at once; `step` is empty and `count` and `attempt` are 0 in `run`."""

    text: str
    step: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a line
    attempt: int
    stream: Literal["stdout", "stderr"]


class Printing:
    """`keep` gets each piece with the number of the activation that printed it; 0 for nobody's."""

    def __init__(self, keep: Callable[[int, LogLine], None]) -> None:
        self._keep = keep
        self._out: TextIO | None = None
        self._err: TextIO | None = None
        self.logs = Logs(self._offer, self._pass_on)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within the block, `sys.stdout` and `sys.stderr` know who prints."""
        self._out, self._err = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = cast(TextIO, LogStream(self.logs, 1)), cast(TextIO, LogStream(self.logs, 2))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = self._out, self._err

    def _offer(self, envelope: bytes, payload: bytes) -> bool:
        self._pass_on(envelope, payload)
        return True

    def _pass_on(self, envelope: bytes, payload: bytes) -> None:
        _, act, step, count, attempt, stream = json.loads(envelope)
        text = payload.decode()
        out = self._out if stream == 1 else self._err
        if out is not None:
            out.write(text)
        self._keep(act, LogLine(text, step, count, attempt, "stdout" if stream == 1 else "stderr"))
