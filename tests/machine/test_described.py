"""Machines made of rows of the table, for predictions where no machine is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.catalog import hardware
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Hardware, Machine
from phibench.machine import described
from phibench.machine.described import machine_of, row_named

GIB = 1 << 30
ROWS = [row for row in hardware.rows() if row.kind != "npu"]


def kinds(machine: Machine) -> list[str]:
    return [device.kind for device in machine.devices]


@pytest.mark.parametrize(
    ("name", "system", "expected"),
    [
        ("RTX 4090", "linux", ["cpu", "cuda:0"]),
        ("Radeon RX 7900 XTX", "linux", ["cpu", "rocm:0"]),
        ("Radeon RX 7900 XTX", "windows", ["cpu", "vulkan:0"]),
        ("Radeon RX 580 8 GB", "linux", ["cpu", "vulkan:0"]),
        ("Arc B580", None, ["cpu", "xpu:0"]),
        ("UHD Graphics 770", None, ["cpu", "vulkan:0"]),
        ("Apple M4 (10-core GPU)", None, ["cpu", "metal"]),
        ("A18 Pro", None, ["cpu", "metal"]),
        ("Snapdragon 8 Elite", None, ["cpu"]),
        ("Raspberry Pi 5", None, ["cpu"]),
        ("DGX Spark", None, ["cpu", "cuda:0"]),
        ("Ryzen AI Max+ 395", None, ["cpu", "rocm:0"]),
    ],
)
def test_the_devices_are_of_the_right_kind(name: str, system: described.Os | None, expected: list[str]) -> None:
    row = hardware.named(name)
    found = machine_of(gpu=row, os=system) if row.kind != "cpu" else machine_of(cpu=row, os=system)
    assert kinds(found.machine) == expected
    if row.kind not in ("cpu", "igpu") and not row.kind.startswith("gpu"):
        assert kinds(machine_of(cpu=row, os=system).machine) == expected, "a whole chip may be given as either"


def test_what_was_told_is_not_assumed() -> None:
    card, cpu = hardware.named("RTX 3090"), hardware.named("Ryzen 9 5950X")
    told = machine_of(card, cpu, 64 * GIB, "windows", gpus=2)
    assert told.assumed == ("60.2 GiB of 64 GiB memory are free",)
    assert kinds(told.machine) == ["cpu", "cuda:0", "cuda:1"]
    assert (told.machine.os, told.machine.memory_bytes, told.machine.physical_cores) == ("windows", 64 * GIB, 16)
    first = told.machine.devices[1]
    assert (first.memory_bytes, first.read_bytes_s, first.basis, first.flops_s) == (24 * GIB, 936.2e9, "spec", 71.2e12)
    assert "RTX 3090" in first.because


def test_what_was_not_told_is_assumed_and_said() -> None:
    said = " ".join(machine_of(hardware.named("RTX 3090")).assumed)
    for word in ("processor: Ryzen 5 5600", "16 GiB memory", "Linux", "free"):
        assert word in said
    assert "processor" not in " ".join(machine_of(cpu=hardware.named("Core i7-1360P")).assumed)


def test_graphics_share_the_memory_of_their_processor() -> None:
    slow = machine_of(cpu=hardware.named("Ryzen 7 7840U (2x DDR5-5600)"), memory_bytes=32 * GIB).machine
    cpu, inside = slow.devices
    assert inside.name == "Radeon 780M"
    assert (inside.shares_memory, inside.memory_bytes) == (True, 32 * GIB)
    assert inside.read_bytes_s == inside.spec_read_bytes_s == cpu.read_bytes_s == 89.6e9
    assert kinds(machine_of(cpu=hardware.named("Ryzen 7 7840U"), without_gpu=True).machine) == ["cpu"]
    (_, alone) = machine_of(hardware.named("Radeon 8060S")).machine.devices
    assert alone.read_bytes_s == 256e9


def test_memory_is_that_of_the_name() -> None:
    assert machine_of(cpu=hardware.named("Raspberry Pi 5 4GB")).machine.memory_bytes == 4 * GIB
    assert machine_of(cpu=hardware.named("Raspberry Pi 5")).machine.memory_bytes == 8 * GIB
    assert machine_of(hardware.named("Jetson AGX Orin 64GB")).machine.memory_bytes == 64 * GIB
    assert machine_of(cpu=hardware.named("A18")).machine.memory_bytes == 8 * GIB


def test_of_a_chip_with_several_gpus_the_slowest_is_assumed() -> None:
    row, assumed = row_named("Apple M3 Max")
    assert (row.name, row.read_bytes_s) == ("Apple M3 Max (30-core GPU)", 300e9)
    assert "slowest of 2" in assumed[0]
    assert row_named("Apple M3 Max 40-core GPU")[1] == ()
    assert row_named("Apple M3 Max", 128 * GIB)[0].name == "Apple M3 Max (40-core GPU)"
    with pytest.raises(PhibenchError, match="'A100 PCIe 80 GB' or 'A100 SXM4 80 GB'"):
        row_named("A100 80GB")
    with pytest.raises(PhibenchError, match="unknown hardware"):
        row_named("Apple M9")


def test_instruction_sets_and_cores_are_the_rows() -> None:
    found = machine_of(cpu=hardware.named("Xeon Platinum 8480+")).machine
    assert found.processor is not None
    assert "AMX int8" in found.processor.for_prefill
    assert (found.physical_cores, found.logical_cores, found.limits.threads) == (56, 112, 56)
    assert machine_of(cpu=hardware.named("Core i9-13900K")).machine.limits.threads == 8
    assert machine_of(cpu=hardware.named("Intel N100")).machine.limits.threads == 4


@given(
    row=st.sampled_from(ROWS),
    memory=st.none() | st.integers(1, 2048).map(lambda gib: gib * GIB),
    system=st.sampled_from([None, "linux", "windows", "macos"]),
)
def test_every_row_makes_a_machine(row: Hardware, memory: int | None, system: described.Os | None) -> None:
    found = machine_of(cpu=row, memory_bytes=memory, os=system) if row.kind == "cpu" else machine_of(
        gpu=row, memory_bytes=memory, os=system)  # fmt: skip
    here = found.machine
    assert msgspec.convert(msgspec.to_builtins(here), Machine) == here
    assert memory in (None, here.memory_bytes)
    assert here.limits.free_bytes <= here.limits.memory_bytes == here.memory_bytes
    assert 1 <= here.limits.threads <= here.physical_cores <= here.logical_cores
    assert here.devices[0].kind == "cpu"
    for device in here.devices:
        assert (device.read_bytes_s is None) == (device.basis is None)
        assert not device.shares_memory or (device.memory_bytes or 0) <= here.memory_bytes
    assert found == (machine_of(cpu=row, memory_bytes=memory, os=system) if row.kind == "cpu" else machine_of(
        gpu=row, memory_bytes=memory, os=system))  # fmt: skip
