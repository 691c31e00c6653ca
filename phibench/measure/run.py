"""A suite over setups: a worker process per setup and launch; what a dead worker still owed becomes Failed.

The run file is written whole after every result, so a crash of anything costs at most the sample under way.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phibench import backends, catalog
from phibench.analysis import trust
from phibench.core import files, units
from phibench.core.errors import FAILED, INTERRUPTED, PhibenchError
from phibench.core.metrics import metered
from phibench.core.nouns import (
    Artifact,
    Cause,
    Conditions,
    Event,
    Failed,
    Job,
    Machine,
    Measured,
    Need,
    Noun,
    Result,
    Run,
    Setup,
    Suite,
    Workload,
)
from phibench.core.nouns.conditions import Stored, stored
from phibench.measure import launch as launched
from phibench.measure import memory_check
from phibench.measure.worker import now
from phibench.probe import conditions, other_programs
from phibench.probe.system.limits import limits

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

Tell = Callable[[Job, int, Event], None]
Deaths = defaultdict[Setup, launched.Deaths]
_NO_FILE = Artifact(path="", bytes=0, weights="synthetic")


class InterruptedRunError(PhibenchError):
    """Ctrl-C: what is done is kept in ``path``."""


class Refusal(Noun, frozen=True):
    """Why something cannot run here, and what would change that ("" where nothing would)."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Task(Noun, frozen=True, kw_only=True):
    """One setup before anything starts: what it will occupy, and why it cannot run here (or None)."""

    setup: Setup
    suite: Suite
    threads: int
    need: Need
    needs: tuple[tuple[Workload, Need], ...] = ()  # of each test; ``need`` is that of the largest
    plan: Plan | None = None  # None: the backend opens no file
    artifact: Artifact | None = None  # a real file that is already here
    layers: int | None = None
    write_bytes: int = 0  # of a synthetic file that is not in the cache yet
    objection: Refusal | None = None
    refused: tuple[tuple[Workload, Refusal], ...] = ()  # depths that cannot be measured here where others can, and why
    force: bool = False

    def workloads(self) -> tuple[Workload, ...]:
        """The tests that can run here, if the setup can at all."""
        return tuple(w for w in self.suite.workloads() if w not in dict(self.refused))


# ------------------------------------------------------------------------------------------------ before


def prepare(
    setups: Sequence[Setup],
    suite: Suite,
    machine: Machine,
    *,
    layers: int | None = None,
    real: Artifact | None = None,
    real_plan: Plan | None = None,
    force: bool = False,
) -> tuple[Task, ...]:
    """Plan every setup: tensors, memory, disk. Nothing is written or opened.

    Raises PhibenchError for an unknown name, a backend that is not installed, an impossible shape.
    """
    from phibench import synth
    from phibench.catalog import plans

    tasks = []
    for setup in setups:
        backend = backends.require(setup.backend)
        backends.check_options(setup)
        backends.check_device(setup)
        options = backends.effective(setup)
        threads = int(options.get("threads") or machine.limits.threads)
        if not backend.FORMATS:
            need = Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="no model")
            tasks.append(Task(setup=setup, suite=suite, threads=threads, need=need))
            continue
        variant = catalog.variant(setup.variant)
        fmt = backend.FORMATS[0]
        plan = real_plan or plans.plan(variant, setup.quantization, layers, fmt)
        shape = variant.shape
        assert shape is not None, "a variant with a plan has a shape"
        needs = {
            w: backend.need(plan, shape, w.context, options, w.prompt_tokens, w.batch, w.used)
            for w in suite.workloads()
        }
        refused = _refused(setup, needs, variant.context_tokens, None if force else machine.limits.free_bytes)
        able = [w for w in needs if w not in refused]
        size = {w: need.total_bytes for w, need in needs.items()}
        told = max(able, key=size.__getitem__) if able else min(needs, key=size.__getitem__)  # if not even the smallest
        need, objection = needs[told], None if able else refused[told]
        if (why := trust.objection(setup, machine)) and not force:
            objection = Refusal(why, "--force runs it all the same")
        write = 0 if real else synth.write_bytes(variant, setup.quantization, fmt, layers)
        tasks.append(
            Task(setup=setup, suite=suite, threads=threads, need=need, needs=tuple(needs.items()), plan=plan,
                 artifact=real, layers=layers, write_bytes=write, objection=objection,
                 refused=tuple(refused.items()), force=force)
        )  # fmt: skip
    return tuple(tasks)


def _refused(
    setup: Setup, needs: dict[Workload, Need], longest: int | None, free: int | None
) -> dict[Workload, Refusal]:
    """The tests that cannot run, and why; ``free`` None: memory is no reason.

    Raises PhibenchError where the variant's context is too short for all, or for a test that was asked for by itself.
    """
    long = [w for w in needs if longest is not None and w.context > longest]
    text = f"{setup.variant} has a context of {units.context(longest or 0)} tokens"
    if any(not (w.depth or w.room) for w in long) or len(long) == len(needs):
        most = max(w.context for w in long)
        raise PhibenchError(f"{text}, the suite needs {most}; take shorter -p, -n, -d or --context")
    big = {w: why for w, need in needs.items() if free is not None and (why := _too_big(setup, need, free))}
    return big | {w: Refusal(f"{text}, the test needs {w.context}") for w in long}


def _too_big(setup: Setup, need: Need, free: int) -> Refusal | None:
    """Refuse instead of swapping; only what the process may really use counts."""
    if setup.device != "cpu" or need.total_bytes <= free:
        return None
    return Refusal(
        f"needs {units.gib(need.total_bytes)} of memory ({need.because}), this process may use {units.gib(free)} now",
        "take a smaller quantization or variant, free memory, or --force",
    )


# ------------------------------------------------------------------------------------------------ running


def run(
    tasks: Sequence[Task],
    suite: Suite,
    machine: Machine,
    folder: Path,
    *,
    software: dict[str, str],
    tell: Tell,
    write: Callable[[int, int], None] | None = None,
    watch: Callable[[float], None] | None = None,
    begun: tuple[Run, Path] | None = None,
    deaths: Deaths | None = None,
) -> tuple[Run, Path]:
    """Measure every task, launch by launch (A B A B), saving after every result.

    Before the first one the machine is watched for the suite's ``look_s``; ``watch`` hears how long.
    ``begun``: a run to go on with, from :func:`resumable`. ``deaths``: of the suites before, counted on. Returns the
    run and its file. Raises InterruptedRunError (exit 130) on Ctrl-C, PhibenchError (exit 1) when the results cannot
    be written.
    """
    seconds = min(suite.look_s, conditions.LOOK_S)
    if watch:
        watch(seconds)
    before = conditions.look(busy_s=seconds, gpu=_gpu(task.setup for task in tasks))
    machine = _of_places(machine, tasks)
    trusted = _trust(machine, tasks)
    done, path = begun or _start(suite, machine, folder, software)
    earlier = tuple(line for line in done.warnings if line not in (done.disturbed or ()))  # those are told anew
    deaths = defaultdict(Counter) if deaths is None else deaths
    try:
        for task, workloads, launch in owed(done, tasks):
            for result in _task(task, workloads, launch, tell, write, deaths[task.setup]):
                done = _judged(_with(done, task, result), before, earlier, trusted)
                files.write_json(path, done)
    except KeyboardInterrupt:
        if not done.results:
            path.unlink(missing_ok=True)
        kept = f"; results kept in {path}: {len(done.results)} (--resume goes on)" if done.results else ""
        raise InterruptedRunError(f"interrupted{kept}", INTERRUPTED) from None
    return done, path


def owed(done: Run, tasks: Sequence[Task]) -> tuple[tuple[Task, tuple[Workload, ...], int], ...]:
    """What is still to be measured, in order: setups take turns, A B then B A, so that a drift favours nobody."""
    found = []
    for launch in range(done.suite.launches):
        for task in tasks if launch % 2 == 0 else reversed(tasks):
            have = {r.workload for r in done.results if isinstance(r, Measured) and _is_of(r, task, launch)}
            if left := tuple(w for w in task.suite.workloads() if w not in have):
                found.append((task, left, launch))
    return tuple(found)


def resumable(suite: Suite, machine: Machine, folder: Path, software: dict[str, str]) -> tuple[Run, Path] | None:
    """The newest run of the same suite, with the same software, on this machine; None where there is none."""
    for path in sorted((folder / machine.slug).glob("*.json"), reverse=True):
        with contextlib.suppress(PhibenchError):
            old = files.read_run(path)
            same = old.suite == suite and old.software == software and old.machine.identity == machine.identity
            if same and not old.example:
                return old, path
    return None


def _of_places(machine: Machine, tasks: Sequence[Task]) -> Machine:
    """With the self-tests of what is used here alone: a run is made to be shared."""
    places = {(task.setup.backend, task.setup.device) for task in tasks}
    own = tuple(one for one in machine.selftests if (one.backend, one.device) in places)
    return msgspec.structs.replace(machine, selftests=own)


def _trust(machine: Machine, tasks: Sequence[Task]) -> dict[str, str]:
    """What came of every engine that was tested before it was used, or could not be, by backend and device."""
    forced = {(task.setup.backend, task.setup.device) for task in tasks if task.force}
    found = {}
    for one in machine.selftests:
        against = not one.usable and (one.backend, one.device) in forced
        said = trust.sentence(one) or "passed"
        found[f"{one.backend}_{one.device}"] = f"{said}; run all the same (--force)" if against else said
    return found


def _judged(run: Run, before: Conditions, earlier: tuple[str, ...], trusted: dict[str, str]) -> Run:
    """The run with the conditions around it, and what they say against it; ``earlier``: before it was resumed."""
    after = conditions.look(busy_s=0, gpu=_gpu(result.setup for result in run.results))
    had = stored(run.conditions)
    seen = Stored(before=had.before or before.texts(), selftest={**had.selftest, **trusted}, after=after.texts())
    around, disturbed = conditions.warnings(before, after, opened_bytes=_opened(run)), _disturbed(run)
    return msgspec.structs.replace(
        run, conditions=seen.flat(), warnings=tuple(dict.fromkeys((*earlier, *around, *disturbed))),
        disturbed=disturbed or msgspec.UNSET,
    )  # fmt: skip


def _disturbed(run: Run) -> tuple[str, ...]:
    """By busy programs, which cost a suite that watches memory nothing: it quotes no time."""
    if metered(run.suite.metrics, "memory"):
        return ()
    return other_programs.told(run.results, run.machine.limits.cpus)


def _opened(run: Run) -> int:
    """Bytes of the files that workers have opened: one worker per setup and launch, and one more after a failure."""
    opened = {(r.setup, r.launch): r.artifact.bytes for r in run.results if r.artifact and r.artifact.path}
    again = sum(r.artifact.bytes for r in run.results if isinstance(r, Failed) and r.artifact and r.artifact.path)
    return sum(opened.values()) + again


def _gpu(setups: Iterable[Setup]) -> bool:
    """What goes on on GPUs says nothing against a run that uses none."""
    return any(setup.device != "cpu" for setup in setups)


def _start(suite: Suite, machine: Machine, folder: Path, software: dict[str, str]) -> tuple[Run, Path]:
    """A fresh run whose file exists already: two runs that start in one second get two names."""
    started = now()
    stamp = started.replace("-", "").replace(":", "")
    for number in itertools.count(1):
        name = stamp if number == 1 else f"{stamp}-{number}"
        fresh = Run(id=name, started=started, suite=suite, machine=machine, software=software)
        path = files.run_path(folder, fresh)
        if files.reserve(path):
            files.write_json(path, fresh)
            return fresh, path
    raise AssertionError  # itertools.count never ends


def _is_of(result: Result, task: Task, launch: int) -> bool:
    """The same setup and launch, and the same file: a slice or a real file is not the synthetic whole."""
    if (result.setup, result.launch) != (task.setup, launch):
        return False
    had, wanted = result.artifact, task.artifact
    if had is None or task.plan is None:
        return True
    if wanted is not None:
        return (had.path, had.bytes, had.weights) == (Path(wanted.path).name, wanted.bytes, wanted.weights)
    whole = task.plan.of_layers
    return had.weights == "synthetic" and (had.layers or whole) == (task.layers or whole)


def _with(run: Run, task: Task, result: Result) -> Run:
    """The run with one more result; a failure that was tried again is replaced."""
    kept = tuple(r for r in run.results if r.workload != result.workload or not _is_of(r, task, result.launch))
    return msgspec.structs.replace(run, results=(*kept, result))


def _task(
    task: Task,
    workloads: Sequence[Workload],
    launch: int,
    tell: Tell,
    write: Callable[[int, int], None] | None,
    deaths: launched.Deaths,
) -> Iterator[Result]:
    """All results of one launch of one setup; never raises for what a worker did."""

    def fail(reason: str, which: Sequence[Workload], cause: Cause) -> Iterator[Result]:
        for workload in which:
            yield Failed(setup=task.setup, workload=workload, reason=files.scrub(reason), cause=cause, launch=launch,
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
    for result in launched.results(job, lambda event: tell(job, launch, event), deaths):
        yield _foreseen(task, msgspec.structs.replace(result, launch=launch), free)


def _too_big_now(task: Task, free: int) -> dict[Workload, Refusal]:
    """Memory may have gone since the task was planned."""
    return {w: why for w, need in task.needs if (why := _too_big(task.setup, need, free))}


def _foreseen(task: Task, result: Result, free: int) -> Result:
    need = dict(task.needs).get(result.workload)
    if need is None or isinstance(result, Failed):
        return result
    asked = "max_context_tokens" in task.suite.metrics
    result = memory_check.beside(result, need, task.plan, free if asked else None)
    watched = metered(task.suite.metrics, "memory") and task.setup.device == "cpu"
    return memory_check.as_planned(result, task.plan) if watched and task.plan else result


def _write(task: Task, progress: Callable[[int, int], None] | None) -> Artifact:
    if task.plan is None:
        return _NO_FILE
    from phibench import synth

    setup, fmt = task.setup, task.plan.format
    variant = catalog.variant(setup.variant)
    return synth.ensure(variant, setup.quantization, fmt, task.layers, progress, conditions.oom_kills)


def exit_code(runs: Sequence[Run]) -> int:
    """1 when a requested measurement failed, or when nothing at all could be measured.

    What this machine has no meter for is no failure beside other figures: its row says "unavailable" and the remedy.
    """
    results = [result for run in runs for result in run.results]
    failed = [r for r in results if isinstance(r, Failed)]
    broken = [r for r in failed if r.cause != "unavailable"]
    return FAILED if broken or len(failed) == len(results) else 0
