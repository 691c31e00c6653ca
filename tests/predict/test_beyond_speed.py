"""Joules of a token and seconds of a load: from what was metered, from a limit or a disk, or not at all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fakes import SETUP, machine, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.core.nouns import Device, Energy, Estimate, Machine, Measured, Run, Setup, Storage, Window
from phibench.predict import costs, energy, memory, observed, predictions
from phibench.predict.speed import Knowledge

ENERGY = ("decode_tps", "decode_j_per_token", "prefill_j_per_token")


def here(disk: float | None = 1e9, **changes: Any) -> Machine:
    device = Device(kind="cpu", name="AMD EPYC 9B14", read_bytes_s=41e9, basis="probed", flops_s=2e11)
    storage = Storage(read_bytes_s=disk) if disk else None
    return msgspec.structs.replace(machine(), devices=(msgspec.structs.replace(device, **changes),), storage=storage)


def estimates(place: Machine, *runs: Run, setup: Setup = SETUP) -> dict[str, Estimate]:
    goal, sheet = catalog.goal("chat"), costs.cost_sheet(setup)
    need = backends.load(setup.backend).need(sheet.plan, sheet.shape, goal.context, {})
    quantization = catalog.quantization(setup.quantization)
    return predictions.estimates(Knowledge(place, runs), goal, setup, quantization, need)


def metered(watts: float, setup: Setup = SETUP, prompt: int = 0, new: int = 32) -> Measured:
    """One test of 3.2 seconds in a window of its own."""
    result = measured(workload(prompt, new), (0.1,), setup=setup)
    seconds = result.samples[0].arrivals_s[-1]
    counted = Energy(
        name="RAPL package-0", scope="cpu_package", method="counter", joules=watts * seconds, seconds=seconds
    )
    return msgspec.structs.replace(result, windows=(Window(kind="work", seconds=seconds, tests=1, energy=(counted,)),))


def timed(metric: str, seconds: float, setup: Setup = SETUP) -> Run:
    result = msgspec.structs.replace(measured(workload(16, 0), setup=setup), readings={metric: seconds})
    return run(result, metrics=observed.LOADS, name="load")


# ---------------------------------------------------------------------------------------------- memory


PLACES = st.sampled_from([
    ("llama_cpp", "Q4_K_M", {}), ("llama_cpp", "Q4_K_M", {"type_k": "q8_0", "type_v": "q8_0"}),
    ("onnxruntime", "int4", {}), ("torch", "bf16", {}),
])  # fmt: skip


@given(PLACES, st.integers(1, 100_000), st.integers(0, 30_000), st.sampled_from(["cpu", "cuda:0"]))
def test_more_context_never_needs_less(
    what: tuple[str, str, dict[str, str]], context: int, more: int, kind: str
) -> None:
    backend, quantization, options = what
    setup = Setup(
        variant="phi-4-mini-instruct", quantization=quantization, backend=backend, device=kind,
        options=tuple(sorted(options.items())),
    )  # fmt: skip
    sheet, device = costs.cost_sheet(setup), Device(kind=kind, name="x")
    short, long = (
        memory.places(setup, backends.load(backend).need(sheet.plan, sheet.shape, n, options), device)
        for n in (context, context + more)
    )
    for one, other in zip(short, long, strict=True):
        assert one.low <= one.value <= one.high
        assert (one.low, one.value, one.high) <= (other.low, other.value, other.high)
        assert one.high <= other.high


def test_a_smaller_type_of_cache_needs_less() -> None:
    def needed(**options: str) -> float:
        setup = msgspec.structs.replace(SETUP, options=tuple(sorted(options.items())))
        sheet = costs.cost_sheet(setup)
        return backends.load("llama_cpp").need(sheet.plan, sheet.shape, 32768, options).total_bytes

    assert needed(type_k="q8_0", type_v="q8_0") < needed(type_k="q8_0") < needed() < needed(type_k="f32")


# ---------------------------------------------------------------------------------------------- energy


def test_no_meter_and_no_limit_is_not_known() -> None:
    assert not [name for name in estimates(here()) if "_j" in name]


def test_a_limit_is_an_upper_bound_and_says_what_it_is_of() -> None:
    found = estimates(here(power_limit_w=100.0, flops_s=2e12))
    each, speed = found["decode_j_per_token"], found["decode_tps"]
    assert each.basis == "spec"
    assert each.high >= 100 / speed.low
    assert each.low < 100 / speed.high
    assert "power limit of 100 W, AMD EPYC 9B14 alone" in each.because
    inverse = found["decode_tokens_per_j"]
    assert (inverse.low, inverse.high) == pytest.approx((1 / each.high, 1 / each.low))
    assert found["prefill_j_per_token"].value < each.value


def test_a_data_sheet_bounds_what_no_driver_limits() -> None:
    found = estimates(here(name="Core i7-8700"))["decode_j_per_token"]
    assert found.basis == "spec"
    assert "a data sheet of 65 W, Core i7-8700 alone" in found.because


def test_metered_watts_scale_to_what_was_not_metered() -> None:
    seen = run(metered(30.0), metrics=ENERGY)
    found = estimates(here(power_limit_w=400.0), seen, setup=msgspec.structs.replace(SETUP, variant="phi-4"))
    each = found["decode_j_per_token"]
    assert each.basis == "calibrated"
    assert each.value == pytest.approx(30 / found["decode_tps"].value)
    assert "RAPL package-0" in each.because
    assert "limit" not in each.because  # a guess is never added to a measurement
    assert found["prefill_j_per_token"].basis == "spec"  # of prompts nothing was metered


def test_the_nearest_power_counts_and_none_of_another_engine() -> None:
    other = msgspec.structs.replace(SETUP, quantization="Q8_0")
    both = run(metered(30.0), metered(50.0, other), metrics=ENERGY)
    for setup, watts in ((SETUP, 30), (other, 50), (msgspec.structs.replace(SETUP, quantization="Q6_K"), 30)):
        found = estimates(here(), both, setup=setup)
        assert found["decode_j_per_token"].value == pytest.approx(watts / found["decode_tps"].value)
    elsewhere = run(metered(30.0, msgspec.structs.replace(SETUP, backend="torch", quantization="bf16")))
    assert "decode_j_per_token" not in estimates(here(), elsewhere)


@given(st.floats(1, 1000), st.floats(0.01, 1e5), st.floats(1, 5), st.sampled_from(["cpu", "cuda:0"]))
def test_joules_lie_inside_their_interval(limit: float, tps: float, spread: float, kind: str) -> None:
    device = Device(kind=kind, name="x", power_limit_w=limit)
    speed = Estimate(value=tps, low=tps / spread, high=tps * spread, basis="spec", because="test")
    found = energy.estimates(SETUP, device, {"decode_tps": speed, "prefill_tps": speed}, ())
    assert set(found) == {"decode_j_per_token", "prefill_j_per_token", "decode_tokens_per_j"}
    for each in found.values():
        assert each.low <= each.value * (1 + 1e-9)
        assert each.value <= each.high * (1 + 1e-9)


def test_a_model_in_two_places_has_no_single_limit() -> None:
    device = Device(kind="cuda:0", name="x", power_limit_w=100.0)
    speed = Estimate(value=1, low=1, high=1, basis="spec", because="test")
    assert energy.estimates(SETUP, device, {"decode_tps": speed}, (), whole=False) == {}


# ------------------------------------------------------------------------------------------------ loads


def test_a_cold_load_reads_the_file_and_a_warm_one_does_not() -> None:
    found = estimates(here(disk=1e9))
    warm, cold = found["load_warm_s"], found["load_cold_s"]
    bytes_ = found["disk_bytes"].value
    assert cold.low - warm.low == pytest.approx(bytes_ / 2.5e9)
    assert cold.high - warm.high == pytest.approx(bytes_ / 0.5e9)
    assert "load_cold_s" not in estimates(here(disk=None))
    assert "load_warm_s" in estimates(here(disk=None))


def test_copies_cost_time() -> None:
    """Q4_K_M is copied into a layout of its kernels, Q6_K is mapped: it is larger, and opened sooner."""
    mapped = msgspec.structs.replace(SETUP, quantization="Q6_K")
    assert estimates(here(), setup=mapped)["load_warm_s"].value < estimates(here())["load_warm_s"].value


def test_a_load_that_was_timed_is_quoted_and_moves_the_others() -> None:
    other = msgspec.structs.replace(SETUP, quantization="Q6_K")
    before = estimates(here())["load_warm_s"]
    own = estimates(here(), timed("load_warm_s", 3.0))["load_warm_s"]
    assert (own.basis, own.value) == ("measured", 3.0)
    seen = timed("load_warm_s", 2 * estimates(here(), setup=other)["load_warm_s"].value, other)
    after = estimates(here(), seen)["load_warm_s"]
    assert after.basis == "calibrated"
    assert after.value == pytest.approx(2 * before.value, rel=0.01)
    assert after.high / after.low < before.high / before.low


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_load_in_no_time_is_a_broken_clocks(seconds: float) -> None:
    other = msgspec.structs.replace(SETUP, quantization="Q6_K")
    for setup in (SETUP, other):
        assert estimates(here(), timed("load_warm_s", seconds, setup)) == estimates(here())


def test_without_a_speed_no_first_token() -> None:
    assert "load_warm_s" not in estimates(here(read_bytes_s=None))


@given(st.floats(1e7, 1e11), st.floats(1, 100))
def test_a_faster_disk_never_loads_slower(rate: float, more: float) -> None:
    slow, fast = (estimates(here(disk=d))["load_cold_s"] for d in (rate, rate * more))
    assert fast.low <= slow.low * (1 + 1e-9)
    assert fast.high <= slow.high * (1 + 1e-9)
    assert slow.low <= slow.value <= slow.high
