"""Checks of bundles by data nodes: one that can't be reached gives way to the next; what is said of a bundle counts."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.check_remote import NODES_ASKED_MAX, RUNTIME_S, RemoteCheck
from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from stepwell.errors import BundleRefusedError, SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid

TENANT, DIGEST = TenantUid("u1"), Digest("sha256-1")


class Nodes:
    """What each answers, by address; nothing: that the bundle is good."""

    def __init__(self, **answers: Exception | None) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(
        self, address: str, path: str, request: pb.CheckBundleRequest, answer: Any, *, timeout_s: float
    ) -> Any:
        assert (path, request.tenant, request.digest) == (
            "/stepwell.internal.v1.PeerService/CheckBundle",
            TENANT,
            DIGEST,
        )
        assert timeout_s == 9
        self.asked.append(address)
        said = self.answers[address]
        if said is not None:
            raise said
        return answer(b"")


def check(nodes: Any) -> RemoteCheck:
    return RemoteCheck(nodes, lambda: list(nodes.answers), 9)


async def test_the_first_node_that_answers_decides() -> None:
    nodes = Nodes(a=UnavailableError("gone"), b=None, c=BundleRefusedError("never asked"))
    await check(nodes).check(TENANT, DIGEST)
    assert nodes.asked == ["a", "b"]


async def test_a_refusal_is_final() -> None:
    nodes = Nodes(a=BundleRefusedError("main.py, line 3: no such name"), b=None)
    with pytest.raises(BundleRefusedError, match="line 3"):
        await check(nodes).check(TENANT, DIGEST)
    assert nodes.asked == ["a"]


async def test_without_a_node_nobody_could_look() -> None:
    with pytest.raises(SandboxUnavailableError, match="deploy it again"):
        await check(Nodes()).check(TENANT, DIGEST)


async def test_so_many_nodes_are_asked_and_no_more() -> None:
    nodes = Nodes(**{f"n{number}": UnavailableError("gone") for number in range(9)})
    with pytest.raises(SandboxUnavailableError):
        await check(nodes).check(TENANT, DIGEST)
    assert len(nodes.asked) == NODES_ASKED_MAX


TOLD = GuestRuntime("3.11.2", "cpython", "aarch64", "glibc", "2.36")


class Telling(Nodes):
    """Nodes that know what their guests run on."""

    async def ask(self, address: str, path: str, request: Any, answer: Any, *, timeout_s: float) -> Any:
        assert (path, timeout_s) == ("/stepwell.internal.v1.PeerService/GetGuestRuntime", RUNTIME_S)
        self.asked.append(address)
        said = self.answers[address]
        if said is not None:
            raise said
        return answer(pb.GuestRuntime(**TOLD._asdict()).SerializeToString())


async def test_the_first_node_that_answers_tells_what_guests_run_on() -> None:
    nodes = Telling(a=UnavailableError("gone"), b=None, c=None)
    assert await check(nodes).runtime() == TOLD
    assert nodes.asked == ["a", "b"]


async def test_without_a_node_nobody_can_tell_what_guests_run_on() -> None:
    with pytest.raises(SandboxUnavailableError, match="what workflows run on"):
        await check(Telling()).runtime()
