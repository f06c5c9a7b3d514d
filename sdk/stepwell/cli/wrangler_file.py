"""`wrangler.json`, `.jsonc` and `.toml`: what a project written for Cloudflare says of itself, where it has no
`stepwell.toml`.

Taken from it are `main`, `workflows` (`name`, `binding`, `class_name`, `schedules`, `default_retention`, and of
`limits` the `steps`) and those `vars` that are texts. As there, the folder of `main` is what the code is imported from,
and so what is uploaded. What else it says has no meaning here, and is told to the author.

{
  "main": "src/entry.py",
  "workflows": [
    {
      "name": "order",
      "binding": "ORDER",
      "class_name": "Order",
      "default_retention": { "success_retention": "7 days", "error_retention": "30 days" },
      "limits": { "steps": 1000 },
    },
  ],
  "vars": { "GREETING": "hello" },
}
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from stepwell import names
from stepwell.cli.clean import clean, shortened
from stepwell.cli.manifest_file import ManifestFile, refused, source_of
from stepwell.cli.schedule_entries import schedule_entries
from stepwell.cli.workflow_settings import DeclaredWorkflow, WrongSettingError, limits_in, retention_in
from stepwell.errors import BundleRefusedError

FILES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
"""The first that is there is read, in Cloudflare's order."""

_TAKEN = frozenset({"name", "main", "workflows", "vars", "$schema"})
_OF_A_WORKFLOW = frozenset({"name", "binding", "class_name", "schedules", "script_name", "default_retention", "limits"})
_OF_A_RETENTION = ("success_retention", "error_retention")
_OF_LIMITS = ("steps",)
T = TypeVar("T")

_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_COMMENTS = re.compile(rf"{_TEXT}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMAS = re.compile(rf"{_TEXT}|,(?=\s*[\]}}])")
"""What JSON has not, and texts, in which it stays."""


def read_wrangler(folder: Path) -> ManifestFile | None:
    """What the folder's file says, or None without one. Raises BundleRefusedError, saying what to write there."""
    for name in FILES:
        if (folder / name).exists():
            return _Wrangler(folder, name).manifest()
    return None


class _Wrangler:
    def __init__(self, folder: Path, file: str) -> None:
        self._folder = folder
        self._file = file
        self._ignored: list[str] = []
        self._bindings: dict[str, str] = {}

    def manifest(self) -> ManifestFile:
        document = self._document()
        main = self._main(document)
        root = self._folder / main.parent
        module = main.stem
        workflows = tuple(self._workflows(document, module))
        if not workflows:
            raise self._refused(
                'it declares no workflow of its own: write "workflows": [{"name": "order", "binding": "ORDER", '
                '"class_name": "Order"}]'
            )
        texts = dict(self._vars(document))
        self._ignore(document.keys() - _TAKEN, "")
        if (self._folder / "python_modules").is_dir():
            self._ignored.append("python_modules: list what is in it in requirements.txt, beside this file")
        ignored = tuple(f"{self._file}: {why}" for why in self._ignored)
        return ManifestFile(
            workflows,
            texts,
            root,
            ignored,
            self._bindings,
        )

    def _document(self) -> Mapping[str, Any]:
        source = source_of(self._folder / self._file)
        try:
            document = tomllib.loads(source) if self._file.endswith(".toml") else json.loads(_plain(source))
        except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
            raise self._refused(str(error)) from None
        except RecursionError:
            raise self._refused("it is nested too deeply") from None
        if not isinstance(document, dict):
            raise self._refused("it is no object: write { … }")
        return document

    def _main(self, document: Mapping[str, Any]) -> PurePosixPath:
        main = document.get("main")
        if not isinstance(main, str) or not main.endswith(".py"):
            raise self._refused('name the Python module that has the workflows: "main": "src/entry.py"')
        path = PurePosixPath(main)
        if path.is_absolute() or ".." in path.parts:
            raise self._refused(f"main: {_shown(main)} is not within this folder")
        if not (self._folder / path).is_file():
            raise self._refused(f"main: there is no file {_shown(main)}")
        return path

    def _workflows(self, document: Mapping[str, Any], module: str) -> Iterator[DeclaredWorkflow]:
        declared = document.get("workflows", [])
        if not isinstance(declared, list) or not all(isinstance(each, dict) for each in declared):
            raise self._refused('"workflows" is a list of objects')
        seen = set[str]()
        for each in declared:
            name, class_name = each.get("name"), each.get("class_name")
            if not isinstance(name, str) or not isinstance(class_name, str):
                raise self._refused('a workflow needs "name" and "class_name", both texts')
            if isinstance(binding := each.get("binding"), str):
                self._bindings[binding] = name
            if "script_name" in each:
                self._ignored.append(f"the workflow {_shown(name)}: it is another script's, deploy that one too")
                continue
            self._ignore(each.keys() - _OF_A_WORKFLOW, f"the workflow {_shown(name)}: ")
            try:
                names.workflow_id(name)
                entrypoint = names.entrypoint(f"{module}:{class_name}")
                schedules = schedule_entries(each.get("schedules", []))
            except ValueError as error:
                raise self._refused(str(error)) from None
            if name in seen:
                raise self._refused(f"workflow {name} is declared twice")
            seen.add(name)
            retention = self._part(
                each, "default_retention", _OF_A_RETENTION, lambda said: retention_in(said, *_OF_A_RETENTION)
            )
            limits = self._part(each, "limits", _OF_LIMITS, limits_in)
            yield DeclaredWorkflow(name, entrypoint, retention, limits, schedules)

    def _part(
        self, workflow: Mapping[str, Any], name: str, known: tuple[str, ...], read: Callable[[Mapping[str, Any]], T]
    ) -> T:
        """What a workflow's object of that name says."""
        said, where = workflow.get(name, {}), f"the workflow {_shown(workflow['name'])}: {name}"
        if not isinstance(said, dict):
            raise self._refused(f"{where} is an object of {' and '.join(known)}")
        self._ignore(said.keys() - set(known), f"{where}: ")
        try:
            return read({key: said[key] for key in known if key in said})
        except WrongSettingError as error:
            raise self._refused(f"{where}: {error}") from None

    def _vars(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        found = document.get("vars", {})
        if not isinstance(found, dict):
            raise self._refused('"vars" is an object of texts')
        for key, value in found.items():
            if isinstance(value, str):
                yield key, value
            else:
                self._ignored.append(f"vars.{_shown(key)}: it is no text, and only texts are handed on")

    def _ignore(self, keys: set[str], where: str) -> None:
        if keys:
            self._ignored.append(f"{where}of no meaning here: {', '.join(sorted(map(_shown, keys)))}")

    def _refused(self, why: str) -> BundleRefusedError:
        return refused(why, None, self._file)


def _plain(source: str) -> str:
    """JSON, of JSON with comments and with commas before an end; lines stay where they are."""

    def kept(piece: re.Match[str]) -> str:
        text = piece[0]
        return text if text.startswith('"') else "\n" * text.count("\n")

    return _LAST_COMMAS.sub(kept, _COMMENTS.sub(kept, source))


def _shown(text: str) -> str:
    return shortened(clean(text), 60)
