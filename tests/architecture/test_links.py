"""Links between pages lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.links import anchors, broken_links
from tests.architecture.sources import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# There\n")
    (tmp_path / "page.md").write_text(
        "# Here\n[a](#here) [b](#gone) [c](other.md#there) [d](other.md#here) [e](gone.md) [f](https://example.com/#x)\n"
    )
    assert list(broken_links(tmp_path / "page.md")) == ["#gone", "other.md#here", "gone.md"]


def test_anchors_are_made_of_headings_and_not_of_what_is_shown_as_code() -> None:
    page = "# `[node]`: the data plane\n\n```console\n# not a heading\n```\n## A node, lost\n"
    assert anchors(page) == {"node-the-data-plane", "a-node-lost"}
