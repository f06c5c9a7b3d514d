"""What the adapter of a real etcd does when etcd is away, stands still, has forgotten, or asks who is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from cluster.etcd import connection as connection_module
from cluster.etcd.connection import CALL_S, CONNECT_S, EtcdSettings
from cluster.store import WATCH_PROGRESS_SECONDS, CompactedError, LeaseLostError, Put, WatchBatch
from cluster.store_etcd import EtcdStore, open_etcd_store
from stepwell.errors import UnavailableError
from tests.contract.etcd_server import EtcdServer, etcd_server

NOBODY = "127.0.0.1:1"
IDLE_S = 6.0
ETCD_KEEP_ALIVE_MS_MIN = 5_000
"""`--grpc-keepalive-min-time` by default, from its manual."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """One of its own."""
    with etcd_server(tmp_path) as server:
        yield server


@pytest.fixture
async def store(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    async with open_etcd_store(EtcdSettings([server.endpoint])) as store:
        yield store


async def told(watch: AsyncIterator[WatchBatch]) -> list[tuple[str, int]]:
    """The next changes that a watch tells."""
    async for batch in watch:
        if batch.events:
            return [(event.key, event.mod_revision) for event in batch.events]
    raise AssertionError("the watch ended")


async def raw(server: EtcdServer, method: str, request: bytes) -> bytes:
    """A call that the adapter does not make, as bytes."""
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        call: Any = channel.unary_unary(f"/etcdserverpb.{method}")
        answer: bytes = await call(request)
        return answer


def field(number: int, text: str) -> bytes:
    """A short text field of a message."""
    return bytes([number << 3 | 2, len(text)]) + text.encode()


async def test_a_member_that_is_not_there_is_passed_over(server: EtcdServer) -> None:
    async with open_etcd_store(EtcdSettings([NOBODY, server.endpoint])) as store:
        async with asyncio.timeout(CONNECT_S + CALL_S):
            assert await store.revision() == 0
        async with asyncio.timeout(CONNECT_S / 2):  # it is not tried again each time
            await store.txn((), (Put("a", b""),))


async def test_nobody_there_is_told_with_who_was_asked() -> None:
    async with open_etcd_store(EtcdSettings([NOBODY])) as store:
        with pytest.raises(UnavailableError, match=f"etcd at {NOBODY}: no member can be reached"):
            await store.get("a")


async def test_an_etcd_that_stands_still_is_given_up_in_time_and_is_asked_again(
    server: EtcdServer, store: EtcdStore
) -> None:
    await store.txn((), (Put("a", b"1"),))
    with server.standing_still():
        for asked in (store.get("a"), store.txn((), (Put("a", b"2"),)), store.keep_alive(1)):
            async with asyncio.timeout(2 * CALL_S + 2 * CONNECT_S + 1):
                with pytest.raises(UnavailableError):
                    await asked
    async with asyncio.timeout(10):
        while True:
            try:
                found = await store.get("a")
            except UnavailableError:
                continue
            break
    assert found is not None


async def test_a_member_that_answers_no_keep_alive_is_passed_over(server: EtcdServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with etcd_server(tmp_path / "other") as other:
        async with open_etcd_store(EtcdSettings([server.endpoint, other.endpoint])) as store:
            await store.revision()
            with server.standing_still():
                with pytest.raises(UnavailableError):
                    await store.keep_alive(1)
                with pytest.raises(LeaseLostError):  # the other one answers
                    await store.keep_alive(1)


async def test_a_watch_on_an_etcd_that_stands_still_ends_in_time(server: EtcdServer, store: EtcdStore) -> None:
    watch = store.watch("", after=0)
    await anext(watch)
    with server.standing_still():
        async with asyncio.timeout(WATCH_PROGRESS_SECONDS + 5):
            with pytest.raises(UnavailableError):
                async for _ in watch:
                    pass
    await watch.aclose()


async def test_nothing_is_lost_over_a_restart_and_a_watch_goes_on_where_it_was(
    server: EtcdServer, store: EtcdStore
) -> None:
    await store.txn((), (Put("a", b"1"),))
    watch = store.watch("", after=0)
    assert await told(watch) == [("a", 1)]
    server.kill()
    with pytest.raises(UnavailableError):
        async for _ in watch:
            pass
    await watch.aclose()
    server.start()
    async with asyncio.timeout(20):
        while True:
            try:
                await store.txn((), (Put("b", b"2"),))
            except UnavailableError:
                continue
            break
    watch = store.watch("", after=1)
    assert (await told(watch))[0] == ("b", 2)
    await watch.aclose()
    found = await store.range("", limit=9)
    assert [each.key for each in found] == ["a", "b"]


async def test_what_was_compacted_is_said_to_be(server: EtcdServer, store: EtcdStore) -> None:
    for _ in range(5):
        await store.txn((), (Put("a", b""),))
    await raw(server, "KV/Compact", bytes([1 << 3, 4]))
    with pytest.raises(CompactedError, match="list again"):
        async for _ in store.watch("", after=0):
            pass
    watch = store.watch("", after=4)
    assert await told(watch) == [("a", 5)]
    await watch.aclose()


async def test_etcd_closes_no_connection_for_its_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one a second here, every 5 s by default; three that come too often are too many."""
    quick = {"grpc.keepalive_time_ms": 1_200, "grpc.http2.max_pings_without_data": 0}
    options = dict(connection_module._OPTIONS) | quick
    monkeypatch.setattr(connection_module, "_OPTIONS", tuple(options.items()))
    with etcd_server(tmp_path, "--grpc-keepalive-min-time=1s") as server:
        async with open_etcd_store(EtcdSettings([server.endpoint])) as store:
            await store.revision()
            (channel,) = store._connection._channels.values()
            before = channel.get_state()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await channel.wait_for_state_change(before)
            assert before is grpc.ChannelConnectivity.READY
    assert connection_module.KEEP_ALIVE_MS > ETCD_KEEP_ALIVE_MS_MIN


async def test_a_password_is_asked_for_and_a_token_that_grew_old_is_renewed(server: EtcdServer) -> None:
    await raw(server, "Auth/UserAdd", field(1, "root") + field(2, "secret"))
    await raw(server, "Auth/UserGrantRole", field(1, "root") + field(2, "root"))
    await raw(server, "Auth/AuthEnable", b"")
    settings = EtcdSettings([server.endpoint], user="root", password="secret")
    assert "secret" not in repr(settings)
    async with open_etcd_store(settings) as store:
        await store.txn((), (Put("a", b""),))
        store._connection._token = "grown.old"
        assert await store.get("a") is not None
    async with open_etcd_store(EtcdSettings([server.endpoint], user="root", password="wrong")) as store:
        with pytest.raises(UnavailableError, match="authentication failed"):
            await store.get("a")
    async with open_etcd_store(EtcdSettings([server.endpoint])) as store:
        with pytest.raises(UnavailableError, match="user name is empty"):
            await store.get("a")


async def test_members_and_clients_show_each_other_their_certificates(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    served = authority.issue_cert("127.0.0.1")
    served.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    served.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    flags = ("cert-file=cert.pem", "key-file=key.pem", "trusted-ca-file=ca.pem")
    tls = ["--client-cert-auth", *(f"--{name}={tmp_path / file}" for name, file in (flag.split("=") for flag in flags))]
    with etcd_server(tmp_path, *tls) as server:

        async def revision(trusted: trustme.CA, issuer: trustme.CA) -> int:
            shown = issuer.issue_cert("stepwell@test")
            settings = EtcdSettings(
                [server.endpoint],
                authority=trusted.cert_pem.bytes(),
                certificate=shown.cert_chain_pems[0].bytes(),
                private_key=shown.private_key_pem.bytes(),
            )
            async with open_etcd_store(settings) as store:
                return await store.revision()

        assert await revision(authority, authority) == 0
        for trusted, issuer in ((stranger, authority), (authority, stranger)):
            with pytest.raises(UnavailableError):
                await revision(trusted, issuer)
        async with open_etcd_store(EtcdSettings([server.endpoint])) as store:
            with pytest.raises(UnavailableError):
                await store.revision()


@pytest.mark.parametrize(
    ("endpoints", "prefix", "says"), [((), "stepwell/", "one endpoint"), ((NOBODY,), "", "a prefix")]
)
async def test_settings_that_make_no_sense_are_refused(endpoints: tuple[str, ...], prefix: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        async with open_etcd_store(EtcdSettings(endpoints, prefix)):
            pass
