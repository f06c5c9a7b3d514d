from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
import workers
from workers.workflows import NonRetryableError

_SDK = Path(stepwell.__file__).resolve().parents[1]


def test_importing_the_authoring_api_loads_the_standard_library_alone_and_not_asyncio() -> None:
    code = f"import sys; sys.path.insert(0, {str(_SDK)!r}); import stepwell; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) - {"__main__", "stepwell"} == set()
    assert "asyncio" not in loaded


def test_both_import_names_give_the_same_objects() -> None:
    assert workers.WorkflowEntrypoint is stepwell.WorkflowEntrypoint
    assert NonRetryableError is stepwell.NonRetryableError


@pytest.mark.parametrize("name", workers.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(workers, name) is not None


@pytest.mark.parametrize(
    "name", ["WorkerEntrypoint", "DurableObject", "Response", "Request", "Headers", "File", "HTMLRewriter"]
)
def test_what_is_not_served_can_be_subclassed_and_says_so_when_used(name: str) -> None:
    subclass = type("Mine", (getattr(workers, name),), {})
    with pytest.raises(workers.NotServedError, match=r"workers\.Mine is not served here: "):
        subclass(None, None)


async def test_functions_that_are_not_served_say_so_without_being_retried() -> None:
    with pytest.raises(NonRetryableError, match="no network"):
        await workers.fetch("https://example.com")
    for function in (workers.import_from_javascript, workers.patch_env, workers.waitUntil):
        with pytest.raises(NotImplementedError, match="is not served here"):
            function("x")


def test_a_handler_stays_as_it_is() -> None:
    def on_fetch() -> None:
        return None

    assert workers.handler(on_fetch) is on_fetch


def test_env_says_what_it_has() -> None:
    with pytest.raises(AttributeError, match=r"env has no 'MISSING': put it below \[vars\]"):
        _ = workers.env.MISSING
