"""What authors print, in the operator's log: by instance and step, as text that does nothing to a terminal."""

from __future__ import annotations

import structlog

from data_plane.activation import Activation
from loader.logs import LogLine, LogSink
from stepwell.names import Digest, TenantUid

log = structlog.get_logger("guest")


class GuestLog:
    """Makes the sink of each version's sandbox."""

    def sink(self, tenant: TenantUid, digest: Digest) -> LogSink:
        def put(line: LogLine) -> None:
            fields: dict[str, object] = {"tenant": tenant}
            if isinstance(line.source, Activation):
                fields |= {"workflow": line.source.key.workflow, "instance": line.source.key.instance}
            if line.name:
                fields |= {"step": _clean(line.name), "attempt": line.attempt}
            if line.dropped:
                fields["dropped"] = line.dropped
            log.info(_clean(line.text.decode("utf-8", "replace")).rstrip(), **fields)

        return put


def _clean(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)
