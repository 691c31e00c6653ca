"""One processor or GPU under the names that llama-bench, drivers and phibench give it; whose figures a file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Phibench
from fakes import machine
from test_importer import TG, bench

from phibench.core.nouns import Device, Machine
from phibench.imports import names
from phibench.machine import inventory

RYZEN = "AMD Ryzen 7 5800X 8-Core Processor"


def there(cpu: str, *gpus: Device, name: str = "there") -> Machine:
    plain = machine(name=name)
    return msgspec.structs.replace(plain, devices=(Device(kind="cpu", name=cpu), *gpus))


def gpu(name: str, kind: str = "rocm:0", **more: Any) -> Device:
    return Device(kind=kind, name=name, **more)


# ---------------------------------------------------------------------------------------------------- processors


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (RYZEN, RYZEN),
        ("Accelerate, Apple M4 Max", "Apple M4 Max"),
        ("Accelerate, Apple M1 Pro\0", "Apple M1 Pro"),  # as sysctl tells it, with its end
        ("OpenBLAS, " + RYZEN, RYZEN),  # abetlen/llama-cpp-python#357: built with it
        ("BLIS, Neoverse-V2", "Neoverse-V2"),  # containers/ramalama#2764: built with BLIS
        ("MKL, Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz", "Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz"),
        ("NVPL, BLAS, KleidiAI, Neoverse-V2", "Neoverse-V2"),
        (
            "ZenDNN: AMD optimized primitives backend for GGML (optimized for AMD CPUs), AMD EPYC 9654",
            "AMD EPYC 9654",
        ),
        ("IBM Z Neural Network Processing Assist (NNPA), IBM/S390", "IBM/S390"),
        ("Intel Xeon Processor (Skylake, IBRS)", "Intel Xeon Processor (Skylake, IBRS)"),
        ("AMD FX-9800P RADEON R7, 12 COMPUTE CORES 4C+8G", "AMD FX-9800P RADEON R7, 12 COMPUTE CORES 4C+8G"),
        ("AArch64 Processor rev 4 (aarch64)", ""),  # giampaolo/psutil#1359: so Linux has called any of them
        ("ARMv7 Processor rev 3 (v7l)", ""),
        ("CPU", ""),  # Linux on ARM has no "model name", and llama.cpp knows no other
        ("OpenBLAS, CPU", ""),
        ("OpenBLAS", ""),
        ("", ""),
    ],
)
def test_a_library_is_no_part_of_a_processors_name(said: str, name: str) -> None:
    assert names.processor(said) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (RYZEN, "AMD Ryzen 7 5800X", True),
        ("Intel(R) Core(TM) i7-9700K CPU @ 3.60GHz", "Intel Core i7-9700K", True),
        ("12th Gen Intel(R) Core(TM) i7-12700K", "Intel(R) Core(TM) i7-12700K", True),
        ("Intel(R) Xeon(R) CPU           E5506  @ 2.13GHz", "Intel Xeon E5506", True),  # fusioninventory-agent#897
        ("AMD Ryzen 5 PRO 6650U with Radeon Graphics", "AMD Ryzen 5 PRO 6650U", True),  # pytorch/cpuinfo#389
        ("AMD FX-9800P RADEON R7, 12 COMPUTE CORES 4C+8G", "AMD FX-9800P", True),  # lpereira/hardinfo#487
        ("AMD Ryzen AI MAX+ 395 w/ Radeon 8060S", "AMD RYZEN AI MAX+ 395", True),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", "AMD Ryzen Threadripper PRO 5995WX", True),
        ("AMD FX(tm)-8350 Eight-Core Processor", "AMD FX-8350", True),
        ("Snapdragon(R) X Elite - X1E80100 - Qualcomm(R) Oryon(TM) CPU", "Snapdragon X Elite - X1E80100 - Qualcomm "
         "Oryon", True),
        ("AMD EPYC(R) 96-Core Processor @ 2.40GHz", "AMD EPYC", True),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel(R) Xeon(R) CPU @ 2.20GHz", True),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel(R) Xeon(R) CPU @ 2.30GHz", False),  # two of one cloud
        ("AMD Ryzen 7" + " " * 4000 + "5800X", "AMD Ryzen 7 5800X", True),
        (RYZEN, "AMD Ryzen 7 5800X3D 8-Core Processor", False),
        ("Apple M4 Max", "Apple M4", False),
        ("Intel(R) Core(TM) i7-12700K", "Intel(R) Core(TM) i7-12700", False),
        ("AMD Ryzen AI 9 HX 370 w/ Radeon 890M", "AMD Ryzen AI 9 HX 375 w/ Radeon 890M", False),
        ("CPU", "Processor", False),
        ("", "", False),
    ],
)  # fmt: skip
def test_a_processor_under_two_names(one: str, other: str, same: bool) -> None:
    assert names.same_processor(one, other) == names.same_processor(other, one) == same


# ---------------------------------------------------------------------------------------------------------- GPUs


@pytest.mark.parametrize(
    ("said", "listed"),
    [
        ("NVIDIA L4, NVIDIA L4", ("NVIDIA L4", "NVIDIA L4")),
        ("NVIDIA GeForce RTX 3090/NVIDIA GeForce RTX 3090", ("NVIDIA GeForce RTX 3090",) * 2),  # builds until 2024
        ("Tesla P40/NVIDIA GeForce GTX 1080", ("Tesla P40", "NVIDIA GeForce GTX 1080")),
        ("llvmpipe (LLVM 19.1.1, 256 bits)", ("llvmpipe (LLVM 19.1.1, 256 bits)",)),
        (
            "AMD Radeon RX 6800 (RADV NAVI21), llvmpipe (LLVM 15.0.6, 128 bits)",
            ("AMD Radeon RX 6800 (RADV NAVI21)", "llvmpipe (LLVM 15.0.6, 128 bits)"),
        ),
        ("Radeon RX 7900 XT/7900 XTX", ("Radeon RX 7900 XT/7900 XTX",)),
        ("", ()),
    ],
)
def test_a_list_of_gpus(said: str, listed: tuple[str, ...]) -> None:
    assert names.gpus(said) == listed


XTX, XTX_UNNAMED = (
    gpu("AMD Radeon RX 7900 XTX", facts={"pci": "1002:744c"}),
    gpu("AMD GPU 1002:744c", facts={"pci": "1002:744c"}),
)
ARC = gpu("Intel GPU 8086:56a0", "xpu:0", facts={"pci": "8086:56a0"})
IRIS = gpu("Intel integrated GPU 8086:46a6", "xpu:0", shares_memory=True, facts={"pci": "8086:46a6"})
APU = gpu("AMD GPU 1002:15bf", shares_memory=True, facts={"pci": "1002:15bf"})


@pytest.mark.parametrize(
    ("said", "here", "same"),
    [
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", XTX, True),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", XTX_UNNAMED, True),
        ("Radeon RX 7900 XTX", XTX, True),
        ("AMD Radeon RX 7900 XTX", gpu("Radeon RX 7900 XTX"), True),
        ("Radeon RX 580 Series", gpu("AMD Radeon RX 580"), True),  # abetlen/llama-cpp-python#2006, Windows
        ("AMD Radeon RX 580 Series (RADV POLARIS10)", gpu("Radeon RX 580 Series"), True),  # llama.cpp#15554
        ("AMD Radeon Graphics (RADV GFX1201)", XTX_UNNAMED, True),  # geerlingguy/ai-benchmarks#25: Mesa knows no name
        ("AMD Radeon Graphics", XTX, True),
        ("AMD Radeon 780M Graphics", gpu("AMD Radeon 780M (RADV PHOENIX)"), True),  # lemonade-sdk/lemonade#2021
        ("AMD Radeon(TM) 8060S Graphics", gpu("AMD Radeon 8060S (RADV GFX1151)"), True),
        ("AMD Radeon 780M (RADV PHOENIX)", APU, True),
        ("gfx1103", APU, True),
        ("AMD Radeon Graphics (RADV RENOIR)", gpu("AMD GPU 1002:1636"), True),
        ("AMD Ryzen 7 7700X 8-Core Processor (RADV RAPHAEL_MENDOCINO)", APU, True),  # as libdrm names it
        ("Microsoft Direct3D12 (AMD Radeon(TM) 780M)", gpu("AMD Radeon 780M Graphics"), True),  # llama.cpp#16689
        ("Apple Paravirtual device", gpu("Apple M1 (Virtual) GPU", "metal"), True),  # llama.cpp#6628: in a virtual Mac
        ("NVIDIA Tegra Orin (nvgpu)", gpu("Orin (nvgpu)", "cuda:0"), True),
        ("Microsoft Direct3D12 (NVIDIA GeForce RTX 3080 Laptop GPU)", gpu("NVIDIA GeForce RTX 3080 Laptop GPU"), True),
        ("Virtio-GPU Venus (Apple M1)", gpu("Apple M1 GPU", "metal"), True),  # DUOLabs333/vulkan-stream#2
        ("Virtio-GPU Venus (AMD Radeon RX 6600 (RADV NAVI23))", gpu("AMD Radeon RX 6600"), True),
        ("Apple M1 Pro (G13S C0)", gpu("Apple M1 Pro GPU", "metal"), True),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", ARC, True),
        ("Intel(R) Arc(TM) A770M Graphics", gpu("Intel Arc A770M", "xpu:0"), True),  # llama.cpp#6991, SYCL
        ("Intel(R) Iris(R) Xe Graphics", IRIS, True),  # llama.cpp#6991
        ("Mesa Intel(R) UHD Graphics 730 (ADL-S GT1)", gpu("Intel(R) UHD Graphics 730", "xpu:0"), True),
        ("Intel(R) Arc(TM) 140V GPU (16GB)", IRIS, True),
        ("Intel(R) Graphics [0x56a0]", ARC, True),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", gpu("NVIDIA GeForce RTX 4060 Laptop GPU", "cuda:0"), True),
        ("GeForce RTX 2080 Ti", gpu("NVIDIA GeForce RTX 2080 Ti", "cuda:0"), True),
        ("NVIDIA GeForce RTX 3060 (NVK GA106)", gpu("NVIDIA GeForce RTX 3060", "cuda:0"), True),
        ("Tesla T4", gpu("Tesla T4", "cuda:0"), True),
        ("Orin", gpu("Orin (nvgpu)", "cuda:0"), True),
        # another model, or another maker
        ("AMD Radeon RX 6800 (RADV NAVI21)", XTX, False),
        ("AMD Radeon RX 7900 XT (RADV NAVI31)", XTX, False),
        ("NVIDIA GeForce RTX 4060", gpu("NVIDIA GeForce RTX 4060 Laptop GPU", "cuda:0"), False),
        ("NVIDIA GeForce RTX 4060 Ti", gpu("NVIDIA GeForce RTX 4060", "cuda:0"), False),
        ("Apple M4", gpu("Apple M4 Max GPU", "metal"), False),
        ("NVIDIA GeForce RTX 4080", XTX_UNNAMED, False),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", XTX_UNNAMED, False),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", ARC, False),
        ("Intel(R) Graphics [0x56a1]", ARC, False),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", IRIS, False),  # a card is not the graphics of a processor
        ("Intel(R) UHD Graphics 770", ARC, False),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", APU, False),
        ("AMD Radeon Graphics (RADV RENOIR)", XTX, False),
        ("AMD Radeon Graphics (RADV GFX1103_R1)", XTX, False),
        ("Something", XTX_UNNAMED, False),
        ("", XTX, False),
    ],
)
def test_a_gpu_under_two_names(said: str, here: Device, same: bool) -> None:
    assert names.same_gpu(said, here) == same


# -------------------------------------------------------------------------------------------- through the front door


def imported(
    phibench: Phibench, tmp_path: Path, patch: pytest.MonkeyPatch, here: Machine, *rows: dict[str, Any]
) -> tuple[int, str, int]:
    """Exit code, what was said, and the number of tests, of a file that is imported on this machine."""
    patch.setattr(inventory, "this_machine", lambda **_: here)
    (tmp_path / "old.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")
    done = phibench("import", str(tmp_path / "old.json"), "-o", "json")
    return done.code, done.err, len(json.loads(done.out)) if done.out else 0


MAC = there("Apple M4 Max", gpu("Apple M4 Max GPU", "metal", shares_memory=True))
ON_METAL = bench(cpu_info="Accelerate, Apple M4 Max", gpu_info="Apple M4 Max", backends="MTL,BLAS")


def test_a_mac_is_known_behind_its_library(phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, tests = imported(phibench, tmp_path, monkeypatch, MAC, ON_METAL, ON_METAL | TG)
    assert (code, tests) == (0, 2)
    assert "taken for this machine: old.json names its Apple M4 Max" in said


def test_another_machine_is_named_without_the_library(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN), ON_METAL)
    assert code == 2
    assert "line 2: it was measured on Apple M4 Max, which is not here; describe that machine with --machine" in said


def test_rows_of_two_machines_leave_this_ones(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = there(RYZEN, XTX)
    mine = bench(cpu_info=RYZEN, gpu_info="AMD Radeon RX 7900 XTX (RADV NAVI31)", backends="Vulkan")
    other = bench(cpu_info=RYZEN, gpu_info="AMD Radeon RX 6800 (RADV NAVI21)", backends="Vulkan")
    code, said, tests = imported(phibench, tmp_path, monkeypatch, here, mine, ON_METAL, other, other, mine | TG)
    assert (code, tests) == (0, 2)
    assert "is left out: it was measured on Apple M4 Max, which is not here" in said
    assert "are left out: it was measured on AMD Radeon RX 6800 (RADV NAVI21), which is not here" in said


def test_a_gpu_without_a_name_is_taken_and_told(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = bench(cpu_info=RYZEN, gpu_info="AMD Radeon RX 7900 XTX (RADV NAVI31)", backends="Vulkan")
    code, said, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN, XTX_UNNAMED), row)
    assert code == 0
    assert "AMD Radeon RX 7900 XTX (RADV NAVI31) is taken for AMD GPU 1002:744c: one of the two names no model" in said


def test_only_the_gpu_that_computed_must_be_here(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graphics of the processor are listed, too; where no driver tells of them, nothing is lost."""
    row = bench(cpu_info=RYZEN, gpu_info="AMD Radeon RX 7900 XTX (RADV NAVI31), AMD Radeon Graphics", backends="Vulkan")
    code, _, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN, XTX), row | {"devices": "Vulkan0"})
    assert code == 0
    code, said, _ = imported(
        phibench, tmp_path, monkeypatch, there(RYZEN, gpu("NVIDIA L4", "cuda:0")), row | {"devices": "Vulkan1"}
    )
    assert (code, "AMD Radeon Graphics, which is not here" in said) == (2, True)


def test_where_two_backends_number_the_gpus_all_of_them_must_be_here(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Vulkan0`` may be the first or the second of the list: CUDA and Vulkan count in orders of their own."""
    both = {"backends": "CUDA,Vulkan", "gpu_info": "NVIDIA L4, AMD Radeon RX 7900 XTX", "devices": "Vulkan0"}
    l4 = gpu("NVIDIA L4", "cuda:0")
    code, said, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN, l4), bench(cpu_info=RYZEN, **both))
    assert (code, "AMD Radeon RX 7900 XTX, which is not here" in said) == (2, True)
    assert imported(phibench, tmp_path, monkeypatch, there(RYZEN, l4, XTX), bench(cpu_info=RYZEN, **both))[0] == 0


@pytest.mark.parametrize(
    ("row", "renderer"),
    [
        ({"gpu_info": "llvmpipe (LLVM 19.1.1, 256 bits)"}, "llvmpipe (LLVM 19.1.1, 256 bits)"),
        ({"gpu_info": "llvmpipe (LLVM 20.1.3, 256 bits)"}, "llvmpipe (LLVM 20.1.3, 256 bits)"),  # llama.cpp#14099
        ({"gpu_info": "llvmpipe (LLVM 15.0.6, 128 bits)"}, "llvmpipe (LLVM 15.0.6, 128 bits)"),  # distributed-llama#259
        ({"gpu_info": "SwiftShader Device (LLVM 10.0.0)"}, "SwiftShader Device (LLVM 10.0.0)"),  # termux-packages#15389
        ({"gpu_info": "Microsoft Direct3D12 (Microsoft Basic Render Driver)"}, "Microsoft Direct3D12 (Microsoft Basic"),
        ({"gpu_info": "AMD Radeon RX 6800, llvmpipe (LLVM 19.1.1, 256 bits)", "devices": "Vulkan1"}, "llvmpipe (LLVM"),
        ({"gpu_info": f"{RYZEN}           ", "backends": "SYCL"}, RYZEN),  # ollama/ollama#2458: the last of its list
        ({"gpu_info": "Intel(R) FPGA Emulation Device", "backends": "SYCL"}, "Intel(R) FPGA Emulation Device"),
        (
            {"gpu_info": "cpu-penryn-Intel(R) Core(TM)2 Duo CPU     T6670  @ 2.20GHz"},  # CNugteren/CLBlast#1: PoCL
            "cpu-penryn-Intel(R) Core(TM)2 Duo CPU",
        ),
    ],
)
def test_an_accelerator_that_is_the_processor(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], renderer: str
) -> None:
    rows = [bench(**{"cpu_info": RYZEN, "backends": "Vulkan", **row}), bench(cpu_info=RYZEN, **TG)]
    code, said, tests = imported(phibench, tmp_path, monkeypatch, there(RYZEN), *rows)
    assert (code, tests) == (0, 1)
    behind = row.get("backends", "Vulkan")
    assert f"line 2 is left out: it ran on {renderer}" in said
    assert f"which is the processor behind {behind}" in said


@pytest.mark.parametrize("driver", ["", " (RADV RAPHAEL_MENDOCINO)"])
def test_graphics_that_are_called_like_their_processor_are_a_gpu(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    row = bench(cpu_info=RYZEN, gpu_info=RYZEN + driver, backends="Vulkan" if driver else "ROCm")
    assert imported(phibench, tmp_path, monkeypatch, there(RYZEN, APU), row)[0] == 0


def test_a_software_renderer_beside_a_gpu_is_two_accelerators(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "AMD Radeon RX 7900 XTX (RADV NAVI31), llvmpipe (LLVM 19.1.1, 256 bits)"
    row = bench(cpu_info=RYZEN, backends="Vulkan", gpu_info=both)
    code, said, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN, XTX), row)
    assert (code, "several accelerators" in said) == (2, True)
    code, _, _ = imported(phibench, tmp_path, monkeypatch, there(RYZEN, XTX), row | {"devices": "Vulkan0"})
    assert code == 0


@pytest.mark.parametrize(
    ("row", "here", "differs"),
    [
        (ON_METAL, MAC, ""),
        (ON_METAL, there(RYZEN, XTX), f"was measured on Apple M4 Max, --machine describes {RYZEN}"),
        (bench(cpu_info="OpenBLAS, CPU"), there(RYZEN), ""),
        (
            bench(cpu_info=RYZEN, gpu_info="AMD Radeon RX 6800 (RADV NAVI21)", backends="Vulkan"),
            there(RYZEN, XTX),
            "was measured on AMD Radeon RX 6800 (RADV NAVI21), --machine describes AMD Radeon RX 7900 XTX",
        ),
    ],
)
def test_a_described_machine_is_taken_as_it_is(
    phibench: Phibench, tmp_path: Path, row: dict[str, Any], here: Machine, differs: str
) -> None:
    (tmp_path / "old.json").write_text(json.dumps([row]), encoding="utf-8")
    (tmp_path / "there.json").write_bytes(msgspec.json.encode(here))
    done = phibench("import", str(tmp_path / "old.json"), "--machine", str(tmp_path / "there.json"))
    assert done.code == 0, done.err
    assert ("taken for the same" in done.err) == bool(differs)
    assert differs in done.err
