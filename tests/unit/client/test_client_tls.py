"""A token goes in plaintext to this machine alone, and with TLS only to a server whose certificate is valid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from stepwell.client import connect
from stepwell.client.endpoints import NotReachableError, parse_endpoint
from tests.unit.cli.fake_server import OPERATOR

# For localhost and 127.0.0.1, signed by itself: nobody trusts it but who is told to.
KEY = b"""\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEp1sAP59Y2VvVwgq
RddmFO6vgwQcET0aiKQVp8QGj4ahRANCAATkgIJyIyVlJ4GUbReefayDWN19EzUK
o3+aEoaI1895qTdfEALH93dcpOtx36PExxY8HU90D7wyv5vCyA8EUt2D
-----END PRIVATE KEY-----
"""
CERTIFICATE = b"""\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUDLiVsElu6l4Cl/jQpZnaOOA5AOIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTE5MzIzNFoYDzIxMjYxMTAx
MTkzMjM0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATkgIJyIyVlJ4GUbReefayDWN19EzUKo3+aEoaI1895qTdfEALH93dc
pOtx36PExxY8HU90D7wyv5vCyA8EUt2Do28wbTAdBgNVHQ4EFgQURwFH0oPPl/Yr
jUl+QsDir8PPFMUwHwYDVR0jBBgwFoAURwFH0oPPl/YrjUl+QsDir8PPFMUwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAJYbl7NaFFFZo4BvaZD/8uuQiOp02InqnXm8o0at6AgqAiAm
dJKKD1UuND8x2XA09EEYCWpGsWRJIOBcaXP5yrHhzw==
-----END CERTIFICATE-----
"""


class Seen(grpc.GenericRpcHandler):
    """Knows no method, and remembers with what metadata each call came."""

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        self.calls.append(dict(handler_call_details.invocation_metadata))


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials | None) -> AsyncIterator[tuple[int, Seen]]:
    seen, server = Seen(), grpc.aio.server()
    server.add_generic_rpc_handlers((seen,))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port, seen
    finally:
        await server.stop(None)


async def test_a_certificate_that_nobody_vouches_for_gets_no_token() -> None:
    async with serving(grpc.ssl_server_credentials([(KEY, CERTIFICATE)])) as (port, seen):
        for host in ("localhost", "127.0.0.1"):
            async with connect(f"https://{host}:{port}", OPERATOR, tries_max=1) as client:
                with pytest.raises(NotReachableError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.tenants.list()
        assert seen.calls == []
        trusting: Any = grpc.aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(CERTIFICATE))
        with pytest.raises(grpc.aio.AioRpcError):
            await trusting.unary_unary("/x/y")(b"")
        await trusting.close()
        assert len(seen.calls) == 1


async def test_a_server_without_tls_gets_no_token_where_tls_was_asked_for() -> None:
    async with serving(None) as (port, seen):
        async with connect(f"https://127.0.0.1:{port}", OPERATOR, tries_max=1) as client:
            with pytest.raises(NotReachableError):
                await client.tenants.list()
        assert seen.calls == []


async def test_localhost_is_this_machine_whatever_the_name_leads_to() -> None:
    assert parse_endpoint("localhost:80").dialled == "127.0.0.1:80"
    assert parse_endpoint("[::1]:80").dialled == "[::1]:80"
    assert parse_endpoint("https://localhost:80").dialled == "localhost:80"
    async with serving(None) as (port, seen), connect(f"localhost:{port}", OPERATOR) as client:
        with pytest.raises(Exception, match="does not know this call"):
            await client.tenants.list()
        assert seen.calls[0]["authorization"] == f"Bearer {OPERATOR}"
