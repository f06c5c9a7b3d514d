"""A token's secret is told once, on stdout, to whom it was made for, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell.cli.root import root
from stepwell.cli.verbs import HOMES
from stepwell.tokens import TOKEN, hidden, id_within
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import KEY, SECRET, FakeServer

TEXT = f"swk_{KEY}_{SECRET}"


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        *((verb, TEXT) for verb in HOMES),
        (TEXT,),
        ("--token", TEXT, "tenants", "list"),
        (f"--token={TEXT}", "tenants", "list"),
        ("tenants", "create", TEXT),
        ("tenants", "list", f"--page-token={TEXT}"),
        ("tokens", "revoke", TEXT, "--operator"),
        ("contexts", "add", "prod", "--endpoint", "127.0.0.1:1", TEXT),
        ("contexts", "use", TEXT),
        ("workflows", "trigger", "order", "--params", json.dumps({"token": TEXT})),
        ("instances", "watch", "order", TEXT[:-40]),
    ],
)
def test_a_token_among_the_arguments_is_refused_and_not_told_back(
    cli: Cli, server: FakeServer, arguments: tuple[str, ...], json_too: bool
) -> None:
    ended = cli(*arguments, *(("-o", "json") if json_too else ()))
    assert ended.status == 2
    assert SECRET[:20] not in ended.out + ended.err
    assert f"the secret of token {KEY} was given as an argument" in ended.err
    assert "STEPWELL_TOKEN" in ended.err
    assert server.metadata_seen == []


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("place", ["STEPWELL_ENDPOINT", "STEPWELL_TOKEN"])
def test_a_token_in_the_environment_is_never_told_back(
    cli: Cli, environ: pytest.MonkeyPatch, place: str, json_too: bool
) -> None:
    for text in (TEXT, f"{TEXT} ", f"x{TEXT}", f"{TEXT}\u00e9", f"{TEXT}:80"):
        environ.setenv(place, text)
        for verb in (("tenants", "list"), ("doctor",), ("instances", "list", "order"), ("contexts", "list")):
            ended = cli(*verb, *(("-o", "json") if json_too else ()))
            assert SECRET not in ended.out + ended.err, (place, verb)


def test_a_servers_error_with_a_token_in_it_is_shown_without(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "stepwell.toml").write_text('[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n')
    server.deploy_refusal = f"main.py, line 1: {TEXT}"
    for ending in ((), ("-o", "json")):
        ended = cli("deploy", str(tmp_path), "--tenant", "acme", *ending)
        assert ended.status == 1
        assert SECRET not in ended.err
        assert "main.py, line 1: swk_" in ended.err


def test_a_fault_with_a_token_in_it_is_shown_without(cli: Cli, environ: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError(TEXT)

    environ.setattr("stepwell.cli.documents.page", fail)
    ended = cli("tenants", "list", "-o", "json")
    assert ended.error["message"].startswith(f"ValueError: swk_{KEY}_…")


def test_tokens_are_found_in_texts() -> None:
    assert TOKEN.fullmatch(TEXT)
    assert hidden(f"a {TEXT} b {TEXT[:-1]}") == f"a swk_{KEY}_… b swk_{KEY}_…"
    assert id_within(f"--token={TEXT}") == KEY
    for text in ("swk_order_1", f"swk_{KEY}", f"swk_{KEY}_1234567", "nothing"):
        assert id_within(text) is None
        assert hidden(text) == text


def test_no_verb_has_an_option_for_a_token() -> None:
    for name in HOMES:
        command = root.get_command(None, name)  # type: ignore[arg-type]
        for verb in getattr(command, "commands", {"": command}).values():
            options = {option for parameter in verb.params for option in parameter.opts}
            assert not {option for option in options if "secret" in option or option.endswith("-token")} - {
                "--page-token",
                "--steps-page-token",
            }
            assert "--token" not in options
