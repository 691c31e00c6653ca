"""``phibench run``: a dry run, or a run with bars and its rows."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from phibench import files, inventory, render, run, selftest, suites, units
from phibench.backend_choice import with_backends
from phibench.dry_rows import dry_rows
from phibench.dry_text import dry_text
from phibench.errors import PhibenchError
from phibench.grid import setups_from
from phibench.nouns import Machine, Run, Setup, Suite
from phibench.processes import silence_s
from phibench.progress import Show
from phibench.real_file import is_file, real_file
from phibench.request import ALL


def run_flags(flags: dict[str, Any], emit: Callable[[str], None], width: int | None) -> int:
    """``phibench run``: prints a dry run, or runs and prints its rows. Returns the exit code."""
    real, real_plan = None, None
    models = units.names(flags["model"], "-m")
    if files_ := [name for name in models if is_file(name)]:
        if len(models) > 1:
            raise PhibenchError(f"one file or folder at a time, and no variant beside it: -m {files_[0]}")
        flags, real, real_plan = real_file(flags)
    everything = flags["suite"].lower() == ALL
    all_backends = everything and flags["backend"] is None and not real
    flags = with_backends({**flags, "backend": ALL} if all_backends else flags, _note)
    names = suites.MISSION if everything else (flags["suite"],)
    asked = [suites.from_flags({**flags, "suite": name}, one_of_many=everything) for name in names]
    if flags["layers"] is not None and flags["layers"] < 1:
        raise PhibenchError(f"--layers starts at 1, not {flags['layers']}")
    silence_s(0)  # a wrong PHIBENCH_SILENCE is told before anything starts
    machine = inventory.here(bandwidth=flags["dry_run"], disk_too=any(suite.page_cache for suite in asked))
    setups = setups_from(flags, machine)
    given = {"layers": flags["layers"], "real": real, "real_plan": real_plan, "force": flags["force"]}
    planned = _planned(setups, asked, machine, given)  # what makes no sense is refused before an engine is tested
    if not flags["dry_run"]:
        setups, machine = selftest.ready(setups, machine, _note, force=flags["force"])
        planned = _planned(setups, asked, machine, given)
    folder = files.results_dir(flags["results"])
    if flags["dry_run"]:
        seen = files.read_runs(folder)[0]
        rows = [{"suite": suite.name, **row} for suite, tasks in planned for row in dry_rows(tasks, machine, seen)]
        emit(dry_text(rows, flags["output"], width))
        return 0
    runs: list[Run] = []
    deaths: run.Deaths = defaultdict(Counter)
    for suite, tasks in planned:
        if everything:
            print(f"suite {suite.name}: {suite.question}", file=sys.stderr)
        try:
            done, path = execute(tasks, suite, machine, folder, resume=flags["resume"], deaths=deaths)
        except run.InterruptedRunError:
            if runs:
                emit(render.FORMATS[flags["output"]](render.rows(runs), width))
                print("the suites above are whole; --resume goes on with the others", file=sys.stderr)
            raise
        print(f"results: {path}", file=sys.stderr)
        runs.append(done)
    emit(render.FORMATS[flags["output"]](render.rows(runs), width))
    return run.exit_code(runs)


def _planned(
    setups: Sequence[Setup], asked: Sequence[Suite], machine: Machine, given: dict[str, Any]
) -> list[tuple[Suite, tuple[run.Task, ...]]]:
    return [(suite, run.prepare(setups, suite, machine, **given)) for suite in asked]


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def execute(
    tasks: Sequence[run.Task], suite: Suite, machine: Machine, folder: Path, *, resume: bool = False,
    deaths: run.Deaths | None = None,
) -> tuple[Run, Path]:  # fmt: skip
    """Run with bars on stderr. ``deaths``: see :func:`run.run`."""
    software = inventory.software()
    begun = run.resumable(suite, machine, folder, software) if resume else None
    if resume and begun is None:
        print("nothing to resume: no run of this suite, software and machine; a new one starts", file=sys.stderr)
    left = [w for task, workloads, _ in run.owed(begun[0], tasks) for w in workloads] if begun else None
    everything = [w for task in tasks for w in task.suite.workloads()] * suite.launches
    with Show(everything if left is None else left) as show:
        return run.run(
            tasks, suite, machine, folder,
            software=software, tell=show.tell, write=show.write, watch=show.watch, begun=begun,
            deaths=deaths,
        )  # fmt: skip
