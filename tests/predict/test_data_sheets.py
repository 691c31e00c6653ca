"""Predictions from data sheets: which class a device is of, what more of anything does, where constants are from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from fakes import machine
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.catalog import hardware
from phibench.core.nouns import Device, Machine, Processor, Setup
from phibench.predict import classes, costs, device_class
from phibench.predict.costs import Cost
from phibench.predict.terms import Terms, terms

ROOT = Path(__file__).parents[2]
GPUS = ("cuda:0", "rocm:0", "vulkan:0", "metal", "xpu:0", "dml")
NAMES = (
    "NVIDIA GeForce RTX 3060",
    "NVIDIA H100 PCIe",
    "AMD Radeon RX 7900 XTX",
    "Intel Arc B580",
    "Apple M4",
    "a card",
)
CPUS = ("AMD Ryzen 9 7950X 16-Core Processor", "Raspberry Pi 5", "AMD EPYC 9654", "Apple processor", "a processor")
BUILDS = (
    "phi-4-mini-instruct:Q4_K_M",
    "phi-3.5-mini-instruct:Q8_0",
    "phi-4:F16",
    "phi-2:IQ3_M",
    "phi-3.5-moe-instruct:Q4_0",
)


def setup(build: str, backend: str = "llama_cpp", device: str = "cpu") -> Setup:
    variant, quantization = build.split(":")
    return Setup(variant=variant, quantization=quantization, backend=backend, device=device)


def place(kind: str, name: str, bandwidth: float | None, flops: float | None = None, cores: int = 8) -> Machine:
    """Described by a person: every figure is a data sheet's."""
    device = Device(kind=kind, name=name, read_bytes_s=bandwidth, flops_s=flops, basis="spec")
    own = msgspec.structs.replace(machine(cpu=name).limits, threads=cores, cpus=cores)
    return msgspec.structs.replace(machine(), devices=(device,), physical_cores=cores, logical_cores=cores, limits=own)


def step(build: str = BUILDS[0], depth: float = 512) -> Cost:
    return costs.step(costs.cost_sheet(setup(build)), depth)


def prompt(build: str = BUILDS[0], tokens: int = 512) -> Cost:
    return costs.prompt(costs.cost_sheet(setup(build)), tokens)


def of(cost: Cost, at: Machine) -> Terms:
    found = terms(cost, at, at.devices[0])
    assert found is not None
    return found


# ------------------------------------------------------------------------------------------------ monotone

more = st.floats(1.0, 20.0)
bandwidth = st.floats(5e9, 5e12)
flops = st.floats(1e11, 1e15)
costs_of = st.sampled_from([f(b) for b in BUILDS for f in (step, prompt)])


@given(cost=costs_of, kind=st.sampled_from(GPUS), name=st.sampled_from(NAMES), read=bandwidth, rate=flops, by=more)
def test_more_bandwidth_or_flops_never_makes_a_gpu_slower(
    cost: Cost, kind: str, name: str, read: float, rate: float, by: float
) -> None:
    less = of(cost, place(kind, name, read, rate)).total_s
    assert of(cost, place(kind, name, read, rate * by)).total_s <= less * (1 + 1e-9)
    assert of(cost, place(kind, name, read * by, rate)).total_s <= less * (1 + 1e-9)


@given(build=st.sampled_from(BUILDS), name=st.sampled_from(NAMES), read=bandwidth, by=more)
def test_more_bandwidth_never_makes_a_gpu_slower_whose_flops_nobody_states(
    build: str, name: str, read: float, by: float
) -> None:
    less, other = (of(step(build), place("vulkan:0", name, rate, None)) for rate in (read, read * by))
    assert other.total_s <= less.total_s * (1 + 1e-9)


@given(
    cost=costs_of, name=st.sampled_from(CPUS), read=st.floats(5e9, 1e12), by=more, cores=st.integers(1, 64),
    others=st.integers(0, 64),
)  # fmt: skip
def test_more_bandwidth_or_cores_never_make_a_processor_slower(
    cost: Cost, name: str, read: float, by: float, cores: int, others: int
) -> None:
    def seconds(read: float, cores: int) -> float | None:
        at = place("cpu", name, read, None, cores)
        found = terms(cost, at, at.devices[0])
        return found.total_s if found else None

    less = seconds(read, cores)
    if less is not None:
        wider, more_cores = seconds(read * by, cores), seconds(read, cores + others)
        assert wider is not None
        assert more_cores is not None
        assert wider <= less * (1 + 1e-9)
        assert more_cores <= less * (1 + 1e-9)


@given(build=st.sampled_from(BUILDS), name=st.sampled_from(NAMES), read=bandwidth, depth=st.floats(0, 1e5), by=more)
def test_more_context_never_makes_a_step_faster(build: str, name: str, read: float, depth: float, by: float) -> None:
    at = place("cuda:0", name, read, 1e13)
    assert of(step(build, depth), at).total_s <= of(step(build, depth * by), at).total_s * (1 + 1e-9)


@given(cost=costs_of, kind=st.sampled_from(GPUS), name=st.sampled_from(NAMES), read=bandwidth, rate=flops)
def test_same_inputs_give_the_same_bytes_with_typed_grounds(
    cost: Cost, kind: str, name: str, read: float, rate: float
) -> None:
    one, other = (of(cost, place(kind, name, read, rate)) for _ in range(2))
    assert msgspec.json.encode(one) == msgspec.json.encode(other)
    assert one.sd > 0
    assert one.basis == "spec"
    assert one.grounds.devices
    assert one.grounds.fixed_s is not None
    assert (one.grounds.bytes or one.grounds.flops or 0) > 0


# ------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("cuda:0", "NVIDIA GeForce RTX 3060", "NVIDIA GeForce"),
        ("cuda:0", "NVIDIA GeForce GTX 1080 Ti", "NVIDIA before Volta"),
        ("cuda:0", "NVIDIA A100-SXM4-80GB", "NVIDIA with HBM"),
        ("cuda:0", "NVIDIA RTX A4000", "NVIDIA professional"),
        ("cuda:0", "NVIDIA GB10", "NVIDIA integrated"),
        ("rocm:0", "AMD Radeon RX 7900 XTX", "AMD Radeon RX"),
        ("rocm:0", "AMD Instinct MI300X", "AMD before RDNA"),
        ("vulkan:0", "AMD Radeon 780M", "AMD integrated"),
        ("xpu:0", "Intel Arc A770", "Intel Arc"),
        ("metal", "Apple M1 Max", "Apple M1, M2"),
        ("metal", "Apple M4 Pro", "Apple M3 and later"),
        ("cpu", "AMD Ryzen 9 7950X 16-Core Processor", "desktop or laptop processor"),
        ("cpu", "Apple M2 Max", "Apple processor"),
        ("cuda:0", "a card that nobody knows", "NVIDIA GeForce"),
        ("vulkan:0", "a card that nobody knows", ""),
    ],
)
def test_a_device_is_of_its_class(kind: str, name: str, expected: str) -> None:
    at = place(kind, name, None)
    assert device_class.place(at, at.devices[0]).device_class == expected


def test_a_part_of_a_server_is_less_certain_than_the_whole() -> None:
    """Others use the rest of it."""
    two, whole = (of(step(), place("cpu", "AMD EPYC 9654", 400e9, None, cores)) for cores in (2, 96))
    assert two.sd > whole.sd


def test_a_card_is_predicted_from_its_name_alone() -> None:
    named, described = place("cuda:0", "NVIDIA GeForce RTX 4090", None), place("cuda:0", "RTX 4090", 1008e9, 165.2e12)
    assert of(step(), named).total_s == pytest.approx(of(step(), described).total_s, rel=0.01)


def test_instruction_sets_decide_how_fast_a_processor_reads_a_prompt() -> None:
    def seconds(*sets: str) -> float:
        at = place("cpu", "a processor", 80e9)
        at = msgspec.structs.replace(at, processor=Processor(instruction_sets=sets))
        return of(prompt(), at).total_s

    assert (
        seconds("avx2", "avx512_vnni", "amx_int8") < seconds("avx2", "avx512_vnni") < seconds("avx2") < seconds("fpu")
    )


def test_a_device_that_says_nothing_is_not_predicted() -> None:
    at = place("cuda:0", "a card", None)
    assert terms(step(), at, at.devices[0]) is None
    assert terms(prompt(), at, at.devices[0]) is None
    unknown = place("cpu", "a processor", None)
    assert terms(step(), unknown, unknown.devices[0]) is None
    assert terms(prompt(), unknown, unknown.devices[0]) is None


def test_every_row_of_the_table_that_states_its_bandwidth_is_predicted() -> None:
    for row in hardware.rows():
        if row.read_bytes_s and row.kind not in ("npu", "cpu") and row.gpu_computes:
            at = place("vulkan:0", row.name, row.read_bytes_s, row.fp16_flops_s)
            assert 0 < of(step(), at).total_s < 60, row.name


@pytest.mark.parametrize("name", ["llama_cpp", "onnxruntime", "torch"])
def test_every_kernel_of_every_backend_has_a_family(name: str) -> None:
    backend = backends.load(name)
    able = next(v for v in catalog.variants() if backends.objection(backend, v) is None)
    at = place("cuda:0", "NVIDIA GeForce RTX 4090", 1008e9, 165e12)
    for quantization in catalog.quantizations(backend.FORMATS[0]):
        cost = costs.step(costs.cost_sheet(setup(f"{able.id}:{quantization.id}", name)), 8.0)
        assert of(cost, at).total_s > 0


# ----------------------------------------------------------------------------------------------- the table


def test_the_table_is_what_the_published_rows_give() -> None:
    """To the digit that is written: the same rows give the same constants on every machine."""
    done = subprocess.run(
        [sys.executable, "benchmarks/accuracy/fit_classes.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_class_of_the_table_says_what_it_rests_on() -> None:
    table = classes.shipped()
    for phase in ("decode", "prefill"):
        assert table.support[phase][""].models > 40
        for name, support in table.support[phase].items():
            assert support.models > 0, name
            assert support.rows >= support.models, name
            assert 0.05 < support.sd < 2, name
