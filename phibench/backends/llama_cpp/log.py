"""llama.cpp's log: it alone says where tensors went, and how large each buffer is."""

from __future__ import annotations

import ctypes
import re
import sys
from collections import Counter
from typing import Any

KINDS = {"model": "weights", "KV": "kv", "compute": "compute", "output": "logits"}  # the engine's word -> ours
COPIES = ("REPACK", "AMX", "KLEIDIAI")  # in the names of buffers that hold weights in a layout of their own
HOST = ("CPU", "AMX")  # how names of buffers in the host's memory begin
_MIB = 1 << 20
_LONGEST = 300  # characters of a line that is quoted
_SIZE = r"size =\s*([0-9]{1,9}(?:\.[0-9]{1,6})?) MiB"
_LINE = re.compile(rf"(?<!\S)(\S{{1,100}})\s+({'|'.join(KINDS)}) buffer {_SIZE}")

LINES: list[str] = []
_callback: Any = None  # a ctypes callback that is not kept alive crashes the process


def listen(api: Any) -> None:
    """Keep the engine's log in ``LINES``, from now on. Warnings are echoed to stderr for the post-mortem."""
    global _callback  # noqa: PLW0603  the engine has one logger per process
    LINES.clear()

    def keep(level: int, text: bytes, _data: Any) -> None:
        line = text.decode("utf-8", "replace")
        if level == 5 and LINES:  # GGML_LOG_LEVEL_CONT
            LINES[-1] += line
        else:
            LINES.append(line)
        if level in (3, 4):  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR (ggml.h)
            sys.stderr.write(line)

    _callback = api.llama_log_callback(keep)
    api.llama_log_set(_callback, ctypes.c_void_p(0))


def text() -> str:
    return "".join(LINES)


def buffers(log: str, kind: str) -> list[tuple[str, float]]:
    """(name, MiB) of every ``kind`` buffer ("model", "KV", "compute", "output"); the last of a name wins."""
    found = {name: (name, float(size)) for name, said, size in _LINE.findall(log) if said == kind}
    return list(found.values())


def by_use(log: str) -> dict[str, int]:
    """Bytes by use: weights, copies, kv, compute, logits; on a device ``weights CUDA0``, under the engine's name of it.

    ``weights``: mapped from the file or read; ``copies``: what is kept of them in another layout (CPU_REPACK).
    """
    found: Counter[str] = Counter()
    for kind, use in KINDS.items():
        for name, mib in buffers(log, kind):
            copy = kind == "model" and any(mark in name for mark in COPIES)
            found[_use("copies" if copy else use, name)] += round(mib * _MIB)
    return dict(found)


def kv_bytes(log: str) -> int | None:
    """The KV cache as its own line says it; the size of its buffer is 0 where nothing was allocated. None: no line."""
    found = re.findall(rf"llama_kv_cache: {_SIZE}", log)
    return round(float(found[-1]) * _MIB) if found else None


def _use(use: str, buffer: str) -> str:
    """``CPU_Mapped``, ``CPU_REPACK``, ``AMX`` and ``CUDA_Host`` are memory of the host; ``CUDA0`` is a device's."""
    return use if buffer.startswith(HOST) or buffer.endswith("_Host") else f"{use} {buffer}"


def placement(log: str) -> str:
    """Where weights and KV cache are, as the engine's own log says."""
    offload = re.findall(r"offloaded ([0-9]{1,6}/[0-9]{1,6}) layers to GPU", log)
    parts = [f"{offload[-1]} layers on GPU" if offload else "no layers on GPU"]
    for kind in ("model", "KV"):
        parts += [f"{kind} {name} {size:.0f} MiB" for name, size in buffers(log, kind)]
    return "; ".join(parts)


def evidence(log: str) -> tuple[str, ...]:
    """The lines of llama.cpp's log that say where something went."""
    return tuple(
        line.strip()[:_LONGEST]
        for line in log.splitlines()
        if re.search(r"offloaded \d|buffer size =|using device", line)
    )


def flash(log: str, asked: str) -> str:
    """What flash attention became: with ``auto`` only the log knows."""
    if asked != "auto":
        return asked
    if "Flash Attention enabled" in log:
        return "on"
    return "off" if "Flash Attention not supported" in log else asked


def last_error() -> str:
    """The first line that says what was wrong; the later ones only say that something was."""
    lines = [line.strip() for line in "".join(LINES[-40:]).splitlines() if "error" in line or "fail" in line]
    best = [line.partition("error loading model: ")[2] for line in lines if "error loading model: " in line]
    return next(iter([*best, *lines]), "no reason given")[:_LONGEST]
