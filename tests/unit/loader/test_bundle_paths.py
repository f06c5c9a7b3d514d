"""Which paths a bundle takes."""

from __future__ import annotations

import pytest

from loader.bundles.paths import PathSet, check_path
from stepwell.errors import BundleRefusedError


@pytest.mark.parametrize("path", ["main.py", "a/b/c.txt", "größe.py", "with space", ".hidden", "a" * 255])
def test_an_ordinary_path_is_taken(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "relative"),
        ("../up.py", "'..'"),
        ("a/../b", "'..'"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("./a", "'.'"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("a\u202eb", "invisible"),
        ("\ud800", "control or invisible"),
        ("gro\u0308sse", "NFC"),
        ("a" * 256, "256 bytes in one part, and may have 255"),
        ("/".join("a" * 200 for _ in range(6)), "1,205 bytes, and may have 1,024"),
        ("/".join("a" * 33), "33 parts, and may have 32"),
    ],
)
def test_a_path_that_could_mean_something_else_elsewhere_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(BundleRefusedError, match=why):
        check_path(path)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("a.py", "a.py", "already"),
        ("a.py", "A.py", "upper and lower case"),
        ("lib/a.py", "LIB/b.py", "upper and lower case"),
        ("straße", "STRASSE", "upper and lower case"),
        ("a", "a/b", "not a folder"),
        ("a/b", "a", "folder of this name"),
    ],
)
def test_two_files_that_clash_are_refused_and_the_set_stays_as_it_was(first: str, second: str, why: str) -> None:
    paths = PathSet()
    paths.add(first)
    with pytest.raises(BundleRefusedError, match=why):
        paths.add(second)
    assert len(paths) == 1
    paths.add("another")


def test_files_of_one_folder_are_taken() -> None:
    paths = PathSet()
    for path in ("lib/a.py", "lib/b.py", "lib/c/d.py"):
        paths.add(path)
    assert len(paths) == 3
