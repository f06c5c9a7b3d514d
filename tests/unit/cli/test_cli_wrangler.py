"""A project written for Cloudflare is deployed as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import FakeServer

JSONC = """
// A project's own words, with "quotes" in them.
{
  "$schema": "./node_modules/wrangler/config-schema.json",
  "name": "shop", /* the script */
  "main": "src/entry.py",
  "compatibility_date": "2026-01-01",
  "workflows": [
    { "name": "order", "binding": "ORDER", "class_name": "Order", },
    { "name": "mail", "binding": "MAIL", "class_name": "Mail", "script_name": "mailer" }, // elsewhere
  ],
  "vars": { "GREETING": "hello, // and /* so */ on, ]", "LIMITS": { "most": 3 } },
}
"""
BOUND = {"ORDER": "order", "MAIL": "mail"}
TOML = """
name = "shop"
main = "src/entry.py"
compatibility_date = "2026-01-01"

[[workflows]]
name = "order"
binding = "ORDER"
class_name = "Order"

[vars]
GREETING = "hello"

[env.production]
vars = { GREETING = "welcome" }
"""


UNSAID: dict[str, object] = {"schedules": [], "retention": None, "limits": None}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "src").mkdir(parents=True)
    (made / "src" / "entry.py").write_text("import helper\nclass Order: ...\n")
    (made / "src" / "helper.py").write_text("")
    (made / ".dev.vars").write_text("SECRET=1")
    (made / "README.md").write_text("a project")
    return made


def test_the_folder_of_its_main_is_sent_with_its_workflows_and_texts(
    cli: Cli, server: FakeServer, project: Path
) -> None:
    (project / "wrangler.jsonc").write_text(JSONC)
    deployed = cli("deploy", str(project), "--tenant", "acme", "-o", "json")
    assert deployed.document["workflows"] == [{"name": "order", "entrypoint": "entry:Order", **UNSAID}]
    assert list(server.uploaded) == ["entry.py", "helper.py"]
    assert server.manifest is not None
    assert dict(server.manifest.vars) == {"GREETING": "hello, // and /* so */ on, ]"}
    assert dict(server.manifest.bindings) == BOUND
    assert deployed.err.splitlines() == [
        "Ignored: wrangler.jsonc: the workflow mail: it is another script's, deploy that one too",
        "Ignored: wrangler.jsonc: vars.LIMITS: it is no text, and only texts are handed on",
        "Ignored: wrangler.jsonc: of no meaning here: compatibility_date",
    ]


def test_toml_is_read_too(cli: Cli, server: FakeServer, project: Path) -> None:
    (project / "wrangler.toml").write_text(TOML)
    (project / "python_modules").mkdir()
    deployed = cli("deploy", str(project), "--tenant", "acme", "-o", "json")
    assert deployed.document["workflows"] == [{"name": "order", "entrypoint": "entry:Order", **UNSAID}]
    assert server.manifest is not None
    assert dict(server.manifest.vars) == {"GREETING": "hello"}
    assert "of no meaning here: compatibility_date, env\n" in deployed.err
    assert "python_modules: list what is in it in requirements.txt, beside this file" in deployed.err


def test_what_stepwell_toml_says_comes_first(cli: Cli, project: Path) -> None:
    (project / "wrangler.jsonc").write_text(JSONC)
    (project / "stepwell.toml").write_text('[[workflows]]\nname = "mine"\nentrypoint = "src.entry:Order"\n')
    deployed = cli("deploy", str(project), "--tenant", "acme", "-o", "json")
    assert deployed.document["workflows"] == [{"name": "mine", "entrypoint": "src.entry:Order", **UNSAID}]
    assert deployed.err == ""


ONE = '{"main": "src/entry.py", "workflows": [{"name": "a", "class_name": "A"}]}'


def test_its_default_retention_is_taken(cli: Cli, server: FakeServer, project: Path) -> None:
    said = '"default_retention": {"success_retention": "3 days", "error_retention": 604800000, "other": 1}'
    (project / "wrangler.jsonc").write_text(ONE.replace('"class_name"', said + ', "class_name"'))
    deployed = cli("deploy", str(project), "--tenant", "acme", "-o", "json")
    kept = {"successMs": 259_200_000, "errorMs": 604_800_000}
    assert deployed.document["workflows"] == [{"name": "a", "entrypoint": "entry:A", **UNSAID, "retention": kept}]
    assert deployed.err.splitlines() == [
        "Ignored: wrangler.jsonc: the workflow a: default_retention: of no meaning here: other"
    ]


def test_its_limit_of_steps_is_taken(cli: Cli, server: FakeServer, project: Path) -> None:
    said = '"limits": {"steps": 25000, "cpu_ms": 50}'
    (project / "wrangler.jsonc").write_text(ONE.replace('"class_name"', said + ', "class_name"'))
    deployed = cli("deploy", str(project), "--tenant", "acme", "-o", "json")
    assert deployed.document["workflows"][0]["limits"] == {"steps": 25_000, "concurrency": None}
    assert deployed.err == "Ignored: wrangler.jsonc: the workflow a: limits: of no meaning here: cpu_ms\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "wrangler.jsonc: Expecting property name"),
        ("[" * 60_000, "wrangler.jsonc: it is nested too deeply"),
        ("[]", "wrangler.jsonc: it is no object"),
        ("{}", 'name the Python module that has the workflows: "main": "src/entry.py"'),
        ('{"main": "src/index.ts"}', "name the Python module"),
        ('{"main": "../entry.py"}', "main: ../entry.py is not within this folder"),
        ('{"main": "/etc/x.py"}', "main: /etc/x.py is not within this folder"),
        ('{"main": "src/none.py"}', "main: there is no file src/none.py"),
        ('{"main": "src/entry.py"}', "it declares no workflow of its own"),
        ('{"main": "src/entry.py", "workflows": {}}', '"workflows" is a list of objects'),
        ('{"main": "src/entry.py", "workflows": [{"name": "order"}]}', 'a workflow needs "name" and "class_name"'),
        ('{"main": "src/entry.py", "workflows": [{"name": "a b", "class_name": "A"}]}', "'a b' is not a workflow name"),
        ('{"main": "src/entry.py", "workflows": [{"name": "a", "class_name": "1"}]}', "'entry:1' is not"),
        (
            ONE[:-2] + ', {"name": "a", "class_name": "B"}]}',
            "workflow a is declared twice",
        ),
        (ONE[:-1] + ', "vars": []}', '"vars" is an object'),
        (ONE[:-3] + ', "default_retention": "3 days"}]}', "the workflow a: default_retention is an object"),
        (ONE[:-3] + ', "limits": 5}]}', "the workflow a: limits is an object of steps"),
        (ONE[:-3] + ', "limits": {"steps": "5"}}]}', "the workflow a: limits: steps: it is a whole number"),
        (ONE[:-3] + ', "limits": {"steps": 0}}]}', "the workflow a: limits: steps: 0 is no limit"),
        (
            ONE[:-3] + ', "default_retention": {"error_retention": "soon"}}]}',
            "the workflow a: default_retention: error_retention: 'soon' is not a duration",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_said_with_what_to_write(cli: Cli, project: Path, text: str, says: str) -> None:
    (project / "wrangler.jsonc").write_text(text)
    refused = cli("deploy", str(project), "--tenant", "acme")
    assert refused.status == 1
    assert says in refused.err
    assert refused.out == ""


def test_a_link_to_a_file_elsewhere_is_not_read(cli: Cli, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(JSONC)
    (project / "wrangler.jsonc").symlink_to(tmp_path / "elsewhere")
    assert "wrangler.jsonc can't be read: it is a link" in cli("deploy", str(project), "--tenant", "acme").err
