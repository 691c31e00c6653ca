"""The record of a run: what is owed, what came of it, and what speaks against it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from phibench.analysis import trust
from phibench.core import files, run_files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.metrics import metered
from phibench.core.nouns import Conditions, Failed, Machine, Measured, Result, Run, Setup, Suite, Workload
from phibench.core.nouns.conditions import Stored, stored
from phibench.core.units import now
from phibench.measure.tasks import Task
from phibench.probe import conditions, other_programs

Owed = tuple[Task, tuple[Workload, ...], int]  # with the launch


def owed(done: Run, tasks: Sequence[Task]) -> tuple[Owed, ...]:
    """What is still to be measured, in order: setups take turns, A B then B A, so that a drift favours nobody.

    A task whose own suite has fewer launches than others takes part in the first ones.
    """
    found = []
    for launch in range(max((task.suite.launches for task in tasks), default=0)):
        for task in tasks if launch % 2 == 0 else reversed(tasks):
            if launch >= task.suite.launches:
                continue
            have = {r.workload for r in done.results if isinstance(r, Measured) and _is_of(r, task, launch)}
            if left := tuple(w for w in task.suite.workloads() if w not in have):
                found.append((task, left, launch))
    return tuple(found)


def in_turns(launches: Sequence[Owed], tasks: Sequence[Task]) -> tuple[Owed, ...]:
    """Turns in the tasks' own order, for a deadline: what says most comes first in each, and launches lie far apart."""
    return tuple(sorted(launches, key=lambda one: (one[2], tasks.index(one[0]))))


def resumable(suite: Suite, machine: Machine, folder: Path, software: dict[str, str]) -> tuple[Run, Path] | None:
    """The newest run of the same suite, with the same software, on this machine; None where there is none."""
    for path in sorted((folder / machine.slug).glob("*.json"), reverse=True):
        with contextlib.suppress(PhibenchError):
            old = run_files.read_run(path)
            same = old.suite == suite and old.software == software and old.machine.identity == machine.identity
            if same and not old.example:
                return old, path
    return None


def of_places(machine: Machine, tasks: Sequence[Task]) -> Machine:
    """With the self-tests of what is used here alone: a run is made to be shared."""
    places = {(task.setup.backend, task.setup.device) for task in tasks}
    own = tuple(one for one in machine.selftests if (one.backend, one.device) in places)
    return msgspec.structs.replace(machine, selftests=own)


def trust_conditions(machine: Machine, tasks: Sequence[Task]) -> dict[str, str]:
    """What came of every engine that was tested before it was used, or could not be, by backend and device."""
    forced = {(task.setup.backend, task.setup.device) for task in tasks if task.force}
    found = {}
    for one in machine.selftests:
        against = not one.usable and (one.backend, one.device) in forced
        said = trust.sentence(one) or "passed"
        found[f"{one.backend}_{one.device}"] = f"{said}; run anyway (--force)" if against else said
    return found


def judged(run: Run, before: Conditions, earlier: tuple[str, ...], trusted: dict[str, str]) -> Run:
    """The run with the conditions around it, and what they say against it; ``earlier``: before it was resumed."""
    after = conditions.look(busy_s=0, gpu=uses_gpu(result.setup for result in run.results))
    had = stored(run.conditions)
    seen = Stored(before=had.before or before.texts(), selftest={**had.selftest, **trusted}, after=after.texts())
    around, disturbed = conditions.warnings(before, after, opened_bytes=_opened(run)), disturbances(run)
    return msgspec.structs.replace(
        run, conditions=seen.flat(), warnings=tuple(dict.fromkeys((*earlier, *around, *disturbed))),
        disturbed=disturbed or msgspec.UNSET,
    )  # fmt: skip


def earlier_warnings(run: Run) -> tuple[str, ...]:
    """Of a run that goes on: all but those of busy programs, which are told anew. Older files do not name them."""
    told = disturbances(run) if run.disturbed is msgspec.UNSET else run.disturbed
    return tuple(line for line in run.warnings if line not in told)


def disturbances(run: Run) -> tuple[str, ...]:
    """By busy programs, which cost a suite that watches memory nothing: it quotes no time."""
    if metered(run.suite.metrics, "memory"):
        return ()
    return other_programs.told(run.results, run.machine.limits.cpus)


def _opened(run: Run) -> int:
    """Bytes of the files that workers have opened: one worker per setup and launch, and one more after a failure."""
    opened = {(r.setup, r.launch): r.artifact.bytes for r in run.results if r.artifact and r.artifact.path}
    again = sum(r.artifact.bytes for r in run.results if isinstance(r, Failed) and r.artifact and r.artifact.path)
    return sum(opened.values()) + again


def uses_gpu(setups: Iterable[Setup]) -> bool:
    """What goes on on GPUs says nothing against a run that uses none."""
    return any(setup.device != "cpu" for setup in setups)


def start(suite: Suite, machine: Machine, folder: Path, software: dict[str, str]) -> tuple[Run, Path]:
    """A fresh run whose file exists already: two runs that start in one second get two names."""
    started = now()
    stamp = started.replace("-", "").replace(":", "")
    for number in itertools.count(1):
        name = stamp if number == 1 else f"{stamp}-{number}"
        fresh = Run(id=name, started=started, suite=suite, machine=machine, software=software)
        path = run_files.run_path(folder, fresh)
        if run_files.reserve(path):
            files.write_json(path, fresh)
            return fresh, path
    raise AssertionError  # itertools.count never ends


def _is_of(result: Result, task: Task, launch: int) -> bool:
    return result.launch == launch and is_of(result, task)


def is_of(result: Result, task: Task) -> bool:
    """The same setup, and the same file: a slice or a real file is not the synthetic whole."""
    if result.setup != task.setup:
        return False
    had, wanted = result.artifact, task.artifact
    if had is None or task.plan is None:
        return True
    if wanted is not None:
        return (had.path, had.bytes, had.weights) == (Path(wanted.path).name, wanted.bytes, wanted.weights)
    whole = task.plan.of_layers
    return had.weights == "synthetic" and (had.layers or whole) == (task.layers or whole)


def with_result(run: Run, task: Task, result: Result) -> Run:
    """The run with one more result; a failure that was tried again is replaced."""
    kept = tuple(r for r in run.results if r.workload != result.workload or not _is_of(r, task, result.launch))
    return msgspec.structs.replace(run, results=(*kept, result))


def exit_code(runs: Sequence[Run]) -> int:
    """1 when a requested measurement failed, or when nothing at all could be measured.

    What this machine has no meter for is no failure beside other figures: its row says "unavailable" and the remedy.
    """
    results = [result for run in runs for result in run.results]
    failed = [r for r in results if isinstance(r, Failed)]
    broken = [r for r in failed if r.cause != "unavailable"]
    return FAILED if broken or len(failed) == len(results) else 0
