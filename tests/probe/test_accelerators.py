"""GPUs and NPUs from recorded trees and from fake answers of NVML. None of it ran on hardware."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fake_nvml import H100, RTX, SYSTEM, Nvml
from fakes import machine
from trees import GIB, plant, x86
from trees_machine import APU, HEXAGON, IRIS, RADEON, VPU, XDNA, XE

from phibench import probe
from phibench.core.nouns import Device, Throttle
from phibench.predict import memory
from phibench.probe.devices import amd, apple, gpu_use, intel, npu, nvidia
from phibench.probe.system.cpu import ROOT
from phibench.probe.system.memory import host_memory


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def test_a_geforce() -> None:
    nvml = Nvml(RTX, **SYSTEM)
    (found,) = nvidia.devices(nvml=nvml)
    assert (found.kind, found.name, found.memory_bytes, found.free_bytes) == (
        "cuda:0", "NVIDIA GeForce RTX 4090", 24 * GIB, 20 * GIB,
    )  # fmt: skip
    assert found.spec_read_bytes_s == pytest.approx(1008e9, rel=1e-3)  # the data sheet's
    assert found.basis == "spec"
    assert found.driver == "580.95.05, CUDA 13.0"
    assert found.facts == {
        "power_limit": "450 W", "clock": "2520 MHz", "clock_max": "3120 MHz", "memory_clock_max": "10501 MHz",
        "throttle": "power cap", "pcie": "4.0 x16", "energy_counter": "yes",
    }  # fmt: skip
    assert found.energy_method == "counter"
    assert nvidia.processes(nvml) == 2  # this process is not another one
    assert nvidia.throttle(nvml) == (Throttle(name="power cap"),)
    assert nvml.open == 0  # every look was closed


def test_an_h100_in_slices() -> None:
    (found,) = nvidia.devices(nvml=Nvml(H100))
    assert found.spec_read_bytes_s == pytest.approx(3352e9, rel=1e-3)
    assert found.facts["ecc"] == "on"
    assert found.notes == ("MIG is on: a program gets one slice of the GPU",)
    assert [(p.kind, p.evidence) for p in found.problems] == [("divided", found.notes[0])]
    assert found.driver == ""


def test_two_kinds_say_that_their_order_is_not_cudas() -> None:
    first, second = nvidia.devices(nvml=Nvml(RTX, H100))
    assert (first.kind, second.kind) == ("cuda:0", "cuda:1")
    assert all("CUDA_DEVICE_ORDER" in device.notes[-1] for device in (first, second))
    alike = nvidia.devices(nvml=Nvml(RTX, RTX))[0]
    assert not alike.notes
    assert not alike.problems


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA H100 80GB HBM3"]),
        ("1,0", ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090"]),
        ("GPU-8f6f", ["NVIDIA GeForce RTX 4090"]),
        ("0,7,1", ["NVIDIA GeForce RTX 4090"]),  # CUDA stops at the first that is wrong
        ("0,0", []),
        ("1gpu", ["NVIDIA H100 80GB HBM3"]),
        ("", []),
        ("-1", []),
    ],
)
def test_only_visible_devices_count(monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.name for device in nvidia.devices(nvml=Nvml(RTX, H100))] == names


def test_a_gpu_that_supports_no_call_is_still_a_gpu() -> None:
    nvml = Nvml({}, {})
    for found in nvidia.devices(nvml=nvml):
        assert found.name == "NVIDIA GPU"
        assert found.memory_bytes == host_memory(ROOT)[0]
        assert found.read_bytes_s is None
        assert found.shares_memory  # GB10 and Jetson tell no memory because they have none of their own
        assert found.facts == {"energy_counter": "no"}
    assert nvidia.processes(nvml) is None
    assert nvidia.throttle(nvml) == ()


@pytest.mark.parametrize("nonsense", [-1, 1 << 80, "much", None, True, 3.5, [], b"\xff"])
def test_nonsense_of_a_driver_is_unknown(nonsense: Any) -> None:
    gpu = dict.fromkeys(RTX, nonsense) | {
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=nonsense, free=nonsense),
        "nvmlDeviceGetMaxClockInfo": {1: nonsense, 2: nonsense},
        "nvmlDeviceGetClockInfo": {1: nonsense, 2: nonsense},
    }
    (found,) = nvidia.devices(nvml=Nvml(gpu))
    assert found.memory_bytes is None
    assert found.read_bytes_s is None
    assert msgspec.convert(msgspec.to_builtins(found), Device) == found


def test_no_driver_is_no_gpu() -> None:
    assert nvidia.devices(nvml=Nvml(RTX, broken=True)) == ()
    assert nvidia.devices(nvml=object()) == ()
    assert nvidia.processes(Nvml(broken=True)) is None


def test_an_apu_is_not_extra_memory(tmp_path: Path) -> None:
    (found,) = amd.devices(plant(tmp_path, APU))
    assert (found.kind, found.name) == ("rocm:0", "AMD GPU 1002:15bf")
    assert found.shares_memory
    assert found.memory_bytes == (512 << 20) + (14 << 30)
    assert found.facts == {"pci": "1002:15bf", "integrated": "yes", "clock_max": "2700 MHz", "power_sensor": "yes"}
    whole = probe.machine(bandwidth_s=None, root=plant(tmp_path, x86(gib=16, free_gib=9) | APU))
    assert memory.free_bytes(whole, whole.devices[1]) == 9 * GIB


def test_a_radeon_has_memory_of_its_own(tmp_path: Path) -> None:
    (found,) = amd.devices(plant(tmp_path, RADEON))
    assert (found.name, found.memory_bytes, found.free_bytes) == ("Radeon RX 7900 XTX", 24 * GIB, 23 * GIB)
    assert not found.shares_memory
    assert found.facts["power_cap"] == "327 W"
    assert memory.free_bytes(machine(), found) == 23 * GIB  # whatever the host has free


def test_an_arc_card(tmp_path: Path) -> None:
    (found,) = intel.devices(plant(tmp_path, XE))
    assert (found.kind, found.name, found.memory_bytes) == ("xpu:0", "Intel GPU 8086:e20b", 12 * GIB)
    assert found.facts == {
        "pci": "8086:e20b", "power_cap": "190 W", "clock_max": "2850 MHz", "energy_counter_hwmon": "yes"
    }  # fmt: skip
    assert not found.shares_memory


def test_graphics_in_an_intel_processor(tmp_path: Path) -> None:
    (found,) = intel.devices(plant(tmp_path, IRIS))
    assert found.name == "Intel integrated GPU 8086:46a6"
    assert found.shares_memory
    assert found.facts["clock_max"] == "1400 MHz"
    place = machine()
    assert memory.free_bytes(place, found) == place.limits.free_bytes  # unknown of its own, but not more than that


def test_a_card_that_another_driver_holds_is_not_ours(tmp_path: Path) -> None:
    plant(tmp_path, RADEON | {"sys/class/drm/card0/device/uevent": "DRIVER=vfio-pci\n"})
    assert amd.devices(tmp_path) == ()


def test_apples_share_of_memory() -> None:
    (set_by_hand,) = apple.device("Apple M4", 24 * GIB, 20_480)
    (by_default,) = apple.device("Apple M4", 24 * GIB, 0)
    assert set_by_hand.memory_bytes == 20 * GIB
    assert by_default.memory_bytes == 16 * GIB
    assert any("is assumed" in note for note in by_default.notes)
    assert not any("is assumed" in note for note in set_by_hand.notes)
    (unknown,) = apple.device("", None, None)
    assert unknown.memory_bytes is None


SEEN = (("OpenVINOExecutionProvider", "NPU", "Intel"),)
BLIND = (("OpenVINOExecutionProvider", "CPU", "Intel"),)


@pytest.mark.parametrize(
    ("tree", "providers", "opens", "says"),
    [
        (VPU, SEEN, True, []),
        (VPU, SEEN, False, ["in sysfs but not usable: no read and write access to /dev/accel/accel0"]),
        (VPU, BLIND, True, ["OpenVINOExecutionProvider does not see it; install Intel's linux-npu-driver"]),
        (VPU, (), True, ["no execution provider installed; pip install onnxruntime-ep-openvino"]),
        (XDNA, (), True, ["no execution provider installed; AMD's Ryzen AI installer"]),
        (HEXAGON, (), False, ["no read and write access to /dev/fastrpc-cdsp", "pip install onnxruntime-qnn"]),
    ],
)
def test_an_npu_says_what_is_missing(
    tmp_path: Path, tree: dict[str, str], providers: Any, opens: bool, says: list[str]
) -> None:
    (found,) = npu.devices(plant(tmp_path, tree), providers, lambda _: opens)
    assert found.kind == "npu"
    assert len(found.notes) == len(says), found.notes
    for note, text in zip(found.notes, says, strict=True):
        assert text in note
    assert [f"{p.kind}: {p.evidence}; {p.remedy}" for p in found.problems] == [f"unusable: {n}" for n in found.notes]
    assert found.facts["provider_installed"] == ("yes" if providers else "no")


def test_an_npu_without_its_driver(tmp_path: Path) -> None:
    tree = VPU | {"sys/class/accel/accel0/device/uevent": "PCI_ID=8086:7D1D\n"}
    (found,) = npu.devices(plant(tmp_path, tree), SEEN, lambda _: True)
    assert found.notes == ("in sysfs but not usable: no driver is bound to it; it came with Linux 6.6",)
    assert found.problems[0].remedy == "it came with Linux 6.6"


def test_an_xdna_npu_has_a_model_and_a_firmware(tmp_path: Path) -> None:
    (found,) = npu.devices(plant(tmp_path, XDNA))
    assert found.name == "AMD XDNA NPU RyzenAI-npu4"
    assert found.facts["firmware"] == "255.0.5.35"
    assert "phi-4" in found.facts["phi_packages"]


def test_an_accelerator_that_nobody_knows_is_left_out(tmp_path: Path) -> None:
    tree = {"sys/class/accel/accel0/device/vendor": "0x1da3\n"}  # Habana: no Phi runs there
    assert npu.devices(plant(tmp_path, tree)) == ()


def test_what_a_gpu_gained_is_told_beside_the_engines_word() -> None:
    busy = RTX | {"nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=93, memory=50)}
    full = busy | {"nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, free=12 * GIB, used=12 * GIB)}
    before, after = gpu_use.use("cuda:0", Nvml(busy, **SYSTEM)), gpu_use.use("cuda", Nvml(full, **SYSTEM))
    assert gpu_use.told("cuda:0", before, after) == (
        "NVML: cuda:0 had 4 GiB in use before the model was opened, 12 GiB at the end",
        "NVML: cuda:0 was busy 93% of the last sampling period",
    )
    assert gpu_use.use("cuda:1", Nvml(busy)) is None
    assert gpu_use.use("cpu", Nvml(busy)) is None
    assert gpu_use.told("cuda:0", None, after) == ()
    assert gpu_use.told("cuda:0", gpu_use.use("cuda:0", Nvml({})), gpu_use.use("cuda:0", Nvml({}))) == ()
