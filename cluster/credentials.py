"""What a bearer token looks like, and how its secret is checked: `swk_<id>_<secret>`.

The prefix lets secret scanners know it; the id (public, 64 random bits) finds the record; the secret is 256 random
bits, of which only the SHA-256 is kept. No salt and no slow hash: there is nothing to guess in 256 random bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from cluster.records import Token
from stepwell.tokens import ID_BYTES, SECRET_BYTES, TOKEN


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as its holder has it. Its secret stays out of its repr, and so out of logs."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What the holder sends; to be shown once."""
        return f"swk_{self.id}_{self.secret}"

    @property
    def sha256(self) -> str:
        """What may be kept."""
        return sha256(self.secret.encode()).hexdigest()

    def opens(self, token: Token) -> bool:
        """Whether this is the secret of that record, in a time that tells nothing of how wrong it is."""
        return compare_digest(self.sha256, token.secret_sha256)


def mint(random_bytes: Callable[[int], bytes]) -> Credential:
    """A new credential from a cryptographic source of random bytes."""
    return Credential(random_bytes(ID_BYTES).hex(), random_bytes(SECRET_BYTES).hex())


def parse(text: str) -> Credential | None:
    """The credential in that text, or None when it is none."""
    found = TOKEN.fullmatch(text)
    return None if found is None else Credential(found[1], found[2])
