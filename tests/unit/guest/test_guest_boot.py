"""The modules that a guest in gVisor boots from, beside those of their files."""

from __future__ import annotations

import importlib
import py_compile
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

import pytest

from stepwell.guest.boot import BootFinder

Put = Callable[[str, str], str]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Writes a module's source, compiled alone, as a root file system has it; its path."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def put(name: str, source: str) -> str:
        plain, compiled = tmp_path / f"{name}.py", tmp_path / f"{name}.pyc"
        compiled.parent.mkdir(exist_ok=True)
        plain.write_text(source)
        py_compile.compile(str(plain), str(compiled), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        plain.unlink()
        return str(compiled)

    yield put
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, tuple[str, CodeType | None]]], None]:
    """Has these modules found before any other."""

    def find(modules: dict[str, tuple[str, CodeType | None]]) -> None:
        monkeypatch.setattr(sys, "meta_path", [BootFinder(modules), *sys.meta_path])

    return find


def code(source: str) -> CodeType:
    return compile(source, "kept", "exec")


def test_a_module_is_what_its_file_would_make_of_it_but_for_the_code(put: Put, find: Callable[..., None]) -> None:
    path = put("booted_alone", "FROM = 'the file'")
    find({"booted_alone": (path, code("FROM = 'the one file'"))})
    module = importlib.import_module("booted_alone")
    assert (module.FROM, module.__file__, module.__cached__) == ("the one file", path, path)
    assert module.__spec__ is not None
    assert module.__spec__.has_location


def test_it_is_loaded_again_from_its_file(put: Put, find: Callable[..., None]) -> None:
    find({"booted_again": (put("booted_again", "FROM = 'the file'"), code("FROM = 'the one file'"))})
    module = importlib.import_module("booted_again")
    assert importlib.reload(module).FROM == "the file"


def test_its_loader_still_has_its_code(put: Put, find: Callable[..., None]) -> None:
    path = put("booted_asked", "FROM = 'the file'")
    find({"booted_asked": (path, code("FROM = 'the one file'"))})
    loader = importlib.import_module("booted_asked").__loader__
    assert loader is not None
    got = loader.get_code("booted_asked")  # type: ignore[attr-defined]  # of those that have code
    assert "the file" in got.co_consts


def test_a_package_has_modules_that_are_not_kept(put: Put, find: Callable[..., None]) -> None:
    path = put("booted_package/__init__", "")
    put("booted_package/other", "FROM = 'the file'")
    find({"booted_package": (path, code("FROM = 'the one file'"))})
    assert importlib.import_module("booted_package").FROM == "the one file"
    assert importlib.import_module("booted_package.other").FROM == "the file"


def test_an_extension_is_loaded_from_its_file(find: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    import _json

    found = str(_json.__file__)
    monkeypatch.delitem(sys.modules, "_json")
    find({"_json": (found, None)})
    module = importlib.import_module("_json")
    assert module.__file__ == found
    assert module.scanstring('a"', 0) == ("a", 2)
