"""Which paths a bundle's files may have: such as mean the same file on every system, inside the bundle's folder.

A refusal says what is wrong with the path. Nothing is repaired silently, since the digest is over what was sent.
"""

from __future__ import annotations

import unicodedata

from loader.limits import BUNDLE_PATH_BYTES_MAX, BUNDLE_PATH_PART_BYTES_MAX, BUNDLE_PATH_PARTS_MAX
from stepwell.errors import BundleRefusedError

_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
"""Controls, invisible formatting (bidi among it), lone surrogates, characters not assigned yet, line separators."""


def check_path(path: str) -> None:
    """Raise BundleRefusedError unless the path may be a file's in a bundle."""
    if not path:
        raise _refused(path, "it is empty")
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in path):
        raise _refused(path, "it has a control or invisible character")
    if "\\" in path:
        raise _refused(path, "it has a backslash: separate folders with '/'")
    if not unicodedata.is_normalized("NFC", path):
        raise _refused(path, "it is not in Unicode's NFC form: rename the file")
    _check_limit(path, "bundle_path_bytes_max", BUNDLE_PATH_BYTES_MAX, len(path.encode()), "bytes")
    parts = path.split("/")
    _check_limit(path, "bundle_path_parts_max", BUNDLE_PATH_PARTS_MAX, len(parts), "parts")
    for part in parts:
        if part in ("", ".", ".."):
            raise _refused(path, "it must be relative, without empty, '.' and '..' parts")
        _check_limit(
            path, "bundle_path_part_bytes_max", BUNDLE_PATH_PART_BYTES_MAX, len(part.encode()), "bytes in one part"
        )


class PathSet:
    """The paths of one bundle so far: each file once, also where upper and lower case are the same."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._spelling: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._files)

    def add(self, path: str) -> None:
        """Take a file's path. Raises BundleRefusedError, the set being as it was, when it can't be here."""
        check_path(path)
        if path in self._files:
            raise _refused(path, "the bundle has this file already")
        parts = path.split("/")
        prefixes = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        for prefix in prefixes:
            other = self._spelling.get(_folded(prefix), prefix)
            if other != prefix:
                raise _refused(path, f"it differs from {_shown(other)} in upper and lower case alone")
            if prefix in self._files:
                raise _refused(path, f"{_shown(prefix)} is a file of the bundle, not a folder")
        if _folded(path) in self._spelling:
            raise _refused(path, "the bundle has a folder of this name")
        self._files.add(path)
        for prefix in prefixes:
            self._spelling[_folded(prefix)] = prefix


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _check_limit(path: str, limit: str, value: int, seen: int, what: str) -> None:
    if seen > value:
        raise _refused(
            path, f"its path has {seen:,} {what}, and may have {value:,}", limit=limit, value=str(value), seen=str(seen)
        )


def _refused(path: str, why: str, **limit: str) -> BundleRefusedError:
    return BundleRefusedError(f"The file {_shown(path)} can't be in a bundle: {why}.", path=ascii(path[:200]), **limit)


def _shown(path: str) -> str:
    return ascii(path) if len(path) <= 120 else ascii(path[:117]) + "…"
