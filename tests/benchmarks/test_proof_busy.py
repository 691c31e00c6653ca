"""The proof of bad conditions: what it counts as held, what as no trial, and that its programs end."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "proofs"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def busy() -> ModuleType:
    return loaded("busy")


@pytest.fixture(scope="module")
def picks(busy: ModuleType) -> ModuleType:
    assert busy
    return loaded("busy_picks")


def trial(busy: ModuleType, before: float, seen: float, most: float, after: float, kinds: str = "r") -> Any:
    return busy.Trial(
        before=dict.fromkeys(kinds, (before, before, before)), busy=dict.fromkeys(kinds, (seen, seen, most)),
        after=dict.fromkeys(kinds, (after, after, after)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "seen", "most", "after", "held"),
    [
        (57, 30, 60, 57, True),
        (57, 30, 50, 57, False),  # it can be more than is said
        (40, 50, 60, 40, False),  # more than there is
        (41, 41, 41, 42, True),
        (57, 30, 60, 34, None),  # the machine wandered between
        (34, 30, 60, 57, None),
    ],
)
def test_what_holds_and_what_is_no_trial(
    busy: ModuleType, before: float, seen: float, most: float, after: float, held: bool | None
) -> None:
    (found,) = busy.judged([trial(busy, before, seen, most, after)], 1.05)
    assert found.get("r") is held


def test_quiet_figures_that_agree_but_lie_far_below_the_best_were_not_quiet(busy: ModuleType) -> None:
    slow, fast = trial(busy, 34, 30, 40, 34), trial(busy, 57, 30, 60, 57)
    assert busy.judged([slow], 1.05) == [{"r": True}]
    assert busy.judged([slow, fast], 1.05) == [{}, {"r": True}]


def test_no_trial_counts_neither_way_and_is_owed_and_told(busy: ModuleType) -> None:
    good, flipped = trial(busy, 57, 30, 60, 57), trial(busy, 57, 30, 60, 34)
    done = busy.Done(read=(good,) * 19 + (flipped,) * 2)
    assert busy.counts(done)["r"] == busy.Count(held=19, trials=19, rejected=2)
    assert busy.owed(done, "read") == 1
    assert "2 more" in busy.told("read", busy.counts(done)["r"])
    assert busy.owed(busy.Done(read=(good,) * 20), "read") == 0
    assert busy.owed(busy.Done(read=(flipped,) * 60), "read") == 0  # never quiet: it ends, and falls short


def test_a_calibration_holds_where_four_fifths_of_its_rates_do(busy: ModuleType) -> None:
    good, bad = trial(busy, 57, 30, 60, 57, "abcd"), trial(busy, 57, 30, 40, 57, "e")
    two_bad = trial(busy, 57, 30, 40, 57, "ef")

    def together(*parts: Any) -> Any:
        sides = ("before", "busy", "after")
        return busy.Trial(**{side: {k: v for part in parts for k, v in getattr(part, side).items()} for side in sides})

    wandered = trial(busy, 57, 30, 60, 34, "efghi")  # more than half of them
    found = [together(good, bad), together(good, two_bad), together(good, wandered)]
    assert busy.counts(busy.Done(calibrate=tuple(found)))["calibrate"] == busy.Count(held=1, trials=2, rejected=1)


def test_the_last_quiet_figures_are_the_first_of_the_next(busy: ModuleType) -> None:
    numbers: Iterator[float] = iter(map(float, range(9)))
    first, second = busy.trials(lambda: {"r": (next(numbers),) * 3}, 2)
    assert (first.before["r"][0], first.busy["r"][0], first.after["r"][0]) == (0, 1, 2)
    assert (second.before["r"][0], second.busy["r"][0], second.after["r"][0]) == (2, 3, 4)


def test_quiet_figures_below_the_best_are_measured_again_before_a_program_starts(busy: ModuleType) -> None:
    numbers: Iterator[float] = iter((34.0, 35.0, 57.0, 30.0, 57.0))
    (found,) = busy.trials(lambda: {"r": (next(numbers),) * 3}, 1, [trial(busy, 57, 30, 60, 57)])
    assert (found.before["r"][0], found.busy["r"][0], found.after["r"][0]) == (57, 30, 57)
    (found,) = busy.trials(lambda: {"r": (34.0,) * 3}, 1, [trial(busy, 57, 30, 60, 57)])
    assert found.before["r"][0] == 34  # it never came: no trial, and not for ever


def test_what_heals_and_what_does_not(busy: ModuleType) -> None:
    answers = {str(n): ("yes", "no", "unknown")[n % 3] for n in range(300)}

    def told(doubted: bool = False, rate: float = 57.0, changed: dict[str, str] | None = None) -> Any:
        return busy.Advice(doubted, rate, {**answers, **(changed or {})})

    quiet, disturbed = told(), told(True, 30)
    assert busy.unhealed(quiet, disturbed, told(), told()) == ""
    assert busy.unhealed(quiet, disturbed, told(True), told()) == "a doubt stayed"
    assert busy.unhealed(quiet, disturbed, told(changed={"0": "no"}), told()) == "answers turned"
    assert busy.unhealed(quiet, told(True, 30, {"0": "no"}), told(), told()) == "a busy no was a yes"
    many = dict.fromkeys(map(str, range(0, 30, 3)), "unknown")
    assert busy.unhealed(quiet, disturbed, told(changed=many), told()) == "answers turned"
    assert (
        busy.unhealed(quiet, disturbed, told(changed=many), told(changed=many)) == ""
    )  # another quiet probe turns as many
    assert busy.unhealed(quiet, disturbed, told(rate=31), told()) is None  # it wandered
    assert busy.unhealed(quiet, told(), told(), told()) is None  # nothing disturbed it


def test_its_programs_end_with_it_however_it_ends(busy: ModuleType) -> None:
    running: list[psutil.Process] = []
    before = {child.pid for child in psutil.Process().children()}  # of other tests

    def interrupted() -> None:
        with busy.hogs(0.1):
            running.extend(child for child in psutil.Process().children() if child.pid not in before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert running
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in running)


def said(picks: ModuleType, pick: str, others: tuple[str, ...] = (), code: int = 0, wall_s: float = 100.0) -> Any:
    return picks.Said(exit_code=code, pick=pick, could_lead=(pick, *others), wall_s=wall_s)


@pytest.mark.parametrize(
    ("quiet", "beside", "wrong"),
    [
        (("a:Q4", "a:Q5"), {"pick": "a:Q4"}, ""),
        (("a:Q4", "a:Q5"), {"pick": "a:Q5", "others": ("a:Q4",)}, ""),
        (
            ("a:Q4", "a:Q5"),
            {"pick": "a:Q5"},
            "busy pick a:Q5, quiet a:Q4, where it could not lead, or the other way round",
        ),
        (("a:Q4",), {"pick": "a:Q5"}, "busy pick a:Q5, quiet a:Q4, where it could not lead, or the other way round"),
        (("a:Q4",), {"pick": "b:Q5", "code": 5}, ""),  # too busy: no pick
        (("a:Q4",), {"pick": "", "code": 0}, "busy: exit code 0, pick none"),
        (("a:Q4",), {"pick": "a:Q4", "code": 1}, "busy: exit code 1, pick a:Q4"),
        (("a:Q4",), {"pick": "a:Q4", "wall_s": 299.0}, "299 s beside the programs, which had ended by then"),
    ],
)
def test_a_pick_beside_programs_is_held_to_the_quiet_one(
    picks: ModuleType, quiet: tuple[str, ...], beside: dict[str, Any], wrong: str
) -> None:
    assert picks.wrong(picks.Trial(quiet=said(picks, quiet[0], quiet[1:]), busy=said(picks, **beside))) == wrong


def test_too_busy_on_a_quiet_machine_is_wrong(picks: ModuleType) -> None:
    one = picks.Trial(quiet=said(picks, "a:Q4", code=5), busy=said(picks, "a:Q4"))
    assert picks.wrong(one) == "too busy to say on a quiet machine"


def test_the_pick_is_the_first_row_of_the_last_advice(picks: ModuleType) -> None:
    printed = "1   phi-2:Q8_0   perhaps\n1 is offered as a/b: c.gguf\nMeasured\n1   phi-4:Q4_K_M   usable\n1 is offered"
    assert picks._PICK.findall(printed) == ["phi-2:Q8_0", "phi-4:Q4_K_M"]
