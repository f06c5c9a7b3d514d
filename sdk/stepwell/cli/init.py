"""`stepwell init FOLDER`: a small project that works, to begin with.

Its files lie beside this module, in `new_project/`, as they are written: so they are checked as all other code is.
"""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import click

from stepwell.cli.app import App, output_option, print_json
from stepwell.cli.clean import clean
from stepwell.errors import WrongStateError

WRITTEN = {
    ".gitignore": "gitignore",
    "README.md": "README.md",
    "orders.py": "orders.py",
    "requirements.txt": "requirements.txt",
    "stepwell.toml": "stepwell.toml",
    "test_orders.py": "test_orders.py",
}
"""What a project has, and what each file is called here: git would follow a .gitignore here too."""

_LEFT_ALONE = frozenset({".git", ".venv"})
"""What may be there before."""

_TRIGGER = """stepwell workflows trigger order --tenant TENANT --params '{"item": "tea", "cents": 300}'"""


@click.command("init")
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path))
@output_option
@click.pass_obj
def command(app: App, folder: Path, output: str) -> None:
    """Write a small project into FOLDER: a workflow, its test, its manifest and its requirements.

    FOLDER is new, or empty but for .git and .venv: nothing is overwritten. No server is needed.
    """
    write_project(folder)
    if output == "json":
        print_json({"folder": str(folder), "files": sorted(WRITTEN)})
        return
    app.screen.line(f"Wrote {len(WRITTEN)} files into {folder}. Next:")
    for line in (f"cd {shlex.quote(str(folder))}", "pytest", "stepwell deploy . --tenant TENANT", _TRIGGER):
        app.screen.line(f"  {line}")


def write_project(folder: Path) -> None:
    """Raises WrongStateError, having written nothing, when there is anything in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(entry.name for entry in folder.iterdir() if entry.name not in _LEFT_ALONE)
    if there:
        raise WrongStateError(
            f"{folder} is not empty, it has {clean(there[0])}: name a new folder, since nothing is overwritten"
        )
    project = files("stepwell.cli").joinpath("new_project")
    for name, source in WRITTEN.items():
        with (folder / name).open("xb") as file:
            file.write(project.joinpath(source).read_bytes())
