"""What the operator is told of gVisor: which runsc, which platform, which limits, and what should be better."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.sandbox.sandbox import SandboxError
from loader.sandbox.sandbox_gvisor import GVisorLauncher, GVisorSettings


def launcher(folder: Path, version: str) -> GVisorLauncher:
    runsc = folder / "runsc"
    runsc.write_text(f"#!/bin/sh\necho 'runsc version {version}'\necho 'spec: 1.0.2'\n")
    runsc.chmod(0o755)
    return GVisorLauncher(folder, folder, None, GVisorSettings(runsc=str(runsc), platform="systrap"))


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("0.0~20221219.0", True),
        ("release-20230529.0", True),
        ("release-20230605.0", False),
        ("release-20260701.0-3-g69c2d17", False),
        ("VERSION_MISSING", False),
    ],
)
async def test_an_old_runsc_is_warned_of(tmp_path: Path, version: str, old: bool) -> None:
    found = await launcher(tmp_path, version).isolation()
    assert found.detail == f"gVisor with systrap, runsc version {version}, no control groups"
    assert [warning for warning in found.warnings if f"runsc version {version} is old" in warning] == (
        [found.warnings[0]] if old else []
    )


async def test_that_nothing_limits_memory_and_cpu_is_warned_of(tmp_path: Path) -> None:
    found = await launcher(tmp_path, "release-20260701.0").isolation()
    assert found.warnings == ("cgroups = false: sandboxes may take all of the machine's memory and CPU",)


async def test_a_runsc_that_does_not_run_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="absent: "):
        await GVisorLauncher(tmp_path, tmp_path, None, GVisorSettings(runsc=str(tmp_path / "absent"))).isolation()
