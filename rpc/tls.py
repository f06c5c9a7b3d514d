"""Certificates from files, read again when the files change: no restart when they are renewed.

New connections are made with the new ones; those that stand stay as they are. Files that can't be used, such as a
certificate whose key is not there yet, change nothing: what was read before goes on, and the next look may find better.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

log = structlog.get_logger(__name__)


class CertificateError(Exception):
    """The files that were named can't be used; says which, and why."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: this process's certificate with those between it and its authority, and its private key.

    `authority` has the certificates that others are trusted by: those who call must then have one by it.
    """

    certificate: Path
    private_key: Path
    authority: Path | None = None


class Certificates:
    """Of one listener, and of the channels that are opened in its name. Raises CertificateError when it is made."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._read_at: tuple[tuple[int, int], ...] = ()
        self._client: grpc.ChannelCredentials
        self._configuration: grpc.ServerCertificateConfiguration
        self._read(self._stamps())

    def server(self) -> grpc.ServerCredentials:
        """For a listener. Where there is an authority, whoever connects must have a certificate by it."""

        def renewed() -> Any:
            """Called by gRPC, in a thread of its own, for each new connection; None: nothing has changed."""
            return self._configuration if self._look() else None

        mutual = self._files.authority is not None
        return grpc.dynamic_ssl_server_credentials(self._configuration, renewed, mutual)

    def client(self) -> grpc.ChannelCredentials:
        """For channels to others of the same authority; another object, once the files have changed."""
        self._look()
        return self._client

    def _look(self) -> bool:
        """Read again what has changed; whether it has, and can be used."""
        try:
            stamps = self._stamps()
            if stamps == self._read_at:
                return False
            self._read(stamps)
        except CertificateError as error:
            log.warning("certificates that changed can't be used; the ones before go on", reason=str(error))
            return False
        log.info("certificates were read again", certificate=str(self._files.certificate))
        return True

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        files = self._files
        stamps = []
        for path in (files.certificate, files.private_key, files.authority):
            if path is not None:
                try:
                    status = path.stat()
                except OSError as error:
                    raise CertificateError(f"{path}: {error.strerror}") from None
                stamps.append((status.st_mtime_ns, status.st_ino))
        return tuple(stamps)

    def _read(self, stamps: tuple[tuple[int, int], ...]) -> None:
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(files.certificate, files.private_key)
            if files.authority is not None:
                context.load_verify_locations(files.authority)
            certificate, private_key = files.certificate.read_bytes(), files.private_key.read_bytes()
            authority = None if files.authority is None else files.authority.read_bytes()
        except (OSError, ValueError) as error:
            names = ", ".join(str(path) for path in (files.certificate, files.private_key, files.authority) if path)
            raise CertificateError(f"{names}: {error}") from None
        self._client = grpc.ssl_channel_credentials(authority, private_key, certificate)
        self._configuration = grpc.ssl_server_certificate_configuration([(private_key, certificate)], authority)
        self._read_at = stamps
