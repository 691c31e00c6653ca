"""Where a row of llama-bench was computed: its ``backends``, ``devices`` and ``gpu_info`` to a device of phibench."""

from __future__ import annotations

import re

from phibench.core.errors import PhibenchError
from phibench.imports import names
from phibench.imports.llama_bench import Bench

_DEVICES = {"cuda": "cuda", "cublas": "cuda", "rocm": "rocm", "hip": "rocm", "vulkan": "vulkan", "sycl": "xpu",
            "metal": "metal", "mtl": "metal"}  # fmt: skip
_PROCESSOR = ("cpu", "none", "blas", "rpc", "zendnn", "amx")  # RPC alone computes nothing here
_FLAGS = ("cublas", "cuda", "clblast", "opencl", "vulkan", "kompute", "metal", "sycl")
_SERVER = re.compile(r"RPC|\S:\d{3,5}\b")  # llama.cpp shows such a device as RPC[host:port], or host:port


def device(row: Bench, asked: str | None) -> tuple[str, str]:
    """The device text, and what it was concluded from. Raises PhibenchError where ``asked`` is another."""
    said = ",".join(_built(row)) or "no backend named"
    found, index = _found(row), _index(row) or 0
    named = found if found in ("cpu", "metal") else f"{found}:{index}"
    if asked and asked != named:
        raise PhibenchError(f"it says {said}, which is {named}, not {asked}; leave out -dev")
    return named, said


def gpus(row: Bench) -> tuple[str, ...]:
    """The accelerators that computed, as the row names them; () of a processor alone.

    All that it lists where its devices are numbered by several backends, so that it is not clear which it was.
    """
    listed, index = names.gpus(row.gpu_info), _index(row)
    if _found(row) == "cpu":
        return ()
    alone = len({_DEVICES[key] for key in map(_key, _built(row)) if key in _DEVICES}) == 1
    return listed[index : index + 1] if alone and index is not None and index < len(listed) else listed


def _found(row: Bench) -> str:
    return next((_DEVICES[name] for name in map(_key, _computing(row)) if name in _DEVICES), "cpu")


def _index(row: Bench) -> int | None:
    """Of the one that was asked for; None: none was."""
    if row.devices not in ("auto", "") and (number := re.search(r"\d+$", row.devices)):
        return int(number[0][:4])
    return row.main_gpu if row.split_mode == "none" else None


def objection(row: Bench) -> str | None:
    """Why nobody can say with one device where it ran."""
    computing = _computing(row)
    if unknown := next((name for name in computing if _key(name) not in (*_DEVICES, *_PROCESSOR)), None):
        return f"it may have run on '{unknown}', a device that phibench does not know"
    # SYCL lists the processor by its own name; libdrm names the graphics inside one so, for ROCm and Vulkan
    used, processor = gpus(row), names.processor(row.cpu_info) if _found(row) == "xpu" else ""
    if used and all(names.is_software(gpu, processor) for gpu in used):
        behind = next((name for name in computing if _key(name) in _DEVICES), "")
        return f"it ran on {used[0]}, which is the processor behind {behind}, not a GPU"
    if row.split_mode != "none" and ("/" in row.devices or (_index(row) is None and len(used) > 1)):
        return "it may have run on several accelerators at once"
    return None


def other_machines(row: Bench) -> bool:
    """Whether it names one; ``RPC`` among the backends only says that llama.cpp was built with it."""
    return bool(_SERVER.search(f"{row.devices} {row.gpu_info} {row.rpc if isinstance(row.rpc, str) else ''}"))


def built_with_rpc(row: Bench) -> bool:
    return str(row.rpc).lower() not in ("", "0", "false") or "RPC" in row.backends


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
