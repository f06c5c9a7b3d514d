"""Page tokens continue the list that gave them and no other."""

from __future__ import annotations

import pytest

from rpc.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, offset, page_size, page_token, position
from stepwell.errors import InvalidArgumentError


@pytest.mark.parametrize("where", ["a", "ü/\x00", "x" * 500])
def test_a_token_continues_where_its_page_ended(where: str) -> None:
    assert position("list", page_token("list", where)) == where


def test_no_token_is_the_beginning() -> None:
    assert position("list", "") == ""


@pytest.mark.parametrize("token", [page_token("other", "a"), "a", "????", "ü", "AAAA" * 4, "A" * 5_000])
def test_a_token_of_something_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="begin again") as refused:
        position("list", token)
    assert refused.value.metadata["field"] == "page_token"


@pytest.mark.parametrize("number", ["x", "-1", "1.0", "٣", "9" * 10])
def test_a_token_that_counts_items_has_a_number(number: str) -> None:
    assert offset("list", page_token("list", "12")) == 12
    assert offset("list", "") == 0
    with pytest.raises(InvalidArgumentError, match="begin again"):
        offset("list", page_token("list", number))


@pytest.mark.parametrize(("asked", "given"), [(0, PAGE_SIZE_DEFAULT), (7, 7), (10**6, PAGE_SIZE_MAX)])
def test_a_page_has_a_bounded_size(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        page_size(-1)
