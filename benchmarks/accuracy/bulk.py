"""Predicts the whole table of hardware x the catalog x the builds of llama.cpp in one process, and times it.

python benchmarks/accuracy/bulk.py [--most 60]
"""

from __future__ import annotations

import argparse
import sys
import time

from phibench import backends, catalog
from phibench.catalog import hardware
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Hardware, Limits, Machine, Setup
from phibench.predict import costs
from phibench.predict.terms import terms

_KINDS = {"NVIDIA": "cuda:0", "AMD": "rocm:0", "Intel": "xpu:0", "Apple": "metal"}
_GIB = 1 << 30
_DEPTH, _PROMPT = 512, 512


def machine(row: Hardware) -> Machine:
    """With the device of a row and nothing else that matters to its speed."""
    kind = _KINDS.get(row.vendor, "vulkan:0") if row.gpu_computes else "cpu"
    cores = row.cores or 8
    device = Device(kind=kind, name=row.name, read_bytes_s=row.read_bytes_s, flops_s=row.fp16_flops_s, basis="spec")
    return Machine(
        name=row.name, os="linux", arch="x86_64", physical_cores=cores, logical_cores=cores, memory_bytes=64 * _GIB,
        devices=(device,), limits=Limits(cpus=cores, threads=cores, memory_bytes=64 * _GIB, free_bytes=64 * _GIB),
    )  # fmt: skip


def setups() -> list[Setup]:
    backend, found = backends.load("llama_cpp"), []
    for variant in catalog.variants():
        for quantization in catalog.quantizations("gguf"):
            setup = Setup(variant=variant.id, quantization=quantization.id, backend="llama_cpp")
            try:
                backends.plan(backend, variant, setup.quantization, None)
            except PhibenchError:  # nobody knows a file of it
                continue
            found.append(setup)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict all hardware x variants x builds, and time it.")
    parser.add_argument("--most", type=float, default=60.0, help="seconds that it may take")
    wanted = parser.parse_args()
    start, count = time.perf_counter(), 0
    rows = [row for row in hardware.rows() if row.kind != "npu"]
    of = setups()
    work = [cost for sheet in map(costs.cost_sheet, of)
            for cost in (costs.step(sheet, _DEPTH), costs.prompt(sheet, _PROMPT))]  # fmt: skip
    for row in rows:
        at = machine(row)
        count += sum(terms(cost, at, at.devices[0]) is not None for cost in work)
    seconds = time.perf_counter() - start
    print(f"{len(rows)} devices x {len(of)} builds: {count} predictions of {len(rows) * len(work)} in {seconds:.1f} s "
          f"({wanted.most:g} s)")  # fmt: skip
    sys.exit(0 if seconds <= wanted.most else 1)


if __name__ == "__main__":
    main()
