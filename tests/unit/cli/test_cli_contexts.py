"""The servers that a user knows: listed without tokens, one of them current, tokens taken unseen."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from stepwell.client.contexts import context_file, load, resolve, save_context
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import KEY, OPERATOR, SECRET, FakeServer

TEXT = f"swk_{KEY}_{SECRET}"
HERE = "127.0.0.1:7837"


@pytest.fixture
def typed(environ: pytest.MonkeyPatch) -> None:
    """A token comes by standard input."""
    environ.setattr(sys, "stdin", io.StringIO(f"{TEXT}\n"))


@pytest.mark.usefixtures("typed")
def test_a_context_is_added_listed_and_used(unconnected: Cli, environ: pytest.MonkeyPatch) -> None:
    save_context(HERE, OPERATOR)
    added = unconnected("contexts", "add", "prod", "--endpoint", "https://s.example.com:443", "-o", "json").document
    assert added == {"name": "prod", "endpoint": "https://s.example.com:443", "current": False}
    items = unconnected("contexts", "list", "-o", "json").document["items"]
    assert items == [
        {"name": HERE, "endpoint": HERE, "current": True, "hasToken": True},
        {"name": "prod", "endpoint": "https://s.example.com:443", "current": False, "hasToken": True},
    ]
    assert unconnected("contexts", "use", "prod").out == "The current context is prod (https://s.example.com:443)\n"
    assert resolve(os.environ).token == TEXT
    assert "*        prod" in unconnected("contexts", "list").out
    unconnected("contexts", "use", HERE)
    assert resolve(os.environ).endpoint == HERE


@pytest.mark.usefixtures("typed")
def test_no_verb_of_contexts_shows_a_token(unconnected: Cli) -> None:
    ended = [unconnected("contexts", "add", "prod", "--endpoint", HERE), unconnected("contexts", "list")]
    ended += [unconnected("contexts", "list", "-o", "json"), unconnected("contexts", "use", "prod")]
    for each in ended:
        assert each.status == 0
        assert SECRET not in each.out + each.err
    assert stat.S_IMODE(context_file().stat().st_mode) == 0o600
    assert load().of("prod").token == TEXT


@pytest.mark.usefixtures("typed")
def test_the_first_context_becomes_the_current_one(unconnected: Cli) -> None:
    assert unconnected("contexts", "add", "a", "--endpoint", HERE, "-o", "json").document["current"]


def test_a_context_that_is_added_again_is_replaced_whole(unconnected: Cli, environ: pytest.MonkeyPatch) -> None:
    other = f"swk_{KEY}_{'0' * 64}"
    for endpoint, token in (("https://a.example.com:443", TEXT), (HERE, other)):
        environ.setattr(sys, "stdin", io.StringIO(token))
        assert unconnected("contexts", "add", "prod", "--endpoint", endpoint).status == 0
    assert load().of("prod").token == other
    assert load().of("prod").endpoint == HERE
    assert len(load().entries) == 1


@pytest.mark.parametrize("text", ["", "\n", "nonsense", TEXT[:-1], f"{TEXT}0", f"{TEXT}\n{TEXT}", "x" * 10_000])
def test_what_is_no_token_is_refused_unshown(unconnected: Cli, environ: pytest.MonkeyPatch, text: str) -> None:
    environ.setattr(sys, "stdin", io.StringIO(text))
    ended = unconnected("contexts", "add", "prod", "--endpoint", HERE, "-o", "json")
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")
    assert "what was read is no token" in ended.error["message"]
    assert SECRET[:20] not in ended.err
    assert load().entries == {}


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "127.0.0.1:80", "é", "x" * 65, "a\x1bb"])
def test_a_name_is_checked(unconnected: Cli, name: str) -> None:
    ended = unconnected("contexts", "add", "--endpoint", HERE, "-o", "json", "--", name)
    assert (ended.status, ended.error["reason"]) == (2, "USAGE")
    assert "is not a context's name" in ended.error["message"]


@pytest.mark.usefixtures("typed")
def test_a_token_is_kept_for_no_endpoint_that_it_may_not_be_sent_to(unconnected: Cli) -> None:
    ended = unconnected("contexts", "add", "prod", "--endpoint", "10.0.0.1:80", "-o", "json")
    assert (ended.status, ended.error["reason"]) == (1, "INVALID_ARGUMENT")
    assert "use https://10.0.0.1:80" in ended.error["message"]
    assert unconnected("contexts", "add", "prod", "--endpoint", "nonsense", "-o", "json").status == 1
    assert load().entries == {}


@pytest.mark.parametrize("name", ["nobody", "127.0.0.1:1"])
def test_an_unknown_context_is_not_used(unconnected: Cli, name: str) -> None:
    save_context(HERE, OPERATOR)
    ended = unconnected("contexts", "use", name, "-o", "json")
    assert (ended.status, ended.error["reason"]) == (1, "NOT_FOUND")
    assert HERE in ended.error["message"]
    assert load().current == HERE


def test_a_terminal_is_asked_without_echo(unconnected: Cli, environ: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def hidden_input(prompt: str) -> str:
        asked.append(prompt)
        return TEXT

    environ.setattr(sys, "stdin", Terminal("what is typed in sight"))
    environ.setattr("click.termui.hidden_prompt_func", hidden_input)
    assert unconnected("contexts", "add", "prod", "--endpoint", HERE).status == 0
    assert len(asked) == 1
    assert load().of("prod").token == TEXT


def test_a_name_stands_for_its_endpoint_and_token(
    unconnected: Cli, environ: pytest.MonkeyPatch, server: FakeServer, tmp_path: Path
) -> None:
    environ.setattr(sys, "stdin", io.StringIO(TEXT))
    unconnected("contexts", "add", "here", "--endpoint", server.endpoint)
    environ.setenv("STEPWELL_ENDPOINT", "here")
    assert unconnected("tenants", "list").status == 1
    assert server.metadata_seen[0]["authorization"] == f"Bearer {TEXT}"
    said = unconnected("contexts", "use", "here").err
    assert "STEPWELL_ENDPOINT is set, and goes before it" in said
