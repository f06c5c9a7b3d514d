"""How keys and revisions of the port stand in etcd.

Keys lie below the installation's prefix, as UTF-8: etcd orders bytes, which is the order of code points. etcd counts
revisions from 1, a store that holds nothing included; the port counts from 0.
"""

from __future__ import annotations

FIRST_REVISION = 1


class KeySpace:
    """Of one installation. `first_revision` is the one that counts as none."""

    def __init__(self, prefix: str, first_revision: int = FIRST_REVISION) -> None:
        self._prefix = prefix.encode()
        self._first_revision = first_revision

    def to_stored(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def from_stored(self, key: bytes) -> str:
        return key.removeprefix(self._prefix).decode()

    def span(self, prefix: str, after: str = "") -> tuple[bytes, bytes]:
        """The first key of those with that prefix, and past `after`; and the first one that is not meant any more."""
        start = self.to_stored(prefix)
        first = max(start, self.to_stored(after) + b"\0") if after else start
        return first, _end_of(start)

    def from_etcd(self, revision: int) -> int:
        return revision - self._first_revision

    def to_etcd(self, revision: int) -> int:
        return revision + self._first_revision


def _end_of(prefix: bytes) -> bytes:
    """The first key past all that begin with it. etcd reads a single zero byte as: to the end of all keys."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b"\0"
