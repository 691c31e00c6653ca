"""Asking NVML: a call that fails is None, and which GPUs or slices of them CUDA programs of this process see."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from phibench.probe.devices.visible import chosen
from phibench.probe.system.cpu import clean

MOST_BYTES = 1 << 50  # a figure above it is a driver's mistake
_NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED
# Parts without a memory of their own, as NVML names them: "NVIDIA GB10" (github.com/XuehaiPan/nvitop/pull/208), "NVIDIA
# RTX Spark N1X" (github.com/unslothai/unsloth/pull/11208), "Orin (nvgpu)", "NVIDIA Thor" (github.com/micytao/
# vllm-playground/pull/11). GH200 and GB200 have one.
_CARD = re.compile(r"\b(GeForce|GTX|RTX|Quadro|Tesla|TITAN|GRID|[ABHKLMPTV]\d{1,3}S?|G[BH]\d00)\b", re.IGNORECASE)
_INTEGRATED = re.compile(r"\b(GB10|N1X?|Spark|Jetson|Thor|Orin|Xavier|Tegra|nvgpu)\b", re.IGNORECASE)


class Gpu(NamedTuple):
    """``part`` is the MIG slice of ``whole`` that a program gets; clocks, power and heat belong to the whole."""

    whole: Any
    part: Any = None


@contextlib.contextmanager
def opened(nvml: Any) -> Iterator[Any]:
    """The module, initialised; None where there is no driver. Old ``pynvml`` packages lack calls: those are None."""
    try:
        api = nvml or importlib.import_module("pynvml")
        api.nvmlInit()
    except Exception:  # noqa: BLE001  no library, no driver, a driver of another version: no GPU for us
        yield None
        return
    try:
        yield api
    finally:
        with contextlib.suppress(Exception):
            api.nvmlShutdown()


def call(api: Any, name: str, *arguments: Any) -> Any:
    """What the call answers, whatever type that is; None where it fails."""
    try:
        return getattr(api, name)(*arguments)
    except Exception:  # noqa: BLE001  NotSupported, NoPermission, an attribute that this version lacks
        return None


def visible(api: Any) -> list[Gpu]:
    """CUDA_VISIBLE_DEVICES names GPUs by number or UUID, MIG slices by UUID.

    Of a GPU that is cut into slices a program gets one, the first if it names none, and of several slices the first
    (NVIDIA's MIG user guide: a process can enumerate a single MIG device).
    """
    cut = [[Gpu(handle, part) for part in _slices(api, handle)] or [Gpu(handle)] for handle in _installed(api)]
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return [gpus[0] for gpus in cut]
    if words.strip().startswith("MIG-"):
        slices = [gpu for gpus in cut for gpu in gpus if gpu.part is not None]
        return [slices[place] for place in chosen(words, [_uuid(api, gpu.part) for gpu in slices])][:1]
    return [cut[place][0] for place in chosen(words, [_uuid(api, gpus[0].whole) for gpus in cut])]


def _installed(api: Any) -> list[Any]:
    numbers = range(count(call(api, "nvmlDeviceGetCount"), 1024) or 0)
    return [handle for i in numbers if (handle := call(api, "nvmlDeviceGetHandleByIndex", i)) is not None]


def may_be_others(api: Any) -> bool:
    """Whether a number may mean another GPU to CUDA: of unlike ones it counts from the fastest, NVML as on the PCI bus,
    and CUDA_VISIBLE_DEVICES has CUDA's numbers (github.com/gpustack/gpustack/issues/1633)."""
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").strip().startswith(("GPU-", "MIG-")):
        return False
    return len({name_of(api, Gpu(handle)) for handle in _installed(api)}) > 1


def _uuid(api: Any, handle: Any) -> str:
    return text(call(api, "nvmlDeviceGetUUID", handle))


def name_of(api: Any, gpu: Gpu) -> str:
    names = (
        clean(text(call(api, "nvmlDeviceGetName", handle))) for handle in (gpu.part, gpu.whole) if handle is not None
    )
    return next(filter(None, names), "NVIDIA GPU")


def shares_memory(api: Any, handle: Any, name: str) -> bool:
    """Whether it has no memory of its own: by its name, or because the driver says so: none, or "not supported". What a
    driver for WSL or a virtual machine does not tell of a card says nothing (github.com/dask/distributed/pull/5343)."""
    if _INTEGRATED.search(name) or _CARD.search(name):
        return bool(_INTEGRATED.search(name))
    try:
        return getattr(api.nvmlDeviceGetMemoryInfo(handle), "total", None) == 0
    except AttributeError:
        return False
    except Exception as error:  # noqa: BLE001  NotSupported tells something, any other failure nothing
        return getattr(error, "value", None) == _NOT_SUPPORTED or "Not Supported" in str(error)


def is_cut(api: Any, handle: Any) -> bool:
    mode = call(api, "nvmlDeviceGetMigMode", handle)
    return isinstance(mode, (list, tuple)) and bool(mode) and mode[0] == 1


def _slices(api: Any, handle: Any) -> list[Any]:
    most = count(call(api, "nvmlDeviceGetMaxMigDeviceCount", handle), 64) if is_cut(api, handle) else 0
    parts = (call(api, "nvmlDeviceGetMigDeviceHandleByIndex", handle, i) for i in range(most or 0))
    return [part for part in parts if part is not None]


def count(value: Any, most: int) -> int | None:
    """A number that a driver could mean."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
