"""docs/compatibility.md has a row for each test of tests/conformance, and a test for each row."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import ROOT, written
from tests.architecture.tables import Row, rows

PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
SUBJECTS = (
    "Steps",
    "Dependencies",
    "Retries and timeouts",
    "Errors",
    "Sleeps and events",
    "Statuses and control",
    "Ids, batches, limits",
    "Other workflows, from inside one",
    "Retention",
)
ROWS = [row for subject in SUBJECTS for row in rows(PAGE, subject)]
SOURCES = rows(PAGE, "Sources")


def conformance_tests() -> list[str]:
    return [
        node.name
        for source in written("tests/conformance")
        if source.path.rpartition("/")[2].startswith("test_")
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def test_each_test_is_a_row_and_each_row_a_test() -> None:
    tests = conformance_tests()
    assert len(set(tests)) == len(tests) > 60
    assert sorted(row["test"].strip("`") for row in ROWS) == sorted(tests)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["test"].strip("`"))
def test_a_row_says_all_that_it_has_to(row: Row) -> None:
    assert all(row.values())
    _, differs, why = row["here"].partition("Differs: ")
    assert row["here"].startswith("Same") or differs or row["Cloudflare"].startswith("not said")
    assert not differs or len(why) > 20, "why?"


def test_each_row_names_a_source_and_each_source_is_named() -> None:
    assert {row["source"] for row in ROWS} == {row["source"] for row in SOURCES}


def test_no_table_of_rows_is_left_out() -> None:
    assert len(ROWS) == PAGE.count("| `test_")
