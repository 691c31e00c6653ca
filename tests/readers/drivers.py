"""What drivers answer: NVML as a scripted module, and the records that Windows hands out."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fake_nvml import Nvml
from mutate import JSON_STEPS, Tree, in_json
from trees import GIB

from phibench.meters.sources import nvml as nvml_meter
from phibench.probe.devices import gpu_use, nvidia
from phibench.probe.energy import emi, sources
from phibench.probe.system import memory, windows
from readers.oracles import Reader, follows, noun, told

# ------------------------------------------------------------------------------------------------- NVML

_CARD = {
    "nvmlDeviceGetName": "NVIDIA GeForce RTX 4090",
    "nvmlDeviceGetUUID": "GPU-8f6f2a2e",
    "nvmlDeviceGetMemoryInfo": {"total": 24 * GIB, "free": 20 * GIB, "used": 4 * GIB},
    "nvmlDeviceGetMaxClockInfo": {"1": 3120, "2": 10501},
    "nvmlDeviceGetMemoryBusWidth": 384,
    "nvmlDeviceGetEnforcedPowerLimit": 450_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 450_000,
    "nvmlDeviceGetClockInfo": {"1": 2520, "2": 10501},
    "nvmlDeviceGetCurrentClocksEventReasons": 5,
    "nvmlDeviceGetTotalEnergyConsumption": 123_456,
    "nvmlDeviceGetPowerUsage": 61_000,
    "nvmlDeviceGetTemperature": {"0": 54},
    "nvmlDeviceGetUtilizationRates": {"gpu": 37, "memory": 5},
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetCurrPcieLinkGeneration": 4,
    "nvmlDeviceGetCurrPcieLinkWidth": 16,
    "nvmlDeviceGetComputeRunningProcesses": [{"pid": 1, "usedGpuMemory": GIB}, {"pid": 2, "usedGpuMemory": None}],
}
_SYSTEM = {"nvmlSystemGetDriverVersion": "580.95.05", "nvmlSystemGetCudaDriverVersion_v2": 13000}


def _cards() -> list[Tree]:
    cut = _CARD | {"nvmlDeviceGetName": "NVIDIA H100 80GB HBM3", "nvmlDeviceGetMigMode": [1, 1],
                   "nvmlDeviceGetMaxMigDeviceCount": 7,
                   "nvmlDeviceGetMigDeviceHandleByIndex": {"0": _CARD | {"nvmlDeviceGetUUID": "MIG-1"}}}  # fmt: skip
    answers = ([_CARD], [_CARD, cut], [_CARD | {"nvmlDeviceGetName": "NVIDIA GB10"}])
    return [{"nvml.json": json.dumps({"gpus": gpus, "system": _SYSTEM}).encode()} for gpus in answers]


def _answers(value: Any) -> Any:
    """As NVML's binding has them: structures with attributes, lists, numbers."""
    if isinstance(value, list):
        return [_answers(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value and all(key.isdecimal() for key in value):
        return {int(key): _answers(one) for key, one in value.items()}
    if any(key.startswith("nvml") for key in value):
        return {key: _answers(one) for key, one in value.items()}
    return SimpleNamespace(**{key or "_": _answers(one) for key, one in value.items()})


def _asked(folder: Path) -> Any:
    try:
        said = json.loads((folder / "nvml.json").read_bytes())
        gpus = [one if isinstance(one, dict) else {} for one in map(_answers, said["gpus"])]
        system = _answers(said["system"]) if isinstance(said["system"], dict) else {}
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None  # no mutant of answers
    api = Nvml(*gpus, **system if isinstance(system, dict) else {})
    devices = nvidia.devices(nvml=api)
    seen = [gpu_use.use(f"cuda:{n}", api) for n in range(3)]
    with gpu_use.taken("cuda:0", 1, api) as taken:
        mine = taken()
    meters = [_metered(place, api) for place in sources.places(folder, devices) if not place.why]
    return devices, seen, mine, gpu_use.gauges("cuda:0", api), nvidia.processes(api), nvidia.throttle(api), meters


def _metered(place: Any, api: Any) -> tuple[float, float | None]:
    import contextlib

    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        (counter,) = nvml_meter.counters(place, Path("/"), stack, api)
        return counter.read(), counter.most_w
    return 0.0, None


def _of_cards(tree: Tree, answer: Any) -> Iterator[str]:
    if answer is None:
        return
    devices, seen, mine, gauges, processes, throttle, meters = answer
    known = told(tree) | {0.0, float(memory.host_memory(Path("/"))[0])}  # of shared memory: the machine's
    for one in (*devices, *filter(None, seen), *throttle):
        yield from noun(one)
    for one in devices:
        yield from follows("memory_bytes", one.memory_bytes, known)
        yield from follows("free_bytes", one.free_bytes, known)
        if one.free_bytes is not None and one.free_bytes > (one.memory_bytes or 0):
            yield "more memory is free than there is"
        if one.read_bytes_s is not None and not 1e9 <= one.read_bytes_s <= 4e13:
            yield "no such bandwidth"
    for use in filter(None, seen):
        yield from follows("used_bytes", use.used_bytes, known)
        if use.busy is not None and not 0 <= use.busy <= 1:
            yield "busy is no share"
    yield from (f"{name} is no number that can be" for name, value in gauges.items()
                if value is not None and not 0 <= value < 1e12)  # fmt: skip
    yield from follows("taken", mine, known)
    yield from () if processes is None or 0 <= processes < 1000 else ("no such number of processes",)
    yield from ("a meter below zero" for value, most in meters if value < 0 or (most or 1) <= 0)


# ------------------------------------------------------------------------------------------------- Windows


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, 8 + len(body)) + body


def _records() -> list[Tree]:
    levels = ((1, 49152, 2), (1, 32768, 1), (2, 2 << 20, 0), (3, 36 << 20, 0))
    cache = b"".join(
        _record(2, struct.pack("<BBHII", level, 8, 64, size, kind).ljust(44, b"\0")) for level, size, kind in levels
    )
    cores = b"".join(_record(0, bytes((1, speed)).ljust(40, b"\0")) for speed in (1, 1, 0, 0, 0, 0))
    names = [f"RAPL_Package0_{part}".encode("utf-16-le") + b"\0\0" for part in ("PKG", "DRAM", "PP0")]
    channels = b"".join(struct.pack("<IH", 0, len(name)) + name for name in names)
    second = bytes(64) + struct.pack("<HH", 1, len(names)) + channels
    first = struct.pack("<I", 0) + bytes(64) + struct.pack("<HH", 1, len(names[0])) + names[0]
    counts = struct.pack("<6Q", 10**12, 1, 2 * 10**12, 1, 3 * 10**12, 1)
    return [{"caches.bin": cache, "cores.bin": cores, "emi1.bin": first, "emi2.bin": second, "counts.bin": counts}]


def _of_windows(folder: Path) -> Any:
    said = {}
    for name in ("caches", "cores", "emi1", "emi2", "counts"):
        file = folder / f"{name}.bin"
        said[name] = file.read_bytes() if file.is_file() else b""
    channels = [name for version in (1, 2) for name in emi.parse_metadata(said[f"emi{version}"], version)]
    return (windows.parse_caches(said["caches"]), windows.parse_cores(said["cores"]), channels,
            [emi.scope(name) for name in channels], emi.parse_measurement(said["counts"]))  # fmt: skip


def _check_records(_tree: Tree, answer: Any) -> Iterator[str]:
    caches, cores, channels, scopes, counts = answer
    for cache in caches:
        yield from noun(cache)
    yield from ("no such core class" for kind, count in cores.items() if not 0 <= kind <= 255 or count < 1)
    yield from ("no such count" for count in counts if not 0 <= count < 1 << 64)
    yield from () if len(channels) == len(scopes) < 100 else ("channels without bound",)


READERS = (
    Reader("nvml", _cards, _asked, _of_cards, more={name: in_json(name) for name in JSON_STEPS},
           harmless=frozenset({"written on one line"})),
    Reader("windows-records", _records, _of_windows, _check_records),
)  # fmt: skip
