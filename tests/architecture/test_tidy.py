"""The house rules hold, and each of them can be broken."""

from __future__ import annotations

import pytest

from tests.architecture.sources import WRITTEN, Source, written
from tests.architecture.tidy import RULES, Rule

SOURCES = list(written(*WRITTEN))


def broken(rule: Rule, source: Source) -> list[str]:
    """Where a source breaks a rule, one line each."""
    return [f"{source.path}:{line}: {what}" for line, what in rule.finds(source)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_it_holds_everywhere(rule: Rule) -> None:
    readable = (source for source in SOURCES if source.is_python or rule.finds.__name__ == "_unfinished")
    assert [line for source in readable for line in broken(rule, source)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_it_finds_what_breaks_it_and_nothing_else(rule: Rule) -> None:
    assert len(broken(rule, rule.bad)) == 1
    assert broken(rule, rule.good) == []
