"""GPUs that look like something else, MIG slices, and drivers that answer nonsense. None of it ran on hardware."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trees_gpu as trees
from fake_nvml import H100, RTX, Nvml, NvmlError
from hypothesis import given
from hypothesis import strategies as st
from trees import GIB, plant

from phibench.core.nouns import Device, Throttle
from phibench.probe.devices import amd, gpu_use, intel, nvidia
from phibench.probe.devices.visible import chosen
from phibench.probe.system.cpu import ROOT
from phibench.probe.system.memory import host_memory


def check(devices: tuple[Device, ...]) -> None:
    """What every device must be, whatever it was read from."""
    for device in devices:
        assert msgspec.convert(msgspec.to_builtins(device), Device) == device
        assert (device.free_bytes or 0) <= (device.memory_bytes or 0)
        assert (device.read_bytes_s is None) == (device.basis is None)
        assert device.because
        assert device.name.isprintable()


# ------------------------------------------------------------------------------------------------- in sysfs


@pytest.mark.parametrize(
    ("tree", "shared", "memory_gib", "free_gib"),
    [
        (trees.PHOENIX, True, 14.5, None),
        (trees.STRIX_HALO, False, 96, 95),  # set aside by the firmware: nobody else can take it
        (trees.RX_6400, False, 4, 3),
    ],
)
def test_amd(tmp_path: Path, tree: dict[str, str], shared: bool, memory_gib: float, free_gib: int | None) -> None:
    (found,) = amd.devices(plant(tmp_path, tree))
    assert found.shares_memory == shared
    assert found.memory_bytes == int(memory_gib * GIB)
    assert found.free_bytes == (free_gib and free_gib * GIB)
    check((found,))


def test_more_memory_used_than_there_is_leaves_free_unknown(tmp_path: Path) -> None:
    plant(tmp_path, trees.RX_6400 | {"sys/class/drm/card0/device/mem_info_vram_used": f"{5 * GIB}\n"})
    (found,) = amd.devices(tmp_path)
    assert (found.memory_bytes, found.free_bytes) == (4 * GIB, None)


def test_an_apu_says_where_its_memory_is(tmp_path: Path) -> None:
    (found,) = amd.devices(plant(tmp_path, trees.STRIX_HALO))
    assert found.notes == ("integrated: its memory was set aside by the firmware, the system does not see it",)


@pytest.mark.parametrize(
    ("tree", "name", "shared"),
    [
        (trees.B580, "Intel GPU 8086:e20b", False),
        (trees.A770_BLIND, "Intel GPU 8086:56a0", False),
        (trees.IRIS, "Intel integrated GPU 8086:46a6", True),
    ],
)
def test_intel(tmp_path: Path, tree: dict[str, str], name: str, shared: bool) -> None:
    (found,) = intel.devices(plant(tmp_path, tree))
    assert (found.name, found.shares_memory) == (name, shared)


def test_a_card_that_tells_no_memory_says_so(tmp_path: Path) -> None:
    (found,) = intel.devices(plant(tmp_path, trees.A770_BLIND))
    assert found.memory_bytes is None
    assert found.notes == ("i915 does not report how much memory the card has",)


def test_each_maker_counts_its_own(tmp_path: Path) -> None:
    both = trees.IRIS | trees.card("amdgpu", "1002:744c", "0000:03:00.0", number=1)
    plant(tmp_path, both | trees.card("amdgpu", "1002:15bf", "0000:c1:00.0", number=10))
    assert [device.kind for device in intel.devices(tmp_path)] == ["xpu:0"]
    assert [device.facts["pci"] for device in amd.devices(tmp_path)] == ["1002:744c", "1002:15bf"]


_ALL = (trees.PHOENIX, trees.STRIX_HALO, trees.RX_6400, trees.B580, trees.A770_BLIND, trees.IRIS)
_WORDS = st.one_of(
    st.text("0123456789-.: *MhzDRIVE=amdgpu\n\0é", max_size=40),
    st.integers().map(str),
    st.sampled_from(["9" * 30, "-1", "0", "\0", "0: 99999Mhz"]),
)


@given(st.data())
def test_garbage_in_any_file_is_no_more_than_unknown(data: st.DataObject) -> None:
    tree = dict(data.draw(st.sampled_from(_ALL)))
    for name in data.draw(st.sets(st.sampled_from(sorted(tree)), max_size=4)):
        tree[name] = data.draw(_WORDS)
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder), tree)
        check((*amd.devices(root), *intel.devices(root)))


def test_a_power_limit_below_a_watt_is_none(tmp_path: Path) -> None:
    for cap, limit in (("53000000", 53.0), ("1000000", 1.0), ("999999", None), ("0", None)):
        (name,) = [name for name in trees.RX_6400 if name.endswith("power1_cap")]
        (device,) = amd.devices(plant(tmp_path / cap, {**trees.RX_6400, name: cap}))
        assert device.power_limit_w == limit


# ----------------------------------------------------------------------------------------------------- NVML


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def part(uuid: str, gib: int) -> dict[str, Any]:
    return {
        "nvmlDeviceGetName": f"NVIDIA H100 80GB HBM3 MIG 1g.{gib}gb",
        "nvmlDeviceGetUUID": uuid,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=gib * GIB, free=gib * GIB),
    }


CUT = H100 | {
    "nvmlDeviceGetMaxMigDeviceCount": 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": {
        0: part("MIG-aaaa", 10), 1: part("MIG-bbbb", 20), **dict.fromkeys(range(2, 7), NvmlError("Not Found")),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        (None, [10]),
        ("0", [10]),
        ("MIG-bbbb", [20]),
        ("GPU-1111", [10]),
        ("MIG-cccc", []),
        ("MIG-bbbb,MIG-bbbb", []),
        ("MIG-bbbb,MIG-aaaa", [20]),
        ("MIG-b", [20]),
        ("MIG-", []),
        ("0,MIG-bbbb", [10]),
    ],
)
def test_a_slice_is_not_the_whole_gpu(monkeypatch: pytest.MonkeyPatch, visible: str | None, gib: list[int]) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = nvidia.devices(nvml=Nvml(CUT))
    assert [device.memory_bytes for device in found] == [n * GIB for n in gib]
    for device in found:
        assert "MIG 1g" in device.name
        assert device.read_bytes_s is device.spec_read_bytes_s is None  # of the whole, so not of a slice
        assert device.facts["mig"] == "on"
    check(found)


def test_what_is_cut_into_slices_that_nobody_shows_promises_nothing() -> None:
    (found,) = nvidia.devices(nvml=Nvml(H100))
    assert found.memory_bytes is None
    assert found.read_bytes_s is None
    assert not found.shares_memory


def test_a_laptop_that_is_throttled_and_has_no_counter() -> None:
    laptop = RTX | {
        "nvmlDeviceGetName": "NVIDIA GeForce RTX 4090 Laptop GPU",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=16 * GIB, free=15 * GIB),
        "nvmlDeviceGetMaxClockInfo": {1: 3105, 2: 9001},
        "nvmlDeviceGetMemoryBusWidth": 256,
        "nvmlDeviceGetEnforcedPowerLimit": NvmlError("Not Supported"),
        "nvmlDeviceGetTotalEnergyConsumption": NvmlError("Not Supported"),
        "nvmlDeviceGetCurrentClocksEventReasons": 0x20 | 0x4 | 0x1,
    }
    (found,) = nvidia.devices(nvml=Nvml(laptop))
    assert found.read_bytes_s == pytest.approx(576e9, rel=1e-3)  # the data sheet's
    assert found.facts["energy_counter"] == "no"
    assert found.energy_method is None
    assert nvidia.devices(nvml=Nvml(laptop | {"nvmlDeviceGetPowerUsage": 90_000}))[0].energy_method == "power"
    assert "power_limit" not in found.facts
    assert nvidia.throttle(Nvml(laptop)) == (
        Throttle(name="power cap"), Throttle(name="heat (software)", protects=True)
    )  # fmt: skip
    mask = {"nvmlDeviceGetCurrentClocksEventReasons": 0x1FF | 0x400}
    protects = {one.name: one.protects for one in nvidia.throttle(Nvml(RTX | mask))}
    assert protects == {
        "power cap": False, "hardware slowdown": True, "heat (software)": True, "heat (hardware)": True,
        "power brake": True, "reliability voltage": False,
    }  # fmt: skip


def told(total: int, free: int) -> dict[str, Any]:
    return {"nvmlDeviceGetMemoryInfo": SimpleNamespace(total=total, free=free, used=total - free)}


N1X = RTX | told(8128 << 20, 7929 << 20)  # of 54 GiB: what the firmware set aside


@pytest.mark.parametrize(
    ("gpu", "shared"),
    [
        ({"nvmlDeviceGetName": "NVIDIA GB10"}, True),  # XuehaiPan/nvitop#208: "Not Supported"
        (RTX | {"nvmlDeviceGetName": "NVIDIA GB10"} | told(121 * GIB, 60 * GIB), True),  # Syllo/nvtop#463: the system's
        (N1X | {"nvmlDeviceGetName": "NVIDIA RTX Spark N1X"}, True),  # unslothai/unsloth#11208
        (N1X | {"nvmlDeviceGetName": "NVIDIA N1X"}, True),
        (N1X | {"nvmlDeviceGetName": b"Orin (nvgpu)"}, True),
        (RTX | {"nvmlDeviceGetName": "Orin (nvgpu)"} | told(0, 0), True),  # Mesh-LLM/mesh-llm#29: 0 GB
        (N1X | {"nvmlDeviceGetName": "NVIDIA Thor"}, True),  # micytao/vllm-playground#11
        (RTX | {"nvmlDeviceGetName": "NVIDIA something new"} | told(0, 0), True),
        (
            RTX | {"nvmlDeviceGetName": "NVIDIA something new", "nvmlDeviceGetMemoryInfo": NvmlError("Not Supported")},
            True,
        ),
        (RTX | {"nvmlDeviceGetMemoryInfo": NvmlError("Not Supported")}, False),  # dask/distributed#5343: WSL
        (RTX | told(0, 0), False),
        (RTX | {"nvmlDeviceGetName": "NVIDIA A100-SXM4-80GB"} | told(0, 0), False),
        (RTX | {"nvmlDeviceGetName": "NVIDIA GB200"} | told(0, 0), False),
        (RTX | {"nvmlDeviceGetName": "NVIDIA GeForce RTX 4070 Laptop GPU"} | told(8 * GIB, 7 * GIB), False),
        (RTX | {"nvmlDeviceGetMemoryInfo": NvmlError("GPU is lost")}, False),
        (RTX | {"nvmlDeviceGetName": "NVIDIA GH200 480GB"}, False),  # its HBM is its own
        (RTX | {"nvmlDeviceGetName": "NVIDIA GB200"}, False),
        (N1X, False),
    ],
)
def test_a_part_without_memory_of_its_own_has_the_machines(gpu: dict[str, Any], shared: bool) -> None:
    """Whatever NVML calls its total."""
    (found,) = nvidia.devices(nvml=Nvml(gpu))
    assert found.shares_memory == shared
    assert (found.spec_read_bytes_s is None) == shared
    if shared:
        assert (found.memory_bytes, found.free_bytes) == (host_memory(ROOT)[0], None)
        use = gpu_use.use("cuda:0", Nvml(gpu))
        assert use is not None
        assert use.used_bytes is None
    check((found,))


SMALL = RTX | {"nvmlDeviceGetName": "NVIDIA GeForce GTX 1050", "nvmlDeviceGetUUID": "GPU-1050"}


@pytest.mark.parametrize(
    ("gpus", "environ", "unsure"),
    [
        ((SMALL, RTX), {}, True),  # unslothai/unsloth#6352, gpustack/gpustack#1633
        ((SMALL, RTX), {"CUDA_VISIBLE_DEVICES": "0"}, True),  # NVIDIA/nvidia-docker#262: to CUDA that is the fastest
        ((SMALL, RTX), {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ((SMALL, RTX), {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, True),
        ((SMALL, RTX), {"CUDA_VISIBLE_DEVICES": "GPU-8f6f"}, False),  # shootthesound/Fizgig#105
        ((RTX, RTX), {"CUDA_VISIBLE_DEVICES": "1"}, False),
        ((RTX,), {}, False),
    ],
)
def test_a_number_that_cuda_may_mean_otherwise_is_told(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[dict[str, Any], ...], environ: dict[str, str], unsure: bool
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    for device in (found := nvidia.devices(nvml=Nvml(*gpus))):
        assert any("CUDA counts from the fastest" in note for note in device.notes) == unsure
    assert found


def test_a_virtual_gpu_promises_no_bandwidth() -> None:
    (found,) = nvidia.devices(nvml=Nvml(RTX | {"nvmlDeviceGetVirtualizationMode": 2}))
    assert found.read_bytes_s is None
    assert "others use the same hardware" in found.notes[0]


def test_more_memory_free_than_there_is_is_nonsense() -> None:
    gpu = RTX | {"nvmlDeviceGetMemoryInfo": SimpleNamespace(total=GIB, free=2 * GIB)}
    check(nvidia.devices(nvml=Nvml(gpu)))


def test_a_number_beyond_all_numbers_ends_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0," + "9" * 5000)
    assert len(nvidia.devices(nvml=Nvml(RTX, RTX))) == 1


def test_without_the_package_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (nvidia.devices(), nvidia.processes(), nvidia.throttle()) == ((), None, ())


# ----------------------------------------------------------------------------------------- variables that hide GPUs

FOUR = ["GPU-00aa", "GPU-11aa", "GPU-22aa", "GPU-23bb"]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("0,1", [0, 1]),
        ("2,0", [2, 0]),
        ("0,1,-1,2", [0, 1]),
        ("", []),
        ("1gpu,2x", [1, 2]),  # pytorch/pytorch#84879: numbers are read as strtoul reads them
        (" 1 , 2 ", [1, 2]),
        ("+1", [1]),
        ("0x1", [0]),
        ("0-2", [0]),
        ("all", []),
        ("NoDevFiles", []),  # what a scheduler writes for none
        ("0,,1", [0]),
        ("0,9,1", [0]),
        ("0," + "9" * 5000, [0]),
        ("0,0", []),
        ("0,1,0", []),
        ("0,9,9", []),
        ("0,-1,0", [0]),
        ("GPU-11", [1]),  # pytorch/pytorch#90543: as many characters as tell it apart
        ("GPU-23bb,GPU-00", [3, 0]),
        ("GPU-2", []),  # two begin so
        ("GPU-", []),
        ("GPU-11,GPU-99,GPU-00", [1]),
        ("GPU-11,GPU-11aa", []),  # pytorch/pytorch#92315: one GPU, named twice
        ("GPU-11,0", [1]),
        ("0,GPU-11", [0]),
        ("gpu-11", []),
    ],
)
def test_a_variable_leaves_what_the_driver_would_leave(words: str, places: list[int]) -> None:
    assert chosen(words, FOUR) == places


@given(st.text("0123456789,-+ GPU1axMIG", max_size=30))
def test_no_variable_shows_a_gpu_twice_or_one_that_is_not_there(words: str) -> None:
    found = chosen(words, FOUR)
    assert len(set(found)) == len(found)
    assert set(found) <= {0, 1, 2, 3}


TWO_RADEONS = trees.card("amdgpu", "1002:744c", "0000:03:00.0", unique_id="f980f88ef31631a2") | trees.card(
    "amdgpu", "1002:15bf", "0000:c1:00.0", number=1
)


@pytest.mark.parametrize(
    ("environ", "ids"),
    [
        ({}, ["1002:744c", "1002:15bf"]),
        ({"HIP_VISIBLE_DEVICES": "1"}, ["1002:15bf"]),
        ({"HIP_VISIBLE_DEVICES": "1,0"}, ["1002:15bf", "1002:744c"]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-f980f88ef31631a2"}, ["1002:744c"]),  # mcmonkeyprojects/SwarmUI#566
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "1"}, []),  # and so is this
        ({"ROCR_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "0,1"}, ["1002:744c"]),  # pytorch/pytorch#140398
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["1002:15bf"]),  # flux-framework/flux-sched#463: HIP reads that, too
        ({"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}, ["1002:744c"]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_rocms_variables(tmp_path: Path, environ: dict[str, str], ids: list[str]) -> None:
    found = amd.devices(plant(tmp_path, TWO_RADEONS), environ=environ)
    assert [device.facts["pci"] for device in found] == ids
    assert [device.kind for device in found] == [f"rocm:{i}" for i in range(len(ids))]


def test_a_recorded_tree_was_under_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "")
    monkeypatch.setenv("ONEAPI_DEVICE_SELECTOR", "level_zero:1")
    assert len(amd.devices(plant(tmp_path, TWO_RADEONS | trees.card("xe", "8086:e20b", "0000:05:00.0", 2)))) == 2
    assert not any("is set" in note for device in intel.devices(tmp_path) for note in device.notes)


def test_a_variable_of_sycl_is_told(tmp_path: Path) -> None:
    (found,) = intel.devices(plant(tmp_path, trees.B580), environ={"ONEAPI_DEVICE_SELECTOR": "opencl:cpu"})
    assert found.notes == ("ONEAPI_DEVICE_SELECTOR is set: programs may see other GPUs, in another order",)


def test_processes_that_have_no_number_are_not_counted() -> None:
    odd = [SimpleNamespace(pid=one) for one in ([3], None, "4", -1, 77)]
    assert nvidia.processes(Nvml({"nvmlDeviceGetComputeRunningProcesses": odd})) == 1
