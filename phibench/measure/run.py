"""A suite over setups: a worker process per setup and launch; what a dead worker still owed becomes Failed.

The run file is written whole after every result, so a crash of anything costs at most the sample under way.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from phibench import catalog
from phibench.core import files
from phibench.core.errors import INTERRUPTED, PhibenchError
from phibench.core.metrics import metered
from phibench.core.nouns import Artifact, Cause, Event, Failed, Job, Machine, Result, Run, Setup, Suite, Workload
from phibench.core.text import scrub
from phibench.core.units import now
from phibench.measure import launch as launched
from phibench.measure import memory_check
from phibench.measure.deadline import Deadline, Spare
from phibench.measure.record import (
    Owed,
    earlier_warnings,
    in_turns,
    judged,
    of_places,
    owed,
    start,
    trust_conditions,
    uses_gpu,
    with_result,
)
from phibench.measure.tasks import NO_FILE, Refusal, Task, too_big
from phibench.probe import conditions
from phibench.probe.system.limits import limits

OnEvent = Callable[[Job, int, Event], None]
Deaths = defaultdict[Setup, launched.Deaths]


class InterruptedRunError(PhibenchError):
    """Ctrl-C: what is done is kept in ``path``."""


def run(
    tasks: Sequence[Task],
    suite: Suite,
    machine: Machine,
    folder: Path,
    *,
    software: dict[str, str],
    on_event: OnEvent,
    write: Callable[[int, int], None] | None = None,
    watch: Callable[[float], None] | None = None,
    begun: tuple[Run, Path] | None = None,
    deaths: Deaths | None = None,
    deadline: Deadline | Spare | None = None,
    workers: launched.Workers | None = None,
) -> tuple[Run, Path]:
    """The run and its file: every task, launch by launch (A B A B), saved after every result.

    Before the first one the machine is watched for the suite's ``look_s``; ``watch`` hears how long.
    ``begun``: a run to go on with, from :func:`resumable`. ``deaths``: of the suites before, counted on. ``deadline``:
    what would end after it is not begun. ``workers``: they stay for the next task. Raises InterruptedRunError (exit
    130) on Ctrl-C, PhibenchError (exit 1) when the results cannot be written.
    """
    seconds = min(suite.look_s, conditions.LOOK_S)
    if watch:
        watch(seconds)
    before = conditions.look(busy_s=seconds, gpu=uses_gpu(task.setup for task in tasks))
    machine = of_places(machine, tasks)
    trusted = trust_conditions(machine, tasks)
    done, path = begun or start(suite, machine, folder, software)
    earlier, deaths = earlier_warnings(done), defaultdict(Counter) if deaths is None else deaths
    try:
        for task, workloads, launch in _timely(owed(done, tasks), tasks, deadline):
            for result in _task(task, workloads, launch, on_event, write, deaths[task.setup], workers):
                done = judged(with_result(done, task, result), before, earlier, trusted)
                files.write_json(path, done)
    except KeyboardInterrupt:
        if not done.results:
            path.unlink(missing_ok=True)
        raise InterruptedRunError(f"interrupted{_kept(len(done.results), path)}", INTERRUPTED) from None
    return done, path


def _kept(count: int, path: Path) -> str:
    return f"; {count} result{'' if count == 1 else 's'} kept in {path}; --resume continues" if count else ""


def _timely(launches: Sequence[Owed], tasks: Sequence[Task], deadline: Deadline | Spare | None) -> Iterator[Owed]:
    """Those that the deadline allows; it hears how long each took."""
    for task, workloads, launch in in_turns(launches, tasks) if deadline else launches:
        if deadline is None:
            yield task, workloads, launch
        elif deadline.allows(task, launch):
            began = time.monotonic()
            yield task, workloads, launch
            deadline.took(task, launch, began)


def _task(
    task: Task,
    workloads: Sequence[Workload],
    launch: int,
    on_event: OnEvent,
    write: Callable[[int, int], None] | None,
    deaths: launched.Deaths,
    workers: launched.Workers | None,
) -> Iterator[Result]:
    """All results of one launch of one setup; never raises for what a worker did."""

    def fail(reason: str, which: Sequence[Workload], cause: Cause) -> Iterator[Result]:
        for workload in which:
            yield Failed(setup=task.setup, workload=workload, reason=scrub(reason), cause=cause, launch=launch,
                         threads=task.threads, at=now())  # fmt: skip

    free = limits().free_bytes
    refused = dict(task.refused) | ({} if task.force else _too_big_now(task, free))
    able = tuple(w for w in workloads if w not in refused)
    for workload in workloads:
        if refusal := task.objection or refused.get(workload):
            yield from fail(str(refusal), (workload,), "refused")
    if task.objection or not able:
        return
    try:
        artifact = task.artifact or _write(task, write)
    except PhibenchError as error:
        yield from fail(str(error), able, "failed")
        return
    job = Job(
        setup=task.setup, suite=task.suite, workloads=able, artifact=artifact, threads=task.threads, launch=launch
    )
    for result in launched.results(job, lambda event: on_event(job, launch, event), deaths, workers):
        yield _with_memory_check(task, msgspec.structs.replace(result, launch=launch), free)


def _too_big_now(task: Task, free: int) -> dict[Workload, Refusal]:
    """Memory may have gone since the task was planned."""
    return {w: why for w, need in task.needs if (why := too_big(task.setup, need, free))}


def _with_memory_check(task: Task, result: Result, free: int) -> Result:
    need = dict(task.needs).get(result.workload)
    if need is None or isinstance(result, Failed):
        return result
    asked = "max_context_tokens" in task.suite.metrics
    result = memory_check.with_prediction(result, need, task.plan, free if asked else None)
    watched = metered(task.suite.metrics, "memory") and task.setup.device == "cpu"
    return memory_check.with_engine_plan(result, task.plan) if watched and task.plan else result


def _write(task: Task, progress: Callable[[int, int], None] | None) -> Artifact:
    if task.plan is None:
        return NO_FILE
    from phibench import synth

    setup, fmt = task.setup, task.plan.format
    variant = catalog.variant(setup.variant)
    return synth.ensure(variant, setup.quantization, fmt, task.layers, progress, conditions.oom_kills)
