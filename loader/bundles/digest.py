"""A version's name: the SHA-256 of what its bundle is, and of nothing else, such as times or owners.

The hashed text is one line of canonical JSON for the files, sorted by path, and one for the manifest. JSON of this form
has no line break, so no two bundles share a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from loader.bundles.manifest import Manifest
from stepwell.names import Digest


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle, without its bytes."""

    path: str
    executable: bool
    size_bytes: int
    sha256: str

    @property
    def mode(self) -> int:
        """The permissions that the file has wherever it is kept: readable by the sandbox's user."""
        return 0o755 if self.executable else 0o644


def bundle_digest(files: Iterable[FileEntry], manifest: Manifest) -> Digest:
    """The digest of these files, in any order, with this manifest."""
    rows = sorted([file.path, f"{file.mode:04o}", file.size_bytes, file.sha256] for file in files)
    lines = (b"stepwell bundle 1", json.dumps(rows, separators=(",", ":")).encode(), manifest.canonical())
    return Digest("sha256-" + hashlib.sha256(b"\n".join(lines)).hexdigest())
