"""The checked-out files of a run: in /tmp, and gone whenever the sandbox is. Steps call `ensure` and never assume."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stepwell import NonRetryableError

REPOSITORY = Path(__file__).parent / "repo"


def check_out(run_id: str) -> dict[str, Any]:
    """A workspace for this run, with the digest by which every later step knows it again."""
    folder = _place(run_id)
    if not folder.exists():
        # Copied beside, then renamed: a workspace is whole or not there, whatever stops the copying.
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copytree(REPOSITORY, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            os.rename(fresh, folder)
        except OSError:  # another step of this run was first
            shutil.rmtree(fresh)
    return {"digest": digest(folder), "files": len(files(folder))}


def ensure(run_id: str, expected: str) -> Path:
    """The workspace, checked out anew when it is gone. Raises when its files are not those of the checkout."""
    seen = check_out(run_id)["digest"]
    if seen != expected:
        raise NonRetryableError(f"the checkout was {expected}, the workspace is {seen}")
    return _place(run_id)


def remove(run_id: str) -> None:
    """Gives the room back. One that is gone already is fine."""
    shutil.rmtree(_place(run_id), ignore_errors=True)


def files(folder: Path) -> list[Path]:
    """The source files, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix == ".py")


def digest(folder: Path) -> str:
    """What the source says, and under which names."""
    summed = hashlib.sha256()
    for path in files(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        summed.update(f"{path.relative_to(folder).as_posix()}\n{content}\n".encode())
    return summed.hexdigest()


def _place(run_id: str) -> Path:
    # Instances of one version share a sandbox and its /tmp, so each has a folder of its own.
    return Path(tempfile.gettempdir(), f"workspace-{run_id}")
