"""Processors, hosts and what lies between, from recorded trees."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import DOCKER_V1, GIB, HYBRID, arm, plant, v2, x86
from trees_instructions import (
    ALDER_LAKE,
    APPLE_M1,
    APPLE_M4,
    GRAVITON_3,
    INTEL_MAC,
    PI_4,
    RISC_V,
    SAPPHIRE_RAPIDS,
    ZEN_3,
    ZEN_4,
)
from trees_machine import APU, BIG_LITTLE, HEXAGON, IRIS, KVM, PODMAN, RADEON, VPU, WSL, XDNA, XE, dual_socket, hybrid
from trees_reports import allowed, arcstats, nodes

from phibench import probe
from phibench.core.nouns import Cache, Processor
from phibench.probe.system import cpu, host, limits, windows
from phibench.probe.system.processor import processor, turbo


def test_a_hybrid_laptop_that_saves_power(tmp_path: Path) -> None:
    found = processor(plant(tmp_path, hybrid()))
    assert (found.performance_cores, found.efficiency_cores) == (2, 4)
    assert (found.governor, found.energy_preference, found.platform_profile) == ("powersave", "power", "low-power")
    assert found.turbo is False
    assert found.max_hz == 4.8e9
    assert found.huge_pages == "never"
    assert limits.limits(tmp_path).threads == 2  # efficiency cores would hold up the others


def test_two_sockets(tmp_path: Path) -> None:
    found = processor(plant(tmp_path, dual_socket()))
    assert found.sockets == 2
    assert found.numa_nodes == 2  # the third has no cpus
    assert Cache(level=3, bytes=32 << 20, count=2) in found.caches  # one of each socket, not one of each core
    assert Cache(level=1, kind="data", bytes=32 << 10, count=8) in found.caches
    assert found.efficiency_cores is None
    assert found.vendor == "AMD"
    assert found.instruction_sets == ("avx2", "fma", "f16c")


def test_big_and_little_cores(tmp_path: Path) -> None:
    found = processor(plant(tmp_path, BIG_LITTLE))
    assert (found.performance_cores, found.efficiency_cores) == (4, 4)
    assert found.instruction_sets == ("asimd", "asimddp", "i8mm")


AVX_512 = ("AVX-512", "AVX-512 VNNI", "AVX-512 BF16")


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (ZEN_3, ("AVX2",)),
        (ZEN_4, ("AVX2", *AVX_512)),
        (ALDER_LAKE, ("AVX2", "AVX-VNNI")),
        (SAPPHIRE_RAPIDS, ("AVX2", "AVX-VNNI", *AVX_512, "AMX int8", "AMX bf16")),
        (GRAVITON_3, ("NEON dotprod", "i8mm", "SVE")),
        (PI_4, ()),
        (RISC_V, ()),
        ({}, ()),
    ],
)
def test_what_matters_for_prefill_is_told_apart(tmp_path: Path, tree: dict[str, str], names: tuple[str, ...]) -> None:
    assert processor(plant(tmp_path, tree)).for_prefill == names


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (APPLE_M1, ("NEON dotprod",)),
        (APPLE_M4, ("NEON dotprod", "i8mm", "SME")),
        (INTEL_MAC, ("AVX2", "AVX-512", "AVX-512 VNNI")),
        ({}, ()),
    ],
)
def test_macos_tells_it_in_its_own_words(told: dict[str, object], names: tuple[str, ...]) -> None:
    flags = cpu.macos_flags(
        lambda name: text if isinstance(text := told.get(name), str) else "",
        lambda name: number if isinstance(number := told.get(name), int) else None,
    )
    assert Processor(instruction_sets=tuple(flags)).for_prefill == names


@pytest.mark.parametrize(
    ("present", "names"),
    [
        ({10, 13, 40}, ("AVX2",)),
        ({40, 41}, ("AVX2", "AVX-512")),  # Windows has no word for VNNI and AMX
        ({19, 43, 46, 66, 67, 70}, ("NEON dotprod", "i8mm", "SVE", "SME")),
        (set(), ()),
    ],
)
def test_windows_tells_it_by_numbers(present: set[int], names: tuple[str, ...]) -> None:
    flags = tuple(windows.parse_features(present.__contains__))
    assert Processor(instruction_sets=flags).for_prefill == names


def test_compact_cores_are_told_by_their_clock(tmp_path: Path) -> None:
    tree = x86(cores=4, smt=1)
    for n, kilohertz in enumerate((5_100_000, 5_000_000, 3_500_000, 3_500_000)):
        tree[f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq"] = f"{kilohertz}\n"
    assert processor(plant(tmp_path, tree)).performance_cores == 2


@pytest.mark.parametrize(
    ("files", "on"),
    [
        ({"intel_pstate/no_turbo": "0"}, True),
        ({"intel_pstate/no_turbo": "1", "cpufreq/boost": "1"}, False),
        ({"cpufreq/boost": "1"}, True),
        ({"cpufreq/boost": "0"}, False),
        ({"cpufreq/boost": "maybe"}, None),
        ({}, None),
    ],
)
def test_turbo(tmp_path: Path, files: dict[str, str], on: bool | None) -> None:
    plant(tmp_path, {f"sys/devices/system/cpu/{name}": text for name, text in files.items()})
    assert turbo(tmp_path) is on


WSL1 = x86() | {"proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft\n"}


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        (WSL, "WSL2"),
        (WSL1, "WSL1"),
        (KVM, "KVM or QEMU"),
        (x86(), None),
        ({"proc/cpuinfo": "flags : hypervisor\n"}, "a hypervisor"),
        ({"sys/hypervisor/type": "xen\n"}, "Xen"),
    ],
)
def test_hypervisors(tmp_path: Path, tree: dict[str, str], name: str | None) -> None:
    found = host.hypervisor(plant(tmp_path, tree))
    assert found == name
    assert Processor(hypervisor=found).is_wsl is (tree in (WSL, WSL1))


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        (PODMAN, "podman"),
        (DOCKER_V1, "docker"),
        ({".dockerenv": ""}, "docker"),
        ({"proc/1/environ": "PATH=/bin\0container=systemd-nspawn\0"}, "systemd-nspawn"),
        (v2("/kubepods.slice/pod1", {}), "kubernetes"),
        (x86(), None),
    ],
)
def test_containers(tmp_path: Path, tree: dict[str, str], name: str | None) -> None:
    assert host.container(plant(tmp_path, tree)) == name


def test_swap_is_what_the_group_may_still_take(tmp_path: Path) -> None:
    tree = x86() | v2("/job", {"/job": {"memory.swap.max": f"{2 * GIB}\n", "memory.swap.current": f"{GIB}\n"}})
    tree["proc/meminfo"] += f"SwapFree: {8 << 20} kB\n"
    assert limits.limits(plant(tmp_path, tree)).swap_bytes == GIB


def test_swap_without_a_group_is_the_machines(tmp_path: Path) -> None:
    tree = x86()
    tree["proc/meminfo"] += f"SwapFree: {8 << 20} kB\n"
    assert limits.limits(plant(tmp_path, tree)).swap_bytes == 8 * GIB


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, 8 + len(body)) + body


def test_windows_tells_caches_and_kinds_of_cores() -> None:
    level3 = _record(2, struct.pack("<BBHII", 3, 16, 64, 32 << 20, 0) + bytes(28))
    level1 = _record(2, struct.pack("<BBHII", 1, 8, 64, 32 << 10, 2) + bytes(28))
    assert windows.parse_caches(level1 * 8 + level3) == (
        Cache(level=1, kind="data", bytes=32 << 10, count=8),
        Cache(level=3, bytes=32 << 20),
    )
    assert windows.parse_cores(_record(0, b"\1\1" + bytes(38)) * 6 + _record(0, b"\0\0" + bytes(38)) * 8) == {
        0: 8,
        1: 6,
    }


@given(st.binary(max_size=200))
def test_no_answer_of_windows_breaks_the_parser(data: bytes) -> None:
    windows.parse_caches(data)
    windows.parse_cores(data)


TREES = (
    hybrid(), dual_socket(), BIG_LITTLE, WSL | APU | VPU, KVM | RADEON | XDNA, PODMAN | XE, x86() | IRIS | HEXAGON,
    nodes(("0-7", 6), ("8-15", 6), ("", 4)) | allowed("8-15", "1") | arcstats(GIB, 0, GIB),
    x86() | DOCKER_V1, x86() | HYBRID, arm(*[("0x41", "0xd0b")] * 4, board="Raspberry Pi 5 Model B Rev 1.0"),
)  # fmt: skip


@given(st.sampled_from(TREES), st.data())
def test_no_file_of_any_tree_breaks_the_probe(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, str], data: st.DataObject
) -> None:
    """Each file as recorded, missing, a folder, or garbage."""
    root = tmp_path_factory.mktemp("tree")
    for name, text in tree.items():
        path = root / name
        if any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fate = data.draw(st.sampled_from(["kept", "kept", "missing", "folder", "garbage"]))
        if fate == "kept":
            path.write_text(text, encoding="utf-8")
        elif fate == "folder":
            path.mkdir(exist_ok=True)
        elif fate == "garbage":
            path.write_bytes(data.draw(st.binary(max_size=40)))
    found = probe.machine(bandwidth_s=None, root=root)
    assert found.limits.threads >= 1
    assert found.physical_cores >= 1
    assert all(device.memory_bytes is None or device.memory_bytes >= 0 for device in found.devices)
    assert repr(found).isprintable()


def test_an_empty_tree_is_a_machine(tmp_path: Path) -> None:
    found = probe.machine(bandwidth_s=None, root=tmp_path)
    assert [device.kind for device in found.devices] == ["cpu"]
    assert found.energy == ()
    assert found.processor is not None
    assert found.processor.caches == ()


def test_this_machine_has_cores_and_instruction_sets() -> None:
    found = processor()
    assert found.performance_cores is None or found.performance_cores <= cpu.cpu().physical_cores
    assert found.emulated is None
