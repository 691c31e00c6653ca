"""What holds of every estimate, whatever the machine: better hardware is never worse, more context never better.

Machines are made in both ways: described by rows of the table, and probed, where what was measured counts.
"""

from __future__ import annotations

import math

import fakes
import msgspec
import pytest
from generated import BUILDS, CASES, WHAT, Case, changed, setup_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.catalog import hardware
from phibench.core import files, units
from phibench.core.metrics import METRICS
from phibench.core.nouns import Device, Estimate, Goal, Run
from phibench.predict import costs, predictions
from phibench.predict.speed import Knowledge

CLOSE = 1e-9  # of rounding
CHAT = catalog.goal("chat")
THRIFTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def estimates(case: Case, goal: Goal = CHAT, runs: tuple[Run, ...] = ()) -> dict[str, Estimate]:
    setup = case.setup
    backend, sheet = backends.load(setup.backend), costs.cost_sheet(setup)
    need = backend.need(sheet.plan, sheet.shape, goal.context, dict(setup.options), goal.prompt_tokens)
    quantization = next(q for q in catalog.quantizations() if q.id == setup.quantization)
    return predictions.estimates(Knowledge(case.machine, runs), goal, setup, quantization, need)


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
@given(CASES, st.sampled_from(WHAT), st.floats(1, 10))
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
