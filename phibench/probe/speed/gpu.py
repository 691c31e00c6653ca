"""Bandwidth and matrix rate of a GPU, by torch where it is installed and built for that device.

Run by hand: ``python -m phibench.probe.speed.gpu --device cuda:0`` prints JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from phibench.core.nouns import Device
from phibench.probe.devices import nvidia
from phibench.probe.speed import child, doubts

_SECONDS = 0.3
_COPY_BYTES = 1 << 30  # many times the largest cache of a GPU (MI300X: 256 MB)
_SIZE = 4096
_NAMES = {"rocm": "cuda", "metal": "mps"}  # what torch calls them
_MOST_BYTES_S, _MOST_FLOPS_S = 1e14, 1e17


class Rates(msgspec.Struct, frozen=True):
    """``copy_bytes_s`` counts bytes read and bytes written."""

    copy_bytes_s: float
    matrix_flops_s: float


def measured(device: Device, limit_s: float = 60) -> Device:
    """The device with what torch measured on it, or with a note that says why there is nothing.

    The copy reads and writes alike, and a GPU does not fetch what it is about to overwrite, so its bandwidth
    counts as the read bandwidth. Not run on hardware.
    """
    if importlib.util.find_spec("torch") is None:
        return _without(device, "torch is not installed")
    kind, _, index = device.kind.partition(":")
    name = _NAMES.get(kind, kind) + (f":{index}" if index else "")
    why, more = _busy(device)
    found = child.ask(__spec__.name, ["--device", name], Rates, limit_s)
    if isinstance(found, str):
        return _without(device, f"torch: {found}")
    if not (0 < found.copy_bytes_s < _MOST_BYTES_S and 0 < found.matrix_flops_s < _MOST_FLOPS_S):
        return _without(device, "torch measured nonsense")
    known = msgspec.structs.replace(
        device,
        read_bytes_s=found.copy_bytes_s,
        copy_bytes_s=found.copy_bytes_s,
        basis="probed",
        because="device copy of 1 GiB by torch, best round",
        matrix_flops_s={**device.matrix_flops_s, "bfloat16": found.matrix_flops_s},
    )
    return _doubted(known, why, more) if why else known


def _busy(device: Device) -> tuple[str, float]:
    """What speaks against what will be measured, and how many times more it can be: programs take turns evenly."""
    share = nvidia.busy_share() if device.kind.startswith("cuda") else None
    if share is None or share <= doubts.OTHERS:
        return "", 1.0
    return f"other programs kept the GPU busy {share:.0%} of the time", 1.0 + max(1, nvidia.processes() or 0)


def _doubted(device: Device, why: str, more: float) -> Device:
    doubt, read = f"too low: {why}", device.read_bytes_s
    rates = device.matrix_flops_s.items()
    return msgspec.structs.replace(
        device, because=f"{device.because}; {doubt}", doubt=doubt, matrix_doubt=doubt,
        most_read_bytes_s=doubts.capped(read * more if read else None, read, device.spec_read_bytes_s),
        most_matrix_flops_s={kind: rate * more for kind, rate in rates},
    )  # fmt: skip


def _without(device: Device, why: str) -> Device:
    return msgspec.structs.replace(device, notes=(*device.notes, f"bandwidth not measured: {why}"))


def best(work: Callable[[], object], wait: Callable[[], object], seconds: float = _SECONDS) -> float:
    """Seconds of the fastest of at least five calls, each waited for."""
    work()
    wait()
    fastest, began, rounds = math.inf, time.perf_counter(), 0
    while rounds < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        wait()
        fastest = min(fastest, time.perf_counter() - start)
        rounds += 1
    return max(fastest, 1e-9)


def rates(device: str, copy_bytes: int = _COPY_BYTES, size: int = _SIZE) -> Rates:
    """In the child: ``device`` as torch names it."""
    import torch

    module: Any = getattr(torch, device.partition(":")[0])
    wait = getattr(module, "synchronize", lambda: None)
    source = torch.zeros(copy_bytes, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    copy_s = best(functools.partial(target.copy_, source), wait)
    del source, target  # the memory of the GPU may be small
    values = torch.randn(size, size, device=device).to(torch.bfloat16)
    product_s = best(lambda: values @ values, wait)
    return Rates(2.0 * copy_bytes / copy_s, 2.0 * size**3 / product_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description="rates of a GPU")
    parser.add_argument("--device", required=True)
    parser.add_argument("--bytes", type=int, default=_COPY_BYTES)
    parser.add_argument("--size", type=int, default=_SIZE)
    chosen = parser.parse_args()
    found = rates(chosen.device, chosen.bytes, chosen.size)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
