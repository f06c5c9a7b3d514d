"""Asks the process in this container how it is: exit status 0 when it serves, 1 when not, with the reason on stderr.

`probe.py --certificate FILE` asks for readiness, and `probe.py --certificate FILE live` for liveness. Kubernetes' own
gRPC probes speak no TLS, and off loopback the server speaks nothing else. FILE is the one of `[server] certificate`:
that certificate is trusted by itself, whoever its authority is, for a name that it has.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HOST: Final = "127.0.0.1"
PORT: Final = 7837
TIMEOUT_S: Final = 4.0
"""Of the connection, and of the call: together under the 10 s that deploy/ gives a probe."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description="Ask the process in this container how it is.")
    parser.add_argument("--certificate", type=Path, required=True, help="the file of [server] certificate")
    parser.add_argument("--port", type=int, default=PORT, help="that [server] listens on")
    parser.add_argument("service", nargs="?", default="", help="live: that it answers at all; else that it is ready")
    asked = parser.parse_args(argv)
    try:
        status = _status(asked.certificate, asked.port, asked.service)
    except grpc.RpcError as error:
        code = error.code()
        print(f"probe: {HOST}:{asked.port} answers {code.name}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"probe: {HOST}:{asked.port}, with {asked.certificate}: {error}", file=sys.stderr)
        return 1
    if status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        print(f"probe: {asked.service or 'the whole'} is {name}", file=sys.stderr)
        return 1
    return 0


def _status(certificate: Path, port: int, service: str) -> int:
    """Raises OSError, ssl's errors among them, and grpc.RpcError."""
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    options = (("grpc.ssl_target_name_override", _name_in(certificate, port)), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(f"{HOST}:{port}", credentials, options=options) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(request, timeout=TIMEOUT_S).status)


def _name_in(certificate: Path, port: int) -> str:
    """A host name that the server's certificate is for: gRPC wants one, and a probe has nothing but an address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection,
        context.wrap_socket(connection) as secure,
    ):
        told: Any = secure.getpeercert() or {}
    names = [str(value) for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        raise OSError("the certificate is for no host name: make one that has a DNS name among its subjectAltName")
    return names[0].replace("*", "probe", 1)


if __name__ == "__main__":
    sys.exit(main())
