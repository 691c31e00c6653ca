"""``phibench calibrate``: what this machine does with each tensor type, in a stated time."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from phibench import backends, catalog
from phibench.catalog import builds
from phibench.cli import calibration_plan, choice
from phibench.core import folders, run_files, units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Calibration, Event, Failed, Job, LeftOut, Machine, Measured, Run, Setup, Workload
from phibench.machine import inventory
from phibench.machine.software import software as installed_software
from phibench.measure import calibration, record, run, suites
from phibench.measure.calibration import Piece
from phibench.measure.deadline import Deadline, Spare
from phibench.measure.launch import Workers
from phibench.measure.tasks import Task, prepare
from phibench.predict import learnt
from phibench.predict.speed import Knowledge
from phibench.show import calibration as show
from phibench.show.progress import ProgressDisplay
from phibench.verify import selftest

_MOST_S = 86_400.0
_BEFORE_S = 0.4  # that Python took to come here
_AFTER_S = 1.5  # that fitting and printing take


def budget(text: str, flag: str = "--budget") -> float:
    """``120s``, ``2min``, ``90``. Raises PhibenchError (exit 2) for what is no time, or none at all."""
    found = units.seconds(text, flag)
    if not 0 < found <= _MOST_S:
        raise PhibenchError(f"{flag} {text} is out of range; write a time up to 24h, for example {flag} 120s")
    return found


def calibrate(
    budget_s: float, wanted: Sequence[str], models: Sequence[str], folder: str | None, *, resume: bool, dry: bool,
    output: str, write_out: Callable[[str], None], width: int | None,
) -> int:  # fmt: skip
    """Returns the exit code: 0, or 1 where a slice or an engine failed."""
    began = time.monotonic() - _BEFORE_S
    names, variants = _engines(wanted), [catalog.variant(name).id for name in models]
    machine = inventory.this_machine(matrix_too=True, on_progress=lambda what: _note(f"measuring: {what}"))
    results = folders.results_dir(folder)
    runs = run_files.read_runs(results)[0]
    found = calibration_plan.places(machine, names)
    if not dry:
        machine = selftest.tested(machine, found, _note)
    plan = calibration_plan.planned(
        machine, found, Knowledge(machine, runs), budget_s - (time.monotonic() - began), variants
    )
    likely, late = calibration_plan.in_time(plan, began + budget_s - _AFTER_S - time.monotonic())
    if not likely:
        raise PhibenchError(f"not even one slice can be measured in {units.duration(budget_s)}; give a longer --budget")
    if dry:
        *_, total_s = calibration.totals_s([(piece, seconds) for piece, _, seconds in likely])
        total_s += sum(seconds * task.suite.launches for task, seconds in calibration_plan.again(plan))
        write_out(show.dry(likely, late, min(total_s, budget_s), budget_s, output, width))
        return 0
    done, path, late = execute(plan, began + budget_s - _AFTER_S, results, resume=resume)
    _note(f"results: {path}")
    left_out = (*plan.left_out, *late)
    report = told(plan.machine, runs, done, left_out, time.monotonic() - began, budget_s)
    write_out(show.text(report, output, width))
    for line in _failures(done):
        _note(line)
    return FAILED if plan.broken else record.exit_code((done,))


def around(task: Task, machine: Machine, folder: Path) -> tuple[Run, Path]:
    """A whole file, and slices of its engine in the time that the suite quick would have taken for it alone."""
    known = Knowledge(machine, run_files.read_runs(folder)[0])
    usual = calibration_plan.expected(task, machine, known)
    ends = time.monotonic() + usual.start_s + usual.all_s(1)
    slices, _ = calibration_plan.able(calibration.slices((calibration.place_of(task.setup),), machine), machine, known)
    # the goal's own prompt and an answer behind it, so that both are measured as the goal has them
    suite = calibration.whole(pairs=((catalog.goal("chat").prompt_tokens, task.suite.new_tokens[0]),))
    check = prepare((task.setup,), suite, machine)[0]
    piece = Piece(setup=task.setup, layers=None, suite=suite, teaches=())
    items = (*slices, (piece, check, calibration_plan.expected(check, machine, known)))
    done, path, _ = execute(calibration_plan.Plan(machine=machine, items=items, left_out=()), ends, folder, sure=True)
    return done, path


def execute(
    plan: calibration_plan.Plan, ends: float, folder: Path, *, resume: bool = False, sure: bool = False
) -> tuple[Run, Path, tuple[LeftOut, ...]]:
    """The run, its file, and what there was no time for. ``sure``: see ``Deadline``."""
    suite, software = suites.load("calibrate"), installed_software()
    tasks = [task for _, task, _ in plan.items]
    begun = record.resumable(suite, plan.machine, folder, software) if resume else None
    if resume and begun is None:
        _note("nothing to resume (no calibration with this software on this machine); starting a new one")
    owed = _owed(tasks, begun)
    firsts = [task for task, _, launch in owed if launch == 0]
    again = [task for task, _, launch in owed if launch and task not in firsts]
    timed = [(task, seconds) for _, task, seconds in plan.items]
    kept_s = calibration.AGAIN_SHARE * (ends - time.monotonic())
    deadline = Deadline(timed, ends - kept_s, sure=sure, again=again)
    again_s, spare = calibration_plan.again(plan), None
    with ProgressDisplay(_likely(plan, owed, again_s, ends - time.monotonic())) as display:

        def write(done: int, total: int) -> None:
            display.write(done, total)
            if done >= total:
                deadline.wrote()

        def on_event(job: Job, launch: int, event: Event) -> None:
            display.on_event(job, launch, event)
            (spare or deadline).heard(job, event)

        with Workers() as workers:
            measured = functools.partial(
                run.run, suite=suite, machine=plan.machine, folder=folder, software=software, on_event=on_event,
                write=write, workers=workers,
            )  # fmt: skip
            done, path = measured(tasks, watch=display.watch, begun=begun, deadline=deadline)
            rest = [pair for pair in again_s if _was_measured(done, pair[0])]
            if rest:
                spare = Spare(rest, ends)
                done, path = measured([task for task, _ in rest], begun=(done, path), deadline=spare)
    return done, path, calibration_plan.late_of(plan, deadline.left_out)


def _likely(
    plan: calibration_plan.Plan, owed: Sequence[record.Owed], again_s: Sequence[tuple[Task, float]], left_s: float
) -> list[Workload]:
    """What is measured by what each should take."""
    likely = calibration_plan.in_time(plan, left_s)[0]
    *_, likely_s = [0.0, *calibration.totals_s([(piece, seconds) for piece, _, seconds in likely])]
    tasks = [task for _, task, _ in likely]
    works = [work for task, works, _ in owed if task in tasks for work in works]
    return works + calibration_plan.fitting(again_s, left_s - likely_s)


def _was_measured(done: Run, task: Task) -> bool:
    """Its answers, of this slice."""
    mine = [r for r in done.results if isinstance(r, Measured) and record.is_of(r, task)]
    return any(r.workload in task.suite.workloads() for r in mine)


def _owed(tasks: Sequence[Task], begun: tuple[Run, Path] | None) -> Sequence[record.Owed]:
    """What may be measured, if there is time for all."""
    if begun:
        return record.owed(begun[0], tasks)
    return [(task, task.suite.workloads(), n) for task in tasks for n in range(task.suite.launches)]


def told(
    machine: Machine, runs: Sequence[Run], done: Run, left_out: Sequence[LeftOut], seconds: float, budget_s: float
) -> Calibration:
    """What came of it."""
    others = tuple(one for one in runs if one.id != done.id)
    before, after = Knowledge(machine, others), Knowledge(machine, (*others, done))
    measured = [result.setup for result in done.results if isinstance(result, Measured)]
    places = [_bare(setup) for setup in measured]
    goal = catalog.goal("chat")
    wholes = [setup for place in dict.fromkeys(places) for setup in _builds(place)]
    return Calibration(
        seconds=seconds, budget_s=budget_s, rates=learnt.rates(after, places), checks=learnt.checks(machine, done),
        narrowed=tuple(learnt.narrowed(before, after, wholes, goal.prompt_tokens, goal.prompt_tokens)),
        left_out=tuple(left_out), warnings=done.warnings,
    )  # fmt: skip


def _bare(setup: Setup) -> Setup:
    """One setup for each backend, device and options."""
    quantization = backends.load(setup.backend).QUANTIZATION
    return Setup(
        variant=calibration.HEAD_OF, quantization=quantization, backend=setup.backend, device=setup.device,
        options=setup.options,
    )  # fmt: skip


def _builds(place: Setup) -> list[Setup]:
    """Every quantization that somebody offers a Phi in for this device."""
    rows, kind = catalog.quantizations(backends.load(place.backend).FORMATS[0]), place.device.partition(":")[0]
    offered = [row.id for row in rows if builds.repositories(row.format, row.id, kind)]
    return [msgspec.structs.replace(place, quantization=name) for name in offered]


def _engines(wanted: Sequence[str]) -> tuple[str, ...]:
    """Installed backends: those that were named, or all."""
    if not wanted or [name.lower() for name in wanted] == ["all"]:
        names, lines = choice.engines((), everything=True)
    else:
        names, lines = choice.engines(wanted, everything=False)
        if lines:
            raise PhibenchError("; ".join(lines))
    if not names:
        raise PhibenchError(f"nothing can be measured: {'; '.join(lines or choice.ways_in())}", FAILED)
    return names


def _failures(done: Run) -> list[str]:
    failed = [f"{r.setup} {r.workload}: {r.reason}" for r in done.results if isinstance(r, Failed)]
    return [f"failed: {line}" for line in dict.fromkeys(failed)]


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
