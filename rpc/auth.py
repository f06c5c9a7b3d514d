"""Who calls: a bearer token becomes a `Principal`, and a principal says at once what it may do and name.

A refusal follows from the token and the name alone, before anything is looked up, so that what a caller may not see and
what does not exist are the same to it. Tokens are checked against their record in constant time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from cluster.credentials import parse
from cluster.records import Token
from rpc import rights
from rpc.rights import Right
from stepwell.errors import PermissionDeniedError, UnauthenticatedError
from stepwell.names import TenantId

_HEADER = "authorization"
_SCHEME = "bearer "

Metadata = Sequence[tuple[str, str | bytes]]


class Principal(NamedTuple):
    """The holder of a token: an operator (no tenant) or one tenant, with the token's rights. One is made for each call,
    and a tuple is made faster than a frozen dataclass."""

    token_id: str
    tenant: TenantId | None
    rights: frozenset[Right]

    def require_tenant(self, tenant: TenantId) -> None:
        """Raises PermissionDeniedError unless the token is that tenant's, or an operator's."""
        if self.tenant is not None and self.tenant != tenant:
            raise PermissionDeniedError(
                f"this token is of the tenant {self.tenant!r} and may name nothing outside it", tenant=self.tenant
            )


NO_TOKEN = ""
"""Stands for the id of a token where none is asked for."""

ANYBODY = Principal(NO_TOKEN, TenantId("*"), frozenset({Right.ANY}))
"""Who calls what needs no token: all of them together have one tenant's share."""


class Tokens(Protocol):
    """Where tokens' records are found; `cluster.directory.Directory` is one."""

    async def token(self, token_id: str) -> Token | None: ...


class Authenticates(Protocol):
    """Says who makes a call."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        """Raises UnauthenticatedError."""
        ...


class Authenticator:
    """Turns the metadata of a call into its principal."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def authenticate(self, metadata: Metadata) -> Principal:
        """Raises UnauthenticatedError; it doesn't tell an unknown token from a wrong secret."""
        credential = parse(_bearer(metadata))
        record = None if credential is None else await self._tokens.token(credential.id)
        if credential is None or record is None or not credential.opens(record):
            raise UnauthenticatedError("the token is not known here: it may be of another server, or cut off")
        return principal_of(record)


class NoAuthenticator:
    """For what needs no token."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        return ANYBODY


def principal_of(token: Token) -> Principal:
    """Whom the holder of that token is taken for."""
    held = rights.OPERATORS if token.tenant is None else rights.tenants(token.scopes)
    return Principal(token.id, token.tenant, held)


def principal(context: Any) -> Principal:
    """Who makes the call that is being served; to be asked by the task that serves it.

    The context is the servicer's. Raises LookupError where no call was authenticated, which nobody may answer.
    """
    return _current.get()


@contextmanager
def acting_as(who: Principal) -> Iterator[None]:
    """Serve, within the block, as if that principal called: for callers that have no gRPC between."""
    token = _current.set(who)
    try:
        yield
    finally:
        _current.reset(token)


def set_principal(who: Principal) -> None:
    """For the rest of this task, which serves one call and ends with it."""
    _current.set(who)


_current: ContextVar[Principal] = ContextVar("stepwell_principal")


def _bearer(metadata: Metadata) -> str:
    found = [value for key, value in metadata if key == _HEADER]
    if not found:
        raise UnauthenticatedError("no token came with the call: send the metadata 'authorization: Bearer swk_…'")
    text = found[0]
    if len(found) > 1 or not isinstance(text, str) or text[: len(_SCHEME)].lower() != _SCHEME:
        raise UnauthenticatedError("the metadata 'authorization' is to be 'Bearer swk_…', once")
    return text[len(_SCHEME) :]
