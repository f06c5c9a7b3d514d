from __future__ import annotations

import pytest

from stepwell.client.endpoints import parse_endpoint
from stepwell.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("http://LocalHost:80/", "localhost:80"),
        ("[::1]:7233", "[::1]:7233"),
        ("HTTPS://Example.com:443", "https://example.com:443"),
    ],
)
def test_an_endpoint_has_one_spelling(text: str, spelling: str) -> None:
    assert str(parse_endpoint(text)) == spelling


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":80", "host:0", "host:65536", "a b:80", "ftp://a:1", "dns:///a:1", "unix:/s"],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="write host:port"):
        parse_endpoint(text)


def test_a_token_in_an_endpoints_place_is_not_told_back() -> None:
    secret = "5ec7e7" * 10 + "cafe"
    with pytest.raises(InvalidArgumentError) as refused:
        parse_endpoint(f"swk_0123456789abcdef_{secret}")
    assert "swk_0123456789abcdef_…" in refused.value.message
    assert secret not in refused.value.message


@pytest.mark.parametrize("text", ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "https://example.com:1"])
def test_these_may_have_a_token(text: str) -> None:
    parse_endpoint(text).refuse_plaintext()


@pytest.mark.parametrize(
    "text", ["10.0.0.1:1", "0.0.0.0:1", "example.com:1", "localhost.example.com:1", "[::]:1", "127.1:1", "2130706433:1"]
)
def test_these_may_not(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="plaintext"):
        parse_endpoint(text).refuse_plaintext()
