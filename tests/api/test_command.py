"""Every verb of the command with what its arguments and options may not have, against the whole server.

The verbs and their parameters come from the command itself: a new one fails until MEANINGS says what it means. With
`-o json` there is one error on stderr and nothing on stdout; the status is 2 for what the command sees by itself, 1 for
what the server refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from stepwell.cli.main import main
from tests.api.world import World
from tests.architecture.contracts import verbs

VERBS = dict(verbs())
COMMAND = Path(sys.executable).parent / "stepwell"
UNSAFE = ("a\x07b", "a\nb", "a\x1b[2Jb", "a\u202eb")
SURROGATE = "a\udcffb"
"""What a byte that is not UTF-8 becomes in an argument."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A value, and how the command ends that is given it."""

    value: str
    reason: str = "USAGE"
    status: int = 2


def usage(*values: str) -> list[Bad]:
    return [Bad(value) for value in values]


def refused(reason: str, *values: str) -> list[Bad]:
    return [Bad(value, reason, 1) for value in values]


NAMES_OF_ALL = ("-a", "a b", "a/b", "../a", "ä", *UNSAFE, SURROGATE)
TOKENS = [*refused("INVALID_ARGUMENT", "x", "====", "A" * 5_000, "ä", *UNSAFE), Bad(SURROGATE)]
JSON = (
    *usage("{nope", "NaN", "-Infinity", "1 2", "'x'", "", " ", '"\x01"', '"\udcff"', "@/nonexistent/file", "@"),
    *refused("LIMIT_EXCEEDED", "[" * 101 + "]" * 101, "9" * 309, "@large"),
    *refused("INVALID_ARGUMENT", "1e999", '"\\ud800"'),
)

RETENTIONS = ("", "0", "x", "-1", "59999", "59 seconds", "366 days", "7", "7 dayz", "1e9", "9" * 4_000, *UNSAFE)

MEANINGS: Mapping[str, list[Bad]] = {
    "workflow": usage("", "x" * 65, *NAMES_OF_ALL),
    "--workflow": usage("", "x" * 65, *NAMES_OF_ALL),
    "instance": usage("", "x" * 101, *NAMES_OF_ALL),
    "ids": usage("", "x" * 101, *NAMES_OF_ALL),
    "--instance": usage("", "x" * 101, *NAMES_OF_ALL),
    "--sample": usage("", "0", "-1", "1001", "1.5", "x", "9" * 400),
    "--id": usage("latest", "x" * 101, *NAMES_OF_ALL),
    "tenant": usage("", "A", "a_b", "a-", "x" * 64, *NAMES_OF_ALL),
    "--tenant": usage("", "A", "a_b", "a-", "x" * 64, *NAMES_OF_ALL),
    "--date-start": usage("", "yesterday", "2026-13-01", "1969-12-31", "0001-01-01T00:00:00+14:00", *UNSAFE),
    "--date-end": usage("", "yesterday", "1969-12-31", "9999-12-31T23:59:59-14:00", "9" * 400, *UNSAFE),
    "--event-id": usage(" ", "a b", "ä", "x" * 101, *UNSAFE, SURROGATE),
    "--state": usage("", "lost", "DEAD", *UNSAFE),
    "number": [*usage("", "0", "-1", "1.5", "x", "9" * 400, *UNSAFE), *refused("NOT_FOUND", "999")],
    "--to": usage("", "latest", "x" * 101, *NAMES_OF_ALL),
    "--to-workflow": usage("", "x" * 65, *NAMES_OF_ALL),
    "--type": usage("", ".a", "a:b", "x" * 101, *NAMES_OF_ALL),
    "version": usage("", "x", "sha256-", "sha256-" + "g" * 64, "0" * 64, *NAMES_OF_ALL),
    "--version": usage("", "x", "sha256-", "sha256-" + "g" * 64, "0" * 64, *NAMES_OF_ALL),
    "other": usage("", "x", "sha256-", "sha256-" + "g" * 64, "0" * 64, *NAMES_OF_ALL),
    "versions": [
        *usage("", "x", "sha256-", "sha256-" + "g" * 64, "0" * 64, *NAMES_OF_ALL),
        *usage(*(f"sha256-{'0' * 64}={weight}" for weight in ("", "0", "-1", "99", "101", "1.5", "x", "٣", "9" * 400))),
    ],
    "token": usage("", "x", "0" * 15, "G" * 16, *NAMES_OF_ALL),
    "--step": [*refused("INVALID_ARGUMENT", "s" * 257), Bad(SURROGATE)],
    "--from-step": [*refused("INVALID_ARGUMENT", "s" * 257, "nobody"), Bad(SURROGATE)],
    "--reason": [*refused("INVALID_ARGUMENT", "r" * 257), Bad(SURROGATE)],
    "--kind": usage("", "DO", "timer", *UNSAFE),
    "--count": usage("", "0", "-1", "1.5", "x", "9" * 400),
    "--etag": [*refused("CONFLICT", "x", "-1", "1" * 500, *UNSAFE), Bad(SURROGATE)],
    "--cursor": [*refused("INVALID_ARGUMENT", "x", "a.b", "a." + "9" * 13, *UNSAFE), Bad(SURROGATE)],
    "--page-size": usage("", "0", "-1", "1001", "1.5", "x", "9" * 400, "٣x"),
    "--page-token": TOKENS,
    "--steps-page-token": TOKENS,
    "--params": [*JSON],
    "--success-retention": usage(*RETENTIONS),
    "--error-retention": usage(*RETENTIONS),
    "--payload": [*JSON],
    "--status": usage("", "done", "COMPLETE", *UNSAFE),
    "--spread": [*usage("", "0", "-1", "1025", "1.5", "x", "9" * 400), *refused("INVALID_ARGUMENT", "3", "1023")],
    "--scope": usage("", "write", "all", *UNSAFE),
    "--output": usage("", "xml", "JSON", *UNSAFE),
    "--sandbox": usage("", "docker", *UNSAFE),
    "--port": usage("", "-1", "65536", "x"),
    "--host": usage("", "0.0.0.0", "127.0.0.1", "::", "example.com"),
    "--data": usage("file"),
    "--config": usage("", "missing", "good", *UNSAFE),
    "--replication-factor": usage("", "0", "10", "-1", "x"),
    "init folder": [*usage("file"), *refused("WRONG_STATE", "good")],
    "export data": [*usage("", "missing", "file", *UNSAFE), *refused("WRONG_STATE", "empty")],
    "export folder": usage("file"),
    "import folder": [*usage("", "missing", "file", *UNSAFE), *refused("WRONG_STATE", "empty")],
    "folder": [
        *usage("", "missing", "file", *UNSAFE),
        *refused("BUNDLE_REFUSED", "empty", "no-toml", "bad-toml", "bad-name", "linked", "no-utf8"),
    ],
    "name": usage("", "a b", "a\nb", "x" * 500, SURROGATE),
    "context": refused("NOT_FOUND", "", "a b", "x" * 500, *UNSAFE, SURROGATE),
    "--endpoint": refused("INVALID_ARGUMENT", "", "x", "host", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "a b:1",
                          "example.com:7837", "http://example.com:7837", "ftp://127.0.0.1:1", *UNSAFE),
}  # fmt: skip
"""By an option's long name, or an argument's own; `context` is the name of one that is there already."""

GOOD: Mapping[str, str] = {
    "workflow": "order",
    "instance": "one",
    "ids": "one",
    "tenant": "initech",
    "--tenant": "acme",
    "--type": "go",
    "number": "1",
    "--to": "one",
    "version": "sha256-" + "0" * 64,
    "versions": "sha256-" + "0" * 64,
    "--version": "sha256-" + "0" * 64,
    "other": "sha256-" + "1" * 64,
    "token": "0" * 16,
    "init folder": "out",
    "export data": "empty",
    "export folder": "out",
    "import folder": "empty",
    "folder": "good",
    "name": "mine",
    "context": "mine",
    "--from-step": "nobody",
    "--endpoint": "127.0.0.1:7837",
}
"""What a verb can't do without."""

NEEDS_TENANT = (
    "stepwell tenants",
    "stepwell contexts",
    "stepwell doctor",
    "stepwell dev",
    "stepwell init",
    "stepwell export",
    "stepwell import",
    "stepwell node",
    "stepwell control",
    "stepwell schema",
)
"""Verbs that are of no tenant; the operator, as whom this is run, names one to the others."""


def meaning(verb: str, parameter: click.Parameter) -> str:
    """An option's first long name; an argument's own."""
    if verb == "stepwell contexts use" and parameter.name == "name":
        return "context"
    if verb in ("stepwell init", "stepwell export", "stepwell import") and isinstance(parameter, click.Argument):
        return f"{verb.split()[1]} {parameter.name}"
    if isinstance(parameter, click.Option):
        return next(name for name in parameter.opts if name.startswith("--"))
    return str(parameter.name)


def takes_a_value(parameter: click.Parameter) -> bool:
    return not (isinstance(parameter, click.Option) and parameter.is_flag)


def required(verb: str) -> set[str]:
    return {meaning(verb, parameter) for parameter in VERBS[verb].params if parameter.required}


def line(verb: str, changed: Mapping[str, str]) -> list[str]:
    """The words of that verb with what it needs, one of them changed."""
    words = verb.split()[1:]
    options: list[str] = []
    for parameter in VERBS[verb].params:
        name = meaning(verb, parameter)
        needed = parameter.required or (name == "--tenant" and not verb.startswith(NEEDS_TENANT))
        value = changed.get(name, GOOD[name] if needed else None)
        if value is None:
            continue
        if isinstance(parameter, click.Option):
            options += [f"{name}={value}"]
        else:
            words.append(value)
    if "--cursor" in changed and verb.endswith("logs"):
        options.append("--follow")
    return [*words, *options, *([] if "--output" in changed else ["-o", "json"])]


Run = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command as the operator, in a folder of bundles."""
    monkeypatch.setenv("STEPWELL_ENDPOINT", world.server.endpoint)
    monkeypatch.setenv("STEPWELL_TOKEN", world.server.operator)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    folders(tmp_path)

    def run(arguments: list[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def folders(here: Path) -> None:
    good = '[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n'
    for name, manifest in {
        "good": good,
        "bad-toml": "[[workflows",
        "bad-name": good.replace("order", "or der"),
        "linked": good,
        "no-utf8": "\udcff",
        "empty": None,
        "no-toml": None,
    }.items():
        (here / name).mkdir()
        if manifest is not None:
            (here / name / "stepwell.toml").write_bytes(manifest.encode(errors="surrogateescape"))
    (here / "good" / "main.py").write_text("")
    (here / "no-toml" / "main.py").write_text("")
    (here / "linked" / "main.py").symlink_to("/etc/passwd")
    (here / "file").write_text("")
    (here / "large").write_text('"' + "x" * 1_048_576 + '"')


CASES = [
    pytest.param(verb, meaning(verb, parameter), bad, id=f"{verb} {meaning(verb, parameter)} {bad.value[:20]!r}")
    for verb, command in VERBS.items()
    for parameter in command.params
    if takes_a_value(parameter)
    for bad in MEANINGS[meaning(verb, parameter)]
]


@pytest.mark.parametrize(("verb", "name", "bad"), CASES)
def test_a_bad_value_ends_with_one_error(run: Run, world: World, verb: str, name: str, bad: Bad) -> None:
    newest = world.ours.values["version"]
    known: dict[str, str] = {each: newest for each in ("version", "versions") if each in required(verb)}
    status, out, err = run(line(verb, {**known, name: bad.value}))
    assert (status, out) == (bad.status, ""), err
    assert "Traceback" not in err
    if name == "--output":
        return
    assert err.count("\n") == 1
    error = json.loads(err)
    assert list(error) == ["code", "reason", "message", "metadata"]
    assert error["reason"] == bad.reason, error
    assert error["message"]
    status, out, err = run(line(verb, {**known, name: bad.value})[:-2])
    assert (status, out) == (bad.status, "")
    assert not set(err) & set("\x07\x1b\u202e"), "what was said is shown as it is to a terminal"


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_does_not_know_or_misses_is_wrong_usage(run: Run, verb: str) -> None:
    words = line(verb, {})
    needed = [parameter for parameter in VERBS[verb].params if parameter.required]
    wrong = [[*words, "--nonsense"]]
    if all(parameter.name != "ids" for parameter in VERBS[verb].params):
        wrong.append([*words, "one", "more", "and", "more"])
    if needed:
        wrong.append([*verb.split()[1:], "-o", "json"])
    for arguments in wrong:
        status, out, err = run(arguments)
        assert (status, out) == (2, "")
        assert json.loads(err)["reason"] == "USAGE"


@pytest.mark.parametrize("words", [["nonsense"], ["instances"], ["instances", "nonsense"], [""], ["-x"], ["\x1b[2J"]])
def test_what_is_no_verb_is_wrong_usage(run: Run, words: list[str]) -> None:
    status, out, err = run([*words, "-o", "json"])
    assert (status, out) == (2, "")
    assert json.loads(err)["reason"] == "USAGE"


@pytest.mark.parametrize("more", ["--kind=do", "--count=1"])
def test_a_step_is_told_by_its_name(run: Run, more: str) -> None:
    status, out, err = run(["instances", "restart", "order", "one", "--tenant", "acme", more, "-o", "json"])
    assert (status, out) == (2, "")
    assert json.loads(err)["reason"] == "USAGE"


STATES = [
    (["workflows", "describe", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["workflows", "delete", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["workflows", "trigger", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["workflows", "list", "--tenant", "nobody"], "NOT_FOUND"),
    (["workflows", "list"], "INVALID_ARGUMENT"),
    (["workflows", "trigger", "order", "--id", "one", "--tenant", "acme"], "ALREADY_EXISTS"),
    (["tenants", "create", "acme"], "ALREADY_EXISTS"),
    (["instances", "describe", "order", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "describe", "unknown", "latest", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "watch", "order", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "logs", "order", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "events", "order", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "resend-event", "order", "one", "1", "--to", "ended", "--tenant", "acme"], "WRONG_STATE"),
    (["instances", "resend-event", "order", "one", "1", "--to", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "fork", "order", "unknown", "--from", "charge", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "fork", "order", "ended", "--from", "charge", "--id", "one", "--tenant", "acme"], "ALREADY_EXISTS"),
    (["instances", "delete", "order", "unknown", "--tenant", "acme"], "NOT_FOUND"),
    (["instances", "pause", "order", "ended", "--tenant", "acme"], "WRONG_STATE"),
    (["instances", "resume", "order", "ended", "--tenant", "acme"], "WRONG_STATE"),
    (["instances", "terminate", "order", "ended", "--tenant", "acme"], "WRONG_STATE"),
    (["instances", "send-event", "order", "ended", "--type", "go", "--tenant", "acme"], "WRONG_STATE"),
    (["versions", "describe", GOOD["version"], "--tenant", "acme"], "NOT_FOUND"),
    (["routes", "set", "order", GOOD["version"], "--tenant", "acme"], "NOT_FOUND"),
    (["tokens", "revoke", GOOD["token"], "--tenant", "acme"], "NOT_FOUND"),
]


@pytest.mark.parametrize(("words", "reason"), STATES, ids=[" ".join(words) for words, _ in STATES])
def test_what_can_not_be_done_now_is_refused(run: Run, words: list[str], reason: str) -> None:
    status, out, err = run([*words, "-o", "json"])
    assert (status, out) == (1, "")
    assert json.loads(err)["reason"] == reason


@pytest.mark.parametrize(
    ("token", "reason"),
    [("swk_" + "0" * 16 + "_" + "0" * 64, "UNAUTHENTICATED"), ("x", "UNAUTHENTICATED"), ("a b", "INVALID_ARGUMENT"),
     ("ä", "INVALID_ARGUMENT"), ("x\x1b[2J", "INVALID_ARGUMENT")],
)  # fmt: skip
def test_a_stale_or_broken_token_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, token: str, reason: str) -> None:
    monkeypatch.setenv("STEPWELL_TOKEN", token)
    status, out, err = run(["workflows", "list", "--tenant", "acme", "-o", "json"])
    assert (status, out) == (1, "")
    assert json.loads(err)["reason"] == reason
    assert token not in err or len(token) == 1


FROM_STDIN = [b"workflows", b"trigger", b"order", b"--tenant", b"acme", b"--params", b"-"]
SHIPPED: Mapping[str, tuple[list[bytes], bytes, int, str]] = {
    "not UTF-8": ([b"workflows", b"describe", b"\xff", b"--tenant", b"acme"], b"", 2, "USAGE"),
    "not UTF-8 where the server reads": ([b"tenants", b"list", b"--page-token", b"\xff"], b"", 2, "USAGE"),
    "not JSON on stdin": (FROM_STDIN, b"{nope", 2, "USAGE"),
    "not UTF-8 on stdin": (FROM_STDIN, b"\xff", 2, "USAGE"),
    "too much on stdin": (
        FROM_STDIN, b'"' + b"x" * 1_200_000 + b'"', 1,
        "LIMIT_EXCEEDED",
    ),
    "far too much on stdin": (
        FROM_STDIN, b"1" * 5_000_000, 2, "USAGE",
    ),
    "another's": ([b"workflows", b"list", b"--tenant", b"nobody"], b"", 1, "NOT_FOUND"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "stdin", "status", "reason"), SHIPPED.values(), ids=SHIPPED.keys())
def test_the_shipped_command_refuses_alike(
    world: World, tmp_path: Path, words: list[bytes], stdin: bytes, status: int, reason: str
) -> None:
    environ: dict[str, Any] = {
        **os.environ,
        "STEPWELL_ENDPOINT": world.server.endpoint,
        "STEPWELL_TOKEN": world.server.operator,
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [os.fsencode(COMMAND), *words, b"-o", b"json"], input=stdin, capture_output=True, env=environ, timeout=60
    )
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    assert json.loads(done.stderr)["reason"] == reason


def iterated() -> Iterator[str]:
    yield from (meaning(verb, parameter) for verb, command in VERBS.items() for parameter in command.params)


def test_every_meaning_is_some_parameters() -> None:
    assert set(MEANINGS) - set(iterated()) == set()
