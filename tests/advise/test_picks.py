"""The advice beside what an expert would say: 39 machines, of which only the data sheets are known."""

from __future__ import annotations

import functools

import pytest
from picks import MACHINES, PICKS, Pick, machine

from phibench import catalog
from phibench.advise import recommend
from phibench.core.nouns import Verdict


@functools.cache
def advised(name: str, goal: str) -> tuple[Verdict, ...]:
    return recommend.advise(machine(name), catalog.goal(goal), ())


@pytest.mark.parametrize("pick", PICKS, ids=lambda pick: f"{pick.machine}, {pick.goal}")
def test_the_first_row_is_what_an_expert_would_take(pick: Pick) -> None:
    first = advised(pick.machine, pick.goal)[0]
    assert first.level in pick.levels, (str(first.setup), first.objections, first.unknowns)
    if pick.variants:
        assert first.setup.variant in pick.variants, str(first.setup)
        assert first.setup.quantization in pick.builds, str(first.setup)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("goal", [goal.id for goal in catalog.goals()])
def test_nobody_is_told_to_run_what_does_not_fit(name: str, goal: str) -> None:
    """A yes has room in every memory that it takes from, for the whole context, and the reserve is left."""
    place = machine(name)
    for verdict in advised(name, goal):
        if verdict.verdict == "yes":
            device = place.device(verdict.setup.device)
            assert device is not None
            needs = {"host_needed_bytes": place.limits.free_bytes, "device_peak_bytes": device.free_bytes}
            for metric, free in needs.items():
                if free is not None and metric in verdict.estimates:
                    assert verdict.estimates[metric].high <= free, str(verdict.setup)


@pytest.mark.parametrize("name", [*MACHINES][::4])
@pytest.mark.parametrize("goal", ["chat", "math", "long-context", "vision"])
def test_what_is_usable_says_why_it_is_no_comfort_and_nothing_else_does(name: str, goal: str) -> None:
    for verdict in advised(name, goal):
        assert bool(verdict.discomfort) == (verdict.level == "usable"), str(verdict.setup)
        if any(option in ("n_gpu_layers", "n_cpu_moe") for option, _ in verdict.setup.options):
            assert verdict.discomfort in ("", "split over two memories", "it does not think before it answers")


def test_the_table_is_as_large_as_it_has_to_be() -> None:
    assert len(PICKS) >= 60
    assert {pick.machine for pick in PICKS} == set(MACHINES)
    assert {pick.goal for pick in PICKS} == {goal.id for goal in catalog.goals()}
    assert not [pick for pick in PICKS if {*pick.levels} == {"comfortable", "usable", "perhaps", "no"}]
