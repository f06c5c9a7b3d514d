"""Where control groups are found, and what is written where: over tables and folders as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loader.sandbox.cgroup_files import CONTROLLERS, VERSION_1, VERSION_2, CgroupFiles
from loader.sandbox.cgroup_mounts import CgroupError, Hierarchy, find_hierarchy
from loader.sandbox.cgroups import CgroupLimits, Cgroups, SandboxCgroup

MEBIBYTE = 1024 * 1024
LIMITS = CgroupLimits(memory_bytes_max=64 * MEBIBYTE, cpu_millis_max=1500, tasks_max=300)


def proc(folder: Path, mounts: str, groups: str) -> Path:
    """A process's folder in /proc with these tables; MNT stands for a folder of the test's."""
    (folder / "mountinfo").write_text(mounts.replace("MNT", str(folder)))
    (folder / "cgroup").write_text(groups)
    return folder


V1_MOUNTS = """
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / MNT/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / MNT/mem\\040ory rw shared:4 - cgroup cgroup rw,memory
39 31 0:36 / MNT/pids rw - cgroup cgroup rw,pids
41 31 0:38 / MNT/unified rw - cgroup2 cgroup2 rw
""".strip()


def test_version_1_is_found_with_a_folder_a_controller(tmp_path: Path) -> None:
    table = "3:pids:/unit\n2:memory:/unit/a\n1:cpu,cpuacct:/\n0::/\n"
    found = find_hierarchy(proc(tmp_path, V1_MOUNTS, table))
    assert found.files is VERSION_1
    assert found.own == {
        "memory": tmp_path / "mem ory/unit/a", "cpu": tmp_path / "cpu,cpuacct", "pids": tmp_path / "pids/unit",
    }  # fmt: skip
    assert found.tops["memory"] == tmp_path / "mem ory"


def test_version_2_is_used_where_it_has_all_controllers(tmp_path: Path) -> None:
    unit = tmp_path / "unified/unit"
    unit.mkdir(parents=True)
    (unit / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    found = find_hierarchy(proc(tmp_path, V1_MOUNTS, "3:pids:/\n2:memory:/\n1:cpu:/\n0::/unit\n"))
    assert found.files is VERSION_2
    assert set(found.own.values()) == {unit}
    assert set(found.tops.values()) == {tmp_path / "unified"}


def test_a_container_sees_its_own_part_of_the_tree(tmp_path: Path) -> None:
    mounts = V1_MOUNTS.replace("0:32 / ", "0:32 /docker/1f ")
    found = find_hierarchy(proc(tmp_path, mounts, "3:pids:/\n2:memory:/docker/1f/x\n1:cpu:/\n0::/\n"))
    assert found.own["memory"] == tmp_path / "mem ory/x"


def test_a_machine_without_says_what_it_lacks_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"for memory and pids, .* cgroups = false in \[gvisor\]"):
        find_hierarchy(proc(tmp_path, V1_MOUNTS.replace("memory", "m").replace("rw,pids", "rw"), "1:cpu:/\n0::/\n"))


class Tree:
    """Folders that look like a hierarchy, but keep what is written."""

    def __init__(self, folder: Path, files: CgroupFiles) -> None:
        own = {name: folder / (name if files.version == 1 else "unit") for name in CONTROLLERS}
        self.own = list(dict.fromkeys(own.values()))
        for each in self.own:
            each.mkdir(parents=True)
            (each / "cgroup.type").write_text("domain\n")
        self.hierarchy = Hierarchy(files, own, own)

    def opened(self, percent: int = 50) -> Cgroups:
        return Cgroups.open(self.hierarchy, below="", memory_percent_max=percent)

    def made(self) -> list[Path]:
        """The folders of the server's group."""
        return [
            group for each in self.own for group in sorted(each.glob("stepwell-*")) if group.name != "stepwell-server"
        ]


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2], ids=["1", "2"])
def test_sandboxes_are_limited_each_and_together(tmp_path: Path, files: CgroupFiles) -> None:
    tree = Tree(tmp_path, files)
    (tree.hierarchy.own["memory"] / files.memory_max).write_text(str(1000 * MEBIBYTE))
    cgroups = tree.opened(percent=50)
    assert cgroups.memory_bytes_max == 500 * MEBIBYTE
    group = cgroups.new("one", LIMITS)
    together = {path.name: path.read_text() for folder in tree.made() for path in folder.iterdir() if path.is_file()}
    each = {path.name: path.read_text() for folder in tree.made() for path in (folder / "one").iterdir()}
    memory = str(64 * MEBIBYTE)
    if files.version == 1:
        assert together == {"memory.limit_in_bytes": str(500 * MEBIBYTE), "cpu.shares": "102"}
        assert each == {
            "memory.limit_in_bytes": memory, "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000",
            "pids.max": "300",
        }  # fmt: skip
        assert len(group.entrances) == 3
    else:
        enabled = "+memory +cpu +pids"
        assert together == {
            "memory.max": str(500 * MEBIBYTE), "cpu.weight": "10", "cgroup.subtree_control": enabled,
        }  # fmt: skip
        assert each == {
            "memory.max": memory, "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "300",
        }  # fmt: skip
        assert len(group.entrances) == 1
        unit = tmp_path / "unit"
        assert (unit / "stepwell-server/cgroup.procs").read_text() == str(os.getpid())
        assert (unit / "cgroup.subtree_control").read_text() == enabled


@pytest.mark.parametrize(("files", "weight"), [(VERSION_1, "102"), (VERSION_2, "10")], ids=["1", "2"])
def test_a_sandbox_counts_as_one_in_as_many_as_its_tenant_has(tmp_path: Path, files: CgroupFiles, weight: str) -> None:
    tree = Tree(tmp_path, files)
    group = tree.opened().new("one", LIMITS)
    group.share_cpu(10)
    [found] = [path.read_text() for folder in tree.made() for path in (folder / "one").glob(files.cpu_weight)]
    assert found == weight
    group.share_cpu(1_000_000)
    assert [path.read_text() for path in tmp_path.rglob(f"one/{files.cpu_weight}")] == ["2"]


def test_a_server_that_version_2_moved_makes_its_group_beside_itself(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    tree.opened()
    moved = dict.fromkeys(CONTROLLERS, tmp_path / "unit/stepwell-server")
    Cgroups.open(Hierarchy(VERSION_2, moved, tree.hierarchy.tops), below="", memory_percent_max=1)
    assert len(tree.made()) == 2


def test_a_named_group_is_used_and_nobody_is_moved(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    Cgroups.open(tree.hierarchy, below="/sandboxes", memory_percent_max=1)
    assert [path.name for path in (tmp_path / "unit/sandboxes").glob("stepwell-*")]
    assert not (tmp_path / "unit/stepwell-server").exists()


def test_in_a_login_shells_group_of_version_2_a_group_of_its_own_is_made_at_the_top(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    shell = tmp_path / "unit/session-1.scope"
    shell.mkdir()
    (shell / "cgroup.type").write_text("domain\n")
    (shell / "cgroup.procs").write_text(f"1234\n{os.getpid()}\n")
    own = Hierarchy(VERSION_2, dict.fromkeys(CONTROLLERS, shell), tree.hierarchy.tops)
    Cgroups.open(own, below="", memory_percent_max=1)
    assert [path.name for path in (tmp_path / "unit/stepwell").glob("stepwell-*")]
    assert (tmp_path / "unit/cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert not (shell / "stepwell-server").exists(), "nobody was moved"


@pytest.mark.parametrize("percent", [0, 101])
def test_a_share_of_memory_that_can_not_be_is_refused(tmp_path: Path, percent: int) -> None:
    with pytest.raises(CgroupError, match=f"memory_percent_max is 1 to 100, not {percent}"):
        Tree(tmp_path, VERSION_1).opened(percent)


def test_a_group_that_must_not_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(CONTROLLERS, tmp_path / "absent")
    with pytest.raises(CgroupError, match=r"absent.*: No such file or directory\. .*Delegate=yes.*cgroups = false"):
        Cgroups.open(Hierarchy(VERSION_2, nowhere, nowhere), below="", memory_percent_max=1)


@pytest.mark.parametrize(
    ("killed", "peak", "refused", "cause"),
    [
        (0, 10, 0, ""),
        (1, 64, 0, "it used more than its 64 MiB of memory"),
        (0, 64, 0, "it used more than its 64 MiB of memory"),
        (1, 10, 0, "memory for sandboxes ran out while it used 10 MiB"),
        (0, 10, 2, "it started more than 300 processes and threads on its host"),
    ],
)
def test_the_cause_of_an_end_is_the_limit_that_was_met(
    tmp_path: Path, killed: int, peak: int, refused: int, cause: str
) -> None:
    (tmp_path / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {killed}\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text(f"{peak * MEBIBYTE}\n")
    (tmp_path / "pids.events").write_text(f"max {refused}\n")
    group = SandboxCgroup(VERSION_1, dict.fromkeys(CONTROLLERS, tmp_path), LIMITS)
    assert group.cause() == cause


def test_cache_that_the_kernel_takes_back_is_not_use(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 3000\n")
    assert SandboxCgroup(VERSION_2, dict.fromkeys(CONTROLLERS, tmp_path), LIMITS).memory_bytes() == 2000
