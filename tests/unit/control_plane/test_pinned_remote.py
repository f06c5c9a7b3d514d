"""How many are pinned, by all owners of the tenant's shards and one node's lists; or nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.pinned_remote import RemotePinned
from rpc.internal.v1 import peers_pb2 as pb
from stepwell.errors import UnavailableError
from stepwell.names import Digest, TenantUid, WorkflowId

TENANT, DIGEST, FLOWS = TenantUid("u1"), Digest("sha256-1"), [WorkflowId("order"), WorkflowId("bill")]


class Nodes:
    """What each has in memory, by address: the shards that it serves, of the tenant's 1 and 2, and a count."""

    def __init__(self, listed: int, **answers: tuple[set[int], int] | None) -> None:
        self.listed = listed
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, address: str, path: str, request: Any, answer: Any, *, timeout_s: float) -> Any:
        said = self.answers[address]
        self.asked.append(f"{address} {path.rpartition('/')[2]}")
        if said is None:
            raise UnavailableError("gone")
        assert (request.tenant, request.digest) == (TENANT, DIGEST)
        if path.endswith("/CountListed"):
            assert [*request.workflows] == FLOWS
            return pb.CountListedResponse(count=self.listed)
        return pb.CountInMemoryResponse(tenants_shards=[1, 2], served_shards=said[0], count=said[1])


async def counted(nodes: Any) -> int:
    return await RemotePinned(nodes, lambda: list(nodes.answers)).count(TENANT, DIGEST, FLOWS)


async def test_lists_are_read_after_memory() -> None:
    nodes = Nodes(7, a=({1}, 0), b=({2}, 2))
    assert await counted(nodes) == 7
    assert nodes.asked == ["a CountInMemory", "b CountInMemory", "a CountListed"]


async def test_what_is_in_memory_and_not_listed_yet_counts() -> None:
    assert await counted(Nodes(0, a=({1}, 1), b=({2}, 2))) == 3


async def test_a_node_that_is_gone_does_not_matter_when_others_serve_all_shards() -> None:
    nodes = Nodes(4, a=None, b=({1, 2}, 0))
    assert await counted(nodes) == 4
    assert nodes.asked[-2:] == ["a CountListed", "b CountListed"]


@pytest.mark.parametrize("answers", [{"a": ({1}, 0), "b": None}, {"a": ({1}, 0)}, {"a": None}, {}])
async def test_a_shard_that_nobody_answers_for_makes_it_unknown(answers: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match="not all of the tenant's shards"):
        await counted(Nodes(0, **answers))
