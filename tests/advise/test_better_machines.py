"""What holds of every advice, whatever the machine: a better one is never told a worse Phi."""

from __future__ import annotations

import os
import random
from typing import Any

import msgspec
import pytest
from generated import CASES, WHAT, Case, changed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench import catalog
from phibench.advise import many, ranking, recommend
from phibench.catalog import builds
from phibench.core.nouns import Build, Goal, Machine, Verdict
from phibench.predict import costs, offload
from phibench.show import advice

# 2,000 in the proof (benchmarks/proofs/recommendations.py)
MANY = settings(
    max_examples=int(os.environ.get("PHIBENCH_EXAMPLES", "100")), deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
FEW = settings(MANY, max_examples=MANY.max_examples // 4)
GOALS = st.sampled_from([goal.id for goal in catalog.goals()])


def asked(machine: Machine, goal: str) -> tuple[Goal, tuple[Verdict, ...]]:
    found = catalog.goal(goal)
    return found, recommend.advise(machine, found, ())


def usable(verdicts: tuple[Verdict, ...]) -> set[str]:
    """Builds on a device; how it is split, and with which KV cache, is advice and not asked for."""
    left_open = (*offload.OPTIONS, *costs.KV_OPTIONS)
    found = (verdict.setup for verdict in verdicts if verdict.verdict == "yes")
    return {
        str(msgspec.structs.replace(setup, options=tuple(o for o in setup.options if o[0] not in left_open)))
        for setup in found
    }


def _rounded(part: Any) -> Any:
    """Nine digits: the last ones are noise of the arithmetic."""
    if isinstance(part, tuple):
        return tuple(map(_rounded, part))
    return float(f"{part:.9g}") if isinstance(part, float) else part


@MANY
@given(CASES, GOALS, st.sampled_from(WHAT), st.floats(1, 10))
def test_a_better_machine_never_gets_a_worse_pick(case: Case, goal: str, what: str, by: float) -> None:
    asks, before = asked(case.machine, goal)
    after = asked(changed(case.machine, case.setup.device, what, by), goal)[1]
    was, now = (_rounded(ranking.order_key(asks, found[0])[: ranking.PARTS]) for found in (before, after))
    assert now <= was, (before[0].setup, after[0].setup)
    assert usable(before) <= usable(after)


@FEW
@given(CASES, GOALS, st.sampled_from(["decode_tps", "ttft_s", "answer_s", "quant_kld"]), st.floats(1, 10))
def test_a_stricter_limit_never_adds_a_candidate(case: Case, goal: str, metric: str, by: float) -> None:
    asks, loose = asked(case.machine, goal)
    if metric not in asks.limits:
        return
    stricter = asks.limits[metric] * by if metric == "decode_tps" else asks.limits[metric] / by
    strict = recommend.advise(case.machine, msgspec.structs.replace(asks, limits={**asks.limits, metric: stricter}), ())
    assert usable(strict) <= usable(loose)


@FEW
@given(CASES, GOALS, st.integers(0, 1 << 30))
def test_a_variant_more_or_a_build_more_never_makes_the_pick_worse(case: Case, goal: str, seed: int) -> None:
    chance = random.Random(seed)
    some = tuple(v for v in catalog.variants() if chance.random() < 0.7) or catalog.variants()[:1]
    offered, left_out = builds.offered, set[tuple[str, str, str]]()

    def fewer(variant: str, fmt: str, quantization: str, kind: str) -> Build | None:
        key = (variant, fmt, quantization)
        if random.Random(f"{seed}{key}").random() < 0.3:
            left_out.add(key)
            return None
        return offered(variant, fmt, quantization, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "variants", lambda: some)
        patch.setattr(builds, "offered", fewer)
        asks, before = asked(case.machine, goal)
    after = asked(case.machine, goal)[1]
    if before:
        assert ranking.order_key(asks, after[0])[: ranking.PARTS] <= ranking.order_key(asks, before[0])[: ranking.PARTS]


@FEW
@given(CASES, GOALS)
def test_same_inputs_give_the_same_bytes(case: Case, goal: str) -> None:
    asks, one = asked(case.machine, goal)
    other = asked(case.machine, goal)[1]
    assert one == other
    assert advice.text(case.machine, asks, asks.context, one, 5, "json") == advice.text(
        case.machine, asks, asks.context, other, 5, "json"
    )


@FEW
@given(CASES, GOALS)
def test_the_best_that_is_searched_for_is_the_first_of_all(case: Case, goal: str) -> None:
    _, every = asked(case.machine, goal)
    assert many.best(case.machine, catalog.goal(goal), ()) == every[0]
