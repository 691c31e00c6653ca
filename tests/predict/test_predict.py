"""Rooflines, points, speeds and estimates: what is said, how surely, and what is not said."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import msgspec
import pytest
from fakes import GIB, SETUP, machine, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.analysis.max_context import STEP
from phibench.catalog import plans
from phibench.core.nouns import (
    Cache,
    Device,
    Estimate,
    Goal,
    Limits,
    Machine,
    Measured,
    Processor,
    Run,
    Setup,
    Workload,
)
from phibench.predict import calibration, costs, learnt, memory, predictions, terms, timings
from phibench.predict.costs import Cost
from phibench.predict.speed import Knowledge

LLAMA = backends.load("llama_cpp")
PHI4_MINI = catalog.variant("phi-4-mini-instruct")


def here(bandwidth: float | None = 41e9, flops: float | None = None, basis: str = "probed") -> Machine:
    m = machine()
    device = msgspec.structs.replace(m.devices[0], read_bytes_s=bandwidth, flops_s=flops, basis=basis)
    return msgspec.structs.replace(m, devices=(device,))


def step(setup: Setup = SETUP, depth: float = 0, layers: int | None = None, batch: int = 1) -> Cost:
    return costs.step(costs.cost_sheet(setup, layers), depth, batch)


def prompt(tokens: int, setup: Setup = SETUP, depth: int = 0) -> Cost:
    return costs.prompt(costs.cost_sheet(setup), tokens, depth)


def like(**changes: Any) -> Setup:
    return msgspec.structs.replace(SETUP, **changes)


def decode(
    runs: tuple[Run, ...], setup: Setup = SETUP, depth: float = 16, place: Machine | None = None
) -> Estimate | None:
    place = place or here(None)
    return Knowledge(place, runs).tokens_s(setup, step(setup, depth))


# ---------------------------------------------------------------------------------------------- costs


def test_decode_reads_the_weights_once_and_the_cache() -> None:
    plan = plans.plan(PHI4_MINI, "Q4_K_M", fmt="gguf")
    assert step(depth=0).bytes == pytest.approx(plan.read_bytes_per_token)
    assert step(depth=1000).bytes - step(depth=0).bytes == pytest.approx(131_072 * 1000)


@pytest.mark.parametrize("variant", ["phi-4", "phi-3-mini-4k-instruct", "phi-2", "phi-3.5-moe-instruct"])
def test_load_and_plan_agree_on_what_a_step_reads(variant: str) -> None:
    """Untied embeddings are one row per token; of the experts only those in use are read."""
    plan = plans.plan(catalog.variant(variant), "Q4_K_M", fmt="gguf")
    assert step(like(variant=variant)).bytes == pytest.approx(plan.read_bytes_per_token)


def test_no_end_of_an_interval_falls_as_the_bandwidth_grows() -> None:
    """Between 40 and 80 GB/s two threads become too slow for one type after the other."""
    place = here()
    narrow = msgspec.structs.replace(place.limits, threads=2, cpus=2.0)
    found = [
        Knowledge(msgspec.structs.replace(here(gb * 1e9), limits=narrow)).tokens_s(SETUP, step(depth=16))
        for gb in range(20, 140, 5)
    ]
    for end in ("low", "value", "high"):
        values = [getattr(one, end) for one in found]
        assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(values)), end


def test_of_a_slice_the_best_repetition_of_a_launch_counts_and_of_a_whole_the_middle() -> None:
    for layers, seconds in ((4, 0.5), (None, 1.0)):
        one = run(measured(workload(0, 16), (0.5, 1.0, 1.5), layers=layers))
        (point,) = calibration.points(here(), [one])
        (launch,) = point.launches
        assert launch.tps == pytest.approx(1 / seconds)


def test_a_prompt_reads_a_head_that_one_token_passes() -> None:
    """PyTorch's head of 200,064 rows is 1.2 GB in bf16: at 40 GB/s that is longer than one token's product."""
    setup = like(quantization="bf16", backend="torch")
    place = msgspec.structs.replace(
        here(), devices=(msgspec.structs.replace(here().devices[0], matrix_flops_s={"bfloat16": 4e11}),)
    )
    found = terms.terms(prompt(256, setup), place, place.devices[0])
    assert found is not None
    assert found.seconds["bf16 head"] > 1.2e9 / 41e9
    assert found.seconds["bf16"] > 10 * found.seconds["bf16 head"]


def test_prefill_is_two_flops_a_weight_plus_attention_and_counts_the_head_once() -> None:
    short, long = prompt(1).flops, prompt(10_000).flops / 10_000
    weights = PHI4_MINI.parameters
    head = 200_064 * 3072
    assert weights is not None
    assert short == pytest.approx(2 * weights, rel=0.01)
    attention = 4 * 32 * 24 * 128 * 5000
    last = 2 * 3 * 3072 * 8192  # the last FFN, which only the last token passes
    assert long == pytest.approx(2 * (weights - head) - last + attention, rel=0.01)


def test_the_last_ffn_counts_for_the_logits_alone_in_llama_cpp() -> None:
    """It is three quarters of a layer, so a prompt through two layers costs little more than through one."""
    ffn = 2.0 * 3 * 3072 * 8192  # gate, up and down: of one token
    sheet = costs.cost_sheet(SETUP, 2)
    short, long = costs.prompt(sheet, 512).flops, costs.prompt(sheet, 1024).flops
    attention = sheet.attention_flops * (1024 * 512 - 512 * 256)
    assert long - short == pytest.approx(512 * (2 * 2 * (3072 * 5120 + 3072 * 3072) + ffn) + attention, rel=0.01)
    torch = like(backend="torch", quantization="bf16")
    sheet = costs.cost_sheet(torch, 2)
    assert costs.prompt(sheet, 1024).flops - costs.prompt(sheet, 512).flops > long - short + 511 * ffn


def test_a_mixture_of_experts_computes_with_the_experts_in_use() -> None:
    moe = catalog.variant("phi-3.5-moe-instruct")
    assert moe.parameters_active is not None
    assert prompt(1, like(variant=moe.id)).flops == pytest.approx(2 * moe.parameters_active, rel=0.05)


def test_no_bandwidth_no_decode_and_no_matrix_rate_no_prefill() -> None:
    place, device = here(None), Device(kind="cpu", name="a cpu")
    assert terms.terms(step(), place, device) is None
    assert terms.terms(prompt(512), place, device) is None


def test_the_trial_machine_lies_inside_its_probed_interval() -> None:
    """11 to 14 tok/s were seen on 2 Zen 4 cores with 41 GB/s."""
    found = decode((), place=here(41e9))
    assert found is not None
    assert found.basis == "probed"
    assert found.low < 11
    assert found.high > 14


def test_low_bit_types_wait_for_arithmetic_on_few_cores_but_not_on_a_gpu() -> None:
    place = here()
    gpu = Device(kind="cuda:0", name="a gpu", read_bytes_s=41e9, basis="probed")
    small, large = step(like(quantization="IQ3_S")), step(like(quantization="Q4_K_M"))

    def seconds(cost: Cost, device: Device) -> float:
        found = terms.terms(cost, place, device)
        assert found is not None
        return found.total_s

    assert small.bytes < large.bytes
    assert seconds(small, place.devices[0]) > seconds(large, place.devices[0])
    assert seconds(small, gpu) < seconds(large, gpu)


@given(st.floats(1e9, 1e13), st.floats(1.0, 100.0), st.integers(1, 128), st.sampled_from(["cpu", "cuda:0"]))
def test_more_bandwidth_is_never_slower(bandwidth: float, more: float, threads: int, kind: str) -> None:
    place = here()
    limits = msgspec.structs.replace(place.limits, threads=threads)
    place = msgspec.structs.replace(place, limits=limits)
    slow = terms.terms(step(), place, Device(kind=kind, name="x", read_bytes_s=bandwidth))
    fast = terms.terms(step(), place, Device(kind=kind, name="x", read_bytes_s=bandwidth * more))
    assert slow is not None
    assert fast is not None
    assert fast.total_s <= slow.total_s


def test_a_batch_reads_the_weights_once_and_the_experts_that_it_hits() -> None:
    """16 experts, 2 a token: 8 tokens hit 16 x (1 - (7/8)^8) = 10.5 of them."""
    assert step(batch=8).bytes == pytest.approx(step().bytes)
    assert step(batch=8).flops == pytest.approx(8 * step().flops)
    assert step(depth=100, batch=8).bytes - step(batch=8).bytes == pytest.approx(8 * 100 * 131_072)
    moe = like(variant="phi-3.5-moe-instruct")
    plan = plans.plan(catalog.variant(moe.variant), "Q4_K_M", fmt="gguf")
    experts = sum(tensor.bytes for tensor in plan.tensors if "_exps." in tensor.name)
    more = step(moe, batch=8).bytes - step(moe).bytes
    assert more == pytest.approx(experts * (10.5 - 2) / 16, rel=0.01)
    assert prompt(512, moe).bytes == pytest.approx(step(moe).bytes + experts * 14 / 16 + 256 * prompt_kv(moe), rel=0.01)


def prompt_kv(setup: Setup) -> float:
    return costs.cost_sheet(setup).kv_bytes_per_token


# ------------------------------------------------------------------------------- measured, calibrated


def test_the_same_setup_and_workload_measured_here_is_quoted_with_its_range() -> None:
    found = decode((run(measured(workload(0, 32), (0.1, 0.08, 0.09))),))
    assert found is not None
    assert found.basis == "measured"
    assert (found.low, found.value, found.high) == pytest.approx((10, 1 / 0.09, 12.5))
    for word in ("2026-07-01", "0.3.36", "synthetic weights", "tg32", "range of 3"):
        assert word in found.because


def test_the_newest_measurement_counts() -> None:
    old = run(measured(workload(0, 32), (0.1,)), started="2026-06-01")
    new = run(measured(workload(0, 32), (0.2,)), started="2026-07-01")
    for runs in ((old, new), (new, old)):
        found = decode(runs)
        assert found is not None
        assert found.value == pytest.approx(5)


def test_launches_of_one_run_are_one_measurement() -> None:
    results = [measured(workload(0, 32), (0.1, 0.11), launch=i) for i in range(3)]
    found = decode((run(*results),))
    assert found is not None
    assert "interval of 6" in found.because


@pytest.mark.parametrize(
    "runs",
    [
        (msgspec.structs.replace(run(measured(workload(0, 32))), example=True),),
        (msgspec.structs.replace(run(measured(workload(0, 32))), machine=machine(cpu="another cpu")),),
        (run(measured(workload(0, 32)), metrics=("host_needed_bytes",)),),  # memory was watched: timings do not count
        (run(measured(workload(0, 32), setup=like(backend="null"))),),
        (run(measured(workload(0, 32), setup=like(options=(("threads", "1"),)))),),
        (run(measured(workload(0, 32), setup=like(variant="phi-99"))),),
        (run(measured(workload(0, 32), setup=like(backend="of-tomorrow"))),),
        (run(measured(workload(0, 32, batch=4))),),
        (run(measured(workload(512, 0))),),
    ],
    ids=["example", "elsewhere", "not claimed", "null", "options", "variant", "backend", "batch", "prefill"],
)
def test_what_never_counts_as_a_decode_speed_of_this_machine(runs: tuple[Run, ...]) -> None:
    assert decode(runs) is None


@pytest.mark.parametrize(
    "option",
    [("of-tomorrow", "1"), ("n_ubatch", "abc"), ("n_ubatch", "9" * 5000), ("type_k", "f17"), ("flash_attn", "maybe")],
    ids=["unknown", "no number", "endless", "no type", "no such value"],
)
def test_a_run_with_an_option_that_makes_no_sense_is_left_out(option: tuple[str, str]) -> None:
    odd = run(measured(workload(0, 32), setup=like(options=(option,))))
    assert not calibration.points(here(), (odd,))
    assert calibration.points(here(), (odd, run(measured(workload(0, 32)))))


def test_another_depth_is_scaled_by_the_cache_and_called_calibrated() -> None:
    found = decode((run(measured(workload(0, 32), (0.1,))),), depth=8000)
    assert found is not None
    assert found.basis == "calibrated"
    by_bytes = 10 * step(depth=16).bytes / step(depth=8000).bytes
    assert 0.3 * by_bytes < found.value < by_bytes  # on a cpu attention waits for arithmetic, not for memory
    assert found.low < found.value < found.high
    assert found.high / found.low > 1.5  # and nobody has measured a depth here


def test_another_variant_is_scaled_by_bytes_with_an_interval() -> None:
    found = decode((run(measured(workload(0, 32), (0.1,))),), like(variant="phi-4"))
    assert found is not None
    assert found.basis == "calibrated"
    mini, phi4 = step(depth=16).bytes, step(like(variant="phi-4"), depth=16).bytes
    assert found.value == pytest.approx(10 * mini / phi4, rel=0.1)
    assert found.high / found.low >= 1.1**2
    assert found.grounds is not None
    assert found.grounds.anchors == 1
    assert str(SETUP) in found.because


def test_a_variant_with_the_same_tensors_is_as_good_as_the_same_setup() -> None:
    runs = (run(measured(workload(0, 32), (0.1,))),)
    twin, other = decode(runs, like(variant="phi-4-mini-reasoning")), decode(runs, like(variant="phi-4"))
    assert twin is not None
    assert other is not None
    assert twin.basis == "calibrated"
    assert twin.value == pytest.approx(10, rel=0.06)
    assert twin.high / twin.low < other.high / other.low


def test_another_quantization_is_wider_still() -> None:
    runs = (run(measured(workload(0, 32), (0.1,))),)
    near, far = decode(runs, like(variant="phi-4")), decode(runs, like(quantization="Q8_0"))
    assert near is not None
    assert far is not None
    assert far.high / far.low > near.high / near.low


def test_a_rate_of_its_own_for_each_tensor_type_is_learnt_from_slices() -> None:
    """Here Q4_K is read at 25 GB/s, Q6_K at 15 and Q8_0 at 30: slices tell it, whole ones are foretold."""
    rates = {"Q4_K": 25e9, "Q6_K": 15e9, "Q8_0": 30e9}

    def step_s(setup: Setup, layers: int | None) -> float:
        parts = step(setup, 16, layers).bytes_by_type.items()
        return sum(count / rates.get(costs.kernel_type(kernel), 25e9) for kernel, count in parts)

    builds = [like(quantization=q) for q in ("Q4_K_M", "Q6_K", "Q8_0")]
    slices = [measured(workload(0, 32), (step_s(s, n),), setup=s, layers=n) for s in builds for n in (4, 8)]
    for setup in (*builds, like(quantization="Q4_K_M", variant="phi-4"), like(quantization="Q6_K", variant="phi-2")):
        found = decode((run(*slices),), setup)
        assert found is not None
        assert found.basis == "calibrated"
        assert found.value == pytest.approx(1 / step_s(setup, None), rel=0.06), setup
        assert found.low < 1 / step_s(setup, None) < found.high


def test_one_outlier_does_not_turn_what_all_others_say() -> None:
    def step_s(setup: Setup, layers: int | None) -> float:
        return step(setup, 16, layers).bytes / 25e9

    builds = [like(quantization=q) for q in ("Q4_K_M", "Q6_K", "Q8_0", "Q5_K_M")]
    good = [measured(workload(0, 32), (step_s(s, 8),), setup=s, layers=8) for s in builds]
    bad = measured(workload(0, 32), (4 * step_s(builds[0], 16),), setup=builds[0], layers=16)
    with_it, without = decode((run(*good, bad),)), decode((run(*good),))
    assert with_it is not None
    assert without is not None
    assert with_it.value == pytest.approx(without.value, rel=0.15)
    assert with_it.value > 2 / (4 * step_s(builds[0], None))


def test_what_holds_a_slice_up_turns_less_than_what_was_as_fast_once() -> None:
    def step_s(setup: Setup, layers: int | None) -> float:
        return step(setup, 16, layers).bytes / 25e9

    builds = [like(quantization=q) for q in ("Q4_K_M", "Q6_K", "Q8_0", "Q5_K_M")]
    good = [measured(workload(0, 32), (step_s(s, 8),), setup=s, layers=8) for s in builds]
    turned = []
    for factor in (1.6, 1 / 1.6):
        odd = measured(workload(0, 32), (factor * step_s(builds[0], 16),), setup=builds[0], layers=16)
        with_it, without = decode((run(*good, odd),)), decode((run(*good),))
        assert with_it is not None
        assert without is not None
        turned.append(abs(math.log(with_it.value / without.value)))
    assert turned[0] < 0.5 * turned[1]


def test_the_rate_of_a_type_is_told_without_what_a_step_costs_besides() -> None:
    """ONNX Runtime takes 2.5 ms for a step whatever it reads: a quarter of what a slice of four layers takes."""
    setup = like(quantization="int4", backend="onnxruntime")
    slices = [
        measured(workload(0, 32), (step(setup, 16, layers).bytes / 30e9 + 2.5e-3,), setup=setup, layers=layers)
        for layers in (4, 8)
    ]
    (rate,) = [r for r in learnt.rates(Knowledge(here(), (run(*slices),)), [setup]) if r.tensor_type == "int4"]
    assert rate.value == pytest.approx(30e9, rel=0.07)


def test_what_waits_for_arithmetic_wanders_less_with_the_memory() -> None:
    place = here(40e9)
    wandering = {}
    for build in ("IQ3_S", "IQ4_XS", "Q8_0", "F16"):
        found = terms.terms(step(like(quantization=build)), place, place.devices[0])
        assert found is not None
        wandering[build] = found.wandering
    assert list(wandering) == sorted(wandering, key=wandering.__getitem__)
    assert wandering["IQ3_S"] < 0.2
    assert 0.4 < wandering["Q8_0"] <= 1


def test_a_slow_second_of_the_memory_says_nothing_of_what_waits_for_arithmetic() -> None:
    """Memory gives 40 GB/s before and after, and 28 in the second in which another type is measured."""

    def taken(build: str, second: int, memory: float) -> Measured:
        setup, at = like(quantization=build), f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"
        parts = step(setup, 16, 4).bytes_by_type.items()
        step_s = sum(count / (7.8e9 if kernel == "IQ3_S" else memory) for kernel, count in parts)
        return msgspec.structs.replace(
            measured(workload(0, 32), (step_s,), setup=setup, layers=4), at=at, launch=second
        )

    calm, more = [taken("F16", 0, 40e9), taken("F16", 1200, 40e9)], {}
    for build in ("Q8_0", "IQ3_S"):
        slow = [taken("F16", 600, 28e9), taken(build, 601, 28e9)]
        both, alone = (
            {r.tensor_type: r.value for r in learnt.rates(Knowledge(here(50e9), (run(*seen),)), [SETUP])}
            for seen in ([*calm, *slow], slow[1:])
        )
        more[build] = both[build] / alone[build]
    assert more["Q8_0"] > 1.03
    assert abs(more["IQ3_S"] - 1) < 0.03  # its head is of Q6_K


def test_a_type_that_takes_three_times_as_long_as_believed_is_no_outlier() -> None:
    """On another processor a kernel may; where nothing contradicts its slice, the slice is right."""
    setup = like(quantization="IQ3_S")
    parts = step(setup, 16, 8).bytes_by_type.items()
    odd = measured(
        workload(0, 32), (sum(n / (2.2e9 if k == "IQ3_S" else 40e9) for k, n in parts),), setup=setup, layers=8
    )
    usual = [
        measured(
            workload(0, 32), (step(like(quantization=q), 16, 8).bytes / 40e9,), setup=like(quantization=q), layers=8
        )
        for q in ("F16", "Q8_0")
    ]
    (rate,) = [r for r in learnt.rates(Knowledge(here(50e9), (run(*usual, odd),)), [SETUP]) if r.tensor_type == "IQ3_S"]
    assert rate.value == pytest.approx(2.2e9, rel=0.25)  # believed were 7.8


def test_what_was_measured_beside_busy_programs_counts_less() -> None:
    slow = msgspec.structs.replace(measured(workload(0, 32), (0.2,), layers=16), busy_share=0.5)
    quiet = measured(workload(0, 32), (step(depth=16, layers=8).bytes / 25e9,), layers=8)
    both, alone = decode((run(slow, quiet),)), decode((run(quiet),))
    assert both is not None
    assert alone is not None
    assert abs(math.log(both.value / alone.value)) < 0.5 * math.log(0.2 / (step(depth=16, layers=16).bytes / 25e9))


def test_a_whole_setup_measured_beside_busy_programs_is_not_quoted_as_measured() -> None:
    busy = msgspec.structs.replace(measured(workload(0, 32), (0.2,)), busy_share=0.5)
    found = decode((run(busy),))
    assert found is not None
    assert found.basis == "calibrated"
    assert found.high > 5


def test_one_run_of_three_that_stands_alone_is_not_quoted() -> None:
    runs = [run(measured(workload(0, 32), (s,)), started=f"2026-0{i}-01") for i, s in enumerate((0.1, 0.11, 0.4), 1)]
    found = decode(tuple(runs))
    assert found is not None
    assert found.basis == "measured"
    assert found.value == pytest.approx(1 / 0.11)


def test_after_an_upgrade_of_the_engine_its_first_run_is_quoted() -> None:
    old = [run(measured(workload(0, 32), (0.2,)), started=f"2026-0{month}-01") for month in (1, 2, 3)]
    new = measured(workload(0, 32), (0.1,))
    newer = msgspec.structs.replace(new, engine=msgspec.structs.replace(new.engine, version="9.9"))
    found = decode((*old, run(newer, started="2026-04-01")))
    assert found is not None
    assert found.basis == "measured"
    assert found.value == pytest.approx(10)


def test_after_an_upgrade_a_calibration_is_worth_more_than_all_before() -> None:
    old = [run(measured(workload(0, 32), (0.2,)), started=f"2026-0{month}-01") for month in (1, 2, 3)]
    slices = [measured(workload(0, 32), (step(depth=16, layers=n).bytes / 25e9,), layers=n) for n in range(8, 14)]
    upgraded = [msgspec.structs.replace(r, engine=msgspec.structs.replace(r.engine, version="9.9")) for r in slices]
    found = decode((*old, run(*upgraded, started="2026-04-01")))
    assert found is not None
    assert found.value == pytest.approx(25e9 / step(depth=16).bytes, rel=0.05)


def test_a_slice_of_nearly_everything_is_still_not_a_measurement() -> None:
    found = decode((run(measured(workload(0, 32), (0.1,), layers=31)),))
    assert found is not None
    assert found.basis == "calibrated"
    assert "31 layers" in found.because


def test_a_decode_that_was_seen_proves_bandwidth() -> None:
    """A probe beside busy programs said 13.3 GB/s; 7.9 tok/s of 2.49 GB were seen, so it is 19.6 at least."""
    seen = (run(measured(workload(0, 32), (0.2, 1 / 7.9, 0.19))),)
    known = Knowledge(here(13.3e9), seen)
    assert known.machine.devices[0].read_bytes_s == pytest.approx(7.9 * step(depth=16).bytes)
    assert "proved" in known.machine.devices[0].because
    other = known.tokens_s(like(backend="torch", quantization="bf16"), step(like(backend="torch", quantization="bf16")))
    believed = Knowledge(here(13.3e9)).tokens_s(
        like(backend="torch", quantization="bf16"), step(like(backend="torch", quantization="bf16"))
    )
    assert other is not None
    assert believed is not None
    assert other.value > 1.3 * believed.value
    assert Knowledge(here(41e9), seen).machine == here(41e9)


def test_a_slice_that_caches_may_hold_proves_nothing() -> None:
    small = like(variant="phi-3.5-mini-instruct")
    seen = (run(measured(workload(0, 32), (0.001,), setup=small, layers=1)),)
    assert Knowledge(here(13.3e9), seen).machine.devices[0].read_bytes_s == 13.3e9


@pytest.mark.parametrize(("layers", "proves"), [(2, False), (None, True)])
def test_what_the_cache_of_a_gpu_may_hold_proves_nothing(layers: int | None, proves: bool) -> None:
    """However small the caches of the processor beside it are."""
    place = msgspec.structs.replace(here(), processor=Processor(caches=(Cache(level=3, bytes=4 << 20),)))
    gpu = Device(kind="cuda:0", name="a card", memory_bytes=24 * GIB, read_bytes_s=100e9, basis="spec")
    place = msgspec.structs.replace(place, devices=(*place.devices, gpu))
    setup = like(device="cuda:0", variant="phi-3.5-mini-instruct")
    step_s = step(setup, 16, layers).bytes / 900e9
    seen = run(measured(workload(0, 32), (step_s,), setup=setup, layers=layers))
    known = Knowledge(place, (msgspec.structs.replace(seen, machine=place),))
    taught = known.machine.device("cuda:0")
    assert taught is not None
    assert taught.read_bytes_s == pytest.approx(900e9 if proves else 100e9)


@pytest.mark.parametrize("step_s", [1e300, 1e9, 1e-12, 1e-300])
def test_a_speed_that_no_machine_has_teaches_nothing(step_s: float) -> None:
    """A file of somebody with a broken clock, beside a sound one."""
    sound, broken = run(measured(workload(0, 32), (0.1,), layers=16)), run(measured(workload(64, 32), (step_s,)))
    assert decode((sound, broken)) == decode((sound,))


@pytest.mark.parametrize("share", [-5.0, 1e9])
def test_a_share_that_no_program_takes_is_all_or_nothing(share: float) -> None:
    odd, plain = (
        run(msgspec.structs.replace(measured(workload(0, 32), (0.1,), layers=16), busy_share=busy))
        for busy in (share, min(max(share, 0.0), 1.0))
    )
    assert decode((odd,)) == decode((plain,))


@given(st.permutations(range(6)))
def test_the_order_of_run_files_does_not_matter(order: list[int]) -> None:
    """Some in one minute, which drift together, some months apart."""
    days = ("2026-01-01", "2026-01-01", "2026-02-01", "2026-05-01", "2026-05-02", "2026-07-01")
    runs = [
        run(
            msgspec.structs.replace(
                measured(workload(0, 32), (0.1 + 0.01 * i,), layers=8 + i), at=f"{day}T10:0{i}:00Z"
            ),
            started=day,
        )
        for i, day in enumerate(days)
    ]
    one, other = decode(tuple(runs)), decode(tuple(runs[i] for i in order))
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)


def test_a_thousand_launches_are_fitted_as_few_are() -> None:
    """With the same figures every day a year long: as sure as the machine's drift lets one be, and no surer."""
    day = 86_400
    many = tuple(
        run(
            measured(workload(0, 32), (0.1,), layers=8), started=time.strftime("%Y-%m-%d", time.gmtime(1.7e9 + i * day))
        )
        for i in range(1000)
    )
    few, all_of_them = decode(many[:3]), decode(many)
    assert few is not None
    assert all_of_them is not None
    assert all_of_them.value == pytest.approx(few.value, rel=0.1)
    assert all_of_them.high / all_of_them.low <= few.high / few.low
    assert all_of_them.high / all_of_them.low > 1.2


def test_a_sheet_is_made_once() -> None:
    assert costs.cost_sheet(SETUP) is costs.cost_sheet(SETUP, None) is costs.cost_sheet(SETUP, layers=None)
    assert costs.cost_sheet(like(device="cuda:0")).plan is costs.cost_sheet(SETUP).plan


def test_another_type_of_kv_cache_has_the_same_weights() -> None:
    seen = (run(measured(workload(0, 32), (0.1,))),)
    small = like(options=(("type_k", "q8_0"), ("type_v", "q8_0")))
    found = decode(seen, small, depth=16)
    assert found is not None
    assert found.basis == "calibrated"
    assert found.value == pytest.approx(10, rel=0.06)


def test_prefill_is_measured_only_at_the_same_prompt_length() -> None:
    known = Knowledge(here(None), (run(measured(workload(512, 0), (0.1,))),))
    bases = {}
    for tokens in (512, 400):
        found = known.tokens_s(SETUP, prompt(tokens))
        assert found is not None
        bases[tokens] = found.basis
    assert bases == {512: "measured", 400: "calibrated"}


def test_a_data_sheet_is_wider_than_a_probe() -> None:
    probe, sheet = decode((), place=here(41e9)), decode((), place=here(41e9, basis="spec"))
    assert probe is not None
    assert sheet is not None
    assert (probe.basis, sheet.basis) == ("probed", "spec")
    assert sheet.high / sheet.low > probe.high / probe.low


# ------------------------------------------------------------------------------------------- timings


def certain(value: float, basis: str = "measured", spread: float = 1.0) -> Estimate:
    return msgspec.convert(
        {"value": value, "low": value / spread, "high": value * spread, "basis": basis, "because": "test"}, Estimate
    )


def test_times_follow_from_speeds() -> None:
    use = timings.Use(prompt_tokens=100, new_tokens=11)
    found = timings.timings(use, certain(50), certain(10))
    assert found["ttft_s"].value == pytest.approx(2)
    assert found["tpot_s"].value == pytest.approx(0.1)
    assert found["answer_s"].value == pytest.approx(3)
    assert {e.basis for e in found.values()} == {"measured"}


def test_a_sum_is_as_good_as_its_worse_part_and_thinking_is_assumed() -> None:
    plain = timings.Use(prompt_tokens=100, new_tokens=10)
    assert timings.timings(plain, certain(50, "probed"), certain(10))["answer_s"].basis == "probed"
    thinks = timings.timings(
        timings.Use(prompt_tokens=100, new_tokens=10, thinking_tokens=1000), certain(50), certain(10)
    )
    assert thinks["answer_s"].basis == "assumed"
    assert thinks["answer_s"].value > 100


def test_what_is_not_known_is_left_out() -> None:
    use = timings.Use(prompt_tokens=100, new_tokens=10)
    assert set(timings.timings(use, None, certain(10))) == {"tpot_s"}
    assert timings.timings(use, None, None) == {}
    unknown = timings.Use(prompt_tokens=100, new_tokens=10, thinking_tokens=None)
    assert "answer_s" not in timings.timings(unknown, certain(50), certain(10))


@given(st.floats(0.01, 1e5), st.floats(0.01, 1e5), st.floats(1, 5), st.integers(1, 10**5), st.integers(1, 10**5))
def test_every_time_lies_inside_its_interval(p: float, d: float, spread: float, prompt: int, new: int) -> None:
    use = timings.Use(prompt_tokens=prompt, new_tokens=new)
    for found in timings.timings(use, certain(p, "spec", spread), certain(d, "spec", spread)).values():
        assert found.low <= found.value * (1 + 1e-9)
        assert found.value <= found.high * (1 + 1e-9)


# ----------------------------------------------------------------------------------------- estimates


def estimates(goal: Goal, setup: Setup = SETUP, place: Machine | None = None) -> dict[str, Estimate]:
    sheet = costs.cost_sheet(setup)
    need = LLAMA.need(sheet.plan, sheet.shape, goal.context, {})
    known = Knowledge(place or here())
    return predictions.estimates(known, goal, setup, catalog.quantization(setup.quantization), need)


def test_memory_is_what_the_backend_says_and_told_part_by_part() -> None:
    goal = catalog.goal("chat")
    found = estimates(goal)
    plan = plans.plan(PHI4_MINI, "Q4_K_M", fmt="gguf")
    assert PHI4_MINI.shape is not None
    need = LLAMA.need(plan, PHI4_MINI.shape, goal.context, {})
    assert found["host_needed_bytes"].value == need.total_bytes
    assert found["kv_bytes"].value == need.kv_bytes
    assert found["disk_bytes"].value == plan.disk_bytes
    for part in ("weights", "KV cache", "compute", "runtime"):
        assert part in found["host_needed_bytes"].because


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_is_not_counted_byte_by_byte_has_an_interval(device: str) -> None:
    gpu = Device(kind="cuda:0", name="a gpu", memory_bytes=4 * GIB)
    limits = Limits(cpus=2, threads=2, memory_bytes=24 * GIB, free_bytes=4 * GIB)
    place = msgspec.structs.replace(here(), devices=(*here().devices, gpu), limits=limits)
    found = estimates(catalog.goal("chat"), like(device=device), place)
    need = found["host_needed_bytes" if device == "cpu" else "device_peak_bytes"]
    assert need.grounds is not None
    assert need.grounds.bytes == found["weights_bytes"].value + found["kv_bytes"].value
    assert need.grounds.bytes < need.value
    assert need.low < need.value < need.high
    assert "estimates" in need.because
    longest = found["max_context_tokens"]
    assert longest.low == longest.value < longest.high
    for exact in ("weights_bytes", "kv_bytes", "disk_bytes"):
        assert found[exact].low == found[exact].value == found[exact].high


@pytest.mark.parametrize("free_gib", [1, 3, 4, 8, 20])
def test_the_longest_context_fits_and_one_step_more_does_not(free_gib: float) -> None:
    free = int(free_gib * GIB)
    place = here()
    limits = Limits(cpus=2, threads=2, memory_bytes=24 * GIB, free_bytes=free)
    found = estimates(catalog.goal("chat"), place=msgspec.structs.replace(place, limits=limits))
    most = int(found["max_context_tokens"].value)
    plan = plans.plan(PHI4_MINI, "Q4_K_M", fmt="gguf")
    assert PHI4_MINI.shape is not None
    assert PHI4_MINI.context_tokens is not None
    if most:
        assert memory.bounds(LLAMA.need(plan, PHI4_MINI.shape, most, {}))[1] <= free
    if most < PHI4_MINI.context_tokens:
        more = most + STEP
        assert memory.bounds(LLAMA.need(plan, PHI4_MINI.shape, more, {}))[1] > free


def test_on_a_gpu_the_model_is_counted_there() -> None:
    gpu = Device(kind="cuda:0", name="a gpu", memory_bytes=8 * GIB, read_bytes_s=300e9, basis="spec")
    place = msgspec.structs.replace(here(), devices=(*here().devices, gpu))
    found = estimates(catalog.goal("chat"), like(device="cuda:0"), place)
    assert found["device_peak_bytes"].value > 2e9 > found["host_needed_bytes"].value
    assert found["decode_tps"].basis == "spec"


def test_quality_is_the_first_of_the_goals_benchmarks_and_names_it() -> None:
    goal = catalog.goal("chat")
    found = estimates(goal)["quality"]
    assert found.benchmark == "MMLU-Pro"
    assert (found.value, found.basis) == (52.8, "published")
    swapped = msgspec.structs.replace(goal, benchmarks=("no such benchmark", "MMLU"))
    assert estimates(swapped)["quality"].benchmark == "MMLU"
    none = msgspec.structs.replace(goal, benchmarks=("no such benchmark",))
    assert "quality" not in estimates(none)


def test_a_score_from_memory_says_so_and_a_documented_one_goes_first() -> None:
    goal = msgspec.structs.replace(catalog.goal("code"), benchmarks=("HumanEval",))
    scores = {
        s.source_kind: s.value for s in catalog.variant("phi-3-mini-4k-instruct").scores if s.benchmark == "HumanEval"
    }
    found = estimates(goal, like(variant="phi-3-mini-4k-instruct"))["quality"]
    assert found.value == scores["primary"]
    assert "from memory" in estimates(goal, like(variant="phi-1.5"))["quality"].because


def test_quantization_loss_says_on_which_model_it_was_measured() -> None:
    found = estimates(catalog.goal("chat"))["quant_kld"]
    assert "measured on Llama-3-8B" in found.because
    alike = estimates(catalog.goal("chat"), like(quantization="BF16"))["quant_kld"]
    assert (alike.basis, alike.because.startswith("as F16, which has the same bits and blocks")) == ("assumed", True)
    assert "quant_kld" not in estimates(catalog.goal("chat"), like(quantization="fp32", backend="torch"))


def test_thinking_counts_for_reasoning_variants_alone() -> None:
    goal = msgspec.structs.replace(catalog.goal("reasoning"), thinking_tokens=5000)
    place = here(flops=500e9)
    plain = estimates(goal, place=place)["answer_s"]
    thinks = estimates(goal, like(variant="phi-4-mini-reasoning"), place)["answer_s"]
    assert thinks.value > 5 * plain.value
    assert thinks.basis == "assumed"
    assert plain.basis != "assumed"


def test_a_mean_with_a_pause_in_it_is_no_speed_of_decode() -> None:
    """torch computes the cache of Phi-4-mini anew at token 4097; llama.cpp does not."""
    walk = workload(0, 400, depth=3900)
    before, after = workload(0, 32, depth=1024), workload(0, 32, depth=5000)
    torch = Setup(variant="phi-4-mini-instruct", quantization="bf16", backend="torch")
    genai = Setup(variant="phi-4", quantization="int4", backend="onnxruntime")
    for setup, seen in ((torch, {1024, 5000}), (genai, {1024, 5000}), (SETUP, {1024, 3900, 5000})):
        done = run(*(measured(work, [0.1], setup=setup) for work in (before, walk, after)))
        found = calibration.points(machine(), [done])
        assert len([a for a in found if a.phase == "decode"]) == len(seen), setup
    assert costs.recomputes(torch, walk)
    assert not costs.recomputes(torch, workload(4200, 32))  # long from the start: computed once


def test_a_kv_cache_that_is_ten_times_slower_than_weights_is_learnt_from_one_depth() -> None:
    """As llama.cpp's was on two cores: 4 GB/s beside 36."""

    def seconds(depth: int, layers: int | None) -> float:
        read = step(depth=depth + 8, layers=layers).bytes_by_type
        return sum(count / (4e9 if kernel.startswith("KV") else 36e9) for kernel, count in read.items())

    found = [
        measured(Workload(prompt_tokens=0, new_tokens=16, depth=depth), (seconds(depth, layers),) * 16, layers=layers)
        for depth, layers in ((0, 4), (0, 8), (1024, 4))
    ]
    deep = decode((run(*found),), depth=4096, place=here())
    assert deep is not None
    assert deep.value == pytest.approx(1 / seconds(4096 - 8, None), rel=0.2)
