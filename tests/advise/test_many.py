"""Many machines at once: the answers that each has alone, and equal ones asked once."""

from __future__ import annotations

import msgspec
import pytest
from picks import MACHINES, machine

from phibench import catalog
from phibench.advise.many import best, picks
from phibench.advise.recommend import advise

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
