"""Where a row of llama-bench was computed: its ``backends``, ``devices`` and ``gpu_info`` to a device of phibench."""

from __future__ import annotations

import re

from phibench.core.errors import PhibenchError
from phibench.imports.llama_bench import Bench

_DEVICES = {"cuda": "cuda", "cublas": "cuda", "rocm": "rocm", "hip": "rocm", "vulkan": "vulkan", "sycl": "xpu",
            "metal": "metal", "mtl": "metal"}  # fmt: skip
_PROCESSOR = ("cpu", "none", "blas", "rpc", "zendnn", "amx")  # RPC alone computes nothing here
_FLAGS = ("cublas", "cuda", "clblast", "opencl", "vulkan", "kompute", "metal", "sycl")
_SERVER = re.compile(r"RPC|\S:\d{3,5}\b")  # llama.cpp shows such a device as RPC[host:port], or host:port


def device(row: Bench, asked: str | None, where: str) -> tuple[str, str]:
    """The device text, and what it was concluded from. Raises PhibenchError where ``asked`` is another."""
    said = ",".join(_built(row)) or "no backend named"
    found = next((_DEVICES[name] for name in map(_key, _computing(row)) if name in _DEVICES), "cpu")
    number = re.search(r"\d+$", row.devices) if row.devices != "auto" else None
    index = int(number[0][:4]) if number else (row.main_gpu if row.split_mode == "none" else 0)
    named = found if found in ("cpu", "metal") else f"{found}:{index}"
    if asked and asked != named:
        raise PhibenchError(f"{where}: it says {said}, which is {named}, not {asked}; leave out -dev")
    return named, said


def unknown(row: Bench) -> str | None:
    """An accelerator that no device of phibench stands for (OpenCL, CANN, MUSA, ...), as the row names it."""
    return next((name for name in _computing(row) if _key(name) not in (*_DEVICES, *_PROCESSOR)), None)


def other_machines(row: Bench) -> bool:
    """Whether it names one; ``RPC`` among the backends only says that llama.cpp was built with it."""
    return bool(_SERVER.search(f"{row.devices} {row.gpu_info} {row.rpc if isinstance(row.rpc, str) else ''}"))


def built_with_rpc(row: Bench) -> bool:
    return bool(row.rpc) or "RPC" in row.backends


def _computing(row: Bench) -> list[str]:
    """The devices that were asked for, else all backends of the build."""
    return _names(row.devices) if row.devices != "auto" and row.devices else _built(row)


def _built(row: Bench) -> list[str]:
    flags = [name for name in _FLAGS if getattr(row, name)]
    return _names(row.backends) + (flags or ["gpu_blas"] * bool(row.gpu_blas))


def _names(text: str) -> list[str]:
    return [name for part in re.split("[,/+]", text) if (name := part.strip())]


def _key(name: str) -> str:
    """``Vulkan0`` is vulkan."""
    return name.lower().rstrip("0123456789")
