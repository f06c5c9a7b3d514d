"""How an installation's Cassandra is reached."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_KEYSPACE: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
"""What needs no quotes in CQL; 48 is Cassandra's own limit."""


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """Operator-set. `contact_points` are nodes that are asked first; they tell of all the others.

    Raises ValueError for what can't be meant.
    """

    contact_points: Sequence[str]
    datacenter: str
    """This process's own: no request leaves it, and LOCAL_QUORUM is counted in it."""
    keyspace: str = "stepwell"
    port: int = 9042
    user: str = ""
    password: str = field(default="", repr=False)
    authority: Path | None = None
    """A PEM of the certificates that nodes are trusted by. Without it, nothing is encrypted."""
    certificate: Path | None = None
    """A PEM of this client's own, with `private_key`, where nodes ask for one."""
    private_key: Path | None = None

    def __post_init__(self) -> None:
        if not self.contact_points:
            raise ValueError("Cassandra needs at least one contact point: a node's host name or address")
        if not self.datacenter:
            raise ValueError("Cassandra needs the name of this process's datacenter, as `nodetool status` shows it")
        if not _KEYSPACE.fullmatch(self.keyspace):
            raise ValueError(
                f"{self.keyspace!r} can't be a keyspace: up to 48 of a-z, 0-9 and _, and a letter first, please"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a certificate for Cassandra comes with its private key")
        if self.certificate is not None and self.authority is None:
            raise ValueError("a certificate for Cassandra needs the authority that nodes are trusted by")

    def tls(self) -> ssl.SSLContext | None:
        """Nodes must prove their names. Raises OSError for files that can't be read or used."""
        if self.authority is None:
            return None
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate is not None:
            context.load_cert_chain(str(self.certificate), None if self.private_key is None else str(self.private_key))
        return context
