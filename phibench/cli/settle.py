"""``recommend --settle``: what could change the pick is measured, what decides most first, and the question asked again
after each."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from phibench import backends, catalog
from phibench.advise import ranking, recommend, settling
from phibench.advise.candidates import Narrowed, as_asked
from phibench.cli import calibrate, calibration_plan, choice, options, recalled, waiting
from phibench.cli import run as cli_run
from phibench.cli.answer import Shape, nothing_to_try, say_why
from phibench.cli.quickstart import failures
from phibench.core import folders, units
from phibench.core.errors import INTERRUPTED, PhibenchError
from phibench.core.nouns import Changed, Goal, LeftOut, Machine, Measured, Run, Settled, Setup, Suite, Verdict
from phibench.measure import record, run, suites
from phibench.measure.tasks import Task, prepare
from phibench.predict import costs, media, predictions
from phibench.predict.speed import SAME_WORK, Knowledge
from phibench.show import advice, settled
from phibench.verify import selftest

_NEW = 32  # of an answer, as in the suite quick: so many steps are a fair mean
_NOT_YET = SAME_WORK / 5  # of a step's bytes: a KV cache costs more time than its bytes say (predict/speed.py)
_WAIT_SHARE = 0.25  # of the time: so long at most is waited for a quiet machine before it begins (chosen)
_MARGIN = 1.1  # what launches take longer than they should at times (measure/deadline.py)


def budget(text: str | None, elsewhere: Sequence[str]) -> float | None:
    """Seconds, None where nobody asks. ``elsewhere``: flags of a machine that is not here. Raises PhibenchError."""
    if text is None:
        return None
    if elsewhere:
        raise PhibenchError(f"--settle measures, so it is for this machine alone: leave out {', '.join(elsewhere)}")
    return calibrate.budget(text, "--settle")


def settle(goal: Goal, results: str | None, asked: dict[str, Any], shape: Shape, budget_s: float) -> int:
    """Prints the advice, measures within the time what could change it, and prints what that did. The exit code: of the
    advice, or 1 where a measurement failed."""
    waiting.until_quiet(min(waiting.WAIT_S, _WAIT_SHARE * budget_s), options.note)
    began = time.monotonic()
    machine = options.machine_of(None)
    shown = functools.partial(ranking.shown, top=shape.top, places=shape.places)
    asked = {**asked, "chosen": None if shape.top is None else shown}
    one = Settling(machine, goal, options.stored_runs(results), asked, folders.results_dir(results))
    before = one.verdicts
    if not before:
        raise nothing_to_try(machine)
    width, told = options.width(shape.out), []
    if shape.output in _FOR_PEOPLE:
        told.append(_said(one, before, shape, changed=one.since_last()))
        if not shape.out:  # somebody may be reading while it is measured
            options.emit(told.pop(), None)
            told.append("")
    one.until(began + budget_s)
    found = Settled(
        seconds=round(time.monotonic() - began, 1), budget_s=budget_s, before=before[0].setup, measured=one.measured,
        left_out=one.left_out,
    )  # fmt: skip
    if shape.output in _FOR_PEOPLE:
        told.append(settled.text(found, before, one.verdicts, shape.output, width))
    if shape.output not in _FOR_PEOPLE or one.measured:
        since_last = None if shape.output in _FOR_PEOPLE else one.since_last()
        told.append(_said(one, one.verdicts, shape, found, since_last))
    options.emit("\n".join(told), shape.out)
    one.keep()
    return _code(one)


def _said(
    one: Settling, verdicts: Sequence[Verdict], shape: Shape, found: Settled | None = None,
    changed: Changed | None = None,
) -> str:  # fmt: skip
    return advice.text(
        one.machine, one.told, shape.context, verdicts, shape.top, shape.output, options.width(shape.out),
        uncalibrated=recommend.uncalibrated(verdicts), places=shape.places, settled=found, changed=changed,
    )  # fmt: skip


def _code(one: Settling) -> int:
    for line in failures(one.done) if one.done else ():
        options.note(line)
    code = recommend.outcome(one.verdicts, here=True)
    say_why(code, one.machine, one.verdicts, one.advised)
    return (record.exit_code((one.done,)) if one.done else 0) or code


_FOR_PEOPLE = ("table", "md")


class Settling:
    """The advice, and what was measured for it so far; everything in one run file."""

    def __init__(self, machine: Machine, goal: Goal, runs: Sequence[Run], asked: dict[str, Any], folder: Path) -> None:
        self.machine = machine
        self.done: Run | None = None
        self.left_out: tuple[LeftOut, ...] = ()
        self._path: Path | None = None
        self._tried: list[Setup] = []
        self._only: Narrowed | None = asked["only"]
        self._goal, self._before, self._asked, self._folder = goal, tuple(runs), asked, folder
        self.told = as_asked(goal, **{name: value for name, value in asked.items() if name not in ("only", "chosen")})
        self._tested: set[tuple[str, str]] = set()
        self.verdicts = self.advised(self.machine)

    @property
    def measured(self) -> tuple[Setup, ...]:
        results = self.done.results if self.done else ()
        return tuple(dict.fromkeys(result.setup for result in results if isinstance(result, Measured)))

    @property
    def runs(self) -> tuple[Run, ...]:
        return (*self._before, self.done) if self.done else self._before

    def until(self, ends: float) -> None:
        """Measure until nothing could change the pick, or no time is left for what could."""
        while self._next(ends):
            self.verdicts = self.advised(self.machine)

    def since_last(self) -> Changed | None:
        """What is different since somebody asked the same."""
        return recalled.changed(self._folder, self.machine, self._goal, self._asked, self.runs, self.verdicts)

    def keep(self) -> None:
        recalled.keep(self._folder, self.machine, self._goal, self._asked, self.runs, self.verdicts)

    def advised(self, machine: Machine) -> tuple[Verdict, ...]:
        return recommend.advise(machine, self._goal, self.runs, **self._asked)

    def undecided(self) -> list[Setup]:
        """What could change the pick and was not tried yet."""
        found = settling.undecided(self.machine, self.told, self.runs, self.verdicts, self._only)
        return [verdict.setup for verdict in found if verdict.setup not in self._tried]

    def _next(self, ends: float) -> bool:
        """Whether something was found out: of an engine, or by measuring the first for which there is time."""
        known, left_out = Knowledge(self.machine, self.runs), []
        for setup in self.undecided():
            task = self._planned(setup)
            if isinstance(task, LeftOut):
                left_out.append(task)
                continue
            seconds = calibration_plan.expected(task, self.machine, known)
            should = seconds.all_s(1) + seconds.start_s
            if time.monotonic() + _MARGIN * should > ends:
                reason = f"no time left, about {units.duration(round(should))} are needed"
                left_out.append(LeftOut(what=str(setup), reason=reason, setup=setup, late=True))
                continue
            if not self._is_new(setup):
                self._measure(task, should)
            return True
        self.left_out = (*left_out, *self._unsure())
        return False

    def _unsure(self) -> Iterator[LeftOut]:
        """What could still change the pick, though it was measured now; and that of which nothing says how long a
        measurement takes."""
        asked = (self.machine, self.told, self.runs, self.verdicts, self._only)
        for verdict in settling.undecided(*asked):
            if (setup := verdict.setup) in self._tried:
                doubts = (e.doubt for m, e in verdict.estimates.items() if m in settling.SPEEDS)
                why = next(filter(None, doubts), "its interval is still wide")
                reason = why if setup in self.measured else "its measurement failed"
                yield LeftOut(what=str(setup), reason=reason, setup=setup)
        for verdict in settling.unforeseen(*asked):
            told = next((reason for reason in verdict.unknowns if reason.remedy), "nothing is known about its speed")
            yield LeftOut(what=str(verdict.setup), reason=str(told), setup=verdict.setup)

    def _planned(self, setup: Setup) -> Task | LeftOut:
        """What would be run, or why it cannot be here."""
        backend, left_out = backends.load(setup.backend), functools.partial(LeftOut, what=str(setup), setup=setup)
        if backend.installed() is None:
            return left_out(reason=f"{backend.NAME} is not installed: {backends.install_line(backend)}")
        if setup.device not in selftest.devices(backend, self.machine):
            return left_out(reason=f"the installed build of {backend.NAME} cannot use {setup.device}")
        try:
            task = prepare((setup,), suite(self.told, setup), self.machine)[0]
        except PhibenchError as error:
            return left_out(reason=str(error))
        why = choice.obstacle(task)
        return left_out(reason=why, disk=choice.refused(task) is None) if why else task

    def _is_new(self, setup: Setup) -> bool:
        """Whether a self-test of its engine on its device has just found something that the advice must know."""
        place = (setup.backend, setup.device)
        if place in self._tested:
            return False
        self._tested.add(place)
        before = self.machine
        self.machine = selftest.tested(before, [place], options.note)
        return self.machine != before

    def _measure(self, task: Task, seconds: float) -> None:
        options.note(f"measuring {task.setup}, about {units.duration(seconds)}")
        begun = (self.done, self._path) if self.done and self._path else None
        self._tried.append(task.setup)
        try:
            self.done, self._path = cli_run.execute((task,), task.suite, self.machine, self._folder, begun=begun)
        except run.InterruptedRunError:
            raise PhibenchError(
                "interrupted; what was measured until then is kept, and counts from now on", INTERRUPTED
            ) from None


def suite(goal: Goal, setup: Setup) -> Suite:
    """``quick`` for the use that is asked about: its prompt with the first of its answer, once; and the middle of its
    answer, where that is so far off that a step takes another time."""
    variant = catalog.variant(setup.variant)
    use = predictions.use_of(media.with_tokens(goal, variant), variant)
    pairs = [(use.prompt_tokens, _NEW)]
    sheet = costs.cost_sheet(setup)
    first, middle = (costs.step(sheet, depth).bytes for depth in (use.prompt_tokens + _NEW / 2, use.depth))
    if middle > first * (1 + _NOT_YET):
        pairs.append((round(use.depth - _NEW / 2), _NEW))
    return msgspec.structs.replace(
        suites.load("quick"), name="settle", question=f"Which Phi leads for the goal {goal.id} here?", repetitions=1,
        prompt_tokens=(), new_tokens=(), pairs=tuple(pairs),
    )  # fmt: skip
