"""Generated machines, probed and described ones, and better ones of the same kind."""

from __future__ import annotations

from typing import NamedTuple

import fakes
import msgspec
from hypothesis import strategies as st

from phibench import backends
from phibench.catalog import hardware
from phibench.core.nouns import Device, Machine, Setup
from phibench.machine.described import machine_of

GIB = 1 << 30
BUILDS = ("phi-4-mini-instruct:Q4_K_M", "phi-3.5-mini-instruct:Q8_0", "phi-2:IQ3_M", "phi-3.5-moe-instruct:Q4_0")
GPUS = ("cuda:0", "rocm:0", "vulkan:0", "metal", "xpu:0")
NAMES = ("NVIDIA GeForce RTX 3060", "AMD Radeon RX 7900 XTX", "Intel Arc B580", "Apple M4", "a card")
ROWS = [row for row in hardware.rows() if row.kind != "npu"]
WHAT = ("bandwidth", "flops", "cores", "memory")


class Case(NamedTuple):
    machine: Machine
    setup: Setup


@st.composite
def probed(draw: st.DrawFn, kinds: tuple[str, ...] = ("cpu", *GPUS)) -> Case:
    """As the probe tells a machine: what was measured of its processor, and of a GPU beside it."""
    kind, cores = draw(st.sampled_from(kinds)), draw(st.integers(1, 64))
    doubted = draw(st.booleans())
    read, matrix = draw(st.floats(5e9, 1e12)), draw(st.floats(1e10, 1e13))
    cpu = Device(
        kind="cpu", name="a processor", memory_bytes=24 * GIB, read_bytes_s=read, basis="probed",
        matrix_flops_s={"float32": matrix}, doubt="in doubt" if doubted else "",
        most_read_bytes_s=1.5 * read if doubted else None, matrix_doubt="in doubt" if doubted else "",
        most_matrix_flops_s={"float32": 2 * matrix} if doubted else {},
    )  # fmt: skip
    gpu = Device(
        kind=kind, name=draw(st.sampled_from(NAMES)), memory_bytes=12 * GIB, free_bytes=11 * GIB, basis="probed",
        read_bytes_s=draw(st.floats(2e10, 4e12)), flops_s=draw(st.floats(1e12, 1e15)), power_limit_w=200.0,
    )  # fmt: skip
    m = fakes.machine()
    limits = msgspec.structs.replace(m.limits, cpus=float(cores), threads=cores)
    devices = (cpu,) if kind == "cpu" else (cpu, gpu)
    made = msgspec.structs.replace(m, devices=devices, physical_cores=cores, logical_cores=cores, limits=limits)
    return Case(made, setup_of(draw(st.sampled_from(BUILDS)), kind))


@st.composite
def of_rows(draw: st.DrawFn) -> Case:
    """As somebody describes it: a row of the table, and what is assumed around it."""
    row = draw(st.sampled_from(ROWS))
    made = (machine_of(cpu=row) if row.kind in ("cpu", "soc", "phone", "sbc") else machine_of(gpu=row)).machine
    kinds = [
        device.kind for device in made.devices if device.kind.partition(":")[0] in backends.load("llama_cpp").KINDS
    ]
    return Case(made, setup_of(draw(st.sampled_from(BUILDS)), draw(st.sampled_from(kinds))))


def setup_of(build: str, device: str) -> Setup:
    variant, quantization = build.split(":")
    return Setup(variant=variant, quantization=quantization, backend="llama_cpp", device=device)


def changed(machine: Machine, kind: str, what: str, by: float) -> Machine:
    """With more of one thing."""
    replace = msgspec.structs.replace
    if what == "memory":
        limits = replace(
            machine.limits, memory_bytes=int(machine.limits.memory_bytes * by),
            free_bytes=int(machine.limits.free_bytes * by),
        )  # fmt: skip
        machine = replace(machine, memory_bytes=int(machine.memory_bytes * by), limits=limits)
    if what == "cores":
        cores = machine.physical_cores + round(8 * (by - 1))
        limits = replace(machine.limits, threads=machine.limits.threads + cores - machine.physical_cores)
        processor = machine.processor
        if processor and processor.performance_cores:
            more = processor.performance_cores + cores - machine.physical_cores
            processor = replace(processor, performance_cores=more)
        return replace(machine, physical_cores=cores, logical_cores=2 * cores, limits=limits, processor=processor)
    return replace(
        machine, devices=tuple(_better(d, what, by) if d.kind in (kind, "cpu") else d for d in machine.devices)
    )


def _better(device: Device, what: str, by: float) -> Device:
    def times(rates: dict[str, float]) -> dict[str, float]:
        return {kind: rate * by for kind, rate in rates.items()}

    if what == "bandwidth":
        fields = ("read_bytes_s", "spec_read_bytes_s", "most_read_bytes_s")
        return msgspec.structs.replace(device, **{f: v * by for f in fields if (v := getattr(device, f))})
    if what == "flops":
        return msgspec.structs.replace(
            device, flops_s=device.flops_s and device.flops_s * by, matrix_flops_s=times(device.matrix_flops_s),
            most_matrix_flops_s=times(device.most_matrix_flops_s),
        )  # fmt: skip
    if device.kind == "cpu" or not device.memory_bytes:
        return device
    # what it has in all is a part of its name: with another size it is another device
    return msgspec.structs.replace(device, free_bytes=int((device.free_bytes or device.memory_bytes) * by))


CASES = st.one_of(probed(), of_rows())
