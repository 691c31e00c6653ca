"""Cores that strangers reported: which there are, what they are called, and how many threads are worth starting."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import arm, plant, v2, x86
from trees_machine import BIG_LITTLE
from trees_reports import CPUS, allowed, capacities, clocks, siblings

from phibench import probe
from phibench.core.nouns import Machine
from phibench.probe.system import arm as arm_cores
from phibench.probe.system import gauges, kinds, text_files, topology

A55, A76 = ("0x41", "0xd05"), ("0x41", "0xd0b")


def probed(tmp_path: Path, tree: dict[str, str]) -> Machine:
    return probe.machine(bandwidth_s=None, root=plant(tmp_path, tree))


def hidden(tree: dict[str, str]) -> dict[str, str]:
    """As a phone shows itself to an app: nothing of sysfs."""
    return {path: text for path, text in tree.items() if not path.startswith("sys/")}


def hybrid(performance: int, efficiency: int, smt: int = 2) -> dict[str, str]:
    """An Intel processor: performance cores first, with ``smt`` threads each."""
    first = performance * smt
    count = first + efficiency
    fast = [",".join(str(n * smt + t) for t in range(smt)) for n in range(performance)]
    return (
        x86(cores=count, smt=1)
        | siblings(*fast, *map(str, range(first, count)))
        | {"sys/devices/cpu_core/cpus": f"0-{first - 1}\n", "sys/devices/cpu_atom/cpus": f"{first}-{count - 1}\n"}
    )


# ------------------------------------------------------------------------------------- how many threads

PIXEL_4A = hidden(arm(*[("0x51", "0x805")] * 6, *[("0x51", "0x804")] * 2))
SNAPDRAGON_8_GEN_2 = hidden(arm(*[("0x41", "0xd46")] * 3, *[("0x41", "0xd4d")] * 2, *[("0x41", "0xd47")] * 2,
                                ("0x41", "0xd4e")))  # fmt: skip
RYZEN_AI_370 = x86(cores=12, smt=1) | clocks([5_100_000] * 4 + [3_300_000] * 8)

THREADS = {
    "one thread of a fast core and seven slow ones": (hybrid(8, 8) | allowed("15-22"), 8, 8),
    "one big core and three little ones": (BIG_LITTLE | allowed("1-4"), 4, 4),
    "eight and eight": (hybrid(8, 8), 24, 8),
    "eight and sixteen": (hybrid(8, 16), 32, 8),
    "two and eight": (hybrid(2, 8), 12, 10),
    "two and eight, four cpus of them": (hybrid(2, 8) | v2("/", {"": {"cpu.max": "400000 100000"}}), 4, 2),
    "two and eight, nine cpus of them": (hybrid(2, 8) | v2("/", {"": {"cpu.max": "900000 100000"}}), 9, 9),
    "llama.cpp#28625": (hybrid(8, 12, smt=1), 20, 8),
    "llmman#331": (x86(cores=8, smt=1) | siblings("0,1", "2,3", "4,5", "6,7") | allowed("0-7"), 8, 4),
    "macOS-Simple-KVM#389, cores=1,threads=8": (x86(cores=8, smt=1) | siblings("0,1,2,3,4,5,6,7"), 8, 8),
    "util-linux#698, a POWER9": (
        x86(cores=16, smt=1)
        | siblings("0,1,2,3,4,5,6,7", "8,9,10,11,12,13,14,15")
        | {"proc/cpuinfo": "processor\t: 0\ncpu\t\t: POWER9 (architected)\n"},
        16,
        2,
    ),
    "sched-ext/scx#2134, capacities of cores of one kind": (
        arm(*[("0x41", "0xd84")] * 6) | capacities(1024, 1024, 979, 979, 960, 890),
        6,
        6,
    ),
    "psutil#1810, as many sockets as cpus": (x86(cores=8, smt=1), 8, 8),
    "AsahiLinux/muvm#43": (
        arm(*[("0x61", "0x022")] * 4, *[("0x61", "0x023")] * 4) | capacities(*[459] * 4, *[1024] * 4),
        8,
        4,
    ),
    "google/benchmark#1385, RK3399": (
        arm(*[("0x41", "0xd03")] * 4, *[("0x41", "0xd08")] * 2) | clocks([1_512_000] * 4 + [2_016_000] * 2),
        6,
        2,
    ),
    "a phone without sysfs": (hidden(arm(*[A55] * 4, *[("0x41", "0xd41")] * 2, *[("0x41", "0xd44")] * 2)), 8, 4),
    "whisper.cpp#1248": (PIXEL_4A, 8, 2),
    "termux-app#3422": (SNAPDRAGON_8_GEN_2 | allowed("0-5"), 6, 3),
    "only little cores": (hidden(arm(*[A55] * 8)), 8, 8),
    "a core that nobody knows beside little ones": (hidden(arm(*[A55] * 2, *[("0x99", "0xabc")] * 2)), 4, 2),
    "three sizes": (arm(*[A55] * 8) | capacities(250, 250, 250, 250, 700, 700, 1024, 1024), 8, 4),
    "the same capacity for all says nothing": (arm(*[A55] * 4, *[A76] * 2) | capacities(*[1024] * 6), 6, 2),
    "compact cores, two thirds as fast": (RYZEN_AI_370, 12, 12),
}  # name: (tree, cpus, threads)


@pytest.mark.parametrize(("tree", "cpus", "threads"), THREADS.values(), ids=THREADS)
def test_as_many_threads_as_are_worth_more(tmp_path: Path, tree: dict[str, str], cpus: int, threads: int) -> None:
    found = probed(tmp_path, tree).limits
    assert (found.cpus, found.threads) == (cpus, threads)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=64))
def test_no_other_number_of_threads_is_worth_more(worth: list[float]) -> None:
    best_first = sorted(worth, reverse=True)
    gain = [(count + 1) * weakest for count, weakest in enumerate(best_first)]
    assert gain[kinds.threads(worth) - 1] == max(gain)


def test_a_phone_without_sysfs_has_two_kinds(tmp_path: Path) -> None:
    found = probed(tmp_path, PIXEL_4A)
    assert found.processor is not None
    assert (found.processor.performance_cores, found.processor.efficiency_cores) == (2, 6)
    assert found.name == "6 x Kryo-4xx-Silver + 2 x Kryo-4xx-Gold"


# ------------------------------------------------------------------------------------------------ clocks

ODD = [5_352_000 + 161_000 * max(0, n - 15) for n in range(32)]  # hwloc#690: 32 equal cores, up to 7.93 GHz
CLOCKS = {
    "hwloc#690": (ODD, 32, 0, None),
    "hwloc#690, the processor that it names with two kinds": ([5_100_000] * 4 + [3_300_000] * 8, 4, 8, 5.1e9),
    "screenFetch#514": ([6_300_000] * 4, 4, 0, None),  # a Core i5-3570K
    "psutil#2069": ([6_400_000] * 4 + [3_600_000] * 4, 8, 0, None),  # 4.7 GHz in truth
    "the best cores of one kind": ([5_800_000] * 2 + [5_600_000] * 6, 8, 0, 5.8e9),
    "strewn, none of them beyond what there is": ([3_000_000 + 200_000 * n for n in range(12)], 12, 0, 5.2e9),
    "one that tells nothing": ([5_000_000, 0, 3_300_000, 3_300_000], 4, 0, 5e9),
    "one in other units": ([5_000_000] * 3 + [5_000], 4, 0, None),
    "one at a tenth": ([5_000_000] * 7 + [500_000], 8, 0, 5e9),
    "below zero": ([-1] * 4, 4, 0, None),
}  # name: (kHz of each, performance cores, efficiency cores, highest clock)


@pytest.mark.parametrize(("told", "fast", "slow", "highest"), CLOCKS.values(), ids=CLOCKS)
def test_clocks_make_two_kinds_only_where_they_lie_apart(
    tmp_path: Path, told: list[int], fast: int, slow: int, highest: float | None
) -> None:
    found = probed(tmp_path, x86(cores=len(told), smt=1) | clocks(told))
    assert found.processor is not None
    assert (found.processor.performance_cores, found.processor.efficiency_cores or 0) == (fast, slow)
    assert found.processor.max_hz == highest
    assert found.limits.threads == len(told)


def test_a_clock_of_now_that_is_nonsense_is_left_out_of_the_mean(tmp_path: Path) -> None:
    tree = x86(cores=4, smt=1)
    for n, kilohertz in enumerate((3_000_000, 2_000_000, 0, 4_294_967_295)):
        tree[f"{CPUS}/cpu{n}/cpufreq/scaling_cur_freq"] = f"{kilohertz}\n"
    assert gauges.clock_hz(plant(tmp_path, tree)) == 2.5e9


# --------------------------------------------------------------------- numbers of cpus in containers and without

HOST = x86(cores=16, smt=1)
NUMBERS = {
    "lxcfs counts from 0, lists cross": (HOST | {f"{CPUS}/online": "0-4\n"} | allowed("3-7"), 5, 5),
    "lists apart": (HOST | {f"{CPUS}/online": "0-4\n"} | allowed("8-12"), 5, 5),
    "lxcfs#731": (x86(cores=32, smt=1) | {f"{CPUS}/online": "0\n"} | allowed("24"), 1, 1),
    "lxcfs#433": (x86(cores=16, smt=2) | {f"{CPUS}/online": "8-9,24-25\n"} | allowed("8-9,24-25"), 4, 2),
    "lxcfs#305": (HOST | {f"{CPUS}/online": "0-7\n"} | allowed("1-4"), 4, 4),
    "lxcfs grants fewer than the scheduler": (HOST | {f"{CPUS}/online": "0-2\n"} | allowed("2-9"), 3, 3),
    "pinned within a container": (HOST | {f"{CPUS}/online": "0-7\n"} | allowed("6-9"), 4, 4),
    "offline cpus that are allowed": (HOST | {f"{CPUS}/online": "0-1,4-7\n"} | allowed("0-15"), 6, 6),
    "holes, and a list that crosses them": (HOST | {f"{CPUS}/online": "0,2,4,6\n"} | allowed("4-9"), 2, 2),
    "SMT is off": (x86(cores=4, smt=1) | {f"{CPUS}/online": "0-3\n"} | allowed("0-7"), 4, 4),
    "hwloc#450, without the first cpu": (HOST | {f"{CPUS}/online": "1-15\n"} | allowed("1-15"), 15, 15),
}  # name: (tree, cpus, threads)


@pytest.mark.parametrize(("tree", "cpus", "threads"), NUMBERS.values(), ids=NUMBERS)
def test_cpus_are_counted_though_two_lists_number_them_otherwise(
    tmp_path: Path, tree: dict[str, str], cpus: int, threads: int
) -> None:
    found = probed(tmp_path, tree)
    assert (found.limits.cpus, found.limits.threads) == (cpus, threads)
    assert found.logical_cores >= cpus
    narrower = found.logical_cores > cpus
    assert found.limits.restrictions == ((f"affinity allows {cpus} of {found.logical_cores} cpus",) if narrower else ())


def test_of_how_many_cpus_affinity_leaves_some(tmp_path: Path) -> None:
    found = probed(tmp_path, HOST | {f"{CPUS}/online": "0-7\n"} | allowed("6-9"))
    assert found.limits.restrictions == ("affinity allows 4 of 8 cpus",)
    assert probed(tmp_path, allowed("8-12")).limits.restrictions == ("affinity allows 5 of 8 cpus",)
    assert probed(tmp_path, {f"{CPUS}/online": "0-4\n"}).limits.restrictions == ()


def test_numbers_of_the_host_find_the_cores_of_the_host(tmp_path: Path) -> None:
    """Cpus 3 to 6 of the host are two cores of two threads; 0 to 3, as lxcfs calls them, are others."""
    tree = HOST | siblings("0", "1", "2", "3,5", "4,6") | {f"{CPUS}/online": "0-3\n"} | allowed("3-6")
    found = probed(tmp_path, tree)
    assert (found.physical_cores, found.logical_cores, found.limits.threads) == (2, 4, 2)


@given(st.frozensets(st.integers(0, 40), min_size=1), st.frozensets(st.integers(0, 40)))
def test_never_more_than_either_list_grants(online: frozenset[int], mine: frozenset[int]) -> None:
    running, usable = topology.agree(online, mine)
    assert 0 < len(usable) <= len(running) == len(online)
    assert not mine & online or len(usable) <= len(mine)


OLD_JOB = {
    "proc/self/cgroup": "3:cpuset:/job\n",
    "proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n",
}
CPUSETS = {
    "version 2": (
        v2("/a/b", {"/a/b": {"cpuset.cpus.effective": "4-5\n"}, "/a": {"cpuset.cpus.effective": "0-15\n"}}), 2),
    "a partition, whose ancestors lost its cpus": (
        v2("/a/b", {"/a/b": {"cpuset.cpus.effective": "4-7\n"}, "/a": {"cpuset.cpus.effective": "0-3,8-15\n"}}), 4),
    "version 1": (OLD_JOB | {"sys/fs/cgroup/cpuset/job/cpuset.cpus": "0-2\n"}, 3),
    "version 1, two of its cpus offline": (OLD_JOB | {
        "sys/fs/cgroup/cpuset/job/cpuset.cpus": "0-4\n", "sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": "0-2\n"}, 3),
    "nonsense": (v2("/a", {"/a": {"cpuset.cpus.effective": "x\n"}}), 16),
    "empty, as of a group that takes its parent's": (
        v2("/a/b", {"/a/b": {"cpuset.cpus.effective": "\n"}, "/a": {"cpuset.cpus.effective": "0-3\n"}}), 4),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "cpus"), CPUSETS.values(), ids=CPUSETS)
@pytest.mark.parametrize("status", [True, False])
def test_a_cpuset_binds(tmp_path: Path, groups: dict[str, str], cpus: int, status: bool) -> None:
    tree = HOST | groups
    if not status:
        del tree["proc/self/status"]
    assert probed(tmp_path, tree).limits.cpus == cpus


def test_settings_are_those_of_the_first_cpu_that_runs(tmp_path: Path) -> None:
    tree = x86(cores=4, smt=1) | {f"{CPUS}/online": "1-3\n", f"{CPUS}/cpu1/cpufreq/scaling_governor": "powersave\n"}
    found = probed(tmp_path, tree)
    assert found.processor is not None
    assert found.processor.governor == "powersave"
    assert gauges.settings(tmp_path)["governor"] == "powersave"


# ------------------------------------------------------------------------------ cores without sysfs, and sockets


def entry(cpu: int, core: int, socket: int = 0, siblings: int = 4, cores: int = 2) -> str:
    return (f"processor\t: {cpu}\nmodel name\t: AMD Ryzen\nphysical id\t: {socket}\nsiblings\t: {siblings}\n"
            f"core id\t\t: {core}\ncpu cores\t: {cores}\n\n")  # fmt: skip


@pytest.mark.parametrize(
    ("cpuinfo", "cores"),
    [
        (entry(0, 0) + entry(1, 0) + entry(2, 1) + entry(3, 1), 2),
        (entry(0, 0, 0, 2, 1) + entry(1, 0, 0, 2, 1) + entry(2, 0, 1, 2, 1) + entry(3, 0, 1, 2, 1), 2),
        (entry(0, 0, 0, 4, 4) + entry(1, 0, 0, 4, 4) + entry(2, 0, 0, 4, 4) + entry(3, 0, 0, 4, 4), 4),  # no SMT
        ("processor\t: 0\n\nprocessor\t: 1\n", 2),
    ],
)
def test_cores_of_a_sandbox_that_hides_sysfs(tmp_path: Path, cpuinfo: str, cores: int) -> None:
    assert probed(tmp_path, {"proc/cpuinfo": cpuinfo}).physical_cores == cores


def test_clusters_of_a_board_are_no_sockets(tmp_path: Path) -> None:
    """util-linux#1207: an Odroid N2+, two A53 as package 0, four A73 as package 1."""
    tree = arm(*[("0x41", "0xd03")] * 2, *[("0x41", "0xd09")] * 4)
    tree |= {f"{CPUS}/cpu{n}/topology/physical_package_id": f"{n // 2 and 1}\n" for n in range(6)}
    found = probed(tmp_path / "odroid", tree).processor
    assert found is not None
    assert found.sockets is None
    server = arm(*[("0x41", "0xd0c")] * 4)
    server |= {f"{CPUS}/cpu{n}/topology/physical_package_id": f"{n // 2}\n" for n in range(4)}
    found = probed(tmp_path / "altra", server).processor
    assert found is not None
    assert found.sockets == 2


# ------------------------------------------------------------------------------------------------- names

IBM_Z = (
    "vendor_id       : IBM/S390\n# processors    : 4\nbogomips per cpu: 3033.00\nfeatures\t: esan3 zarch stfle vx\n"
    + (
        "".join(f"processor {n}: version = FF,  identification = 0133E8,  machine = 2964\n" for n in range(4))
        + "".join(f"\ncpu number      : {n}\ncpu MHz dynamic : 5000\ncpu MHz static  : 5000\n" for n in range(4))
    )
)
NAMES = {
    "Azure Cobalt 100": (arm(*[("0x6d", "0xd49")] * 8), "8 x Cobalt 100"),
    "an M2 Pro under Linux": (
        arm(*[("0x61", "0x034")] * 4, *[("0x61", "0x035")] * 6), "4 x Blizzard (M2 Pro) + 6 x Avalanche (M2 Pro)"),
    "arm-socs-table#104": (arm(*[("0x70", "0x303")] * 2, *[("0x70", "0x664")] * 2), "2 x FTC310 + 2 x FTC664"),
    "arm-socs-table#67": (arm(*[A55] * 4, *[("0x48", "0xd40")] * 4), "4 x Cortex-A55 + 4 x Cortex-A76"),
    "util-linux#3337": (arm(("0x46", "0x003")), "1 x MONAKA"),
    "other spellings of the same numbers": (arm(("0x41", "0xD0B"), ("0x61", "0x34")),
                                            "1 x Cortex-A76 + 1 x Blizzard (M2 Pro)"),
    "arm-socs-table#138, one core named for all": (
        {"proc/cpuinfo": "Processor : AArch64 Processor rev 4 (aarch64)\n"
         + "".join(f"processor : {n}\n" for n in range(8))
         + "Features : fp asimd\nCPU implementer : 0x41\nCPU architecture: 8\nCPU part : 0xd03\n"}, "Cortex-A53"),
    "32-bit ARM": ({"proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\n"
                    "CPU implementer\t: 0x41\nCPU part\t: 0xd08\n"}, "1 x Cortex-A72"),
    "arm-socs-table#24": ({"proc/cpuinfo": "processor\t: 0\nmodel name\t: Phytium,D2000/8\n"
                           "CPU implementer\t: 0x70\nCPU part\t: 0x663\n"}, "Phytium,D2000/8"),
    "Dr-Noob/cpufetch#229, an M3 Max in a virtual machine": (
        arm(*[("0x61", "0x000")] * 4), "4 x Apple silicon (virtual)"),
    "docker/for-mac#6512, an M1 in a virtual machine": (arm(*[("0x00", "0x000")] * 2), "2 x ARM core 0x00/0x000"),
    "giampaolo/psutil#1359, a name that all have": (
        {"proc/cpuinfo": "Processor\t: AArch64 Processor rev 4 (aarch64)\n" + "".join(
            f"processor\t: {n}\nmodel name\t: AArch64 Processor rev 4 (aarch64)\nBogoMIPS\t: 26.00\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd03\n\n" for n in range(4))},
        "4 x Cortex-A53"),
    "RedHatInsights/insights-core#2977": ({"proc/cpuinfo": IBM_Z}, "IBM/S390 2964"),
    "cockpit-project/cockpit#21672": (
        {"proc/cpuinfo": "processor\t: 0\nhart\t\t: 2\nisa\t\t: rv64imafdc\nmmu\t\t: sv39\nuarch\t\t: sifive,u74-mc\n"},
        "sifive,u74-mc"),
    "fenrus75/powertop#141, a board whose cores name nothing": (
        {"proc/cpuinfo": "processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdcvsu\ncpu-freq\t: 1.848Ghz\n",
         "proc/device-tree/model": "Sipeed Lichee Pi 4A\0"}, "Sipeed Lichee Pi 4A"),
    "fastfetch-cli/fastfetch#1667": (
        {"proc/cpuinfo": "processor\t: 0\ncpu\t\t: POWER9 (raw), altivec supported\nclock\t\t: 3800MHz\n"},
        "POWER9 (raw), altivec supported"),
    "more cores than fit the first lines": (arm(*[("0x41", "0xd0c")] * 256), "256 x Neoverse-N1"),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "name"), NAMES.values(), ids=NAMES)
def test_cores_have_names(tmp_path: Path, tree: dict[str, str], name: str) -> None:
    assert probed(tmp_path, tree).name == name


def test_cpus_of_ibm_z_are_counted_without_sysfs(tmp_path: Path) -> None:
    """avocado-framework/avocado#2300: "cpu number" is what others call "processor"."""
    assert probed(tmp_path, {"proc/cpuinfo": IBM_Z}).logical_cores == 4


def test_cpus_without_a_folder_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of ten thousand, of which sysfs shows four: no file of the others is looked for."""
    asked: list[Path] = []
    real = text_files.text

    def text(path: Path, most: int = 1 << 20) -> str:
        asked.append(path)
        return real(path, most)

    monkeypatch.setattr(text_files, "text", text)
    found = probed(tmp_path, x86(cores=4, smt=1) | {f"{CPUS}/online": "0-9999\n"} | allowed("0-9999"))
    assert found.logical_cores == 10_000
    assert len(asked) < 1000


def test_a_sandbox_that_calls_its_processor_unknown_has_told_nothing(tmp_path: Path) -> None:
    tree = {"proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: unknown\nflags\t: avx2\n"}
    assert probed(tmp_path, tree).name.endswith(" processor")


def test_every_little_core_is_in_the_table(tmp_path: Path) -> None:
    """A name that is misspelled in the one list would never be found in the other."""
    table = Path(arm_cores.__file__).with_name("arm_cores.toml").read_text(encoding="utf-8")
    cut = table.index("\n[0x41]")
    names = table[:cut].split('"')[1::2]
    assert len(names) > 20
    for name in names:
        line = next(line for line in table[cut:].splitlines() if f'"{name}"' in line)
        maker = table[: table.index(line, cut)].rpartition("\n[")[2].split("]")[0]
        root = plant(tmp_path / name, hidden(arm((maker, line.split(" ")[0]), ("0x99", "0x999"))))
        assert kinds.kinds(root, frozenset({0, 1})).fast == {1}
