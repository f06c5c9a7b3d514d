"""Generated code that differs from its protos is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.generate_stubs import ROOT, TARGETS, Target, differences, generate, generated_files


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.package)
def test_what_is_committed_is_what_the_protos_generate(target: Target) -> None:
    assert differences(target, ROOT) == []


def test_every_folder_of_protos_is_generated() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "proto").rglob("*.proto")}
    assert folders == {target.source for target in TARGETS}


def test_missing_stale_and_orphaned_modules_are_told_apart(tmp_path: Path) -> None:
    target = TARGETS[0]
    generate(target, tmp_path)
    assert generated_files(tmp_path / target.folder)
    (tmp_path / target.folder / "tenants_pb2.py").unlink()
    (tmp_path / target.folder / "workflows_pb2.pyi").write_text("edited by hand")
    (tmp_path / target.folder / "gone_pb2.py").write_text("its proto is gone")
    assert differences(target, tmp_path) == [
        "sdk/stepwell/v1/gone_pb2.py belongs to no proto any more",
        "sdk/stepwell/v1/tenants_pb2.py is missing",
        "sdk/stepwell/v1/workflows_pb2.pyi is not what proto/stepwell/v1 generates",
    ]
