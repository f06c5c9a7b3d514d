"""By what the sandboxes' root file system is known again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from loader.sandbox import rootfs

INTERPRETER, LIBRARY = rootfs.PYTHON, rootfs.LIBRARY


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of no modules, beside a command that stands for the interpreter."""
    folder = tmp_path / "library"
    (folder / "lib-dynload").mkdir(parents=True)
    (folder / "os.py").write_text("")
    (tmp_path / "python").write_text("")
    monkeypatch.setattr(rootfs, "LIBRARY", folder)
    monkeypatch.setattr(rootfs, "PYTHON", tmp_path / "python")
    return folder


def test_an_image_on_another_file_system_has_the_same(library: Path) -> None:
    """There a folder has another size; its time is kept."""
    before, folder = rootfs.fingerprint(library), library / "lib-dynload"
    status = folder.stat()
    for number in range(300):
        (folder / f"a-module-whose-name-takes-room-{number}").touch()
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.stat().st_size != status.st_size
    assert rootfs.fingerprint(library) == before


def test_a_library_that_was_changed_has_another(library: Path) -> None:
    before = rootfs.fingerprint(library)
    os.utime(library / "lib-dynload", ns=(0, 0))
    assert rootfs.fingerprint(library) != before


def test_a_guest_that_cannot_be_imported_is_said_to_be_and_leaves_nothing(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "PYTHON", INTERPRETER)
    monkeypatch.setattr(rootfs, "ZONES", tmp_path / "none")
    [extension] = (LIBRARY / "lib-dynload").glob("_json.*")
    shutil.copy(extension, library / "lib-dynload")
    sdk = tmp_path / "sdk" / "stepwell"
    sdk.mkdir(parents=True)
    (sdk / "__init__.py").write_text("")
    (sdk.parent / "workers").mkdir()
    cache = tmp_path / "cache"
    with pytest.raises(rootfs.RootfsError, match=r"guest can't be imported: (?s:.*) No module named 'stepwell.guest'"):
        rootfs.ensure_rootfs(cache, sdk.parent)
    assert list(cache.iterdir()) == []
