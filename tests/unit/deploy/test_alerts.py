"""Alerts are over figures that are served, and each has its paragraph in the runbook."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest

from cluster.lease import TTL_S
from data_plane.assignment import SHARD_COUNT
from data_plane.ticks import TICK_JITTER_MS_MAX, TICK_LATE_MS_MAX
from stepwell_server.metrics import ATTEMPTS, ENDINGS, LATE_SECONDS, REASONS
from tests.architecture.contracts import code, options, verbs
from tests.architecture.links import anchors
from tests.architecture.test_metrics_page import served
from tests.unit.deploy.manifests import DEPLOY, ROOT, document

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = [
    rule for group in document(DEPLOY / "prometheus" / "alerts.yaml")["groups"] for rule in group["rules"]
]
SERVED = served()
OF_THE_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds itself."""
VALUES = {
    "outcome": {*ATTEMPTS, *ENDINGS, "started", "failed", "sent", "lost"},
    "reason": set(REASONS),
    "code": {status.name for status in grpc.StatusCode},
    "kind": {"row", "wake", "blob", "listing", "mark", "bucket", "deletion"},
    "job": {"stepwell"},
}


def figures(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:stepwell|process)_[a-z_]+\b", text)}


def rule_of(name: str) -> str:
    (expression,) = (rule["expr"] for rule in RULES if rule["alert"] == name)
    return str(expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_over_figures_that_are_served(rule: dict[str, Any]) -> None:
    told = figures(rule["expr"])
    assert told - set(SERVED) == set()
    assert told or rule["expr"].startswith("up{")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_selects_by_labels_and_values_that_there_are(rule: dict[str, Any]) -> None:
    for figure, selector in re.findall(r"(\w+)\{([^}]*)\}", rule["expr"]):
        known = OF_THE_SCRAPE | (SERVED[next(iter(figures(figure)))][1] if figure != "up" else set())
        for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
            assert label in known
            assert value in VALUES[label]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_its_paragraph_and_says_how_urgent_it_is(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (page, anchor) == ("docs/runbook.md", rule["alert"].lower())
    assert anchor in anchors(RUNBOOK)
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_runbook_tells_of_no_other_alert() -> None:
    assert re.findall(r"^### (Stepwell\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_alert_of_shards_takes_the_number_of_shards_that_a_cluster_has() -> None:
    assert rule_of("StepwellShardsWithoutOwner").endswith(f"< {SHARD_COUNT}")


def test_the_alert_of_leases_comes_before_their_end() -> None:
    assert 0 < int(rule_of("StepwellLeaseRunsOut").rpartition("<")[2]) < TTL_S


def test_the_alert_of_schedules_comes_behind_their_jitter_and_before_times_are_missed() -> None:
    late_s = int(rule_of("StepwellSchedulesLate").rpartition(">")[2])
    assert TICK_JITTER_MS_MAX < late_s * 1_000 < TICK_LATE_MS_MAX
    assert late_s in LATE_SECONDS, "what is between two buckets is a guess"


def test_the_runbook_speaks_of_figures_that_are_served() -> None:
    assert figures(RUNBOOK) - set(SERVED) - {"process"} == set()


@pytest.mark.parametrize("page", ["docs/runbook.md", "deploy/README.md"])
def test_a_pages_commands_are_the_programs(page: str) -> None:
    known, text = dict(verbs()), (ROOT / page).read_text(encoding="utf-8")
    told = [line.removeprefix("$ ") for line in code(text) if re.match(r"(\$ )?stepwell [a-z]", line)]
    assert len(told) >= 3
    for line in told:
        words = line.split()
        verb = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
        assert verb in known, line
        assert set(re.findall(r"--[a-z-]+", line)) <= set(options(known[verb])), line
