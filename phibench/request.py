"""What ``phibench run`` was asked for: flags -> suite and setups -> a dry run, or a run and its rows."""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from phibench import anchors, backends, catalog, effort, files, inventory, render, run, selftest, suites, tables, units
from phibench.catalog import plan as plans
from phibench.catalog.plan import Plan
from phibench.errors import PhibenchError
from phibench.nouns import Artifact, Machine, Run, Setup, Suite
from phibench.processes import silence_s
from phibench.progress import Show

DEFAULT_BACKEND = "llama_cpp"
ALL = "all"  # every backend that is installed and can; and every suite of the mission
_FLASH = {"1": "on", "0": "off"}
_OPTION_FLAGS = {  # flag -> option of the backend
    "threads": "threads",
    "n_gpu_layers": "n_gpu_layers",
    "flash_attn": "flash_attn",
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "n_ubatch": "n_ubatch",
    "n_batch": "n_batch",
}
_COUNTS = ("threads", "n_gpu_layers", "n_ubatch", "n_batch")


def setups_from(flags: dict[str, Any], machine: Machine) -> tuple[Setup, ...]:
    """The grid of setups, names looked up, options that are the default left out."""
    flags = {k: v for k, v in flags.items() if v is not None}
    if "threads" not in flags and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        flags["threads"] = os.environ["OMP_NUM_THREADS"]
    axes = {option: _values(flag, flags[flag]) for flag, option in _OPTION_FLAGS.items() if flag in flags}
    for pair in flags["extra"]:
        key, sep, value = pair.partition("=")
        if not sep:
            raise PhibenchError(f"'{pair}' is not an option; write --backend-option key=value")
        axes[key] = (value,)
    grid = []
    modules = [backends.load(name) for name in units.names(flags["backend"], "--backend")]
    quants = _quantizations(units.names(flags["quant"], "--quant") if "quant" in flags else None, modules)
    for model, module, device in itertools.product(
        units.names(flags["model"], "--model"), modules, units.names(flags["device"], "--device")
    ):
        for quant, *values in itertools.product(quants[module.NAME], *axes.values()):
            options = dict(zip(axes, values, strict=True))
            if options.get("threads") == str(machine.limits.threads):
                del options["threads"]
            kept = {k: v for k, v in options.items() if module.DEFAULTS.get(k) != v}
            setup = Setup(
                variant=catalog.variant(model).id,
                quantization=quant,
                backend=module.NAME,
                device=device.lower(),
                options=tuple(sorted(kept.items())),
            )
            backends.check_options(setup)
            grid.append(setup)
    return tuple(dict.fromkeys(grid))


def _quantizations(names: list[str] | None, modules: Sequence[backends.Backend]) -> dict[str, list[str]]:
    """Of each backend: its usual one, or those of the names that its format has.

    Raises PhibenchError for a name that no backend here has, and for a backend that has none of them.
    """
    if names is None:
        return {module.NAME: [module.QUANTIZATION] for module in modules}
    found: dict[str, list[str]] = {module.NAME: [] for module in modules}
    for name in names:
        refused = []
        for module in modules:
            try:
                found[module.NAME].append(catalog.quantization(name, *module.FORMATS[:1]).id)
            except PhibenchError as error:
                refused.append(error)
        if len(refused) == len(modules):
            raise refused[0]
    for module in modules:
        if not found[module.NAME]:
            raise PhibenchError(
                f"-q names no quantization that {module.NAME} has; add one, for example {module.QUANTIZATION}, "
                f"or leave {module.NAME} out of -b"
            )
    return {name: list(dict.fromkeys(ids)) for name, ids in found.items()}


def with_backends(flags: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """The flags with ``-b`` spelled out.

    ``note`` hears which backends ``all`` leaves out, and why. Raises PhibenchError when none is left.
    """
    flags = {**flags, "backend": DEFAULT_BACKEND if flags["backend"] is None else flags["backend"]}
    if flags["backend"].lower() == ALL:
        objections = {module.NAME: _objection(module, flags) for module in _recommendable()}
        left_out = [f"{name} is left out: {why}" for name, why in objections.items() if why]
        if len(left_out) == len(objections):
            raise PhibenchError("; ".join(left_out))
        for line in left_out:
            note(line)
        flags["backend"] = ",".join(name for name, why in objections.items() if not why)
    names = dict.fromkeys(backends.load(name).NAME for name in units.names(flags["backend"], "--backend"))
    flags["backend"] = ",".join(names)
    return flags


def _recommendable() -> list[backends.Backend]:
    return [module for module in map(backends.load, backends.names()) if module.RECOMMENDABLE]


def _objection(module: backends.Backend, flags: dict[str, Any]) -> str | None:
    """Why a backend cannot take part; None if it can."""
    if module.installed() is None:
        return f"not installed; pip install 'phibench[{module.EXTRA}]'"
    built = {device.split(":")[0] for device in module.devices()}
    for device in units.names(flags["device"].lower(), "--device"):
        if device.split(":")[0] not in built:
            return f"as it is installed here it cannot use {device}"
    for name in units.names(flags["model"], "--model"):
        variant = catalog.variant(name)
        if why := plans.objection(variant, module.FORMATS[0]):
            return f"{variant.id}: {why}"
    return None


def _values(flag: str, text: str) -> tuple[str, ...]:
    name = f"--{flag.replace('_', '-')}"
    if flag in _COUNTS:
        values = units.counts(text)
        if min(values) < 1 and flag != "n_gpu_layers":
            raise PhibenchError(f"{name} starts at 1, not {min(values)}")
        return tuple(str(v) for v in values)
    return tuple(_FLASH.get(v, v) if flag == "flash_attn" else v for v in units.names(text, name))


def run_flags(flags: dict[str, Any], emit: Callable[[str], None], width: int | None) -> int:
    """``phibench run``: prints a dry run, or runs and prints its rows. Returns the exit code."""
    real, real_plan = None, None
    models = units.names(flags["model"], "-m")
    if files_ := [name for name in models if _is_file(name)]:
        if len(models) > 1:
            raise PhibenchError(f"one file or folder at a time, and no variant beside it: -m {files_[0]}")
        flags, real, real_plan = _real_file(flags)
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


def _is_file(name: str) -> bool:
    """A GGUF file or a folder, there or not; a name of the catalog is none, even where such a folder lies about."""
    if name.lower().endswith(".gguf"):
        return True
    try:
        catalog.variant(name)
    except PhibenchError:
        return os.sep in name or "/" in name or Path(name).expanduser().is_dir()
    return False


def _real_file(flags: dict[str, Any]) -> tuple[dict[str, Any], Artifact, Plan]:
    """The flags with the names of what lies there; the backend is the one that opens such files."""
    from phibench.catalog import folder, gguf

    if flags["quant"] is not None or flags["layers"] is not None:
        raise PhibenchError("a file is what it is: leave out -q and --layers")
    path = Path(flags["model"]).expanduser()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PhibenchError(f"the name of {flags['model']!a} is not UTF-8; rename it") from None
    found = gguf.recognise(path) if path.suffix.lower() == ".gguf" else folder.recognise(path)
    for note in found.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    fitting = [module.NAME for module in _recommendable() if found.plan.format in module.FORMATS]
    asked = fitting[0] if (flags["backend"] or ALL).lower() == ALL else flags["backend"]
    if wrong := [name for name in units.names(asked, "--backend") if backends.load(name).NAME not in fitting]:
        raise PhibenchError(f"{wrong[0]} does not open {path.name}; leave out -b, or use -b {fitting[0]}")
    return {**flags, "model": found.variant, "quant": found.quantization, "backend": asked}, found.artifact, found.plan


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


def dry_rows(tasks: Sequence[run.Task], machine: Machine, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Time, disk and memory of every setup before anything starts; unknown is None."""
    seen = anchors.anchors(machine, runs)
    rows = []
    for task in tasks:
        able = task.workloads()
        seconds = effort.suite_s(task.setup, task.suite, able, task.layers, machine, seen) if task.plan else None
        rows.append(
            {
                "setup": str(task.setup),
                "tests": ", ".join(str(w) for w in able),
                "threads": task.threads,
                "time_low_s": seconds.low if seconds else None,
                "time_high_s": seconds.high if seconds else None,
                "time_basis": seconds.basis if seconds else None,
                "disk_bytes": task.write_bytes,
                "memory_bytes": task.need.total_bytes,
                "memory_free_bytes": machine.limits.free_bytes,
                "fits": task.objection is None,
                "reason": task.objection or "; ".join(f"{w}: {why}" for w, why in task.refused) or None,
            }
        )
    return rows


def dry_text(rows: list[dict[str, Any]], output: str, width: int | None) -> str:
    """Dry rows for people in a table with the reasons below, whole for programs."""
    caption = "Nothing was started. Opening and writing files come on top."
    said = tables.text(rows, output, width, _DRY_COLUMNS, caption, "phibench_dry_run")
    if output != "table":
        return said
    reasons = [f"{row['setup']}: {row['reason']}" for row in rows if row["reason"]]
    return said + "".join(f"{line}\n" for reason in reasons for line in tables.wrap(reason, width))


def _time(row: tables.Row) -> str | None:
    if row["time_high_s"] is None:
        return None
    return f"{units.duration(row['time_low_s'])} to {units.duration(row['time_high_s'])} ({row['time_basis']})"


_DRY_COLUMNS = (
    tables.column("suite", "suite"),
    tables.column("setup", "setup"),
    tables.column("tests", "tests", rank=2),
    tables.Column(title="time", cell=_time),
    tables.column("disk_bytes", "disk to write", units.gb, right=True),
    tables.column("memory_bytes", "memory", units.gib, right=True),
    tables.column("memory_free_bytes", "free", units.gib, right=True),
    tables.column("fits", "fits", lambda fits: "yes" if fits else "no"),
)
