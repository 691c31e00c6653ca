"""Memory that strangers reported: what looks taken and can be had, what looks free and cannot, and hidden limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import GIB, plant, v2, x86
from trees_reports import BIGGEST, NODES, allowed, arcstats, meminfo, node, nodes

from phibench import probe
from phibench.core.nouns import Held, Limits
from phibench.probe.system import memory

MIB = 1 << 20


def limits(tmp_path: Path, *trees: dict[str, str]) -> Limits:
    whole = {path: text for tree in (x86(), *trees) for path, text in tree.items()}
    return probe.machine(bandwidth_s=None, root=plant(tmp_path, whole)).limits


# ------------------------------------------------------------------------------------------- ZFS's cache

FULL = meminfo(MemTotal=64, MemFree=1, MemAvailable=1.5)
LXCFS = {
    "proc/self/mountinfo": "1206 1149 0:61 /proc/meminfo /proc/meminfo rw,nosuid,nodev,relatime shared:593 master:81 - "
    "fuse.lxcfs lxcfs rw,user_id=0,group_id=0,allow_other\n"
}
ZFS = {
    "48 GiB, of which 45 can go": ((FULL, arcstats(48 * GIB, 2 * GIB, 45 * GIB)), 46.5, (48, 45)),
    "not below its least": ((FULL, arcstats(48 * GIB, 8 * GIB, 47 * GIB)), 41.5, (48, 40)),
    "htop#1002, all of it is the least": ((FULL, arcstats(48 * GIB, 48 * GIB, 47 * GIB)), 1.5, (48, 0)),
    "openzfs#10255, nobody tells what can go": ((FULL, arcstats(48 * GIB, 2 * GIB, None)), 1.5, (48, 0)),
    "komodo#1635, of the host of this container": (
        (meminfo(MemTotal=8, MemAvailable=1), LXCFS, arcstats(int(6.27 * GIB), 0, 6 * GIB)), 1, None),
    "htop#863, more than is in use": (
        (meminfo(MemTotal=2, MemAvailable=1.5), arcstats(6 * GIB, 0, 6 * GIB)), 1.5, None),
    "a container on the host's memory": (
        (FULL, arcstats(48 * GIB, 0, 45 * GIB), v2("/a", {"/a": {"memory.max": f"{8 * GIB}\n"}})), 8, None),
    "nonsense": ((FULL, {"proc/spl/kstat/zfs/arcstats": "size 4 -5\nc_min\n\0"}), 1.5, None),
}  # fmt: skip


@pytest.mark.parametrize(("trees", "free_gib", "told"), ZFS.values(), ids=ZFS)
def test_what_zfs_would_give_back_is_free(
    tmp_path: Path, trees: tuple[dict[str, str], ...], free_gib: float, told: tuple[int, int] | None
) -> None:
    found = limits(tmp_path, *trees)
    assert found.free_bytes == int(free_gib * GIB)
    cache = told and Held(kind="zfs_cache", bytes=told[0] * GIB, free_bytes=told[1] * GIB)
    assert found.held == ((cache,) if cache else ())
    says = [note for note in found.notes if "ZFS's cache" in note]
    assert bool(says) is bool(told and told[1])


# --------------------------------------------------------------------------------- what meminfo tells otherwise


def huge(total: int, surplus: int = 0, kib: int = 2048) -> str:
    return f"HugePages_Total:   {total}\nHugePages_Surp:    {surplus}\nHugepagesize:   {kib} kB\n"


MEMINFO = {
    # name: (meminfo, GiB that may be used, GiB free)
    "without MemAvailable, as before Linux 3.14": (
        meminfo(MemTotal=8, MemFree=1, Active_file=3, Inactive_file=1, Cached=6)["proc/meminfo"], 8, 3),
    "MemFree alone": (meminfo(MemTotal=8, MemFree=1, Cached=6)["proc/meminfo"], 8, 1),
    "btop#473, more available than there is": (
        meminfo(MemTotal=8, MemFree=3, MemAvailable=90)["proc/meminfo"], 8, 3),
    "netdata#3461, huge pages": (
        meminfo(MemTotal=128, MemFree=20, MemAvailable=20)["proc/meminfo"] + huge(53342),
        128 - 53342 * 2 / 1024, 20),
    "htop#447, huge pages of several sizes": (
        meminfo(MemTotal=64, MemFree=8, MemAvailable=8, Hugetlb=48)["proc/meminfo"] + huge(1024), 16, 8),
    "surplus pages go back by themselves": (
        meminfo(MemTotal=64, MemAvailable=8)["proc/meminfo"] + huge(2048, surplus=1024), 62, 8),
    "more huge pages than memory": (meminfo(MemTotal=8, MemAvailable=4)["proc/meminfo"] + huge(99999), 8, 4),
}  # fmt: skip


@pytest.mark.parametrize(("text", "usable_gib", "free_gib"), MEMINFO.values(), ids=MEMINFO)
def test_memory_is_what_can_be_had(tmp_path: Path, text: str, usable_gib: float, free_gib: float) -> None:
    found = limits(tmp_path, {"proc/meminfo": text})
    assert (found.memory_bytes, found.free_bytes) == (int(usable_gib * GIB), int(free_gib * GIB))


@pytest.mark.parametrize(
    ("lxcfs", "available", "free_gib"),
    [(LXCFS, 1, 5), (LXCFS, 4, 4), ({}, 1, 1)],  # lxcfs#175; a newer one; another system that counts no cache
)
def test_cached_files_give_way_where_lxcfs_calls_free_what_is_unused(
    tmp_path: Path, lxcfs: dict[str, str], available: int, free_gib: int
) -> None:
    told = meminfo(MemTotal=8, MemFree=1, MemAvailable=available, Cached=5, Shmem=1)
    assert limits(tmp_path, told, lxcfs).free_bytes == free_gib * GIB


def test_huge_pages_of_all_sizes_count_where_meminfo_knows_one(tmp_path: Path) -> None:
    """collectd/collectd#2914: 4096 of 2 MiB, and 28 of 1 GiB, which the meminfo of old kernels leaves out."""
    sizes = {f"sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages": f"{count}\n"
             for kib, count in ((2048, 4096), (1 << 20, 28))}  # fmt: skip
    told = {"proc/meminfo": meminfo(MemTotal=64, MemAvailable=8)["proc/meminfo"] + huge(4096)}
    assert limits(tmp_path, told, sizes).memory_bytes == 28 * GIB


def test_what_holds_memory_though_no_program_does(tmp_path: Path) -> None:
    text = meminfo(MemTotal=64, MemAvailable=2, Shmem=10, Balloon=4, Hugetlb=40)["proc/meminfo"]
    assert memory.held(plant(tmp_path, {"proc/meminfo": text})) == (
        Held(kind="huge_pages", bytes=40 * GIB),
        Held(kind="files_in_memory", bytes=10 * GIB),
        Held(kind="balloon", bytes=4 * GIB),
    )


# ----------------------------------------------------------------------------------------- hidden limits


def version_1(stat: str, own: str = BIGGEST, used: int = 300 * MIB, **more: str) -> dict[str, str]:
    """A container that sees its own group alone."""
    group = "sys/fs/cgroup/memory"
    return {
        "proc/self/cgroup": "12:memory:/ecs/task/abc\n",
        "proc/self/mountinfo": f"702 700 0:31 /ecs/task/abc /{group} ro master:12 - cgroup cgroup rw,memory\n",
        f"{group}/memory.limit_in_bytes": f"{own}\n",
        f"{group}/memory.usage_in_bytes": f"{used}\n",
        f"{group}/memory.stat": f"cache 0\nrss {used}\n{stat}total_inactive_file 0\ntotal_active_file 0\n",
        **{f"{group}/{name}": f"{text}\n" for name, text in more.items()},
    }


HIDDEN = {
    # name: (tree, GiB that may be used, GiB free, what the restrictions say)
    "a parent that cannot be seen": (
        version_1(f"hierarchical_memory_limit {2 * GIB}\n"), 2, 2 - 300 / 1024, ("cgroup limits memory to 2 GiB",)),
    "gosigar#57, no limit anywhere": (version_1(f"hierarchical_memory_limit {BIGGEST}\n"), 32, 20, ()),
    "the own limit is the narrower": (
        version_1(f"hierarchical_memory_limit {GIB}\n", own=f"{GIB}"), 1, 1 - 300 / 1024,
        ("cgroup limits memory to 1 GiB",)),
    "VictoriaMetrics#699, files in the group's cache": (
        version_1(f"hierarchical_memory_limit {4 * GIB}\n", used=3 * GIB)
        | {"sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {4 * GIB}\ntotal_inactive_file {2 * GIB}\n"},
        4, 3, ("cgroup limits memory to 4 GiB",)),
    "cadvisor#3682, a parent that can be seen": (
        v2("/job.slice/job-1.slice/docker-6fa8.scope", {
            "/job.slice/job-1.slice/docker-6fa8.scope": {"memory.max": "max\n", "memory.current": "0\n"},
            "/job.slice/job-1.slice": {"memory.max": f"{GIB}\n", "memory.current": "0\n", "cpu.max": "200000 100000\n"},
        }), 1, 1, ("cgroup limits cpus to 2", "cgroup limits memory to 1 GiB")),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "usable_gib", "free_gib", "says"), HIDDEN.values(), ids=HIDDEN)
def test_a_limit_binds_wherever_it_is_told(
    tmp_path: Path, tree: dict[str, str], usable_gib: float, free_gib: float, says: tuple[str, ...]
) -> None:
    found = limits(tmp_path, tree)
    assert (found.memory_bytes, found.free_bytes) == (usable_gib * GIB, int(free_gib * GIB))
    assert found.restrictions == says


ULIMIT = "Limit                     Soft Limit           Hard Limit           Units     \n" + (
    "Max cpu time              unlimited            unlimited            seconds   \n"
    "Max address space         {:<20} unlimited            bytes     \n"
)


@pytest.mark.parametrize(
    ("soft", "usable_gib", "free_gib", "says"),
    [
        (4 * GIB, 4, 3.5, ("ulimit -v limits memory to 4 GiB",)),  # dask/distributed#2665, bluerobotics/BlueOS#2392
        (64 * GIB, 32, 20, ()),
        ("unlimited", 32, 20, ()),
        ("9" * 30, 32, 20, ()),
    ],
)
def test_what_a_process_may_map_is_a_limit(
    tmp_path: Path, soft: int | str, usable_gib: float, free_gib: float, says: tuple[str, ...]
) -> None:
    status = {"proc/self/status": "VmSize:\t  524288 kB\nCpus_allowed_list:\t0-15\n"}
    found = limits(tmp_path, status, {"proc/self/limits": ULIMIT.format(soft)})
    assert (found.memory_bytes, found.free_bytes) == (usable_gib * GIB, int(free_gib * GIB))
    assert found.restrictions == says


SWAP = {
    "the parent's limit of both": (version_1(f"hierarchical_memsw_limit {3 * GIB}\n", used=GIB), 2),
    "lxcfs#258": (version_1("", own="7516192768", used=0, **{"memory.memsw.limit_in_bytes": "10737418240",
                                                            "memory.memsw.usage_in_bytes": f"{GIB}"}), 9),
    "the narrower of both": (version_1(f"hierarchical_memsw_limit {4 * GIB}\n", used=0,
                                       **{"memory.memsw.limit_in_bytes": f"{5 * GIB}"}), 4),
    "none": (version_1(f"hierarchical_memsw_limit {BIGGEST}\n"), 16),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "gib"), SWAP.values(), ids=SWAP)
def test_swap_is_what_memory_and_swap_together_leave(tmp_path: Path, tree: dict[str, str], gib: int) -> None:
    swap = meminfo(MemTotal=32, MemAvailable=20, SwapFree=16)
    assert limits(tmp_path, tree, swap).swap_bytes == gib * GIB


# ---------------------------------------------------------------------------------- nodes that are not ours


def test_only_the_memory_of_the_nodes_that_are_allowed_counts(tmp_path: Path) -> None:
    """docker --cpuset-cpus=8-15 --cpuset-mems=1 on two nodes of 64 GiB."""
    found = limits(tmp_path, nodes(("0-7", 64), ("8-15", 64)), allowed("8-15", "1"))
    assert (found.memory_bytes, found.free_bytes) == (64 * GIB, 20 * GIB)  # meminfo tells of 20, the node of 32
    assert found.restrictions == ("affinity allows 8 of 16 cpus", "cpuset limits memory to 64 GiB")


def test_what_is_free_elsewhere_is_not_free(tmp_path: Path) -> None:
    narrow = node(1, "8-15", 64) | {f"{NODES}/node1/meminfo": f"Node 1 MemTotal: {64 << 20} kB\n"
                                    f"Node 1 MemFree: {1 << 20} kB\nNode 1 Active(file): {2 << 20} kB\n"}  # fmt: skip
    found = limits(tmp_path, nodes(("0-7", 64), ("8-15", 64)) | narrow, allowed("8-15", "1"))
    assert found.free_bytes == 3 * GIB


@pytest.mark.parametrize("mems", ["0-1", "7", "", "x"])
def test_a_list_of_all_nodes_or_of_none_that_is_there_limits_nothing(tmp_path: Path, mems: str) -> None:
    found = limits(tmp_path, nodes(("0-7", 64), ("8-15", 64)), allowed("0-15", mems))
    assert (found.memory_bytes, found.restrictions) == (128 * GIB, ())
