"""Tokens are made, listed and revoked, and their secrets are seen once."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import KEY, SECRET, FakeServer

TEXT = f"swk_{KEY}_{SECRET}"


def test_a_secret_stands_alone_on_stdout(cli: Cli) -> None:
    made = cli("tokens", "create", "--tenant", "acme")
    assert made.out == f"{TEXT}\n"
    assert SECRET not in made.err
    document = cli("tokens", "create", "--tenant", "acme", "-o", "json").document
    assert document == {"tenant": "acme", "token": KEY, "scopes": None, "createTime": None, "secret": TEXT}


def test_a_token_can_be_narrowed(cli: Cli, server: FakeServer) -> None:
    made = cli("tokens", "create", "--tenant", "acme", "--scope", "run", "--scope", "read", "-o", "json").document
    assert made["scopes"] == ["run", "read"]
    listed = cli("tokens", "list", "--tenant", "acme", "-o", "json").document
    assert listed["items"] == [{"tenant": "acme", "token": KEY, "scopes": ["run", "read"], "createTime": None}]
    shown = cli("tokens", "list", "--tenant", "acme").out
    assert "run, read" in shown
    assert SECRET not in shown


def test_an_operators_token_is_asked_for_by_name(cli: Cli) -> None:
    made = cli("tokens", "create", "--operator", "-o", "json").document
    assert (made["tenant"], made["scopes"], made["secret"]) == (None, None, TEXT)
    assert "everything (operator)" in cli("tokens", "list", "--operator").out
    assert cli("tokens", "list", "--tenant", "acme", "-o", "json").document["items"] == []


@pytest.mark.parametrize("verb", [("create",), ("list",), ("revoke", KEY)])
@pytest.mark.parametrize("whose", [(), ("--tenant", "acme", "--operator")])
def test_whose_token_is_never_guessed(cli: Cli, verb: tuple[str, ...], whose: tuple[str, ...]) -> None:
    ended = cli("tokens", *verb, *whose, "-o", "json")
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")
    assert "--tenant TENANT, or --operator" in ended.error["message"]


def test_an_operators_token_takes_no_scope(cli: Cli) -> None:
    ended = cli("tokens", "create", "--operator", "--scope", "read", "-o", "json")
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")


@pytest.mark.parametrize("whose", [("--tenant", "acme"), ("--operator",)])
def test_a_token_is_revoked_by_its_id(cli: Cli, server: FakeServer, whose: tuple[str, ...]) -> None:
    cli("tokens", "create", *whose)
    revoked = cli("tokens", "revoke", KEY, *whose, "-o", "json").document
    assert revoked == {"tenant": "acme" if "acme" in whose else None, "token": KEY, "revoked": True}
    assert server.tokens == []
    ended = cli("tokens", "revoke", KEY, *whose, "-o", "json")
    assert (ended.status, ended.error["reason"]) == (1, "NOT_FOUND")


def test_what_is_no_tokens_id_is_refused_here(cli: Cli) -> None:
    ended = cli("tokens", "revoke", "abc", "--operator", "-o", "json")
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")
    assert "16 hex digits" in ended.error["message"]
