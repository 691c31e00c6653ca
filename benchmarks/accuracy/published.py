"""Published speeds as the predictor sees them: a machine, what the step or the prompt costs, and the seconds it took.

published.csv has one row of each post (``set``: phi or other) with its source, models.csv the shapes of its models.
Those are from memory of each config.json and not verified; models not in it get layers by their size (assumed).
``python benchmarks/accuracy/datasheet.py --rows FILE`` reads more rows of the same columns.
"""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from phibench.backends.rates import KV
from phibench.catalog import hardware
from phibench.core.nouns import Device, Hardware, Limits, Machine, Processor, Setup
from phibench.predict import costs, device_class
from phibench.predict.classes import SHARED_APIS
from phibench.predict.costs import Cost, Phase
from phibench.predict.device_class import Place

HERE = Path(__file__).parent
GIB = 1 << 30
# What a note says that makes a figure no figure of the device. Drivers without matrix units decode as others do.
_FAULT = re.compile(
    r"PCIe x1|suspicious|\b\d+ cards|partial offload|power-limited|throttl|host is a Raspberry|oddly slow|without NUMA"
    r"|cloud share|old OpenCL|host System76|host Radxa|RISC-V", re.IGNORECASE,
)  # fmt: skip
_NO_MATRIX_UNITS = "no matrix units"
_KINDS = {"CUDA": "cuda:0", "ROCm": "rocm:0", "Vulkan": "vulkan:0", "Metal": "metal", "SYCL": "xpu:0",
          "DirectML": "dml", "OpenCL": "opencl", "CPU": "cpu"}  # fmt: skip
# Builds of llama.cpp by the month that they were made in (its release pages).
_BUILDS = ((1900, 2024.05), (2749, 2024.33), (3622, 2024.63), (4008, 2024.84), (4696, 2025.1), (5392, 2025.37),
           (6408, 2025.7), (6918, 2025.85), (7361, 2025.95), (8235, 2026.2))  # fmt: skip
TODAY = 2026.0  # engines since then count as current
OLDEST_YEARS = 2.5  # older ones are as old
NO_ENGINE = "2024-11 to 2025-12"
# One hardware model under several names: processor and graphics of one chip, versions that are not told apart.
_MODELS = {
    "Apple M1 Max (unknown GPU cores)": "Apple M1 Max", "Apple M2 Max (30-core GPU)": "Apple M2 Max",
    "Apple M2 Max CPU": "Apple M2 Max", "Ryzen AI Max+ 395 CPU (LPDDR5X-8000)": "Ryzen AI Max+ 395",
}  # fmt: skip


class Published(NamedTuple):
    """One figure. ``clean``: nothing speaks against it, of a dense model, at a depth of up to 1024."""

    set: str
    device: str
    model: str  # of the hardware: what is left out together
    llm: str
    quantization: str
    weights_b: float  # parameters, as the name says, 1e9
    file_gib: float
    place: Place
    cost: Cost
    seconds: float
    clean: bool
    usable: bool
    engine: str
    notes: str

    @property
    def tps(self) -> float:
        return self.cost.tokens / self.seconds


@functools.cache
def shapes() -> dict[str, dict[str, str]]:
    with (HERE / "models.csv").open(newline="", encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def read(path: Path = HERE / "published.csv") -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def figures(phase: Phase, path: Path = HERE / "published.csv") -> list[Published]:
    """Every figure of a phase whose device and model are known well enough to predict it."""
    found = (_figure(row, phase) for row in read(path))
    return [one for one in found if one is not None]


def _figure(row: dict[str, str], phase: Phase) -> Published | None:
    speed, tokens = (row["tg_tok_s"], 1.0) if phase == "decode" else (row["pp_tok_s"], _number(row["prompt_tokens"]))
    if not speed or not tokens or not (row["model_gib"] or row.get("setup")):
        return None
    at = _place(row, phase)
    if at is None or not at.read_bytes_s or (not at.ops_s and (at.is_cpu or phase == "prefill")):
        return None
    if phase == "decode" and "memory not stated" in row["device"]:
        return None
    notes, depth = row["notes"], _number(row["context_or_depth"]) or 0
    moe, faulty = "MoE" in notes, bool(_FAULT.search(notes))
    slow_driver = _NO_MATRIX_UNITS in notes
    return Published(
        set=row.get("set") or "other", device=row["device"], model=_model(row["device"]), llm=row["model"],
        quantization=row["quantization"], weights_b=float(row["params_b"]), file_gib=float(row["model_gib"]),
        place=at, cost=_cost(row, phase, depth), seconds=tokens / float(speed),
        clean=not moe and not faulty and not slow_driver and depth <= 1024, usable=not moe and not faulty,
        engine=row["engine_version_or_date"], notes=notes,
    )  # fmt: skip


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _model(device: str) -> str:
    named = _MODELS.get(device, device)
    return re.sub(r" \(.*\)| CPU$", "", named)


# ------------------------------------------------------------------------------------------------- devices


def _place(row: dict[str, str], phase: Phase) -> Place | None:
    """As :func:`device_class.place` sees the device, and what the row says of its engine."""
    name = row.get("hardware") or row["device"]
    found = hardware.agreed(hardware.versions(name))
    machine = _machine(row, name, found, phase)
    at = device_class.place(machine, machine.devices[0])
    if not row.get("bandwidth_gb_s") and found is None:
        return None
    years = age(row)
    more = [("age", years), (f"age {at.api}", years)] if years else []
    more += [(f"age {at.vendor} on {at.api}", years)] if years and at.api in SHARED_APIS else []
    more += [("engine not named", 1.0)] if NO_ENGINE in row["engine_version_or_date"] else []
    more += [("without flash attention", 1.0)] if row["flash_attention"] != "on" else []
    more += [("ik_llama.cpp", 1.0)] if "ik_" in row["backend"] else []
    more += [("AMDVLK", 1.0)] if "AMDVLK" in row["notes"] else []
    more += [("driver without matrix units", 1.0)] if _NO_MATRIX_UNITS in row["notes"] else []
    return msgspec.structs.replace(at, more=tuple(more))


def _machine(row: dict[str, str], name: str, found: Hardware | None, phase: Phase) -> Machine:
    cores = int(_number(row.get("cores")) or (found.cores if found and found.cores else 8))
    kind = _KINDS[_api(row, found)]
    told = re.search(rf"{phase} (?:only )?(\d+) threads", row["notes"])
    threads = int(told[1] if told else _number(row["threads"]) or cores) if kind == "cpu" else cores
    bandwidth = _number(row.get("bandwidth_gb_s"))
    hz = _number(row.get("boost_ghz"))
    arm = found is not None and found.vendor in ("Apple", "CIX", "Raspberry Pi", "Qualcomm", "Rockchip", "Ampere")
    device = Device(
        kind=kind, name=name, basis="spec", shares_memory=row["device_kind"] in ("soc", "igpu", "phone", "sbc"),
        read_bytes_s=bandwidth * 1e9 if bandwidth else (found.read_bytes_s if found else None),
        flops_s=found.fp16_flops_s if found else None,
    )  # fmt: skip
    return Machine(
        name=name, os="Linux", arch="aarch64" if arm else "x86_64", physical_cores=cores, logical_cores=cores,
        memory_bytes=GIB, devices=(device,), processor=Processor(max_hz=hz * 1e9) if hz else None,
        limits=Limits(cpus=cores, threads=threads, memory_bytes=GIB, free_bytes=GIB),
    )  # fmt: skip


def _api(row: dict[str, str], found: Hardware | None) -> str:
    first = row["backend"].split(" ")[0]
    if first == "GPU":  # not told apart
        return "CUDA" if found and found.vendor == "NVIDIA" else "Vulkan"
    return first


def age(row: dict[str, str]) -> float:
    """Years that the engine was behind, 0 for a current one. A fork that was ahead of its time counts as current."""
    if "IPEX" in row["backend"]:
        return 0.0
    return min(max(TODAY - _made(row["engine_version_or_date"]), 0.0), OLDEST_YEARS)


def _made(engine: str) -> float:
    if NO_ENGINE in engine:
        return 2025.4
    if month := re.search(r"(20\d\d)-(\d\d)", engine):
        return int(month[1]) + int(month[2]) / 12
    if build := re.search(r"\bb(\d{4,5})", engine):
        number = int(build[1])
        return next((year for most, year in _BUILDS if number <= most), TODAY)
    year = re.search(r"20\d\d", engine)
    return int(year[0]) + 0.5 if year else TODAY


# --------------------------------------------------------------------------------------------------- costs


def _cost(row: dict[str, str], phase: Phase, depth: float) -> Cost:
    tokens, new = int(_number(row["prompt_tokens"]) or 0), _number(row["new_tokens"]) or 128
    if row.get("setup"):
        model, backend = row["setup"].split("@")
        variant, quantization = model.split(":")
        sheet = costs.cost_sheet(Setup(variant=variant, quantization=quantization, backend=backend))
        return costs.step(sheet, depth + new / 2) if phase == "decode" else costs.prompt(sheet, tokens, int(depth))
    return _of_file(row, phase, tokens, depth if phase == "prefill" else depth + new / 2)


def _of_file(row: dict[str, str], phase: Phase, tokens: int, depth: float) -> Cost:
    """From the size of the file and the shape of its model: the embedding is not read, unless it is the head, too."""
    shape = shapes().get(row["model"], {})
    weights, size = float(row["params_b"]) * 1e9, float(row["model_gib"]) * GIB
    embedding = float(shape["vocab"]) * float(shape["hidden"]) if shape.get("tied") == "0" else 0.0
    layers = float(shape.get("layers") or _layers(weights))
    active = re.search(r"([\d.]+) B active", row["notes"])
    share = float(active[1]) * 1e9 / weights if active else 1.0
    kv, attention = _attention(shape, layers)
    kind = _TYPES.get(row["quantization"], row["quantization"].replace("UD-", "").replace("_M", "").replace("_S", ""))
    read = (size - embedding * size / weights) * share
    flops = 2 * (weights - embedding) * share
    if phase == "prefill":
        return Cost(
            backend="llama_cpp", phase=phase, tokens=tokens, layers=int(layers), mix="",
            bytes_by_type={kind: size, KV: kv * (depth + tokens / 2)},
            flops_by_type={kind: flops * tokens, KV: attention * (depth + tokens / 2) * tokens},
        )  # fmt: skip
    return Cost(
        backend="llama_cpp", phase=phase, tokens=1, layers=int(layers), mix="",
        bytes_by_type={kind: read, KV: kv * depth}, flops_by_type={kind: flops, KV: attention * depth},
    )  # fmt: skip


_TYPES = {"INT4 AWQ": "int4", "UD-Q4_K_XL": "Q4_K", "UD-Q8_K_XL": "Q8_0", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K"}


def _attention(shape: dict[str, str], layers: float) -> tuple[float, float]:
    """(bytes of a token in the cache, FLOPs of a token per token that it looks at)."""
    if not shape.get("heads"):  # of models whose shape nobody stated: as those of their size (assumed)
        return layers * 4096, layers * 4096
    width = float(shape["head_dim"])
    return 4 * layers * float(shape["kv_heads"]) * width, 4 * layers * float(shape["heads"]) * width


def _layers(weights: float) -> float:
    """As many as models of that size have: 16 of 1e9 weights, 32 of 8e9, 80 of 70e9."""
    return 16 * math.pow(weights / 1e9, 0.36)
