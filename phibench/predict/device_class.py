"""Which class of devices one belongs to, and what its data sheet says: all that a prediction may know before measuring.

A device's row in the table of hardware says its vendor, kind and architecture; without a row its name and its machine
do, and where they do not either, it is of no class: then the share of all devices is taken.
"""

from __future__ import annotations

import functools
import re

from phibench.catalog import hardware
from phibench.core.nouns import Device, Hardware, Machine, Noun

# What a setup calls a device, as the programming interface that its kernels are written for.
APIS = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "Metal", "mps": "Metal", "xpu": "SYCL",
        "dml": "DirectML", "opencl": "OpenCL"}  # fmt: skip
_VENDORS = {
    "nvidia": r"nvidia|geforce|\brtx\b|\bgtx\b|quadro|tesla|jetson", "amd": r"\bamd\b|radeon|instinct|\bati\b",
    "intel": r"\bintel\b|\barc\b|iris|\buhd\b", "apple": r"apple", "qualcomm": r"qualcomm|adreno|snapdragon",
}  # fmt: skip
_OF_API = {"CUDA": "nvidia", "ROCm": "amd", "Metal": "apple", "SYCL": "intel"}
_NVIDIA_BEFORE_TENSOR_CORES = ("maxwell", "pascal")
_AMD_BEFORE_RDNA = ("gcn", "vega", "cdna")
_APPLE_OLD = ("apple-m1", "apple-m2", "apple-a16")
_SERVER = re.compile(r"epyc|threadripper|xeon|graviton|altra|ampereone|axion|cobalt|grace", re.IGNORECASE)
_SERVER_CORES = 16  # at least, of one that nobody describes (assumed)
_STACKED_BYTES_S = 880e9  # cards of data centers with more have stacked memory (HBM), and reach less of it
# Of processors whose row names none: what their cores have (Arm's manuals, archspec). RISC-V cores that are sold have
# no vectors.
_SETS_OF = {"cortex-a72": (), "cortex-a76": ("asimddp",), "cortex-a720": ("asimddp", "i8mm"), "riscv": (),
            "zen4": ("avx512_vnni",)}  # fmt: skip
# The best first: what decides how many products a core makes per cycle.
_SETS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")
_ARM = ("aarch64", "arm64")
_AVX2_FLOP = 32  # of float32 per cycle of a core: two units of 8 lanes that multiply and add
_HZ = 3.5e9  # of a processor that does not say (assumed: between a laptop's and a desktop's)
EFFICIENCY_CORE = 0.5  # of a performance core (assumed; hybrid processors' decode agrees)
PROBED_SHARE = 0.9  # of the data sheet's bandwidth, what a test of it reaches on a GPU (assumed)

MEASURED_SHARE = 0.75  # of its matrix rate, what a product measured by PyTorch reaches (assumed: 0.6 to 0.9)


class Place(Noun, frozen=True, kw_only=True):
    """What is known of a device before anything was measured on it. ``device_class`` "" is no class.

    ``ops_s``: of a GPU the data sheet's matrix FLOP/s, of a processor cores x Hz, which ``isa`` turns into FLOP/s.
    ``is_part``: of a processor, whose rest others use. ``more``: what else the constants know of, with an exponent,
    e.g. the engine's age in years.
    """

    device_class: str
    vendor: str
    api: str
    isa: str = ""
    is_part: bool = False
    read_bytes_s: float | None
    ops_s: float | None
    more: tuple[tuple[str, float], ...] = ()

    @property
    def is_cpu(self) -> bool:
        return self.api == "CPU"


def place(machine: Machine, device: Device) -> Place:
    """The device of a machine as its data sheets describe it; what the machine states goes before its row."""
    row = row_of(machine, device)
    return _processor(machine, device, row) if device.kind == "cpu" else _accelerator(device, row)


def row_of(machine: Machine, device: Device) -> Hardware | None:
    """Its row in the table; what all rows agree on where its name leaves open which."""
    cores = machine.physical_cores if device.kind == "cpu" else None
    return _row(device.name, device.memory_bytes, cores)


@functools.lru_cache(maxsize=1024)
def _row(name: str, memory_bytes: int | None, cores: int | None) -> Hardware | None:
    return hardware.agreed(hardware.versions(name, memory_bytes, cores))


def _accelerator(device: Device, row: Hardware | None) -> Place:
    api = APIS.get(device.kind.partition(":")[0], "")
    vendor = row.vendor.lower() if row else _vendor(device.name) or _OF_API.get(api, "")
    bandwidth = device.spec_read_bytes_s or (row.read_bytes_s if row and device.basis == "probed" else None)
    if bandwidth is None and device.read_bytes_s:
        bandwidth = device.read_bytes_s / (PROBED_SHARE if device.basis == "probed" else 1)
    bandwidth = bandwidth or (row.read_bytes_s if row else None)
    return Place(
        device_class=_class_of_gpu(vendor, row, device), vendor=vendor, api=api, read_bytes_s=bandwidth,
        ops_s=_matrix(device) or device.flops_s or (row.fp16_flops_s if row and row.gpu_computes else None),
    )  # fmt: skip


def _matrix(device: Device) -> float | None:
    """What the data sheet of a GPU would say, from the fastest product that was measured on it."""
    return max(device.matrix_flops_s.values()) / MEASURED_SHARE if device.matrix_flops_s else None


def _vendor(name: str) -> str:
    return next((vendor for vendor, words in _VENDORS.items() if re.search(words, name, re.IGNORECASE)), "")


def _class_of_gpu(vendor: str, row: Hardware | None, device: Device) -> str:
    """Classes whose shares differ: by vendor, generation, and where the memory is."""
    generation = row.architecture if row else ""
    shared = row.shares_memory if row else device.shares_memory
    if vendor == "nvidia":
        return _nvidia(row, generation, shared)
    if vendor == "amd":
        old = generation.startswith(_AMD_BEFORE_RDNA)
        return "AMD integrated" if shared else "AMD before RDNA" if old else "AMD Radeon RX"
    if vendor == "intel":
        return "Intel integrated" if shared else "Intel Arc"
    if vendor == "apple":
        named = generation or "-".join(device.name.lower().split()[:2])
        return "Apple M1, M2" if named.startswith(_APPLE_OLD) else "Apple M3 and later"
    return "phone and board GPU" if vendor in ("qualcomm", "arm", "mediatek", "google", "samsung") else ""


def _nvidia(row: Hardware | None, generation: str, shared: bool) -> str:
    if shared:
        return "NVIDIA integrated"
    if generation in _NVIDIA_BEFORE_TENSOR_CORES:
        return "NVIDIA before Volta"
    kind = row.kind if row else ""
    if row and kind == "gpu-datacenter" and (row.read_bytes_s or 0) > _STACKED_BYTES_S:
        return "NVIDIA with HBM"
    return "NVIDIA professional" if kind in ("gpu-workstation", "gpu-datacenter") else "NVIDIA GeForce"


def _processor(machine: Machine, device: Device, row: Hardware | None) -> Place:
    hz = (machine.processor.max_hz if machine.processor else None) or (row.boost_hz if row else None) or _HZ
    isa, ops_s = _isa(machine, row), _cores(machine, row) * hz
    if not isa and device.flops_s:
        isa, ops_s = "avx2", device.flops_s / _AVX2_FLOP
    return Place(
        device_class=_class_of_cpu(machine, device, row), vendor="cpu", api="CPU", isa=isa, ops_s=ops_s,
        is_part=_is_part(machine, device, row),
        read_bytes_s=device.read_bytes_s or (row.read_bytes_s if row else None),
    )  # fmt: skip


def _isa(machine: Machine, row: Hardware | None) -> str:
    """The best set of instructions for products; "" where nobody says which processor it is."""
    told = machine.processor.instruction_sets if machine.processor else ()
    sets = told or (row.instruction_sets if row else ())
    if not sets and row:
        sets = _SETS_OF.get(row.architecture, ("asimddp",) if machine.arch in _ARM else ("avx2",))
    elif not sets:
        return ""
    return next((one for one in _SETS if one in sets), "scalar" if _is_riscv(machine, row) else "none")


def _cores(machine: Machine, row: Hardware | None) -> float:
    """Performance cores that one would compute with; an efficiency core is a part of one."""
    processor = machine.processor
    fast = processor.performance_cores if processor else None
    slow = processor.efficiency_cores if processor else None
    if fast is None and row and row.cores == machine.physical_cores:
        fast, slow = row.performance_cores, row.efficiency_cores
    if fast is None:
        fast, slow = machine.physical_cores, 0
    return min(machine.limits.threads, fast + EFFICIENCY_CORE * (slow or 0))


def _class_of_cpu(machine: Machine, device: Device, row: Hardware | None) -> str:
    if _is_riscv(machine, row):
        return "RISC-V processor"
    if (row and row.vendor == "Apple") or "apple" in device.name.lower():
        return "Apple processor"
    if _SERVER.search(row.name if row else device.name):
        return "server processor"
    arm = (row and row.architecture.startswith("cortex")) or machine.arch in _ARM
    return "Arm board processor" if arm else "desktop or laptop processor"


def _is_part(machine: Machine, device: Device, row: Hardware | None) -> bool:
    usual = _SERVER_CORES if _SERVER.search(device.name) else 0
    return machine.physical_cores * 2 <= ((row.cores if row else None) or usual)


def _is_riscv(machine: Machine, row: Hardware | None) -> bool:
    return (row.architecture if row else machine.arch).startswith("riscv")
