"""One command for a newcomer: the machine, a measured Phi, a recommendation, and what to type next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from phibench import advise, answer, backends, card, catalog, files, inventory, render, request, run, suites, units
from phibench.catalog import plan as plans
from phibench.errors import FAILED, NOTHING_FITS, PhibenchError
from phibench.nouns import Machine, Setup, Suite, Verdict
from phibench.synth import cache

WANTED = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="llama_cpp")
GOAL = "chat"
_TOP = 3  # variants shown
DISK_RESERVE_BYTES = 1 << 30  # never fill a disk to the brim for a benchmark


def quickstart(folder: Path, backend: str | None = None) -> int:
    """``backend``: the usual one, others (a comma list), or all that are installed, which then take turns.

    Returns the exit code: 0, or 1 when a measurement failed, or 3 when no Phi fits.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    machine = inventory.here()
    _show("This machine", "\n".join(f"  {label:<16} {value}" for label, value in card.short(machine)))
    suite = suites.load("quick")
    tasks: tuple[run.Task, ...]
    if backend is None:
        task, note = choose(suite, machine)
        tasks, notes = (task,), [note] if note else []
    else:
        tasks, suite, notes = compare(suite, machine, backend)
    if notes:
        print("\n".join(notes), end="\n\n")
    names = ", ".join(str(task.setup) for task in tasks)
    turns = f" in {suite.launches} turns" if len(tasks) > 1 else ""
    print(f"Measuring {names}{turns} with synthetic weights of its true shape (nothing is downloaded) ...", flush=True)
    done, path = request.execute(tasks, suite, machine, folder)
    print()
    _show("Measured", render.FORMATS["table"](render.rows((done,)), width))
    if run.exit_code((done,)):
        print(f"The measurement failed; the run is in {path}", file=sys.stderr)
        return FAILED
    goal = catalog.goal(GOAL)
    verdicts = advise.advise(machine, goal, files.read_runs(folder)[0])
    advice = answer.text(machine, goal, goal.context, verdicts, _TOP, "table", width)
    told = "".join(_of_the_measured(task.setup, verdicts) for task in tasks)
    _show(f"What fits for the goal '{GOAL}'", advice + told)
    print(f"Run file: {path}\n\nNext:\n{next_commands(tasks[0].setup, _program())}")
    return 0 if advise.fits(verdicts) else NOTHING_FITS


def _of_the_measured(setup: Setup, verdicts: Sequence[Verdict]) -> str:
    """What the advice says of what was just measured, where the table does not show it."""
    if any(verdict.setup == setup for verdict in advise.shown(verdicts, _TOP)):
        return ""
    verdict = next(v for v in verdicts if v.setup == setup)
    why = "; ".join(verdict.objections or verdict.unknowns)
    return f"\nThe one just measured, {setup}: {verdict.verdict}{', ' if why else ''}{why}"


def choose(suite: Suite, machine: Machine) -> tuple[run.Task, str]:
    """Phi-4-mini Q4_K_M, or with a note the largest smaller file that fits memory and disk here.

    Raises PhibenchError (exit 3) when none does.
    """
    task = run.prepare((WANTED,), suite, machine)[0]
    why = _obstacle(task)
    if why is None:
        return task, ""
    assert task.plan is not None
    for setup in smaller_setups(task.plan.weights_bytes):
        smaller = run.prepare((setup,), suite, machine)[0]
        if _obstacle(smaller) is None:
            return smaller, f"{WANTED}: {why}.\nTaking the largest that fits instead: {setup}"
    raise PhibenchError(f"{WANTED}: {why}; and no smaller Phi fits either", NOTHING_FITS)


def compare(suite: Suite, machine: Machine, backend: str) -> tuple[tuple[run.Task, ...], Suite, list[str]]:
    """Phi-4-mini on several backends, the suite in turns, and notes on what was left out.

    Raises PhibenchError (exit 2 for a backend that is not here, exit 3 when it fits on none).
    """
    notes: list[str] = []
    asked = {"backend": backend, "model": WANTED.variant, "device": WANTED.device}
    flags = request.with_backends(asked, notes.append)
    tasks = []
    for name in flags["backend"].split(","):
        module = backends.load(name)
        if not module.RECOMMENDABLE:
            raise PhibenchError(f"{name} runs no Phi, so there is nothing to recommend; leave it out of -b")
        setup = Setup(variant=WANTED.variant, quantization=module.QUANTIZATION, backend=module.NAME)
        task = run.prepare((setup,), suite, machine)[0]
        if why := _obstacle(task):
            notes.append(f"{setup} is left out: {why}")
        else:
            tasks.append(task)
    if not tasks:
        raise PhibenchError("; ".join(notes), NOTHING_FITS)
    suite = suites.in_turns(suite) if len(tasks) > 1 else suite
    return tuple(msgspec.structs.replace(task, suite=suite) for task in tasks), suite, notes


def _obstacle(task: run.Task) -> str | None:
    if why := task.objection or next((why for _, why in task.refused), None):
        return why.split(";")[0]
    room = cache.room_bytes(DISK_RESERVE_BYTES)
    if task.write_bytes > room:
        return (
            f"needs {units.gb(task.write_bytes)} of disk in {cache.folder()}, where {units.gb(room)} can be had "
            "(phibench cache shows the limit)"
        )
    return None


def smaller_setups(below_bytes: int) -> list[Setup]:
    """Every setup of a variant that the backend runs whose weights are smaller, largest first."""
    found = []
    for variant in catalog.variants():
        runtime = variant.runtime(WANTED.backend)
        if not (plans.can_plan(variant) and runtime and runtime.runs):
            continue
        for quantization in catalog.quantizations("gguf"):
            size = plans.plan(variant, quantization.id).weights_bytes
            if size < below_bytes:
                setup = Setup(variant=variant.id, quantization=quantization.id, backend=WANTED.backend)
                found.append((size, setup))
    return [setup for _, setup in sorted(found, key=lambda pair: (-pair[0], pair[1]))]


def next_commands(setup: Setup, program: str = "phibench") -> str:
    """Three commands that go deeper, each with what it is for."""
    lines = (
        (f"run latency -m {setup.variant} -q {setup.quantization}", "TTFT and gaps between tokens"),
        ("recommend --goal code --context 8k", "another goal, a longer context"),
        ("dashboard", "results and advice in the browser"),
    )
    wide = max(len(command) for command, _ in lines)
    return "\n".join(f"  {program} {command:<{wide}}  {what}" for command, what in lines)


def _program() -> str:
    """What to type: ``phibench``, or where it lies if the PATH does not lead there."""
    if shutil.which("phibench"):
        return "phibench"
    called = Path(sys.argv[0]).absolute()
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)


def _show(title: str, text: str) -> None:
    print(f"{title}\n{text.rstrip()}\n", flush=True)
