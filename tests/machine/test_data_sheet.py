"""The table of devices fills in what nobody has measured of a machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trees_gpu
from fake_nvml import RTX, Nvml
from hypothesis import given
from hypothesis import strategies as st
from trees import GIB, plant, x86

from phibench import probe
from phibench.catalog import hardware
from phibench.core.nouns import Device, Hardware, Limits, Machine, Problem, Processor
from phibench.machine import data_sheet
from phibench.probe.devices import amd, nvidia

LIST = (
    "1002  Advanced Micro Devices, Inc. [AMD/ATI]\n\t743f  Navi 24 [Radeon RX 6400/6500 XT/6500M]\n"
    "\t\t1002 0b36  a board\n\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]\n"
    "10de  NVIDIA Corporation\n\t743f  no card of AMD's\n"
)


def machine(name: str, cores: int, *gpus: Device, gib: int = 32, cpus: float | None = None,
            **processor: object) -> Machine:  # fmt: skip
    memory = gib * GIB
    return Machine(
        name=name, os="linux", arch="x86_64", physical_cores=cores, logical_cores=2 * cores, memory_bytes=memory,
        devices=(Device(kind="cpu", name=name, memory_bytes=memory), *gpus),
        limits=Limits(cpus=cpus or 2.0 * cores, threads=cores, memory_bytes=memory, free_bytes=memory // 2),
        processor=msgspec.convert(processor, Processor),
    )  # fmt: skip


def cpu(found: Machine) -> Device:
    return data_sheet.filled(found).devices[0]


def gpu(found: Machine) -> Device:
    return data_sheet.filled(found).devices[1]


def test_a_processor_finds_its_row() -> None:
    found = cpu(machine("AMD Ryzen 9 7950X 16-Core Processor", 16))
    assert (found.read_bytes_s, found.basis, found.spec_read_bytes_s) == (83.2e9, "spec", 83.2e9)
    assert found.flops_s == 5.1e12
    assert "Ryzen 9 7950X" in found.because
    assert found.facts["data_sheet"] == "Ryzen 9 7950X"


def test_what_was_measured_stays() -> None:
    here = machine("AMD Ryzen 9 7950X 16-Core Processor", 16)
    first = msgspec.structs.replace(here.devices[0], read_bytes_s=6e10, basis="probed", because="3 s", doubt="busy")
    found = cpu(msgspec.structs.replace(here, devices=(first,)))
    assert (found.read_bytes_s, found.basis, found.because, found.doubt) == (6e10, "probed", "3 s", "busy")
    assert found.spec_read_bytes_s == 83.2e9


def test_two_sockets_have_twice_the_channels() -> None:
    found = cpu(machine("AMD EPYC 7763 64-Core Processor", 128, sockets=2))
    assert found.read_bytes_s == 2 * 204.8e9
    assert "2 x EPYC 7763" in found.because


@pytest.mark.parametrize(
    "part",
    [
        machine("AMD EPYC 7763 64-Core Processor", 2, hypervisor="KVM"),
        machine("AMD EPYC 7763 64-Core Processor", 2),
        machine("AMD EPYC 7763 64-Core Processor", 64, cpus=4),
        machine("AMD EPYC Processor", 64),
    ],
    ids=["virtual", "some of its cores", "a quota", "no model"],
)
def test_a_part_of_a_processor_has_no_data_sheet(part: Machine) -> None:
    assert cpu(part) == part.devices[0]


def test_windows_has_its_subsystem_run_on_the_whole_processor() -> None:
    assert cpu(machine("12th Gen Intel(R) Core(TM) i7-12700H", 14, hypervisor="WSL2")).read_bytes_s == 83.2e9


def test_a_gpu_that_nvml_knows_gets_the_matrix_rate() -> None:
    (card,) = nvidia.devices(nvml=Nvml(RTX))
    found = gpu(machine("Xeon", 8, card))
    assert found.flops_s == 165.2e12
    assert (found.read_bytes_s, found.because) == (card.read_bytes_s, card.because)


def test_the_drivers_bandwidth_chooses_among_versions() -> None:
    def card(told: float | None) -> Device:
        return Device(kind="cuda:0", name="NVIDIA GeForce RTX 3060", read_bytes_s=told, spec_read_bytes_s=told,
                      basis="spec" if told else None)  # fmt: skip

    assert gpu(machine("Xeon", 8, card(240e9))).facts["data_sheet"] == "RTX 3060 8 GB"
    assert gpu(machine("Xeon", 8, card(360.05e9))).facts["data_sheet"] == "RTX 3060 12 GB"
    open_ = gpu(machine("Xeon", 8, card(None)))  # neither memory nor bandwidth is told: what both have in common
    assert (open_.read_bytes_s, open_.flops_s) == (None, 25.5e12)


@pytest.mark.parametrize(
    "withheld",
    [
        Device(kind="cuda:0", name="NVIDIA A100-SXM4-80GB", problems=(
            Problem(kind="divided", evidence="MIG is on", remedy="none"),)),
        Device(kind="cuda:0", name="NVIDIA A100-SXM4-80GB", memory_bytes=80 * GIB, spec_read_bytes_s=2.039e12),
        Device(kind="cuda:0", name="NVIDIA A100-SXM4-80GB", memory_bytes=10 * GIB),
        Device(kind="npu", name="Intel AI Boost"),
        Device(kind="cuda:0", name="NVIDIA Graphics Device"),
    ],
    ids=["a slice", "shared with others", "a part by its memory", "an NPU", "no model"],
)  # fmt: skip
def test_what_is_no_whole_gpu_has_no_data_sheet(withheld: Device) -> None:
    assert gpu(machine("Xeon", 8, withheld)) == withheld


def test_a_card_is_called_as_lspci_calls_it(tmp_path: Path) -> None:
    tree = plant(tmp_path, trees_gpu.RX_6400 | {"usr/share/misc/pci.ids": LIST})
    (card,) = amd.devices(tree)
    assert card.name == "AMD GPU 1002:743f", "the identity of a machine does not hang on a list that may come later"
    assert card.facts["chip"] == "Navi 24 [Radeon RX 6400/6500 XT/6500M]"
    assert gpu(machine("Xeon", 8, card)) == card, "both have 4 GiB, and nothing else in common"
    navi = trees_gpu.card(
        "amdgpu", "1002:744c", "0000:03:00.0",
        mem_info_vram_total=f"{24 * GIB}", hwmon__hwmon1__power1_cap="339000000",
    ) | {"usr/share/hwdata/pci.ids": LIST}  # fmt: skip
    (card,) = amd.devices(plant(tmp_path / "large", navi))
    found = gpu(machine("Xeon", 8, card))
    assert (found.facts["data_sheet"], found.read_bytes_s) == ("Radeon RX 7900 XTX", 960e9)
    (bare,) = amd.devices(plant(tmp_path / "bare", trees_gpu.RX_6400))
    assert "chip" not in bare.facts


def test_graphics_inside_a_processor_are_found_by_it(tmp_path: Path) -> None:
    (inside,) = amd.devices(plant(tmp_path, trees_gpu.PHOENIX))
    found = gpu(machine("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", 8, inside))
    assert (found.read_bytes_s, found.flops_s) == (120e9, 16.6e12)
    assert gpu(machine("AMD Ryzen 5 9600X 6-Core Processor", 6, inside)) == inside
    (halo,) = amd.devices(plant(tmp_path / "halo", trees_gpu.STRIX_HALO))  # its memory was set aside by the firmware
    found = gpu(machine("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 16, halo))
    assert (found.memory_bytes, found.read_bytes_s, found.flops_s) == (96 * GIB, 256e9, 59.4e12)


def test_apple_is_told_apart_by_its_cores() -> None:
    def mac(name: str, cores: int) -> Machine:
        return machine(name, cores, Device(kind="metal", name=f"{name} GPU", shares_memory=True), gib=36)

    assert gpu(mac("Apple M3 Max", 14)).read_bytes_s == 300e9
    assert gpu(mac("Apple M3 Max", 16)).flops_s == 14.2e12
    either = gpu(mac("Apple M1 Max", 10))
    assert (either.read_bytes_s, either.flops_s) == (400e9, None)
    assert cpu(mac("Apple M3 Max", 14)).flops_s is None, "the row's rate is its GPU's"
    assert gpu(mac("Apple M1 (Virtual)", 4)).read_bytes_s is None


def test_a_card_that_a_person_wrote_down_has_the_memory_of_its_row() -> None:
    def memory(name: str, **known: object) -> int | None:
        card = msgspec.convert({"kind": "cuda:0", "name": name, **known}, Device)
        return data_sheet.with_memory(machine("Xeon", 8, card)).devices[1].memory_bytes

    assert memory("NVIDIA GeForce RTX 3090") == 24 * GIB
    assert memory("NVIDIA GeForce RTX 3090", memory_bytes=20 * GIB) == 20 * GIB
    assert memory("RTX 3060") is None  # 8 or 12 GB
    assert memory("RTX 9090") is None
    assert memory("Radeon 8060S", shares_memory=True) is None
    assert memory("Apple M3") is None  # the machine's, which it shares


def test_the_probed_machine_of_a_tree(tmp_path: Path) -> None:
    found = data_sheet.filled(probe.machine(root=plant(tmp_path, x86())))  # a Ryzen 7 5800X
    assert (found.devices[0].read_bytes_s, found.devices[0].basis) == (51.2e9, "spec")


@given(st.sampled_from([row for row in hardware.rows() if row.kind != "npu"]), st.booleans())
def test_nothing_that_is_known_is_ever_replaced(row: Hardware, measured: bool) -> None:
    known = Device(kind="cuda:0", name=row.name, memory_bytes=row.memory_bytes, flops_s=7e12, because="here")
    if measured:
        known = msgspec.structs.replace(known, read_bytes_s=1.5e10, basis="probed", spec_read_bytes_s=2e10)
    found = gpu(machine("Xeon", 8, known, gib=512))
    for field in ("read_bytes_s", "basis", "flops_s", "spec_read_bytes_s"):
        assert getattr(known, field) in (None, getattr(found, field))
    assert not measured or found.because == "here"
    assert (found.read_bytes_s is None) == (found.basis is None)
