"""What could change the pick: whatever is measured, the new pick was named before, or the old one was."""

from __future__ import annotations

import os
import random
from typing import Any

import fakes
import generated
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phibench import catalog
from phibench.advise import ranking, recommend, settling
from phibench.advise.candidates import Narrowed, candidates
from phibench.advise.weighing import Scales
from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate, Goal, Machine, Verdict
from phibench.predict.speed import Knowledge

EXAMPLES = int(os.environ.get("PHIBENCH_EXAMPLES", "100")) // 4
FEW = Narrowed(
    variants=("phi-4", "phi-4-mini-instruct", "phi-3.5-mini-instruct"),
    quantizations=("Q4_K_M", "Q4_0", "Q8_0", "int4", "bf16"),
)
ONE = msgspec.structs.replace(FEW, variants=("phi-4-mini-instruct",))


class Weighed:
    """Candidates whose estimates a test chooses."""

    def __init__(self, machine: Machine, goal: Goal, only: Narrowed) -> None:
        self.machine, self.goal, self._only = machine, goal, only
        self._scales = Scales(Knowledge(machine), goal)
        self._of = {one.setup: one for one in candidates(machine, goal, (), only)}

    def advice(self) -> tuple[Verdict, ...]:
        return recommend.advise(self.machine, self.goal, (), only=self._only)

    def again(self, verdict: Verdict, estimates: dict[str, Estimate]) -> Verdict:
        one = self._of[msgspec.structs.replace(verdict.setup, options=())]
        return self._scales.judged(one, verdict.setup, estimates)

    def ordered(self, verdicts: list[Verdict]) -> tuple[Verdict, ...]:
        return tuple(sorted(verdicts, key=lambda v: ranking.order_key(self.goal, v)))


def narrower(verdict: Verdict, width: float, *, known: bool) -> dict[str, Estimate]:
    """Its intervals times ``width``; ``known``: both speeds were measured."""

    def told(e: Estimate) -> Estimate:
        low, high = (e.value * (end / e.value) ** width for end in (e.low, e.high))
        return msgspec.structs.replace(e, low=low, high=high, **({"basis": "measured", "doubt": ""} if known else {}))

    return {m: told(e) if m in settling.SPEEDS else e for m, e in verdict.estimates.items()}


def at_the_end(verdict: Verdict, better: bool) -> dict[str, Estimate]:
    """All that nobody measured at one end of its interval; at the better one it was measured."""

    def told(metric: str, e: Estimate) -> Estimate:
        if e.basis == "measured":
            return e
        value = e.high if better == (METRICS[metric].better == "higher") else e.low
        new: dict[str, Any] = {"basis": "measured", "doubt": ""} if better else {}
        return msgspec.structs.replace(e, value=value, low=value, high=value, **new)

    return {m: told(m, e) if m in settling.SPEEDS else e for m, e in verdict.estimates.items()}


def drawn(verdict: Verdict, rng: random.Random) -> dict[str, Estimate]:
    """Somewhere in each interval; or as before."""
    if settling.is_measured(verdict) or rng.random() < 0.2:
        return verdict.estimates
    measured = rng.random() < 0.5

    def told(e: Estimate) -> Estimate:
        if e.basis == "measured":
            return e
        value = rng.choice((e.low, e.high, rng.uniform(e.low, e.high)))
        new: dict[str, Any] = {"basis": "measured", "doubt": ""} if measured else {}
        return msgspec.structs.replace(e, value=value, low=value, high=value, **new)

    return {m: told(e) if m in settling.SPEEDS else e for m, e in verdict.estimates.items()}


@settings(max_examples=EXAMPLES)
@given(
    case=generated.probed(("cpu", "cuda:0", "vulkan:0")), goal=st.sampled_from(("chat", "code", "batch", "edge")),
    only=st.sampled_from((FEW, ONE)), seed=st.integers(0, 1 << 30), width=st.sampled_from((0.1, 1.0)),
    seen=st.sampled_from((0.0, 0.5, 1.0)),
)  # fmt: skip
def test_whoever_leads_after_a_measurement_was_named_before_it_or_the_pick_was(
    case: generated.Case, goal: str, only: Narrowed, seed: int, width: float, seen: float
) -> None:
    """So where nobody is named, no draw of values inside the intervals changes the pick."""
    rng, of = random.Random(seed), Weighed(case.machine, catalog.goal(goal), only)
    first, *rest = of.advice()
    known = {v.setup for v in rest if rng.random() < seen}
    verdicts = of.ordered(
        [of.again(v, narrower(v, width, known=v.setup in known)) if not v.hard else v for v in (first, *rest)]
    )
    named = {v.setup for v in settling.undecided(of.machine, of.goal, (), verdicts, only)}
    assert not any(settling.is_measured(v) or v.hard for v in verdicts if v.setup in named)
    for _ in range(5):
        after = of.ordered([of.again(v, drawn(v, rng)) if not v.hard else v for v in verdicts])
        if after[0].setup != verdicts[0].setup:
            assert {after[0].setup, verdicts[0].setup} & named
    fallen = of.again(verdicts[0], at_the_end(verdicts[0], better=False))
    for verdict in (v for v in verdicts[1:] if not v.hard):
        lucky = of.again(verdict, at_the_end(verdict, better=True))
        leads = of.ordered([lucky, fallen])[0] is lucky
        if settling.is_measured(verdict):
            assert not leads or settling.is_measured(verdicts[0]) or verdicts[0].setup in named
        else:
            assert leads == (verdict.setup in named)


@pytest.mark.parametrize("goal", ["fine-tuning", "speech"])
def test_where_no_speed_or_only_one_candidate_counts_nothing_is_undecided(goal: str) -> None:
    machine = fakes.machine()
    asked = catalog.goal(goal)
    verdicts = recommend.advise(machine, asked, ())
    assert settling.undecided(machine, asked, (), verdicts) == ()


def test_nothing_is_undecided_of_nothing() -> None:
    assert settling.undecided(fakes.machine(), catalog.goal("chat"), (), ()) == ()
