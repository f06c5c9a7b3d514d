"""Pages: how many items one has, and the opaque token that continues a list.

A token names where the page before ended, and carries a digest of the list it belongs to: handed to another list, or
made up, it is refused. It grants nothing: every page is asked for with the caller's own rights.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from stepwell.errors import InvalidArgumentError

PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100

PAGE_BYTES_MAX = 2 * 1024 * 1024
"""A page of large items ends early rather than pass this by more than its last item."""

TOKEN_CHARACTERS_MAX = 2_048

_DIGEST_BYTES = 6
_INDEX_DIGITS_MAX = 9


def page_size(asked: int) -> int:
    """How many items to answer with: 0 means the default, more than the maximum the maximum."""
    if asked < 0:
        raise InvalidArgumentError(f"page_size: {asked} is negative; 0 means {PAGE_SIZE_DEFAULT}", field="page_size")
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def page_token(scope: str, position: str) -> str:
    """The token that continues the list `scope` (its call and parent, filters too) after `position`."""
    return urlsafe_b64encode(_digest(scope) + position.encode()).decode().rstrip("=")


def position(scope: str, token: str) -> str:
    """Where that token continues the list; "" for none, which is the beginning. Raises InvalidArgumentError."""
    if not token:
        return ""
    try:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ValueError("too long")
        data = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        if data[:_DIGEST_BYTES] != _digest(scope):
            raise ValueError("of another list")
        return data[_DIGEST_BYTES:].decode()
    except (ValueError, binascii.Error):
        raise _not_a_token() from None


def offset(scope: str, token: str) -> int:
    """As `position`, for a list that is continued after so many items: 0 is the beginning."""
    number = position(scope, token)
    if not number:
        return 0
    if len(number) > _INDEX_DIGITS_MAX or not (number.isascii() and number.isdecimal()):
        raise _not_a_token()
    return int(number)


def _not_a_token() -> InvalidArgumentError:
    return InvalidArgumentError(
        "page_token: not a token that this list gave; begin again without one", field="page_token"
    )


def _digest(scope: str) -> bytes:
    return blake2b(scope.encode(), digest_size=_DIGEST_BYTES).digest()
