"""What an endpoint is, and where a token may go: never in plaintext to another machine.

`host:port` (or `http://host:port`) is spoken to in plaintext, and only on this machine; `https://host:port` with TLS.
Standard library only, so that finding a context costs nothing.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from stepwell.errors import InvalidArgumentError, UnavailableError
from stepwell.tokens import hidden

LOOPBACK = "127.0.0.1"
"""Where every server without TLS listens."""

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


class NotReachableError(UnavailableError):
    """Nothing answered: no server is known, none runs, or the connection broke; what was sent may have arrived."""

    reason = "NOT_REACHABLE"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        """The one spelling by which contexts are keyed."""
        return f"https://{self.target}" if self.tls else self.target

    @property
    def target(self) -> str:
        """host:port, as it is written."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dialled(self) -> str:
        """host:port, as gRPC gets it. No name is resolved for plaintext: what `localhost` leads to is decided here."""
        return f"{LOOPBACK}:{self.port}" if self.host == "localhost" and not self.tls else self.target

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def refuse_plaintext(self) -> None:
        """Raise InvalidArgumentError where a token would cross a network unencrypted."""
        if not self.tls and not self.is_loopback:
            raise InvalidArgumentError(
                f"{self} is not on this machine, and a token must not travel in plaintext: use https://{self.target}",
                endpoint=str(self),
            )


def parse_endpoint(text: str) -> Endpoint:
    """`host:port`, `http://host:port` or `https://host:port`. Raises InvalidArgumentError for all else."""
    rest = text.strip().rstrip("/")
    scheme, separator, after = rest.partition("://")
    if separator:
        rest = after
    match = _AUTHORITY.fullmatch(rest)
    port = int(match["port"]) if match else 0
    if match is None or not 0 < port < 65536 or (separator and scheme.lower() not in ("http", "https")):
        raise InvalidArgumentError(
            f"{hidden(text)[:200]!r} is not an endpoint: write host:port, or https://host:port for a server on another"
            " machine",
        )
    return Endpoint(match["host"].strip("[]").lower(), port, tls=scheme.lower() == "https" and bool(separator))
