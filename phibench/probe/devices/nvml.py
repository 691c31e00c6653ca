"""Asking NVML: a call that fails is None, and which GPUs or slices of them CUDA programs of this process see."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple


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
    """CUDA_VISIBLE_DEVICES names GPUs by number or UUID, MIG slices by UUID; a wrong or repeated one ends the list.

    Of a GPU that is cut into slices a program gets one, the first if it names none (NVIDIA's MIG user guide).
    """
    installed = range(count(call(api, "nvmlDeviceGetCount"), 1024) or 0)
    handles = [handle for i in installed if (handle := call(api, "nvmlDeviceGetHandleByIndex", i)) is not None]
    cut = [[Gpu(handle, part) for part in _slices(api, handle)] or [Gpu(handle)] for handle in handles]
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return [gpus[0] for gpus in cut]
    named = [(text(call(api, "nvmlDeviceGetUUID", gpus[0].whole)), gpus[0]) for gpus in cut]
    named += [
        (text(call(api, "nvmlDeviceGetUUID", gpu.part)), gpu) for gpus in cut for gpu in gpus if gpu.part is not None
    ]
    chosen: list[Gpu] = []
    for word in map(str.strip, words.split(",")):
        if re.fullmatch("[0-9]{1,4}", word):
            gpu = cut[int(word)][0] if int(word) < len(cut) else None
        else:
            gpu = next((gpu for uuid, gpu in named if word and uuid.startswith(word)), None)
        if gpu is None or any(gpu is other for other in chosen):
            break
        chosen.append(gpu)
    return chosen


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
