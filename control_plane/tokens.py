"""Tokens: minted, shown once, kept as a hash; an operator's one is there from the first start."""

from __future__ import annotations

from collections.abc import Callable

from cluster import credentials, keys
from cluster.codec import decode_value, encode
from cluster.credentials import Credential
from cluster.generations import Change, change
from cluster.records import Tenant, Token
from cluster.store import ClusterStore, Compare, Delete, KeyValue, Operation, Put
from control_plane.limits import ControlLimits
from stepwell.errors import LimitExceededError


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

    async def mint(self, tenant: Tenant) -> tuple[Token, Credential]:
        """A new token of that tenant. Only the caller ever has the credential. Raises LimitExceededError."""
        credential = credentials.mint(self._random_bytes)
        token = Token(credential.id, credential.sha256, tenant.id, tenant.uid, self._clock_ms())

        async def decide() -> Change[None]:
            held = await self._held(token)
            if len(held) >= self._limits.tokens_max:
                raise LimitExceededError(
                    f"the tenant {tenant.id!r} has {len(held)} tokens, as many as it may",
                    tenant=tenant.id, limit="tokens_max", value=str(self._limits.tokens_max), seen=str(len(held)),
                )  # fmt: skip
            return _kept(token)

        await change(self._store, tenant.uid, decide)
        return token, credential

    async def operator_token(self, known: str = "") -> str:
        """A token of the operator: the known one when it still is one, otherwise a new one.

        For the process that starts an installation and tells its owner. When there are `tokens_max` of them, the oldest
        goes, so that starting often leaves no pile.
        """
        credential = credentials.parse(known)
        if credential is not None and await self._is_operators(credential):
            return known
        minted = credentials.mint(self._random_bytes)
        token = Token(minted.id, minted.sha256, None, None, self._clock_ms())

        async def decide() -> Change[None]:
            held = await self._held(token)
            surplus = held[: max(0, len(held) - self._limits.tokens_max + 1)]
            forgotten: list[Operation] = []
            for each in surplus:
                forgotten += [Delete(each.key), Delete(keys.token(keys.token_id_of(each.key)))]
            return _kept(token, *forgotten)

        await change(self._store, None, decide)
        return minted.text

    async def _held(self, token: Token) -> tuple[KeyValue, ...]:
        """The tokens of the same owner, oldest first, so far as they matter."""
        return await self._store.range(keys.tokens_of(token.tenant_uid), limit=self._limits.tokens_max + 1)

    async def _is_operators(self, credential: Credential) -> bool:
        stored = await self._store.get(keys.token(credential.id))
        if stored is None:
            return False
        token = decode_value(Token, stored)
        return token.tenant is None and credential.opens(token)


def _kept(token: Token, *others: Operation) -> Change[None]:
    key = keys.token(token.id)
    listed = keys.token_of(token.tenant_uid, token.created_at_ms, token.id)
    return Change((Put(key, encode(token)), Put(listed, b""), *others), lambda _: None, (Compare(key, 0),))
