"""A version's name depends on what its bundle is, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.manifest import Manifest, WorkflowEntry, check_manifest
from stepwell import names
from stepwell.errors import BundleRefusedError, LimitExceededError
from stepwell.names import WorkflowId
from stepwell.retention import Retention
from stepwell.workflow_limits import WorkflowLimits

MAIN = FileEntry("main.py", False, 3, "aa")
TOOL = FileEntry("bin/tool", True, 4, "bb")
ORDER = WorkflowEntry(WorkflowId("order"), "main:Order")
REFUND = WorkflowEntry(WorkflowId("refund"), "main:Refund")
MANIFEST = Manifest((ORDER, REFUND), {"a": "1", "b": "ü"})


def test_the_order_of_files_workflows_and_vars_does_not_matter() -> None:
    other = Manifest((REFUND, ORDER), {"b": "ü", "a": "1"})
    assert bundle_digest([MAIN, TOOL], MANIFEST) == bundle_digest([TOOL, MAIN], other)


def test_the_digest_is_a_versions_name() -> None:
    found = bundle_digest([MAIN, TOOL], MANIFEST)
    assert names.digest(found) == found


@pytest.mark.parametrize(
    "changed",
    [
        replace(MAIN, path="Main.py"),
        replace(MAIN, executable=True),
        replace(MAIN, size_bytes=4),
        replace(MAIN, sha256="ab"),
    ],
)
def test_whatever_a_file_is_changes_the_digest(changed: FileEntry) -> None:
    assert bundle_digest([changed, TOOL], MANIFEST) != bundle_digest([MAIN, TOOL], MANIFEST)


def test_the_manifest_changes_the_digest() -> None:
    assert bundle_digest([MAIN], MANIFEST) != bundle_digest([MAIN], Manifest((ORDER,), MANIFEST.vars))
    assert bundle_digest([MAIN], MANIFEST) != bundle_digest([MAIN], Manifest(MANIFEST.workflows, {"a": "2"}))


def test_what_it_says_of_instances_changes_the_digest_and_what_it_does_not_say_does_not() -> None:
    canonical = b'{"vars":{"a":"1","b":"\\u00fc"},"workflows":{"order":"main:Order","refund":"main:Refund"}}'
    assert MANIFEST.canonical() == canonical, "as before anything could be said"
    for change in ({"retention": Retention(60_000)}, {"limits": WorkflowLimits(5)}):
        said = replace(MANIFEST, workflows=(replace(ORDER, **change), REFUND))
        assert bundle_digest([MAIN], said) != bundle_digest([MAIN], MANIFEST)


def test_a_manifest_comes_back_from_its_canonical_bytes() -> None:
    kept = replace(ORDER, retention=Retention(60_000, None), limits=WorkflowLimits(None, 3))
    for manifest in (MANIFEST, replace(MANIFEST, workflows=(kept, REFUND))):
        assert Manifest.from_canonical(manifest.canonical()) == manifest


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (Manifest((), {}), "no workflow"),
        (Manifest((ORDER, ORDER), {}), "named twice"),
        (Manifest((replace(ORDER, entrypoint="main.Order"),), {}), "module:Class"),
        (Manifest((replace(ORDER, workflow_id=WorkflowId("-")),), {}), "workflow name"),
        (Manifest((ORDER,), {"": "x"}), "vars"),
        (Manifest((replace(ORDER, retention=Retention(59_999)),), {}), "59,999 ms is no retention"),
        (Manifest((replace(ORDER, limits=WorkflowLimits(0)),), {}), "steps: 0 is no limit"),
        (Manifest((replace(ORDER, limits=WorkflowLimits(concurrency=100_001)),), {}), "concurrency: 100,001 is no"),
        (Manifest((ORDER,), {}, {"a-b": WorkflowId("order")}), "binding's name"),
        (Manifest((ORDER,), {"A": "x"}, {"A": WorkflowId("order")}), "both a binding and a value"),
        (Manifest((ORDER,), {}, {"A": WorkflowId("-")}), "The binding 'A' can't be used"),
    ],
)
def test_a_manifest_that_cannot_work_is_refused_with_the_reason(manifest: Manifest, why: str) -> None:
    with pytest.raises(BundleRefusedError, match=why):
        check_manifest(manifest)


def test_a_manifest_over_its_bytes_names_the_limit() -> None:
    with pytest.raises(LimitExceededError) as caught:
        check_manifest(Manifest((ORDER,), {"a": "x" * 70_000}))
    assert caught.value.metadata["limit"] == "manifest_bytes_max"
