"""What the doctor says of machines that strangers reported: NUMA nodes, and what holds their memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import GIB, arm, plant, v2, x86
from trees_reports import CPUS, NODES, allowed, arcstats, clocks, meminfo, node, nodes

from phibench import probe
from phibench.core import files
from phibench.core.nouns import Conditions, Finding, Machine, Node
from phibench.machine import doctor


def probed(tmp_path: Path, tree: dict[str, str]) -> Machine:
    return probe.machine(bandwidth_s=None, root=plant(tmp_path, tree))


def said(machine: Machine, words: str) -> list[Finding]:
    """Findings with these words in their titles."""
    return [found for found in doctor.findings(machine, Conditions()) if words in found.title]


def fake(count: int, places: tuple[str, ...], board: dict[str, str]) -> dict[str, str]:
    """Each place cut into ``count`` nodes by numa=fake: all nodes of a place show its cpus."""
    every = count * len(places)
    files = board | {f"{NODES}/online": f"0-{every - 1}\n"}
    for number in range(every):
        files |= node(number, places[number // count], 1, " ".join(
            "10" if other // count == number // count else "20" for other in range(every)))  # fmt: skip
    return files


# ------------------------------------------------------------------------------------------- nodes that are one

PI_5 = arm(*[("0x41", "0xd0b")] * 4, board="Raspberry Pi 5 Model B Rev 1.0")
ONE_PLACE = {
    "raspberrypi/linux#6273": (fake(8, ("0-3",), PI_5), 1, 0),
    "hwloc#568": (fake(8, ("0-7", "8-15"), x86(cores=16, smt=1)), 2, 2),
    "the first of them alone shows the cpus": (
        PI_5 | {f"{NODES}/online": "0-1\n"} | node(0, "0-3", 4, "10 10") | node(1, "", 4, "10 10"), 1, 0),
    "two sockets": (nodes(("0-7", 64), ("8-15", 64)), 2, 2),
    "virtme-ng#57, memory farther away": (
        nodes(("0-15", 2), ("", 2), distances=("10 20", "20 10")), 1, 2),
    "mimalloc#282, a node of nothing": (nodes(("0-15", 64), ("", 0)), 1, 0),
    "no nodes": (x86(), None, 0),
}  # name: (tree, nodes with cpus, nodes that are told)  # fmt: skip


@pytest.mark.parametrize(("tree", "count", "told"), ONE_PLACE.values(), ids=ONE_PLACE)
def test_nodes_at_one_place_are_one(tmp_path: Path, tree: dict[str, str], count: int | None, told: int) -> None:
    found = probed(tmp_path, tree)
    assert found.processor is not None
    assert (found.processor.numa_nodes, len(found.processor.nodes)) == (count, told)
    assert bool(said(found, "several NUMA nodes")) is ((count or 0) > 1)


def test_a_place_of_many_nodes_is_named_by_all_of_them(tmp_path: Path) -> None:
    found = probed(tmp_path, ONE_PLACE["hwloc#568"][0])
    assert found.processor is not None
    assert found.processor.nodes[1] == Node(numbers=tuple(range(8, 16)), cpus=8, memory_bytes=8 * GIB)
    (advice,) = said(found, "several NUMA nodes")
    assert "--membind=0,1,2,3,4,5,6,7 " in advice.remedy


# ------------------------------------------------------------------------------- memory that is near, far, or not ours

SEVERAL, BARE, ALONE = "several NUMA nodes", "have no memory of their own", "nodes without cpus"
FAR = {
    "two sockets": (nodes(("0-7", 64), ("8-15", 64)), SEVERAL, "2 nodes of 64 GiB",
                    "--cpunodebind=0 --membind=0 phibench"),
    "small nodes": (nodes(("0-7", 6), ("8-15", 6)), SEVERAL, "2 nodes of 6 GiB", "models below 6 GiB; leave larger"),
    "the larger of unequal ones": (nodes(("0-7", 16), ("8-15", 64)), SEVERAL, "node 0: 8 cpus, 16 GiB, node 1",
                                   "--membind=1"),
    "vllm#30800, four nodes of one socket": (
        nodes(("0-3", 16), ("4-7", 16), ("8-11", 16), ("12-15", 16), sockets=(0, 0, 0, 0)), SEVERAL,
        "4 nodes of 16 GiB, all in one socket", "--interleave=all phibench"),
    "four nodes of two sockets": (
        nodes(("0-3", 16), ("4-7", 16), ("8-11", 16), ("12-15", 16), sockets=(0, 0, 1, 1)), SEVERAL,
        "4 nodes of 16 GiB", "--cpunodebind=0,1 --membind=0,1 phibench ... keeps cpus and memory in one socket, "
        "for models below 32 GiB"),
    "the first has no memory": (nodes(("0-7", 0), ("8-15", 128)), BARE, "node 0: 8 cpus, 0 MiB", "--membind=1 "),
    "numactl#165": (nodes(("0-3", 0), ("4-7", 62), ("8-11", 62), ("12-15", 0), sockets=(0, 0, 0, 0)), BARE,
                    "node 3: 4 cpus, 0 MiB", "--cpunodebind=1 --membind=1"),
    "numactl#127": (nodes(("", 8.5), ("", 5.5), ("0-15", 0), ("", 1)), BARE, "node 0: 0 cpus, 8.5 GiB",
                    "--preferred=0 "),
    "docker/for-linux#863, cpus here and memory there": (
        nodes(("0-7", 128), ("8-15", 128)) | allowed("0-7", "1"), BARE, "cpus of node 0, and memory of node 1",
        "--cpuset-mems"),
    "cpus of both nodes, memory of one": (
        nodes(("0-7", 64), ("8-15", 64)) | allowed("0-15", "1"), BARE, "cpus of node 0,1, and memory of node 1",
        "--membind=1 "),
    "hwloc#541, HBM beside each": (
        nodes(("0-15", 31), ("", 16), distances=("10 13", "13 10")), ALONE, "node 1: 0 cpus, 16 GiB", "--membind=0 "),
    "of a list that tells which have memory": (
        nodes(("0-7", 64), ("8-15", 64)) | {f"{NODES}/node0/meminfo": "", f"{NODES}/has_memory": "1\n"}, BARE,
        "node 0: 8 cpus, 0 MiB", "--membind=1"),
}  # name: (tree, what the title says, the evidence, the remedy)  # fmt: skip


@pytest.mark.parametrize(("tree", "title", "evidence", "remedy"), FAR.values(), ids=FAR)
def test_advice_names_nodes_that_can_be_used(
    tmp_path: Path, tree: dict[str, str], title: str, evidence: str, remedy: str
) -> None:
    found = probed(tmp_path, tree)
    (one,) = [finding for words in (SEVERAL, BARE, ALONE) for finding in said(found, words)]
    assert title in one.title
    assert evidence in one.evidence
    assert remedy in one.remedy


def test_two_sockets_with_memory_besides(tmp_path: Path) -> None:
    found = probed(tmp_path, nodes(("0-7", 64), ("8-15", 64), ("", 32)))
    (several,), (alone,) = said(found, SEVERAL), said(found, ALONE)
    assert (several.evidence, alone.evidence) == ("2 nodes of 64 GiB", "node 2: 0 cpus, 32 GiB")
    assert "--membind=0,1 " in alone.remedy


@pytest.mark.parametrize(
    "tree",
    [
        nodes(("0-7", 64), ("8-15", 64)) | allowed("8-15", "1"),  # its memory is on one node already
        nodes(("0-7", 64), ("8-15", 64)) | allowed("8-15"),
        nodes(("0-15", 64)),
        x86(),
    ],
)
def test_who_has_one_node_hears_nothing_of_nodes(tmp_path: Path, tree: dict[str, str]) -> None:
    found = doctor.findings(probed(tmp_path, tree))
    assert not [one for one in found if "NUMA" in f"{one.title} {one.evidence} {one.remedy}"]


def test_nodes_survive_a_file(tmp_path: Path) -> None:
    found = probed(tmp_path / "tree", nodes(("0-7", 0), ("8-15", 128)) | arcstats(40 * GIB, GIB, 30 * GIB))
    for name in ("machine.toml", "machine.json"):
        files.write_machine(tmp_path / name, found)
        assert files.read_strict(tmp_path / name, Machine) == found


# ---------------------------------------------------------------------------------------------- memory

LITTLE = {
    # name: (tree, what the evidence says, what the remedy says)
    "netdata#3461, huge pages": (
        meminfo(MemTotal=128, MemAvailable=1, Hugetlb=104), "104 GiB set aside for huge pages", "vm.nr_hugepages=0"),
    "openzfs#10255, a cache of which nobody tells what can go": (
        meminfo(MemTotal=64, MemAvailable=1.4) | arcstats(48 * GIB, 2 * GIB, None), "48 GiB in ZFS's cache",
        "zfs_arc_max"),
    "files in /dev/shm": (meminfo(MemTotal=16, MemAvailable=1, Shmem=12), "12 GiB files in memory", "/dev/shm"),
    "a balloon": (meminfo(MemTotal=16, MemAvailable=1, Balloon=12), "12 GiB taken back by the host", "virtual machine"),
    "programs": (meminfo(MemTotal=16, MemAvailable=1, Shmem=0.5), "1 GiB free of 16 GiB", "close other programs"),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "evidence", "remedy"), LITTLE.values(), ids=LITTLE)
def test_what_holds_memory_is_named_with_what_gives_it_back(
    tmp_path: Path, tree: dict[str, str], evidence: str, remedy: str
) -> None:
    (one,) = said(probed(tmp_path, x86() | tree), "too little free memory")
    assert (one.severity, evidence in one.evidence, remedy in one.remedy) == ("wrong", True, True), one


def test_a_limit_is_not_blamed_on_the_machine(tmp_path: Path) -> None:
    tree = x86() | meminfo(MemTotal=64, MemAvailable=40, Shmem=12) | v2("/a", {"/a": {"memory.max": f"{GIB}\n"}})
    (one,) = said(probed(tmp_path, tree), "too little free memory")
    assert one.evidence == "1 GiB free of 1 GiB"


def test_a_cache_that_counts_as_free_is_a_note_with_its_size(tmp_path: Path) -> None:
    tree = x86() | meminfo(MemTotal=64, MemFree=1, MemAvailable=1.5) | arcstats(48 * GIB, 2 * GIB, 45 * GIB)
    found = probed(tmp_path, tree)
    assert said(found, "too little") == []
    (one,) = said(found, "ZFS's cache")
    assert (one.severity, one.evidence) == ("note", "48 GiB in ZFS's cache (ARC), 45 GiB of it counted as free")
    assert "zfs_arc_max" in one.remedy


# ----------------------------------------------------------------------------------------------- cores


def test_two_kinds_of_cores_are_told_where_there_are_two(tmp_path: Path) -> None:
    phone = {path: text for path, text in arm(*[("0x41", "0xd05")] * 4, *[("0x41", "0xd44")] * 4).items()
             if not path.startswith("sys/")}  # fmt: skip
    (one,) = said(probed(tmp_path / "phone", phone), "two kinds of cores")
    assert one.evidence == "4 performance, 4 efficiency"
    odd = x86(cores=32, smt=1) | clocks([5_352_000 + 161_000 * max(0, n - 15) for n in range(32)])
    assert said(probed(tmp_path / "hwloc#690", odd), "kinds of cores") == []


def test_a_container_with_its_own_numbers_is_not_told_of_an_affinity(tmp_path: Path) -> None:
    tree = x86(cores=16, smt=1) | {f"{CPUS}/online": "0-4\n"} | allowed("3-7")
    assert said(probed(tmp_path, tree), "may not use all") == []
