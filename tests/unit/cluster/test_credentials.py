"""Tokens can be told, checked and never read back from what is kept."""

from __future__ import annotations

import secrets

import pytest

from cluster import credentials
from cluster.records import Token


def kept(credential: credentials.Credential) -> Token:
    return Token(credential.id, credential.sha256, None, None, 1)


def test_a_minted_token_opens_its_own_record_alone() -> None:
    mine, theirs = credentials.mint(secrets.token_bytes), credentials.mint(secrets.token_bytes)
    assert mine.opens(kept(mine))
    assert not mine.opens(kept(theirs))


def test_a_token_is_read_from_its_text() -> None:
    minted = credentials.mint(secrets.token_bytes)
    parsed = credentials.parse(minted.text)
    assert parsed == minted
    assert minted.text == f"swk_{minted.id}_{minted.secret}"


def test_a_secret_has_256_random_bits_and_an_id_64() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    minted = credentials.mint(random_bytes)
    assert asked == [8, 32]
    assert minted.text == "swk_0001020304050607_" + bytes(range(32)).hex()


@pytest.mark.parametrize("text", ["", "swk_", "swk_0_0", "SWK_" + "0" * 16 + "_" + "0" * 64, "swk_" + "0" * 81])
def test_what_is_no_token_is_none(text: str) -> None:
    assert credentials.parse(text) is None
    assert credentials.parse("swk_" + "0" * 16 + "_" + "0" * 64 + "\n") is None


def test_neither_the_record_nor_the_repr_has_the_secret() -> None:
    minted = credentials.mint(secrets.token_bytes)
    assert minted.secret not in repr(minted)
    assert minted.secret not in repr(kept(minted))
