"""Every limit of the loader that is not a setting: each with its unit and the reason for its figure.

What an operator may want to change is in `loader.settings`; what is here holds everywhere, so that a bundle accepted by
one installation is accepted by all.
"""

from __future__ import annotations

from typing import Final

BUNDLE_FILES_MAX: Final = 10_000
"""Files a bundle. Copying them in front of a cold sandbox stays under a second."""

BUNDLE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes of all files of a bundle together. An honest one with pandas and numpy has 102 MB, of which 1 is its own; AWS
Lambda takes 250. A hostile tenant wins little: what it keeps is bounded by `versions_bytes_max`, and what it may have
under way at once is this times `deploys_at_once_max`, a GiB of disk for at most `upload_seconds_max`."""

BUNDLE_PATH_BYTES_MAX: Final = 1024
"""UTF-8 bytes of one path: far under Linux's PATH_MAX of 4,096, which also has to hold our own folders' names."""

BUNDLE_PATH_PART_BYTES_MAX: Final = 255
"""UTF-8 bytes of one file or folder name: Linux's NAME_MAX."""

BUNDLE_PATH_PARTS_MAX: Final = 32
"""Names in one path, so that no walk over a bundle goes deep."""

MANIFEST_WORKFLOWS_MAX: Final = 100
"""Workflows a bundle: they are routed in one transaction, and etcd takes 128 operations in one by default."""

MANIFEST_VARS_MAX: Final = 100
"""Plain values a manifest."""

MANIFEST_VAR_NAME_LENGTH_MAX: Final = 128
"""Characters in a value's name."""

MANIFEST_BINDINGS_MAX: Final = 50
"""Workflows that a bundle may be granted."""

MANIFEST_BYTES_MAX: Final = 64 * 1024
"""Canonical bytes of a manifest: that of the `stepwell.toml` that it was read from, and well inside one frame."""

READ_BYTES_MAX: Final = 256 * 1024
"""Bytes taken from one guest in one turn of the loop, so that a flood of one does not starve the others."""

LOG_LINE_BYTES_MAX: Final = 8 * 1024
"""Bytes of one line of a tenant's log; the rest of a longer line follows as a line of its own."""

LOG_BURST_SECONDS_MAX: Final = 10
"""Seconds' worth of lines that may pass at once after a quiet time: a step that prints what its child process printed
is no flood."""

REASON_LENGTH_MAX: Final = 4_000
"""Characters of a tenant's text in an error message of ours."""
