"""``phibench calibrate``: what this machine does with each tensor type, in a stated time."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from phibench import backends, catalog
from phibench.analysis import trust
from phibench.cli import choice
from phibench.core import folders, run_files, units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import (
    Calibration,
    Event,
    Failed,
    Job,
    LeftOut,
    Machine,
    Measured,
    Noun,
    Run,
    Setup,
    Suite,
    Workload,
)
from phibench.machine import inventory
from phibench.machine.software import software as installed_software
from phibench.measure import calibration, record, run, suites
from phibench.measure.calibration import Piece, Place, Seconds
from phibench.measure.deadline import Deadline, Spare
from phibench.measure.launch import Workers, stays
from phibench.measure.tasks import Task, prepare
from phibench.predict import learnt, run_time
from phibench.predict.speed import Knowledge
from phibench.show import calibration as show
from phibench.show.progress import ProgressDisplay
from phibench.synth import cache
from phibench.verify import selftest

_MOST_S = 86_400.0
_BEFORE_S = 0.4  # that Python took to come here
_AFTER_S = 1.5  # that fitting and printing take
_START_S = 0.5  # of a worker, without its engine
# Measured on two cores with a virtual disk; a launch that takes longer corrects what is expected of the next.
_WRITE_BYTES_S, _WRITE_START_S, _OPEN_BYTES_S, _OPEN_START_S = 300e6, 0.4, 1.5e9, 0.1

Item = tuple[Piece, Task, Seconds]


class Plan(Noun, frozen=True, kw_only=True):
    """What is measured, in order, the check before what says less than it; and in words what is not."""

    machine: Machine
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    broken: bool = False  # an engine that was asked for cannot be used


def budget(text: str) -> float:
    """``120s``, ``2min``, ``90``. Raises PhibenchError (exit 2) for what is no time, or none at all."""
    found = units.seconds(text, "--budget")
    if not 0 < found <= _MOST_S:
        raise PhibenchError(f"--budget {text} is out of range; write a time up to 24h, as --budget 120s")
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
    found = places(machine, names)
    if not dry:
        machine = selftest.tested(machine, found, _note)
    plan = planned(machine, found, Knowledge(machine, runs), budget_s - (time.monotonic() - began), variants)
    likely, late = _in_time(plan, began + budget_s - _AFTER_S - time.monotonic())
    if not likely:
        raise PhibenchError(f"not one slice is done in {units.duration(budget_s)}; give a longer --budget")
    if dry:
        *_, total_s = calibration.totals_s([(piece, seconds) for piece, _, seconds in likely])
        total_s += sum(seconds * task.suite.launches for task, seconds in _again(plan))
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


def places(machine: Machine, names: Sequence[str]) -> tuple[Place, ...]:
    """Of these backends each device that the installed build reaches and can use, the usual backend's first."""
    unusable = {d.kind for d in machine.devices if any(problem.kind == "unusable" for problem in d.problems)}
    ordered = sorted(names, key=backends.in_order().index)
    reached = [(name, kind) for name in ordered for kind in selftest.devices(backends.load(name), machine)]
    return tuple((name, kind) for name, kind in reached if kind not in unusable)


def planned(
    machine: Machine, found: Sequence[Place], known: Knowledge, left_s: float, models: Sequence[str] = ()
) -> Plan:
    """What would be measured if there were time, and the check that the seconds that are left allow.

    Raises PhibenchError (exit 1) where nothing can be.
    """
    left_out: list[LeftOut] = []
    broken, usable = False, []
    for backend, device in found:
        setup = Setup(variant=calibration.HEAD_OF, quantization="", backend=backend, device=device)
        if why := trust.objection(setup, machine):
            left_out.append(LeftOut(what=f"{backend}/{device}", reason=why, setup=setup))
            broken = True
        else:
            usable.append((backend, device))
    pieces, refused = _able(calibration.slices(usable, machine, models), machine, known)
    wholes, _ = _able(calibration.wholes(usable, models), machine, known)
    check = calibration.checked([(piece, seconds) for piece, _, seconds in wholes], left_s)
    checks = [item for item in wholes if check and item[0] == check[0]]
    if not pieces:
        what = "; ".join(map(str, (*left_out, *refused)))
        raise PhibenchError(f"nothing can be measured here: {what}", FAILED)
    if wholes and not checks:
        left_out.append(LeftOut(what="a whole file as a check", reason="no time", late=True))
    # not at the very end: what takes longer than it should must not cost the check
    of_all = sum(math.isinf(piece.worth) for piece, _, _ in pieces)
    items = (*pieces[:of_all], *checks, *pieces[of_all:])
    return Plan(machine=machine, items=items, left_out=(*left_out, *refused), broken=broken)


def _in_time(plan: Plan, left_s: float) -> tuple[tuple[Item, ...], tuple[LeftOut, ...]]:
    """What is done in the seconds that are left by what each should take, and all that is left out."""
    left_s *= 1 - calibration.AGAIN_SHARE
    slices = [item for item in plan.items if item[0].layers is not None]
    checks = [item for item in plan.items if item[0].layers is None]
    room = left_s - sum(seconds.all_s(piece.suite.launches) for piece, _, seconds in checks)
    count = calibration.fitting([(piece, seconds) for piece, _, seconds in slices], room)
    late = [_late(piece) for piece, _, _ in slices[count:]]
    return (*slices[:count], *checks), (*plan.left_out, *late)


def _able(pieces: Sequence[Piece], machine: Machine, known: Knowledge) -> tuple[list[Item], list[LeftOut]]:
    """Those that memory and disk have room for, with what they should take, what teaches most in a second first; and
    why not of the others."""
    able: list[Item] = []
    refused: list[LeftOut] = []
    for piece in pieces:
        setup = trust.with_options(piece.setup, machine)
        task = prepare((setup,), piece.suite, machine, layers=piece.layers)[0]
        room = cache.room_bytes(choice.DISK_RESERVE_BYTES)
        why = task.objection or next((refusal for _, refusal in task.refused), None)
        reason = why.reason if why else ""
        if task.write_bytes > room and not why:
            reason = f"needs {units.gb(task.write_bytes)} of disk, {units.gb(room)} can be had"
        if reason:
            refused.append(LeftOut(what=piece.name, reason=reason, setup=setup))
        else:
            able.append((piece, task, expected(task, machine, known)))
    able.sort(key=lambda item: -item[0].worth / item[2].all_s(item[0].suite.launches))
    return able, refused


def expected(task: Task, machine: Machine, known: Knowledge) -> Seconds:
    """What writing its file and one launch of it should take, and starting its worker."""
    tested = trust.of(machine, task.setup.backend, task.setup.device)
    assert task.plan is not None
    start = _START_S + (tested.import_s if tested else 1.0)
    opening = _OPEN_START_S + task.plan.weights_bytes / _OPEN_BYTES_S
    estimate = run_time.estimate_s(task.setup, _once(task), task.workloads(), task.layers, known)
    measuring = estimate.value if estimate else start
    write = _WRITE_START_S + task.write_bytes / _WRITE_BYTES_S if task.write_bytes else 0.0
    if stays(task.setup):
        return Seconds(write_s=write, launch_s=opening + measuring, start_s=start)
    return Seconds(write_s=write, launch_s=start + opening + measuring)


def _once(task: Task) -> Suite:
    return msgspec.structs.replace(task.suite, launches=1)


def around(task: Task, machine: Machine, folder: Path) -> tuple[Run, Path]:
    """A whole file, and slices of its engine in the time that the suite quick would have taken for it alone."""
    known = Knowledge(machine, run_files.read_runs(folder)[0])
    usual = expected(task, machine, known)
    ends = time.monotonic() + usual.start_s + usual.all_s(1)
    slices, _ = _able(calibration.slices((calibration.place_of(task.setup),), machine), machine, known)
    # the goal's own prompt and an answer behind it, so that both are measured as the goal has them
    suite = calibration.whole(pairs=((catalog.goal("chat").prompt_tokens, task.suite.new_tokens[0]),))
    check = prepare((task.setup,), suite, machine)[0]
    piece = Piece(setup=task.setup, layers=None, suite=suite, teaches=())
    items = (*slices, (piece, check, expected(check, machine, known)))
    done, path, _ = execute(Plan(machine=machine, items=items, left_out=()), ends, folder, sure=True)
    return done, path


def execute(
    plan: Plan, ends: float, folder: Path, *, resume: bool = False, sure: bool = False
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
    likely = _in_time(plan, ends - time.monotonic())[0]
    *_, likely_s = calibration.totals_s([(piece, seconds) for piece, _, seconds in likely])
    again_s = _again(plan)
    spare: Spare | None = None
    works = [work for task, works, _ in owed if task in [task for _, task, _ in likely] for work in works]
    with ProgressDisplay([*works, *_fitting(again_s, ends - time.monotonic() - likely_s)]) as display:

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
    pieces = {(task.setup, task.layers, task.suite): piece for piece, task, _ in plan.items}
    late = [_late(pieces[task.setup, task.layers, task.suite], launch) for task, launch in deadline.left_out]
    return done, path, tuple(late)


def _again(plan: Plan) -> list[tuple[Task, float]]:
    """What is measured again while there is time, and the seconds that a launch should take."""
    known, found = Knowledge(plan.machine), []
    for piece, task, _ in plan.items:
        if piece.again:
            shorter = msgspec.structs.replace(task, suite=calibration.answers(piece))
            found.append((shorter, expected(shorter, plan.machine, known).launch_s))
    return found


def _fitting(again_s: Sequence[tuple[Task, float]], left_s: float) -> list[Workload]:
    """What there should be time for, all in turns."""
    found: list[Workload] = []
    for task, seconds in [pair for _ in range(calibration.AGAIN) for pair in again_s]:
        left_s -= seconds
        if left_s < 0:
            break
        found += task.suite.workloads()
    return found


def _was_measured(done: Run, task: Task) -> bool:
    """Its answers, of this slice."""
    mine = [r for r in done.results if isinstance(r, Measured) and r.setup == task.setup]
    return any(r.artifact.layers == task.layers and r.workload in task.suite.workloads() for r in mine)


def _late(piece: Piece, launch: int = 0) -> LeftOut:
    reason = "no time for its second launch" if launch else "no time"
    return LeftOut(what=piece.name, reason=reason, setup=piece.setup, late=True)


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
    """Every build that somebody publishes."""
    rows = catalog.quantizations(backends.load(place.backend).FORMATS[0])
    return [msgspec.structs.replace(place, quantization=row.id) for row in rows if row.published]


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
