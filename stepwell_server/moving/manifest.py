"""An export's manifest: which files it has, with their SHA-256, and how much of everything is in them.

It is written last, so that a folder without one is no export. Its own SHA-256 stands beside it, and names the export.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

FORMAT: Final = 1
"""Of manifest and entries. A later one is refused and never guessed at."""

NAME: Final = "manifest.json"

MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of `manifest.json`: a file of 64 MiB takes some 150 bytes there, so this is for more than 20 TiB."""

Section = Literal["control", "bundles", "journals"]


@dataclass(slots=True)
class Counts:
    """What an export holds. `unfinished` are those of the instances that have not ended; `deleted` are instances whose
    deletion was acknowledged and not done yet: they don't move."""

    tenants: int = 0
    versions: int = 0
    routes: int = 0
    tokens: int = 0
    bundles: int = 0
    instances: int = 0
    unfinished: int = 0
    deleted: int = 0
    rows: int = 0
    blobs: int = 0


@dataclass(frozen=True, slots=True)
class ExportedFile:
    name: str
    section: Section
    bytes: int
    entries: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`epoch` is the highest that a journal's row has. `files` are in the order in which they are to be read."""

    format: int
    epoch: int
    counts: Counts
    files: tuple[ExportedFile, ...] = field(default=())


class _Sealed(msgspec.Struct):
    sha256: str
    manifest: msgspec.Raw


class _FormatAlone(msgspec.Struct):
    format: int


class ManifestError(Exception):
    """What is wrong with a manifest's bytes."""


def sealed(manifest: Manifest) -> tuple[bytes, str]:
    """The bytes of `manifest.json`, and the manifest's SHA-256."""
    text = msgspec.json.encode(manifest)
    checksum = hashlib.sha256(text).hexdigest()
    return msgspec.json.encode(_Sealed(checksum, msgspec.Raw(text))) + b"\n", checksum


def opened(data: bytes) -> tuple[Manifest, str]:
    """The manifest in those bytes, and its SHA-256. Raises ManifestError."""
    try:
        found = msgspec.json.decode(data, type=_Sealed)
        if hashlib.sha256(bytes(found.manifest)).hexdigest() != found.sha256:
            raise ManifestError("it is not what was exported: its checksum differs")
        version = msgspec.json.decode(found.manifest, type=_FormatAlone).format
        if version != FORMAT:
            raise ManifestError(f"it has format {version}, this program knows {FORMAT}: import with a newer release")
        return msgspec.json.decode(found.manifest, type=Manifest), found.sha256
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError(f"it is damaged: {error}") from error
