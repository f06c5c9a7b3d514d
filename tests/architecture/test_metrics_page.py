"""Every figure that is served is on its page once, with its type and its labels; and the page has no others."""

from __future__ import annotations

import re
from itertools import chain

import grpc

from stepwell_server.metrics import Metrics
from tests.architecture.sources import ROOT
from tests.architecture.tables import Row, rows

PAGE = (ROOT / "docs" / "operations-metrics.md").read_text(encoding="utf-8")
SECTIONS = ("Calls", "Instances", "Sandboxes", "Stores and ownership", "The process")
ROWS: list[Row] = [row for section in SECTIONS for row in rows(PAGE, section)]


def served() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by name, of a process that has told of everything that it can."""
    metrics = Metrics(leased=True)
    metrics.call_ended("p.S/M", grpc.StatusCode.OK, 1.0)
    metrics.set_unstarted({0: 0})
    metrics.sandboxes.labels("warm").set(1)
    found = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.samples, f"{name} was never told of"
        labels = frozenset(chain.from_iterable(sample.labels for sample in family.samples)) - {"le"}
        found[name] = (family.type, labels)
    return found


def test_every_figure_is_on_the_page_with_its_type_and_its_labels() -> None:
    documented = {
        row["figure"].strip("`"): (row["type"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in ROWS
    }
    assert documented == served()
    assert len(ROWS) == len(documented)


def test_every_figure_says_what_to_do_when_it_is_bad() -> None:
    assert [row["figure"] for row in ROWS if not row["what it is"] or not row["when it is bad"]] == []


def test_no_figure_is_told_of_that_is_not_served() -> None:
    names = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:stepwell|process)_[a-z_]+\b", PAGE)
    }
    assert names - set(served()) == set()


def test_labels_are_the_programs_own_words() -> None:
    """A tenant, a workflow or an instance as a label would grow with use."""
    assert {label for _, labels in served().values() for label in labels} == {
        "code", "kind", "method", "outcome", "reason", "shard", "state",
    }  # fmt: skip
