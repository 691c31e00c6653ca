"""Models that are too large for a GPU: what lies where, how fast that is, and which split is offered."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest
from fakes import GIB, measured, run, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from phibench import backends
from phibench.core.nouns import Device, Limits, Machine, Need, Setup
from phibench.predict import costs, memory, offload, splits
from phibench.predict.speed import Knowledge

LLAMA = backends.load("llama_cpp")
DENSE = Setup(variant="phi-4", quantization="Q4_K_M", backend="llama_cpp", device="cuda:0")
MOE = Setup(variant="phi-3.5-moe-instruct", quantization="Q4_K_M", backend="llama_cpp", device="cuda:0")


def place(gpu_gib: float = 6, ram_gib: float = 32, gpu: float = 336e9, cpu: float = 50e9, **device: Any) -> Machine:
    ram = int(ram_gib * GIB)
    return Machine(
        name="a desktop", os="linux", arch="x86_64", physical_cores=8, logical_cores=16, memory_bytes=ram,
        devices=(
            Device(kind="cpu", name="a cpu", read_bytes_s=cpu, flops_s=1e12, basis="spec"),
            Device(kind="cuda:0", name="a gpu", memory_bytes=int(gpu_gib * GIB), read_bytes_s=gpu, flops_s=25e12,
                   basis="spec", **device),
        ),
        limits=Limits(cpus=8, threads=8, memory_bytes=ram, free_bytes=ram),
    )  # fmt: skip


def with_options(setup: Setup, **options: int) -> Setup:
    return msgspec.structs.replace(setup, options=tuple(sorted((k, str(v)) for k, v in options.items())))


@functools.lru_cache
def need_of(setup: Setup, context: int = 8192) -> Need:
    sheet = costs.cost_sheet(setup)
    return LLAMA.need(sheet.plan, sheet.shape, context, {})


def best(setup: Setup, machine: Machine) -> Setup | None:
    device = machine.device("cuda:0")
    assert device is not None
    return splits.best(Knowledge(machine), setup, need_of(setup), device)


def step_s(setup: Setup, machine: Machine, depth: float = 1000) -> float:
    found = offload.tokens_s(Knowledge(machine), setup, costs.step(costs.cost_sheet(setup), depth))
    assert found is not None
    assert found.low <= found.value <= found.high
    return 1 / found.value


def prompt_s(setup: Setup, machine: Machine, tokens: int = 512) -> float:
    found = offload.tokens_s(Knowledge(machine), setup, costs.prompt(costs.cost_sheet(setup), tokens))
    assert found is not None
    return tokens / found.value


@pytest.mark.parametrize("setup", [DENSE, MOE], ids=["dense", "experts"])
@pytest.mark.parametrize("options", [{"n_gpu_layers": 1}, {"n_gpu_layers": 20}, {"n_cpu_moe": 9},
                                     {"n_gpu_layers": 20, "n_cpu_moe": 30}])  # fmt: skip
def test_nothing_is_lost_and_nothing_counted_twice(setup: Setup, options: dict[str, int]) -> None:
    asked = with_options(setup, **options)
    split, sheet = offload.of(asked), costs.cost_sheet(setup)
    if split is None:  # experts of a model that has none
        assert "n_gpu_layers" not in options
        assert offload.host_bytes(asked) == 0
        return
    whole, parts = costs.step(sheet, 100), [costs.step(one, 100) for one in (split.device, split.host)]
    assert sum(part.bytes for part in parts) == pytest.approx(whole.bytes)
    assert sum(part.flops for part in parts) == pytest.approx(whole.flops)
    assert offload.host_bytes(asked) == split.host_bytes
    there, here = memory.places(asked, need_of(setup), place().devices[1])
    assert there.weights_bytes + here.weights_bytes == need_of(setup).weights_bytes
    assert there.kv_bytes + here.kv_bytes == need_of(setup).kv_bytes


def test_layers_are_counted_as_llama_cpp_does() -> None:
    """The head is one of them, and it is the last ones that go to the device."""
    head = offload.of(with_options(DENSE, n_gpu_layers=1))
    assert head is not None
    assert [tensor.name for tensor in head.device.plan.tensors if "blk." in tensor.name] == []
    two = offload.of(with_options(DENSE, n_gpu_layers=3))
    assert two is not None
    assert {t.name.partition(".attn")[0] for t in two.device.plan.tensors if ".attn_output" in t.name} == {
        "blk.38", "blk.39"
    }  # fmt: skip
    assert offload.of(with_options(DENSE, n_gpu_layers=41)) is None  # all of it
    assert offload.of(msgspec.structs.replace(with_options(DENSE, n_gpu_layers=3), device="cpu")) is None


def test_a_step_takes_the_sum_of_both_places() -> None:
    machine = place()
    on_gpu = step_s(DENSE, machine)
    on_cpu = step_s(msgspec.structs.replace(DENSE, device="cpu"), machine)
    times = [step_s(with_options(DENSE, n_gpu_layers=n), machine) for n in (1, 10, 20, 30, 40)]
    assert on_gpu < min(times)
    assert times == sorted(times, reverse=True)
    assert max(times) < on_cpu * 1.01


def test_experts_on_the_host_are_faster_than_fewer_layers() -> None:
    found = best(MOE, place())
    assert found is not None
    assert dict(found.options).keys() == {"n_cpu_moe"}
    layers = with_options(MOE, n_gpu_layers=7)
    assert memory.places(layers, need_of(MOE), place().devices[1])[0].high < 6 * GIB
    assert step_s(found, place()) < step_s(layers, place())


def test_a_long_prompt_sends_the_hosts_weights_over_and_a_short_one_does_not() -> None:
    machine, split = place(), with_options(DENSE, n_gpu_layers=20)
    sent = offload.host_bytes(split)
    whole = prompt_s(DENSE, machine)
    assert prompt_s(split, machine) - whole == pytest.approx(sent / (4e9 * 25e9) ** 0.5)
    two = prompt_s(split, machine, 1024) - prompt_s(DENSE, machine, 1024)  # two micro-batches
    assert two == pytest.approx(2 * sent / (4e9 * 25e9) ** 0.5)
    assert prompt_s(split, machine, 8) < prompt_s(msgspec.structs.replace(DENSE, device="cpu"), machine, 8)


def test_what_was_measured_with_the_same_split_counts_more() -> None:
    split = with_options(DENSE, n_gpu_layers=20)
    seen = run(measured(workload(0, 32), (0.25,), setup=split))
    machine = place()
    seen = msgspec.structs.replace(seen, machine=machine)
    found = offload.tokens_s(Knowledge(machine, (seen,)), split, costs.step(costs.cost_sheet(split), 16))
    assert found is not None
    assert found.basis == "measured"
    assert found.value == pytest.approx(4)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.5, 40), st.floats(4, 64), st.sampled_from([DENSE, MOE]))
def test_a_split_never_takes_more_than_there_is(gpu_gib: float, ram_gib: float, setup: Setup) -> None:
    machine = place(gpu_gib, ram_gib)
    found = best(setup, machine)
    if found is None:
        return
    device = machine.devices[1]
    for one in memory.places(found, need_of(setup), device):
        free = memory.free_in(machine, one, device)
        assert free is not None
        assert one.high <= free
    asked = dict(found.options)
    more = with_options(setup, n_gpu_layers=int(asked["n_gpu_layers"]) + 1) if "n_gpu_layers" in asked else (
        with_options(setup, n_cpu_moe=int(asked["n_cpu_moe"]) - 1))  # fmt: skip
    assert memory.places(more, need_of(setup), device)[0].high > gpu_gib * GIB  # one more would not fit


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 20), st.floats(0, 8), st.floats(1, 4), st.sampled_from([DENSE, MOE]))
def test_a_better_machine_never_makes_a_split_slower(gib: float, more: float, faster: float, setup: Setup) -> None:
    small, large = place(gib), place(gib + more)
    one, other = best(setup, small), best(setup, large)
    if one is not None and other is not None:
        assert step_s(other, large) <= step_s(one, small) * (1 + 1e-9)
        assert step_s(one, place(gib, gpu=336e9 * faster)) <= step_s(one, small) * (1 + 1e-9)
        assert step_s(one, place(gib, cpu=50e9 * faster)) <= step_s(one, small) * (1 + 1e-9)
        assert step_s(one, small, depth=9000) >= step_s(one, small)


def test_no_split_where_all_fits_or_memory_is_one() -> None:
    assert best(DENSE, place(24)) is None
    assert best(DENSE, place(6, shares_memory=True)) is None
    assert best(msgspec.structs.replace(DENSE, backend="torch", quantization="bf16"), place()) is None
    assert best(DENSE, place(6, ram_gib=2)) is None  # the rest would not fit the host


def offered(setup: Setup, machine: Machine) -> tuple[Setup, ...]:
    device = machine.device("cuda:0")
    assert device is not None
    return splits.offered(Knowledge(machine), setup, need_of(setup), device)


def test_where_the_host_keeps_up_less_on_the_gpu_is_offered_too() -> None:
    """A small old card beside a server's memory: steps are the host's, prompts the card's."""
    least, most = with_options(DENSE, n_gpu_layers=2), best(DENSE, place())
    assert most is not None
    assert offered(DENSE, place()) == (most,)
    server = place(gpu=30e9, cpu=460e9)
    first, *fewer = offered(DENSE, server)
    assert first == most
    assert least in fewer
    steps, prompts = ([of(one, server) for one in (*fewer, most)] for of in (step_s, prompt_s))
    assert steps == sorted(steps)  # a trade of one for the other
    assert prompts == sorted(prompts, reverse=True)
    assert least in offered(DENSE, place(24, gpu=30e9, cpu=460e9))  # all would fit
    assert offered(DENSE, place(24)) == ()
    assert offered(DENSE, place(24, gpu=30e9, cpu=460e9, shares_memory=True)) == ()


def test_a_better_machine_is_offered_all_that_a_worse_one_was_but_the_most_that_fits() -> None:
    small, large = (set(offered(DENSE, place(gib, gpu=30e9, cpu=460e9))) for gib in (4, 7))
    assert small - large <= {best(DENSE, place(4, gpu=30e9, cpu=460e9))}
    assert len(large) > len(small)


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 20), st.floats(0, 20), st.floats(20, 400), st.sampled_from([DENSE, MOE]))
def test_more_memory_never_makes_the_fastest_split_slower(gib: float, more: float, gpu: float, setup: Setup) -> None:
    small, large = (place(size, gpu=gpu * 1e9, cpu=200e9) for size in (gib, gib + more))
    whole = () if best(setup, large) else (setup,)
    if found := offered(setup, small):
        fastest = min(step_s(one, small) for one in found)
        assert min(step_s(one, large) for one in (*offered(setup, large), *whole)) <= fastest * (1 + 1e-9)
