"""Deploys whose parts come in any order: a version, or a reason, and nothing else is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ApiError
from stepwell.v1 import workflows_pb2 as w
from tests.api.running import bearer, told
from tests.api.world import World, deploy
from tests.fuzz.budget import tries

DEPLOY = "/stepwell.v1.WorkflowService/DeployVersion"
Part = w.DeployVersionRequest
PATIENCE_S = 10.0

PATHS = st.sampled_from(["main.py", "Main.py", "a", "a/b", "a/b/c.py", "A/b", "../x", "", "ä.py", "a\u0308.py", "x\n"])
ENTRIES = st.builds(
    w.WorkflowEntry,
    workflow_id=st.sampled_from(["order", "refund", "", "-x"]),
    entrypoint=st.sampled_from(["main:Order", "main", "a.b:C"]),
)
HEADERS = st.builds(
    Part.Header,
    parent=st.sampled_from(["tenants/-", "tenants/acme", "tenants/globex", "x"]),
    manifest=st.builds(w.Manifest, workflows=st.lists(ENTRIES, min_size=1, max_size=2)),
    no_route=st.booleans(),
)
GOOD = st.just(Part.FromString(next(deploy("tenants/-", b""))))
PARTS = (
    st.builds(lambda path, executable: Part(file=Part.File(path=path, executable=executable)), PATHS, st.booleans())
    | st.builds(lambda data: Part(chunk=data), st.binary(max_size=20) | st.just(b"x" * (1 << 20)))
    | st.builds(lambda header: Part(header=header), HEADERS)
    | st.just(Part())
)
ORDERLY = st.builds(lambda first, rest: [first, *rest], GOOD, st.lists(PARTS, max_size=8))


def test_parts_in_any_order_are_a_version_or_leave_nothing(world: World, folder: Path) -> None:
    @tries(150)
    @given(ORDERLY | st.lists(PARTS, max_size=6))
    def every(parts: list[Part]) -> None:
        before = versions(folder)
        error = refusal(world, [part.SerializeToString() for part in parts])
        assert world.server.log.faults == []
        assert staged(folder) == []
        if error is None:
            assert len(versions(folder) - before) <= 1
        else:
            assert error.reason in ("INVALID_ARGUMENT", "BUNDLE_REFUSED", "LIMIT_EXCEEDED", "PERMISSION_DENIED")
            assert versions(folder) == before

    every()


def refusal(world: World, parts: list[bytes]) -> ApiError | None:
    try:
        world.server.call(DEPLOY, parts, world.ours.token)
    except grpc.RpcError as error:
        return told(error)
    return None


def versions(folder: Path) -> set[str]:
    return {path.name for path in (folder / "data" / "bundles").glob("*/sha256-*")}


def staged(folder: Path) -> list[Path]:
    return list((folder / "data" / "bundles" / ".staging").glob("*"))


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"


def test_a_deploy_that_is_cut_off_leaves_nothing(world: World, folder: Path) -> None:
    """Its client goes after each part in turn, without a word."""
    before, whole = versions(folder), [*deploy("tenants/-", b"cut off")]
    channel: Any = world.server.channel
    for length in range(1, len(whole) + 1):
        sent, over = threading.Event(), threading.Event()

        def parts(length: int = length, sent: threading.Event = sent, over: threading.Event = over) -> Iterator[bytes]:
            yield from whole[:length]
            sent.set()
            over.wait()

        call = channel.stream_unary(DEPLOY).future(parts(), metadata=bearer(world.ours.token))
        assert sent.wait(PATIENCE_S)
        if length > 1:
            until("a file is staged", lambda: staged(folder) != [])
        call.cancel()
        over.set()
        # A call that is cancelled may look as if it had come to its end: what was kept then is abandoned.
        until("what was sent is gone", lambda: staged(folder) == [] and versions(folder) == before)
    assert world.server.log.faults == []
