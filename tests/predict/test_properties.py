"""What holds of every estimate, whatever the machine: better hardware is never worse, more context never better.

Machines are made in both ways: described by rows of the table, and probed, where what was measured counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import fakes
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.catalog import hardware
from phibench.core import files, units
from phibench.core.metrics import METRICS
from phibench.core.nouns import Device, Estimate, Goal, Machine, Run, Setup
from phibench.machine.described import machine_of
from phibench.predict import costs, predictions
from phibench.predict.speed import Knowledge

GIB = 1 << 30
CLOSE = 1e-9  # of rounding
CHAT = catalog.goal("chat")
BUILDS = ("phi-4-mini-instruct:Q4_K_M", "phi-3.5-mini-instruct:Q8_0", "phi-2:IQ3_M", "phi-3.5-moe-instruct:Q4_0")
GPUS = ("cuda:0", "rocm:0", "vulkan:0", "metal", "xpu:0")
NAMES = ("NVIDIA GeForce RTX 3060", "AMD Radeon RX 7900 XTX", "Intel Arc B580", "Apple M4", "a card")
ROWS = [row for row in hardware.rows() if row.kind != "npu"]
THRIFTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Case(NamedTuple):
    machine: Machine
    setup: Setup


def estimates(case: Case, goal: Goal = CHAT, runs: tuple[Run, ...] = ()) -> dict[str, Estimate]:
    setup = case.setup
    backend, sheet = backends.load(setup.backend), costs.cost_sheet(setup)
    need = backend.need(sheet.plan, sheet.shape, goal.context, dict(setup.options), goal.prompt_tokens)
    quantization = next(q for q in catalog.quantizations() if q.id == setup.quantization)
    return predictions.estimates(Knowledge(case.machine, runs), goal, setup, quantization, need)


# ---------------------------------------------------------------------------------------- machines


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


# ---------------------------------------------------------------------------------------- properties

CASES = st.one_of(probed(), of_rows())


def worse_end(estimate: Estimate, sign: int) -> float:
    return estimate.low if sign > 0 else estimate.high


def not_worse(before: dict[str, Estimate], after: dict[str, Estimate]) -> None:
    """Neither the value nor the end of the interval that a limit is judged by."""
    assert before.keys() <= after.keys()
    for metric, was in before.items():
        sign, now = 1 if METRICS[metric].better == "higher" else -1, after[metric]
        for one, other in ((was.value, now.value), (worse_end(was, sign), worse_end(now, sign))):
            assert other * sign >= one * sign - CLOSE * abs(one), (metric, was, now)


@THRIFTY
@given(CASES, st.sampled_from(["bandwidth", "flops", "cores", "memory"]), st.floats(1, 10))
def test_a_better_machine_never_makes_an_estimate_worse(case: Case, what: str, by: float) -> None:
    not_worse(estimates(case), estimates(Case(changed(case.machine, case.setup.device, what, by), case.setup)))


@THRIFTY
@given(CASES, st.integers(64, 20_000), st.integers(64, 20_000), st.integers(1, 8))
def test_more_context_never_makes_an_estimate_better(case: Case, prompt: int, new: int, times: int) -> None:
    """Time to an answer, and memory; of speeds that of decode, since a longer prompt uses some engines better."""
    short = msgspec.structs.replace(CHAT, prompt_tokens=prompt, new_tokens=new, context=prompt + new)
    long = msgspec.structs.replace(short, prompt_tokens=prompt * times, context=prompt * times + new)
    one, other = estimates(case, short), estimates(case, long)
    for metric in ("decode_tps", "tpot_s", "ttft_s", "answer_s", "host_needed_bytes", "device_peak_bytes", "kv_bytes"):
        if metric in one:
            sign = 1 if METRICS[metric].better == "higher" else -1
            assert other[metric].value * sign <= one[metric].value * sign + CLOSE * abs(one[metric].value), metric


@THRIFTY
@given(CASES, st.booleans())
def test_every_interval_holds_its_value_and_is_finite(case: Case, measured: bool) -> None:
    at = msgspec.structs.replace(fakes.SETUP, device=case.setup.device)
    seen = fakes.run(fakes.measured(fakes.workload(64, 32), (0.1, 0.11), setup=at, layers=8))
    runs = (msgspec.structs.replace(seen, machine=case.machine),) if measured else ()
    for metric, found in estimates(case, runs=runs).items():
        assert 0 <= found.low <= found.value <= found.high < math.inf, (metric, found)


@THRIFTY
@given(CASES)
def test_same_inputs_give_the_same_bytes(case: Case) -> None:
    assert files.json_text(estimates(case)) == files.json_text(estimates(case))


@pytest.mark.parametrize(
    ("one", "other"),
    [("16GiB", "17179869184"), ("16 gib", "16384MiB"), ("16GB", "16000000000"), ("0.5GiB", "512 MiB")],
)
def test_a_size_is_the_same_in_every_unit(one: str, other: str) -> None:
    assert units.size_bytes(one) == units.size_bytes(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rtx3060", "NVIDIA GeForce RTX 3060"),
        ("rx 7900xtx", "AMD Radeon RX 7900 XTX"),
        ("i7-12700h", "12th Gen Intel(R) Core(TM) i7-12700H"),
        ("ryzen 9 7950x", "AMD Ryzen 9 7950X 16-Core Processor"),
    ],
)
@pytest.mark.parametrize("kind", ["cpu", "cuda:0", "vulkan:0"])
def test_spellings_of_a_name_do_not_matter(one: str, other: str, kind: str) -> None:
    assert {row.name for row in hardware.versions(one)} == {row.name for row in hardware.versions(other)} != set()

    def told(name: str) -> dict[str, Estimate]:
        device = Device(kind=kind, name=name, read_bytes_s=300e9, basis="spec")
        at = msgspec.structs.replace(fakes.machine(), devices=(device,))
        found = estimates(Case(at, setup_of(BUILDS[0], kind)))
        return {metric: msgspec.structs.replace(e, because="") for metric, e in found.items()}

    assert told(one) == told(other)
