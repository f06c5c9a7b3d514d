"""Tokens: minted, shown once, kept as a hash, revoked; an operator's one is there from the first start.

Tokens belong to an owner: a tenant, or the operator, for whom None stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster import credentials, keys
from cluster.codec import decode_value, encode
from cluster.credentials import Credential
from cluster.generations import Change, change
from cluster.records import Scope, Tenant, Token
from cluster.store import (
    RANGE_LIMIT_MAX,
    TXN_OPERATIONS_MAX,
    ClusterStore,
    Compare,
    Delete,
    KeyValue,
    Operation,
    Put,
)
from control_plane.limits import ControlLimits
from control_plane.pages import Page, stored_page
from stepwell.errors import LimitExceededError, NotFoundError, WrongStateError
from stepwell.names import TenantUid


class Tokens:
    """Rules over the cluster's store; see there for consistency."""

    def __init__(
        self,
        store: ClusterStore,
        *,
        clock_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        limits: ControlLimits,
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._limits = limits

    async def mint(self, owner: Tenant | None, scopes: tuple[Scope, ...] = tuple(Scope)) -> tuple[Token, Credential]:
        """A new token of that owner, with those scopes. Only the caller ever has the credential.

        Raises LimitExceededError.
        """
        token, credential = self._new(owner, scopes)

        async def decide() -> Change[None]:
            held = await self._store.range(keys.tokens_of(token.tenant_uid), limit=self._limits.tokens_max + 1)
            if len(held) >= self._limits.tokens_max:
                whose = f"the tenant {owner.id!r}" if owner is not None else "the operator"
                raise LimitExceededError(
                    f"{whose} has {len(held)} tokens, as many as may be: revoke one that is not used any more",
                    **({} if owner is None else {"tenant": owner.id}),
                    limit="tokens_max", value=str(self._limits.tokens_max), seen=str(len(held) + 1),
                )  # fmt: skip
            return _kept(token)

        await change(self._store, token.tenant_uid, decide)
        return token, credential

    async def list(self, owner: TenantUid | None, size: int, position: str = "") -> Page[Token]:
        """Oldest first."""
        page = await stored_page(self._store, keys.tokens_of(owner), size, position)
        stored = [await self._store.get(keys.token(keys.token_id_of(entry.key))) for entry in page.items]
        return Page(tuple(decode_value(Token, each) for each in stored if each is not None), page.position)

    async def revoke(self, owner: TenantUid | None, token_id: str) -> int:
        """From here on the token opens nothing; the revision by which that is so.

        Raises NotFoundError when the owner has no such token, and WrongStateError rather than take the operator's last.
        """

        async def decide() -> Change[int]:
            stored = await self._store.get(keys.token(token_id))
            token = None if stored is None else decode_value(Token, stored)
            if token is None or token.tenant_uid != owner:
                raise NotFoundError(f"there is no token {token_id}: it was revoked, or is another's", token=token_id)
            if owner is None and len(await self._store.range(keys.tokens_of(None), limit=2)) == 1:
                raise WrongStateError(
                    f"{token_id} is the operator's last token, and without one nobody could make another: "
                    "create the new one first",
                    token=token_id,
                )
            return Change(_forgotten(token), lambda revision: revision)

        return await change(self._store, owner, decide)

    async def operator_token(self, known: str = "") -> str:
        """A token of the operator: the known one when it still is one, otherwise a new one.

        For the process that starts an installation and tells its owner. When there are `tokens_max` of them, the oldest
        that was minted so goes, so that starting often leaves no pile. One that was asked for never gives way.
        """
        credential = credentials.parse(known)
        if credential is not None and await self._is_operators(credential):
            return known
        token, minted = self._new(None, tuple(Scope), at_start=True)

        async def decide() -> Change[None]:
            held = await self._store.range(keys.tokens_of(None), limit=RANGE_LIMIT_MAX)
            surplus = len(held) - self._limits.tokens_max + 1
            return _kept(token, *(await self._giving_way(held, surplus) if surplus > 0 else ()))

        await change(self._store, None, decide)
        return minted.text

    def _new(
        self, owner: Tenant | None, scopes: tuple[Scope, ...], *, at_start: bool = False
    ) -> tuple[Token, Credential]:
        minted = credentials.mint(self._random_bytes)
        token = Token(
            minted.id,
            minted.sha256,
            tenant=None if owner is None else owner.id,
            tenant_uid=None if owner is None else owner.uid,
            created_at_ms=self._clock_ms(),
            scopes=tuple(sorted({*scopes})),
            at_start=at_start,
        )
        return token, minted

    async def _giving_way(self, held: tuple[KeyValue, ...], surplus: int) -> Sequence[Operation]:
        gone: list[Operation] = []
        for entry in held:
            stored = await self._store.get(keys.token(keys.token_id_of(entry.key)))
            token = None if stored is None else decode_value(Token, stored)
            if token is not None and token.at_start:
                gone += _forgotten(token)
            if len(gone) >= min(2 * surplus, TXN_OPERATIONS_MAX // 2):
                break
        return gone

    async def _is_operators(self, credential: Credential) -> bool:
        stored = await self._store.get(keys.token(credential.id))
        if stored is None:
            return False
        token = decode_value(Token, stored)
        return token.tenant is None and credential.opens(token)


def _kept(token: Token, *others: Operation) -> Change[None]:
    key = keys.token(token.id)
    return Change((Put(key, encode(token)), Put(_listed(token), b""), *others), lambda _: None, (Compare(key, 0),))


def _forgotten(token: Token) -> tuple[Operation, ...]:
    return Delete(keys.token(token.id)), Delete(_listed(token))


def _listed(token: Token) -> str:
    return keys.token_of(token.tenant_uid, token.created_at_ms, token.id)
