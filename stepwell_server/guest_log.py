"""Where what tenants print goes: an instance's lines to its log, and little of anything to the operator's.

The operator's log is no place for tenants: whoever could fill it or forge it would blind whoever reads it. What belongs
to no instance (what is printed while a bundle is imported, what is written around `sys.stdout`, a guest's last words)
is a hint to the operator alone, cut short and rationed by tenant; the rest goes there only where the operator wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from data_plane.activation import Activation
from data_plane.logs.recorder import Recorder
from data_plane.logs.store import LogKey
from loader.logs import LogLine, LogSink
from stepwell.names import Digest, TenantUid

log = structlog.get_logger("guest")

HINTS_A_MINUTE_MAX: Final = 20
"""Lines of one tenant that belong to no instance, in the operator's log."""

HINT_LENGTH_MAX: Final = 500
"""Characters of one of them."""


class GuestLog:
    """Makes the sink of each version's sandbox. `everything` puts instances' lines into the operator's log too."""

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float], *, everything: bool) -> None:
        self._recorder = recorder
        self._monotonic = monotonic
        self._everything = everything
        self._minute = 0
        self._hints: dict[TenantUid, int] = {}
        """Lines of this minute."""

    def sink(self, tenant: TenantUid, digest: Digest) -> LogSink:
        def put(line: LogLine) -> None:
            source = line.source
            if isinstance(source, Activation):
                self._recorder.put(LogKey(source.key.tenant, source.uid), line)
                if self._everything:
                    _tell(line, tenant, digest, workflow=source.key.workflow, instance=source.key.instance)
            elif self._everything or self._hint(tenant):
                _tell(line, tenant, digest)

        return put

    def _hint(self, tenant: TenantUid) -> bool:
        minute = int(self._monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._hints.clear()
        hints = self._hints[tenant] = self._hints.get(tenant, 0) + 1
        return hints <= HINTS_A_MINUTE_MAX


def _tell(line: LogLine, tenant: TenantUid, digest: Digest, **whose: str) -> None:
    """As a field, which is quoted, and not as the event: a tenant's text can't pass for a line of the server's."""
    fields: dict[str, object] = {"tenant": tenant, "version": digest, **whose}
    if line.name:
        fields |= {"step": _shown(line.name), "count": line.count, "attempt": line.attempt}
    if line.dropped:
        fields["dropped"] = line.dropped
    if line.text is not None:
        fields["text"] = _shown(line.text.decode("utf-8", "replace"))
    log.info("a tenant's code printed", **fields)


def _shown(text: str) -> str:
    cut = text if len(text) <= HINT_LENGTH_MAX else f"{text[:HINT_LENGTH_MAX]}…"
    return "".join(each if each.isprintable() else "\ufffd" for each in cut)
