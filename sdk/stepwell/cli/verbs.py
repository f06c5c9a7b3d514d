"""Every verb by name: what `stepwell --help` prints, and where each command is found when it is run.

The top level's help is made from these lines alone, without click, since importing it takes longer than all the rest.
"""

from __future__ import annotations

VERBS = {
    "dev": "Run a server on this machine, for yourself.",
    "init": "Write a small project to begin with.",
    "export": "Write a stopped server's data into a folder, for a cluster to import.",
    "deploy": "Upload a folder's workflows and route new instances to them.",
    "replay": "Find out whether new code does what instances did so far.",
    "workflows": "list, describe, trigger, delete",
    "instances": (
        "list, describe, watch, logs, events, send-event, resend-event, broadcast-event, pause, resume, restart, "
        "fork, migrate, cancel, terminate, terminate-all, delete"
    ),
    "versions": "list, describe, diff, drain, retire",
    "routes": "list, describe, set, promote, rollback",
    "schedules": "list, pause, resume",
    "tenants": "create, list (operator)",
    "tokens": "create, list, revoke (operator)",
    "contexts": "list, use, add",
    "import": "Put what was exported into a cluster.",
    "nodes": "list (operator of a cluster)",
    "node": "Run a node of a cluster, which executes instances.",
    "control": "Run a control server of a cluster.",
    "schema": "show, apply, verify (a cluster's tables in Cassandra)",
    "doctor": "Check that the server can be reached and serves.",
}

HOMES = {name: f"stepwell.cli.{name}" for name in VERBS} | {"import": "stepwell.cli.import_"}


def help_text() -> str:
    """What `stepwell --help` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{summary}" for name, summary in VERBS.items())
    return f"""\
Usage: stepwell VERB [ARGUMENTS] [OPTIONS]

  Durable workflows for every tenant of a platform.

Verbs:
{verbs}

Options:
  -o json     After any verb: one JSON document on stdout, errors as JSON on stderr.
  --version   Show the version and exit.
  --help      Show this help, or after a verb its own.

Environment:
  STEPWELL_ENDPOINT   The server: a context's name, host:port or https://host:port.
  STEPWELL_TOKEN      The token; else that of the endpoint's context is used.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 the server can't be reached.
"""
