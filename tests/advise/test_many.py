"""Many machines at once: the answers that each has alone, and equal ones asked once."""

from __future__ import annotations

from typing import Any

import fakes
import msgspec
import pytest
from picks import MACHINES, machine

from phibench import catalog
from phibench.advise import ranking
from phibench.advise.many import best, of_each_variant, picks
from phibench.advise.recommend import advise
from phibench.catalog import hardware
from phibench.core.nouns import Goal
from phibench.machine import described

GOALS = ("chat", "math", "vision", "code")


@pytest.mark.parametrize("name", [*MACHINES][::3])
def test_the_best_is_the_first_of_all(name: str) -> None:
    place = machine(name)
    for goal in map(catalog.goal, GOALS):
        assert best(place, goal, ()) == advise(place, goal, ())[0], goal.id


@pytest.mark.parametrize("asked", [{"min_tps": 40.0}, {"min_tps": 1e5}, {"context": 32768}, {"max_ttft": 0.2}])
def test_the_best_is_the_first_of_all_whatever_is_asked(asked: dict[str, float]) -> None:
    place, goal = machine("laptop with 8 GB GPU"), catalog.goal("chat")
    assert best(place, goal, (), **asked) == advise(place, goal, (), **asked)[0]  # type: ignore[arg-type]


def test_equal_machines_are_asked_once() -> None:
    place, other = machine("laptop, 16 GB"), machine("M2, 16 GB")
    again = msgspec.structs.replace(place, name="another name")
    heard: list[tuple[int, int]] = []
    found = picks((place, other, again), catalog.goal("chat"), (), lambda done, of: heard.append((done, of)))
    assert heard == [(1, 2), (2, 2)]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("goal", ["chat", "long-context", "reasoning"])
def test_cards_beside_one_processor_have_the_answers_that_each_has_alone(goal: str) -> None:
    asks = catalog.goal(goal)
    cards = [row for row in hardware.rows() if row.kind == "gpu-desktop"][::9]
    machines = [described.machine_of(gpu=row).machine for row in cards]
    assert len({str(machine.device("cpu")) for machine in machines}) == 1
    assert list(picks(machines, asks, ())) == [advise(machine, asks, ())[0] for machine in machines]


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize("name", ["Pi 5, 8 GB", "laptop with 8 GB GPU", "H100"])
def test_of_those_that_are_shown_all_is_said_and_the_others_stand_where_they_stood(name: str, top: int) -> None:
    place, goal = machine(name), catalog.goal("chat")
    whole = advise(place, goal, ())
    found = advise(place, goal, (), chosen=lambda verdicts: ranking.shown(verdicts, top))
    assert ranking.shown(found, top) == ranking.shown(whole, top)
    assert [(v.setup, v.level) for v in found] == [(v.setup, v.level) for v in whole]
    assert found != whole


@pytest.mark.parametrize("asked", [{}, {"context": 32768}, {"min_tps": 25.0}], ids=str)
@pytest.mark.parametrize("name", ["laptop, 16 GB", "laptop with 8 GB GPU", "RTX 4090", "M3 Max, 64 GB"])
def test_the_first_of_each_variant_without_the_others(name: str, asked: dict[str, Any]) -> None:
    place = machine(name)
    for goal in catalog.goals():
        every = advise(place, goal, (), **asked) if fits(goal, asked) else ()
        found = of_each_variant(place, goal, (), top=5, **asked) if every else None
        if every and every[0].verdict == "yes":
            assert found is not None
            assert ranking.shown(found, 5) == ranking.shown(every, 5), goal.id
            assert [v.setup for v in found] == [v.setup for v in ranking.shown(every, 99)]
        else:
            assert found is None


def fits(goal: Goal, asked: dict[str, Any]) -> bool:
    """A goal that trains, or reads more than is asked for, takes no such flags."""
    return not goal.training or "context" not in asked


def test_what_was_measured_may_lead_whatever_was_hoped() -> None:
    place = machine("laptop, 16 GB")
    seen = msgspec.structs.replace(fakes.run(), machine=place)
    assert of_each_variant(place, catalog.goal("chat"), (seen,), top=5) is None
    assert of_each_variant(place, catalog.goal("chat"), (fakes.run(),), top=5) is not None
