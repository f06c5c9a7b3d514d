"""Where control groups are found, and what is written where: over tables and folders as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loader.sandbox.cgroup_files import VERSION_1, VERSION_2, CgroupFiles
from loader.sandbox.cgroup_mounts import CgroupError, Hierarchy, find_hierarchy
from loader.sandbox.cgroup_usage import CpuUsage
from loader.sandbox.cgroups import CPU_IDLE, CgroupLimits, Cgroups, SandboxCgroup
from loader.sandbox.cpus import CpuLists, cpu_lists, numbers

MEBIBYTE = 1024 * 1024
CPUS = CpuLists("0", "0")
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
40 31 0:37 / MNT/cpuset rw - cgroup cgroup rw,cpuset
41 31 0:38 / MNT/unified rw - cgroup2 cgroup2 rw
""".strip()


def test_version_1_is_found_with_a_folder_a_controller(tmp_path: Path) -> None:
    table = "4:cpuset:/\n3:pids:/unit\n2:memory:/unit/a\n1:cpu,cpuacct:/\n0::/\n"
    found = find_hierarchy(proc(tmp_path, V1_MOUNTS, table))
    assert found.files is VERSION_1
    assert found.own == {
        "memory": tmp_path / "mem ory/unit/a", "cpu": tmp_path / "cpu,cpuacct", "pids": tmp_path / "pids/unit",
        "cpuset": tmp_path / "cpuset", "cpuacct": tmp_path / "cpu,cpuacct",
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
    table = "4:cpuset:/\n3:pids:/\n2:memory:/docker/1f/x\n1:cpu,cpuacct:/\n0::/\n"
    found = find_hierarchy(proc(tmp_path, mounts, table))
    assert found.own["memory"] == tmp_path / "mem ory/x"


def test_a_machine_without_says_what_it_lacks_and_what_to_do(tmp_path: Path) -> None:
    mounts = V1_MOUNTS.replace("memory", "m").replace("rw,pids", "rw")
    with pytest.raises(CgroupError, match=r"for memory and pids and cpuset, .* cgroups = false in \[gvisor\]"):
        find_hierarchy(proc(tmp_path, mounts, "1:cpu,cpuacct:/\n0::/\n"))


class Tree:
    """Folders that look like a hierarchy, but keep what is written."""

    def __init__(self, folder: Path, files: CgroupFiles) -> None:
        own = {name: folder / (name if files.version == 1 else "unit") for name in files.controllers}
        self.own = list(dict.fromkeys(own.values()))
        for each in self.own:
            each.mkdir(parents=True)
            (each / "cgroup.type").write_text("domain\n")
        self._files = files
        self.add_cpuset(own["cpuset"])
        self.hierarchy = Hierarchy(files, own, own)

    def opened(self, percent: int = 50) -> Cgroups:
        return Cgroups.open(self.hierarchy, below="", memory_percent_max=percent)

    def add_cpuset(self, folder: Path, cpus: str = "0-7") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("cpuset.cpus", cpus), ("cpuset.mems", "0-1"), (self._files.cpus_usable, "0-2,6-7")):
            (folder / name).write_text(f"{text}\n")

    def made(self) -> list[Path]:
        """The folders of the server's group."""
        return [
            group for each in self.own for group in sorted(each.glob("stepwell-*")) if group.name != "stepwell-server"
        ]


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2], ids=["1", "2"])
def test_sandboxes_are_limited_each_and_together(
    tmp_path: Path, files: CgroupFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 6})
    tree = Tree(tmp_path, files)
    (tree.hierarchy.own["memory"] / files.memory_max).write_text(str(1000 * MEBIBYTE))
    cgroups = tree.opened(percent=50)
    assert cgroups.memory_bytes_max == 500 * MEBIBYTE
    group = cgroups.new("one", LIMITS)
    together = {path.name: path.read_text() for folder in tree.made() for path in folder.iterdir() if path.is_file()}
    each = {path.name: path.read_text() for folder in tree.made() for path in (folder / "one").iterdir()}
    memory = str(64 * MEBIBYTE)
    if files.version == 1:
        assert together == {
            "memory.limit_in_bytes": str(500 * MEBIBYTE), "cpu.shares": "102",
            "cpuset.cpus": "0-7", "cpuset.mems": "0-1",
        }  # fmt: skip
        assert each == {
            "memory.limit_in_bytes": memory, "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000",
            "pids.max": "300", "cpuset.cpus": "1,2,6", "cpuset.mems": "0-1", "cpu.shares": "2",
        }  # fmt: skip
        assert len(group.entrances) == 5
    else:
        enabled = "+memory +cpu +pids +cpuset"
        assert together == {
            "memory.max": str(500 * MEBIBYTE), "cpu.weight": "10", "cgroup.subtree_control": enabled,
        }  # fmt: skip
        assert each == {
            "memory.max": memory, "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "300",
            "cpuset.cpus": "1,2,6", "cpu.weight": "2",
        }  # fmt: skip
        assert len(group.entrances) == 1
        unit = tmp_path / "unit"
        assert (unit / "stepwell-server/cgroup.procs").read_text() == str(os.getpid())
        assert (unit / "cgroup.subtree_control").read_text() == enabled


@pytest.mark.parametrize("has_idle", [True, False], ids=["idle", "weight"])
@pytest.mark.parametrize("files", [VERSION_1, VERSION_2], ids=["1", "2"])
def test_a_sandbox_in_the_background_leaves_the_reserved_cpus_and_has_its_part_of_the_others(
    tmp_path: Path, files: CgroupFiles, has_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 6})
    monkeypatch.setattr("loader.sandbox.cgroups._has_idle", lambda group: has_idle)
    group = Tree(tmp_path, files).opened().new("one", LIMITS)
    idle, busy = ("1", "0") if has_idle else ("", "")

    def scheduled() -> list[str]:
        names = ("cpuset.cpus", CPU_IDLE, "cpu.max" if files.version == 2 else "cpu.cfs_quota_us")
        found = ["".join(path.read_text() for path in tmp_path.rglob(f"one/{name}")) for name in names]
        return [text.removesuffix(" 100000") for text in found]

    def weight() -> str:
        return "".join(path.read_text() for path in tmp_path.rglob(f"one/{files.cpu_weight}"))

    assert scheduled() == ["2,6", idle, "150000"]
    assert weight() == ("" if has_idle else "2")
    group.schedule(10, is_background=False)
    assert scheduled() == ["1,2,6", busy, "150000"]
    assert weight() == str(files.cpu_weight_default // 10)
    group.schedule(10, is_background=True)
    assert scheduled() == ["2,6", idle, "20000"]
    group.schedule(1_000_000, is_background=True)
    assert scheduled() == ["2,6", idle, "2000"]
    group.schedule(1_000_000, is_background=False)
    assert weight() == "2"


def test_what_a_sandbox_used_of_the_cpu_is_told_in_microseconds_even_when_it_is_gone(tmp_path: Path) -> None:
    for files, name, text in (
        (VERSION_1, "cpuacct.usage", "1234567\n"),
        (VERSION_2, "cpu.stat", "usage_usec 1234\nuser_usec 1\n"),
    ):
        (tmp_path / name).write_text(text)
        usage = CpuUsage(files, dict.fromkeys(files.controllers, tmp_path))
        assert usage.read_us() == 1234
        usage.close()
        usage.close()
        assert usage.read_us() == 1234
    assert CpuUsage(VERSION_1, {"cpuacct": tmp_path / "absent"}).read_us() == 0


def test_a_named_group_of_version_1_is_given_cpus_where_it_has_none(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_1)
    named = tmp_path / "cpuset/outer/sandboxes"
    tree.add_cpuset(named.parent, cpus="0-1")
    tree.add_cpuset(named, cpus="")
    (named / "cpuset.mems").write_text("\n")
    for controller in ("memory", "cpu", "pids", "cpuacct"):
        (tmp_path / controller / "outer").mkdir()
    Cgroups.open(tree.hierarchy, below="/outer/sandboxes", memory_percent_max=1)
    assert [path.read_text().strip() for path in (named / "cpuset.cpus", named / "cpuset.mems")] == ["0-1", "0-1"]


@pytest.mark.parametrize(
    ("cpus", "foreground", "background"),
    [
        ({5}, "5", "5"),
        ({0, 1}, "0,1", "1"),
        ({2, 4, 6, 8}, "2,4,6,8", "4,6,8"),
        (set(range(16)), ",".join(map(str, range(16))), ",".join(map(str, range(2, 16)))),
    ],
)
def test_one_cpu_in_eight_is_reserved_but_the_only_one_never(cpus: set[int], foreground: str, background: str) -> None:
    assert cpu_lists(cpus) == CpuLists(foreground, background)


def test_lists_of_cpus_are_read_as_the_kernel_writes_them() -> None:
    assert numbers("0-2,8,10-11\n") == {0, 1, 2, 8, 10, 11}
    assert numbers("\n") == set()


def test_a_server_that_version_2_moved_makes_its_group_beside_itself(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    tree.opened()
    moved = dict.fromkeys(VERSION_2.controllers, tmp_path / "unit/stepwell-server")
    Cgroups.open(Hierarchy(VERSION_2, moved, tree.hierarchy.tops), below="", memory_percent_max=1)
    assert len(tree.made()) == 2


def test_a_named_group_is_used_and_nobody_is_moved(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    tree.add_cpuset(tmp_path / "unit/sandboxes")
    Cgroups.open(tree.hierarchy, below="/sandboxes", memory_percent_max=1)
    assert [path.name for path in (tmp_path / "unit/sandboxes").glob("stepwell-*")]
    assert not (tmp_path / "unit/stepwell-server").exists()


def test_in_a_login_shells_group_of_version_2_a_group_of_its_own_is_made_at_the_top(tmp_path: Path) -> None:
    tree = Tree(tmp_path, VERSION_2)
    shell = tmp_path / "unit/session-1.scope"
    shell.mkdir()
    (shell / "cgroup.type").write_text("domain\n")
    (shell / "cgroup.procs").write_text(f"1234\n{os.getpid()}\n")
    tree.add_cpuset(tmp_path / "unit/stepwell")
    own = Hierarchy(VERSION_2, dict.fromkeys(VERSION_2.controllers, shell), tree.hierarchy.tops)
    Cgroups.open(own, below="", memory_percent_max=1)
    assert [path.name for path in (tmp_path / "unit/stepwell").glob("stepwell-*")]
    assert (tmp_path / "unit/cgroup.subtree_control").read_text() == "+memory +cpu +pids +cpuset"
    assert not (shell / "stepwell-server").exists(), "nobody was moved"


@pytest.mark.parametrize("percent", [0, 101])
def test_a_share_of_memory_that_can_not_be_is_refused(tmp_path: Path, percent: int) -> None:
    with pytest.raises(CgroupError, match=f"memory_percent_max is 1 to 100, not {percent}"):
        Tree(tmp_path, VERSION_1).opened(percent)


def test_a_group_that_must_not_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(VERSION_2.controllers, tmp_path / "absent")
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
    group = SandboxCgroup(VERSION_1, dict.fromkeys(VERSION_1.controllers, tmp_path), LIMITS, CPUS, has_idle=True)
    assert group.cause() == cause


def test_cache_that_the_kernel_takes_back_is_not_use(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 3000\n")
    assert (
        SandboxCgroup(
            VERSION_2, dict.fromkeys(VERSION_2.controllers, tmp_path), LIMITS, CPUS, has_idle=True
        ).memory_bytes()
        == 2000
    )
