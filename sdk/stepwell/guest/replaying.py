"""A journal of an instance against this version's code, without the instance: whether the code would do the same.

Completions enter as in any activation, and nothing else happens: no body runs, nothing is asked of the host, and what
`run` prints goes nowhere. Once all have entered, the code must have asked for all that the journal says is open, and
must have ended as the journal says it did.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from stepwell.guest.instance import Instance

_TOLD_LENGTH_MAX: Final = 1024


class ReplayedInstance(Instance):
    """`ended` is "returned" or "raised" where the journal says that `run` did, else empty."""

    def __init__(self, *of: Any, ended: str) -> None:
        super().__init__(*of)
        self._ended = ended

    @property
    def silent(self) -> bool:
        return True

    def _after_replay(self) -> None:
        if self._entered < self._recorded or self._stopped:
            return
        asking = self._asking
        for key in self._known:
            if key not in asking.open and key not in asking.cancelled:
                self._mismatch(self._entered, key)
                return
        ended = self._outcome[0] if self._outcome is not None else ""
        if self._ended and self._ended != ended:
            self._differs(self._entered, f"run {self._ended}")
            return
        self.say(f'["replayed",{self.act},{encode_basestring_ascii(self._does()[:_TOLD_LENGTH_MAX])}]')
        self.stop()

    def _does(self) -> str:
        if self._outcome is None or self._outcome[0] == "returned":
            return super()._does()
        (_, type, message, *_), *_ = json.loads(b"[%b]" % self._outcome[1])
        return f"run raised {type}: {message}"
