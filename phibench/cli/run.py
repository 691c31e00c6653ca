"""``phibench run``: a dry run, or a run with bars and its rows."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from phibench.cli.dry_run import dry_rows
from phibench.core import folders, run_files, units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Machine, Run, Setup, Suite
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

Planned = Sequence[tuple[Suite, tuple[Task, ...]]]
_AXES = {  # flag -> field of a suite
    "n_prompt": "prompt_tokens",
    "n_gen": "new_tokens",
    "n_depth": "depths",
    "batches": "batches",
    "context": "contexts",
}
_OPTIONS = {  # flag -> option of the backend
    "threads": "threads",
    "n_gpu_layers": "n_gpu_layers",
    "flash_attn": "flash_attn",
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "n_ubatch": "n_ubatch",
    "n_batch": "n_batch",
}
_COUNTS = ("threads", "n_gpu_layers", "n_ubatch", "n_batch")
_FLASH = {"1": "on", "0": "off"}


def request_from(flags: Mapping[str, Any]) -> RunRequest:
    """What the flags ask for, each text read once. Raises PhibenchError for one that means nothing."""
    same = ("suite", "repetitions", "launches", "seconds", "layers", "results", "quick", "resume", "dry_run", "force")
    return RunRequest(
        models=tuple(units.names(flags["model"], "-m")),
        backends=_names(flags["backend"], "--backend"),
        axes={field: units.counts(flags[flag]) for flag, field in _AXES.items() if flags[flag] is not None},
        pairs=tuple(_pair(text) for text in flags["pair"]),
        options=_options(flags),
        quantizations=_names(flags["quant"], "--quant"),
        devices=_names(flags["device"], "--device"),
        **{name: flags[name] for name in same},
    )


def _names(text: str | None, flag: str) -> tuple[str, ...]:
    return () if text is None else tuple(units.names(text, flag))


def _pair(text: str) -> tuple[int, int]:
    values = units.counts(text)
    if len(values) == 1 and text.count(",") == 1:  # 512,512: counts() drops what is said twice
        values = (values[0], values[0])
    if len(values) != 2:
        raise PhibenchError(f"'{text}' is not a pair; write -pg 512,128")
    return values[0], values[1]


def _options(flags: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    given = {flag: flags[flag] for flag in _OPTIONS if flags[flag] is not None}
    if "threads" not in given and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        given = {"threads": os.environ["OMP_NUM_THREADS"], **given}
    options = {_OPTIONS[flag]: _values(flag, text) for flag, text in given.items()}
    for pair in flags["extra"]:
        key, sep, value = pair.partition("=")
        if not sep:
            raise PhibenchError(f"'{pair}' is not an option; write --backend-option key=value")
        options[key] = (value,)
    return options


def _values(flag: str, text: str) -> tuple[str, ...]:
    name = f"--{flag.replace('_', '-')}"
    if flag in _COUNTS:
        values = units.counts(text)
        if min(values) < 1 and flag != "n_gpu_layers":
            raise PhibenchError(f"{name} starts at 1, not {min(values)}")
        return tuple(str(v) for v in values)
    return tuple(_FLASH.get(v, v) if flag == "flash_attn" else v for v in units.names(text, name))


# ------------------------------------------------------------------------------------------------ the command


def run_request(request: RunRequest, output: str, write_out: Callable[[str], None], width: int | None) -> int:
    """``phibench run``: prints a dry run, or runs and prints its rows. Returns the exit code."""
    real, real_plan = None, None
    if files_ := [name for name in request.models if is_file(name)]:
        if len(request.models) > 1:
            raise PhibenchError(f"one file or folder at a time, and no variant beside it: -m {files_[0]}")
        request, real, real_plan = real_file(request)
    if request.every_suite and not request.backends and not real:
        request = msgspec.structs.replace(request, backends=(ALL,))
    request = backend_choice.resolve(request, _note)
    names = suites.MISSION if request.every_suite else (request.suite,)
    asked = [suites.requested(request, name) for name in names]
    if request.layers is not None and request.layers < 1:
        raise PhibenchError(f"--layers starts at 1, not {request.layers}")
    silence_s(0)  # a wrong PHIBENCH_SILENCE is told before anything starts
    machine = inventory.this_machine(bandwidth=request.dry_run, disk_too=any(suite.page_cache for suite in asked))
    setups = grid.setups(request, machine)
    given = {"layers": request.layers, "real": real, "real_plan": real_plan, "force": request.force}
    planned = _planned(setups, asked, machine, given)  # what makes no sense is refused before an engine is tested
    if request.dry_run:
        seen = run_files.read_runs(folders.results_dir(request.results))[0]
        rows = [{"suite": suite.name, **row} for suite, tasks in planned for row in dry_rows(tasks, machine, seen)]
        write_out(dry_text(rows, output, width))
        return 0
    setups, machine = selftest.ready(setups, machine, _note, force=request.force)

    def show(runs: Sequence[Run]) -> None:
        write_out(results.FORMATS[output](results.rows(runs), width))

    return record.exit_code(_run(request, _planned(setups, asked, machine, given), machine, show))


def _run(request: RunRequest, planned: Planned, machine: Machine, show: Callable[[Sequence[Run]], None]) -> list[Run]:
    """Every suite in its turn, then what came of them all; also where Ctrl-C ends one."""
    runs: list[Run] = []
    deaths: run.Deaths = defaultdict(Counter)
    for suite, tasks in planned:
        if request.every_suite:
            print(f"suite {suite.name}: {suite.question}", file=sys.stderr)
        try:
            done, path = execute(
                tasks, suite, machine, folders.results_dir(request.results), resume=request.resume, deaths=deaths
            )
        except run.InterruptedRunError:
            if runs:
                show(runs)
                print("the suites above are whole; --resume goes on with the others", file=sys.stderr)
            raise
        print(f"results: {path}", file=sys.stderr)
        runs.append(done)
    show(runs)
    return runs


def _planned(setups: Sequence[Setup], asked: Sequence[Suite], machine: Machine, given: dict[str, Any]) -> Planned:
    return [(suite, prepare(setups, suite, machine, **given)) for suite in asked]


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def execute(
    tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path, *, resume: bool = False,
    deaths: run.Deaths | None = None,
) -> tuple[Run, Path]:  # fmt: skip
    """Run with bars on stderr. ``deaths``: see :func:`run.run`."""
    software = installed_software()
    begun = record.resumable(suite, machine, folder, software) if resume else None
    if resume and begun is None:
        print("nothing to resume: no run of this suite, software and machine; a new one starts", file=sys.stderr)
    left = [w for task, workloads, _ in record.owed(begun[0], tasks) for w in workloads] if begun else None
    everything = [w for task in tasks for w in task.suite.workloads()] * suite.launches
    with ProgressDisplay(everything if left is None else left) as display:
        return run.run(
            tasks, suite, machine, folder,
            software=software, on_event=display.on_event, write=display.write, watch=display.watch, begun=begun,
            deaths=deaths,
        )  # fmt: skip
