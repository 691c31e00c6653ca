"""``phibench run``: a dry run, or a run with bars and its rows."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from phibench.cli.dry_run import dry_rows
from phibench.core import folders, run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Machine, Noun, Run, Setup, Suite
from phibench.core.processes import silence_s
from phibench.machine import inventory
from phibench.machine.software import software as installed_software
from phibench.measure import backend_choice, grid, record, run, suites
from phibench.measure.real_file import is_file, real_file
from phibench.measure.request import ALL, RunRequest
from phibench.measure.tasks import Task, prepare
from phibench.show import results
from phibench.show.dry_run import dry_text
from phibench.show.progress import ProgressDisplay
from phibench.verify import selftest

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan


class Planned(Noun, frozen=True, kw_only=True):
    """A request that makes sense here: its suites, its setups on this machine, and the tasks of each suite."""

    request: RunRequest
    suites: tuple[Suite, ...]
    machine: Machine
    setups: Sequence[Setup]
    real: Artifact | None  # the file or folder that was named in place of a variant, and its plan
    real_plan: Plan | None
    tasks: tuple[tuple[Suite, tuple[Task, ...]], ...] = ()


def run_request(request: RunRequest, output: str, write_out: Callable[[str], None], width: int | None) -> int:
    """``phibench run``: prints a dry run, or runs and prints its rows. Returns the exit code."""
    planned = plan(request)
    if request.dry_run:
        write_out(dry_text(dry_run(planned), output, width))
        return 0
    return record.exit_code(
        run_all(planned, lambda runs: write_out(results.FORMATS[output](results.rows(runs), width)))
    )


def plan(request: RunRequest) -> Planned:
    """Raises PhibenchError for what makes no sense here; no engine is loaded."""
    real, real_plan = None, None
    if files_ := [name for name in request.models if is_file(name)]:
        if len(request.models) > 1:
            raise PhibenchError(f"-m takes one file or folder, and no variant with it: -m {files_[0]}")
        request, real, real_plan = real_file(request)
    for name in () if real else request.models:
        if os.path.lexists(name):
            _note(f"{name} means the variant; write ./{name} for the file or folder of that name")
    if request.every_suite and not request.backends and not real:
        request = msgspec.structs.replace(request, backends=(ALL,))
    request = backend_choice.resolve(request, _note)
    names = suites.MISSION if request.every_suite else (request.suite,)
    asked = tuple(suites.requested(request, name) for name in names)
    if request.layers is not None and request.layers < 1:
        raise PhibenchError(f"--layers starts at 1, not {request.layers}")
    silence_s(0)  # a wrong PHIBENCH_SILENCE is told before anything starts
    machine = inventory.this_machine(bandwidth=request.dry_run, disk_too=any(suite.page_cache for suite in asked))
    _note_threads(request, machine)
    setups = grid.setups(request, machine)
    planned = Planned(request=request, suites=asked, machine=machine, setups=setups, real=real, real_plan=real_plan)
    return _with_tasks(planned)


def dry_run(planned: Planned) -> list[dict[str, Any]]:
    """A row for every setup of every suite."""
    seen = run_files.read_runs(folders.results_dir(planned.request.results))[0]
    return [{"suite": s.name, **row} for s, tasks in planned.tasks for row in dry_rows(tasks, planned.machine, seen)]


def run_all(planned: Planned, show: Callable[[Sequence[Run]], None]) -> list[Run]:
    """Every suite in its turn, then what came of them all; also where Ctrl-C ends one."""
    planned = _tried(planned)
    runs: list[Run] = []
    deaths: run.Deaths = defaultdict(Counter)
    folder = folders.results_dir(planned.request.results)
    for suite, tasks in planned.tasks:
        if planned.request.every_suite:
            print(f"suite {suite.name}: {suite.question}", file=sys.stderr)
        try:
            done, path = execute(tasks, suite, planned.machine, folder, resume=planned.request.resume, deaths=deaths)
        except run.InterruptedRunError:
            if runs:
                show(runs)
                print("the suites above are complete; --resume continues with the others", file=sys.stderr)
            raise
        print(f"results: {path}", file=sys.stderr)
        runs.append(done)
    show(runs)
    return runs


def _tried(planned: Planned) -> Planned:
    """The engines tried once, and the tasks anew with what each needs here."""
    force = planned.request.force
    setups, machine = selftest.ready(planned.setups, planned.machine, _note, force=force)
    return _with_tasks(msgspec.structs.replace(planned, setups=setups, machine=machine))


def _with_tasks(planned: Planned) -> Planned:
    def tasks(suite: Suite) -> tuple[Task, ...]:
        layers, force = planned.request.layers, planned.request.force
        return prepare(
            planned.setups, suite, planned.machine,
            layers=layers, real=planned.real, real_plan=planned.real_plan, force=force,
        )  # fmt: skip

    return msgspec.structs.replace(planned, tasks=tuple((suite, tasks(suite)) for suite in planned.suites))


def _note_threads(request: RunRequest, machine: Machine) -> None:
    """More threads than cpus only wait for each other: said, and done as asked."""
    most = max((int(n) for n in request.options.get("threads", ()) if n.isdigit()), default=0)
    if most > machine.limits.cpus:
        _note(f"{most} threads are more than the {machine.limits.cpus:g} cpus here")


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def execute(
    tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path, *, resume: bool = False,
    begun: tuple[Run, Path] | None = None, deaths: run.Deaths | None = None,
) -> tuple[Run, Path]:  # fmt: skip
    """Run with bars on stderr. ``begun``, ``deaths``: see :func:`run.run`."""
    software = installed_software()
    begun = record.resumable(suite, machine, folder, software) if resume else begun
    if resume and begun is None:
        print("nothing to resume (no run with this suite, software and machine); starting a new run", file=sys.stderr)
    left = [w for task, workloads, _ in record.owed(begun[0], tasks) for w in workloads] if begun else None
    everything = [w for task in tasks for w in task.suite.workloads()] * suite.launches
    with ProgressDisplay(everything if left is None else left) as display:
        return run.run(
            tasks, suite, machine, folder,
            software=software, on_event=display.on_event, write=display.write, watch=display.watch, begun=begun,
            deaths=deaths,
        )  # fmt: skip
