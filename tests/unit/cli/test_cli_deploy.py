from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import workflows_pb2 as w
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import DIGEST, FakeServer

GOOD = '[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "stepwell.toml").write_text(GOOD)
    (made / "main.py").write_text("class Order: ...\n")
    return made


def test_a_deploy_prints_its_version_and_workflows(cli: Cli, folder: Path) -> None:
    expected = {
        "tenant": "acme",
        "version": DIGEST,
        "workflows": [
            {"name": "order", "entrypoint": "main:Order", "schedules": [], "retention": None, "limits": None}
        ],
        "created": True,
    }
    assert cli("deploy", str(folder), "--tenant", "acme", "-o", "json").document == expected
    assert cli("deploy", str(folder), "--tenant", "acme", "-o", "json").document == {**expected, "created": False}
    listed = cli("versions", "list", "--tenant", "acme", "-o", "json").document["items"]
    assert [(item["version"], item["fileCount"]) for item in listed] == [(DIGEST, 2)]
    assert DIGEST in cli("versions", "list", "--tenant", "acme").out


def test_people_see_what_was_deployed_and_the_servers_warnings(cli: Cli, server: FakeServer, folder: Path) -> None:
    server.warnings = ["workflow old keeps its route\x1b[2J"]
    shown = cli("deploy", str(folder), "--tenant", "acme")
    assert f"Deployed {DIGEST} for tenant acme" in shown.out
    assert "Warning: workflow old keeps its route[2J\n" in shown.err


def test_files_are_streamed_whole_with_their_modes(cli: Cli, server: FakeServer, folder: Path) -> None:
    (folder / "sub").mkdir()
    big = os.urandom(600 * 1024)
    (folder / "sub/data.bin").write_bytes(big)
    (folder / "empty").touch()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    assert cli("deploy", str(folder), "--tenant", "acme").status == 0
    assert list(server.uploaded) == ["empty", "main.py", "run.sh", "stepwell.toml", "sub/data.bin"]
    assert server.uploaded["sub/data.bin"] == big
    assert max(server.chunk_sizes) == 256 * 1024
    assert server.executables == {"run.sh"}


def test_what_is_no_code_stays_out(cli: Cli, server: FakeServer, folder: Path) -> None:
    for name in (
        ".git/config",
        ".venv/bin/python",
        ".env",
        ".env.local",
        "__pycache__/main.pyc",
        "old.pyc",
        "sub/.env",
        ".mypy_cache/3.11/main.data.json",
        ".ruff_cache/main",
        "sub/.pytest_cache/lastfailed",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()
    (folder / ".venv/link").symlink_to("/usr/bin/python3")
    (folder / ".gitignore").touch()
    assert cli("deploy", str(folder), "--tenant", "acme").status == 0
    assert list(server.uploaded) == [".gitignore", "main.py", "stepwell.toml"]


def test_vars_go_with_the_manifest(cli: Cli, server: FakeServer, folder: Path) -> None:
    (folder / "stepwell.toml").write_text(GOOD + '[vars]\nGREETING = "hello"\n')
    cli("deploy", str(folder), "--tenant", "acme")
    assert server.manifest is not None
    assert dict(server.manifest.vars) == {"GREETING": "hello"}


@pytest.mark.parametrize("target", ["main.py", "/etc/passwd", ".", "nowhere"])
def test_a_link_is_refused_by_name(cli: Cli, server: FakeServer, folder: Path, target: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/link").symlink_to(target)
    refused = cli("deploy", str(folder), "--tenant", "acme", "-o", "json")
    assert (refused.status, refused.error["reason"]) == (1, "BUNDLE_REFUSED")
    assert refused.error["metadata"] == {"path": "sub/link"}
    assert "link" in refused.error["message"]
    assert server.manifest is None


def test_a_pipe_is_refused_and_not_waited_for(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert cli("deploy", str(folder), "--tenant", "acme", "-o", "json").error["metadata"] == {"path": "pipe"}


def test_how_long_instances_are_kept_goes_with_the_manifest(cli: Cli, server: FakeServer, folder: Path) -> None:
    (folder / "stepwell.toml").write_text(
        GOOD + '[workflows.retention]\nsuccess = "7 days"\nerror = 60000\n\n' + GOOD.replace("order", "bill")
    )
    deployed = cli("deploy", str(folder), "--tenant", "acme", "-o", "json").document
    kept = {"successMs": 604_800_000, "errorMs": 60_000}
    assert [each["retention"] for each in deployed["workflows"]] == [kept, None]
    assert server.manifest is not None
    assert [each.HasField("retention") for each in server.manifest.workflows] == [True, False]
    shown = cli("versions", "describe", DIGEST, "--tenant", "acme").out
    assert "success 7 d, error 1 m" in shown


def test_limits_go_with_the_manifest(cli: Cli, server: FakeServer, folder: Path) -> None:
    (folder / "stepwell.toml").write_text(GOOD + "[workflows.limits]\nsteps = 100\nconcurrency = 2\n")
    deployed = cli("deploy", str(folder), "--tenant", "acme", "-o", "json").document
    assert deployed["workflows"][0]["limits"] == {"steps": 100, "concurrency": 2}
    assert server.manifest is not None
    assert (server.manifest.workflows[0].limits.steps, server.manifest.workflows[0].limits.concurrency) == (100, 2)
    assert "steps 100, concurrency 2" in cli("versions", "describe", DIGEST, "--tenant", "acme").out


@pytest.mark.parametrize(
    ("toml", "line", "words"),
    [
        ("[[workflows]]\nname = \n", "2", "Invalid value"),
        ('x = 1\n[[workflows]]\nname = "a"\nentrypoint = "m:C"\n', "1", "unknown key 'x'"),
        (GOOD + '\n[[workflows]]\nname = "b"\n', "5", 'entrypoint = "main:Order"'),
        (GOOD + '\n[[workflows]]\nname = "b"\nentrypoint = "main"\n', "7", "module:Class"),
        (GOOD + '\n[[workflows]]\nname = "b b"\nentrypoint = "main:B"\n', "6", "not a workflow name"),
        (GOOD + GOOD, "4", "declared twice"),
        (GOOD + "[bindings]\nA = 1\n", "4", "bindings are tables"),
        (GOOD + '[[bindings]]\nname = "a-b"\nworkflow = "x"\n', "5", "can't be a binding's name"),
        (GOOD + '[[bindings]]\nname = "A"\n', "4", "a binding needs a text as its workflow"),
        (GOOD + '[[bindings]]\nname = "A"\nworkflow = "-"\n', "6", "is not a workflow name"),
        (GOOD + '[[bindings]]\nname = "A"\nworkflow = "x"\n' * 2, "7", "binding A is declared twice"),
        (GOOD + "colour = 1\n", "4", "unknown key 'colour' in [[workflows]]"),
        (GOOD + "[vars]\nPORT = 80\n", "5", 'PORT = "…"'),
        (GOOD + "retention = 1\n", "4", "[workflows.retention] is a table of error and success"),
        (GOOD + "limits = 1\n", "4", "[workflows.limits] is a table of concurrency and steps"),
        (GOOD + "[workflows.limits]\nsteps = 1\nconcurrency = 0\n", "6", "concurrency: 0 is no limit of a workflow"),
        (GOOD + "[workflows.limits]\nsteps = 100001\n", "5", "steps: 100,001 is no limit of a workflow: 1 to 100,000"),
        (GOOD + "[workflows.limits]\nsteps = true\n", "5", "steps: it is a whole number: steps = 100"),
        (GOOD + "[workflows.limits]\nstep = 1\n", "5", "unknown key 'step' in [workflows.limits]"),
        (GOOD + '[workflows.retention]\nsucess = "7 days"\n', "5", "unknown key 'sucess' in [workflows.retention]"),
        (
            GOOD + '[workflows.retention]\nsuccess = "7 days"\nerror = "1 second"\n',
            "6",
            "error: 1,000 ms is no retention",
        ),
        (GOOD + "[workflows.retention]\nsuccess = true\n", "5", "success: a bool is no duration"),
        (GOOD + '[workflows.retention]\nerror = "400 days"\n', "5", "error: 400 days is not a duration"),
        ("", None, "declares no workflow"),
        ("workflows = 1\n", "1", "declares no workflow"),
    ],
)
def test_a_wrong_manifest_names_its_line(cli: Cli, folder: Path, toml: str, line: str | None, words: str) -> None:
    (folder / "stepwell.toml").write_text(toml)
    refused = cli("deploy", str(folder), "--tenant", "acme", "-o", "json")
    assert (refused.status, refused.error["reason"]) == (1, "BUNDLE_REFUSED")
    assert refused.error["metadata"].get("line") == line
    assert words in refused.error["message"]


def test_a_missing_manifest_shows_how_to_begin(cli: Cli, folder: Path) -> None:
    (folder / "stepwell.toml").unlink()
    refused = cli("deploy", str(folder), "--tenant", "acme")
    assert refused.status == 1
    assert "stepwell.toml is missing" in refused.err
    assert '  entrypoint = "main:Order"\n' in refused.err


def test_a_manifest_over_64_kib_is_refused(cli: Cli, folder: Path) -> None:
    (folder / "stepwell.toml").write_text(GOOD + "#" * 65_536)
    assert "64 KiB" in cli("deploy", str(folder), "--tenant", "acme").err


def test_a_folder_that_is_not_there_is_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    assert cli("deploy", str(tmp_path / "nowhere"), "--tenant", "acme", "-o", "json").error["reason"] == "USAGE"


def test_a_refusal_in_the_middle_of_the_upload_is_told(cli: Cli, server: FakeServer, folder: Path) -> None:
    server.deploy_refusal = "main.py, line 3: no module named requests"
    (folder / "big").write_bytes(b"x" * 8 * 1024 * 1024)
    refused = cli("deploy", str(folder), "--tenant", "acme", "-o", "json")
    assert refused.status == 1
    assert (refused.error["reason"], refused.error["message"]) == ("BUNDLE_REFUSED", server.deploy_refusal)


def test_a_file_that_vanishes_ends_the_upload_with_its_name(
    cli: Cli, folder: Path, environ: pytest.MonkeyPatch
) -> None:
    from stepwell.cli import folder as folders

    whole = folders.files_of

    def then_gone(path: Path) -> list[folders.FolderFile]:
        files = whole(path)
        (folder / "main.py").unlink()
        return files

    environ.setattr("stepwell.cli.folder.files_of", then_gone)
    ended = cli("deploy", str(folder), "--tenant", "acme", "-o", "json")
    assert ended.status == 1
    assert "main.py" in ended.error["message"]


OLD = "sha256-" + "cd" * 32
ORDERS = "tenants/acme/workflows/order/instances"


def put_routed(server: FakeServer, **versions: str) -> None:
    """Instances that wait, by name each on a version; the route leads to the old one."""
    target = w.RouteTarget(version=f"tenants/acme/versions/{OLD}", weight=100)
    server.routes["tenants/acme/workflows/order/route"] = w.Route(
        name="tenants/acme/workflows/order/route", version=target.version, targets=[target]
    )
    for name, version in versions.items():
        server.instances[f"{ORDERS}/{name}"] = i.Instance(
            name=f"{ORDERS}/{name}", status=i.INSTANCE_STATUS_WAITING, version=f"tenants/acme/versions/{version}"
        )


def test_a_check_that_finds_no_difference_routes_and_says_what_it_replayed(
    cli: Cli, server: FakeServer, folder: Path
) -> None:
    put_routed(server, one=OLD, newer=DIGEST, older="sha256-" + "ef" * 32)
    done = cli("deploy", str(folder), "--check", "--tenant", "acme", "-o", "json")
    assert (done.status, done.err) == (0, "")
    assert server.deploys == [True, False], "without routes, then with them"
    assert server.replayed == [f"{ORDERS}/one"], "what the route leads to now, and nothing else"
    told = done.document
    assert (told["created"], told["routed"], told["check"]["matches"]) == (True, True, 1)


def test_a_check_that_finds_a_difference_leaves_routes_as_they_are(cli: Cli, server: FakeServer, folder: Path) -> None:
    put_routed(server, one=OLD, two=OLD)
    server.verdicts[f"{ORDERS}/two"] = i.Replay(
        verdict=i.REPLAY_VERDICT_DIFFERS, position=1, expected="step 'charge' (call 1)", got="run returned"
    )
    done = cli("deploy", str(folder), "--check", "--tenant", "acme")
    assert done.status == 1
    assert server.deploys == [True]
    for words in ("step 'charge' (call 1)", "run returned", "Deployed without a route"):
        assert words in done.out
    assert "--force routes all the same" in done.err
    assert cli("deploy", str(folder), "--check", "--tenant", "acme", "-o", "json").document["routed"] is False
    forced = cli("deploy", str(folder), "--check", "--force", "--tenant", "acme", "-o", "json")
    assert (forced.status, forced.document["routed"], forced.document["check"]["differs"]) == (0, True, 1)


def test_a_workflow_without_a_route_has_nothing_to_check(cli: Cli, server: FakeServer, folder: Path) -> None:
    done = cli("deploy", str(folder), "--check", "--tenant", "acme", "-o", "json")
    assert (done.status, server.deploys, done.document["check"]["replays"]) == (0, [True, False], [])


@pytest.mark.parametrize("words", [["--check", "--no-route"], ["--force"], ["--sample", "3"]])
def test_options_of_a_check_go_with_it(cli: Cli, folder: Path, words: list[str]) -> None:
    assert cli("deploy", str(folder), *words, "--tenant", "acme", "-o", "json").status == 2
