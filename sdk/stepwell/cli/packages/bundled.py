"""The packages of a folder that is deployed, as files of its bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.cli.folder import FolderFile, files_of
from stepwell.cli.packages.cache import PackageCache
from stepwell.cli.packages.requirements import read_requirements
from stepwell.cli.packages.resolving import Tell, resolve
from stepwell.cli.packages.target import Target
from stepwell.errors import BundleRefusedError
from stepwell.names import PACKAGES_FOLDER


@contextmanager
def packages_of(
    folder: Path, root: Path, target: Callable[[], Target], cache: PackageCache, tell: Tell
) -> Iterator[list[FolderFile]]:
    """What `folder`, the project, asks for; none when it asks for nothing. They can be read while the block runs.

    `root` is the folder that is uploaded. `target` is asked where there is something to find. Raises
    BundleRefusedError.
    """
    requirements = read_requirements(folder)
    if requirements is None:
        yield []
        return
    name = requirements.path.name
    if (root / PACKAGES_FOLDER).exists():
        raise BundleRefusedError(
            f"{PACKAGES_FOLDER} is there already, and {name} would be put in its place: remove one of them",
            path=PACKAGES_FOLDER,
        )
    guests = target()
    with cache.filled(requirements, guests, lambda found: resolve(requirements, guests, found, tell)) as found:
        tell(f"Packages of {name} are there, for {guests}")
        yield files_of(found, f"{PACKAGES_FOLDER}/") if any(found.iterdir()) else []
