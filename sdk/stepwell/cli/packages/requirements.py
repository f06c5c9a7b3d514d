"""What a folder asks for: its `requirements.lock`, or else its `requirements.txt`, in pip's own format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stepwell.cli.manifest_file import source_of

FILES = ("requirements.lock", "requirements.txt")
"""The first that is there is read: a lock says more."""

REQUIREMENTS_BYTES_MAX = 1024 * 1024
"""Bytes of such a file: a lock has some hundred hashes of each package."""

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDES = re.compile(r"\s*(-r|-c|--requirement|--constraint)\b")
_NO_REQUIREMENT = re.compile(r"\s*-(?!r\b|-requirement\b|e\b|-editable\b)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """A file that asks for at least one package."""

    path: Path
    text: str
    is_fixed: bool
    """Whether the text alone says which files are taken: pip wants a hash of each, once one has any."""


def read_requirements(folder: Path) -> Requirements | None:
    """What the folder asks for; None when it asks for nothing. Raises BundleRefusedError for a file that can't be
    read."""
    for name in FILES:
        path = folder / name
        if path.exists() or path.is_symlink():
            text = source_of(path, REQUIREMENTS_BYTES_MAX)
            lines = _lines(text)
            if all(_NO_REQUIREMENT.match(line) for line in lines):
                return None
            is_fixed = any("--hash=" in line for line in lines) and not any(map(_INCLUDES.match, lines))
            return Requirements(path, text, is_fixed)
    return None


def _lines(text: str) -> list[str]:
    """Without comments, each joined with those that go on behind a backslash."""
    joined = re.sub(r"\\\r?\n", " ", text)
    return [line for line in (_COMMENT.sub("", line).strip() for line in joined.splitlines()) if line]
