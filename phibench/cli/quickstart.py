"""One command for a newcomer: the machine, first advice, a measured Phi, what that changed, and what to type next."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from phibench import backends, catalog
from phibench.advise import ranking, recommend
from phibench.analysis import trust
from phibench.cli import run as cli_run
from phibench.core import amounts, run_files, units
from phibench.core.errors import FAILED, NOTHING_FITS, PhibenchError
from phibench.core.nouns import Failed, Goal, Machine, Measured, Run, Setup, Suite, Verdict
from phibench.machine import inventory
from phibench.measure import record, request, suites
from phibench.measure.tasks import Task, prepare
from phibench.show import advice, results
from phibench.show import machine as show_machine
from phibench.synth import cache
from phibench.verify import selftest

_USUAL = backends.load(backends.DEFAULT)
WANTED = Setup(variant="phi-4-mini-instruct", quantization=_USUAL.QUANTIZATION, backend=_USUAL.NAME)
GOAL = "chat"
Part = Literal["before", "after"]
_TOP = 3  # variants shown
DISK_RESERVE_BYTES = 1 << 30  # never fill a disk to the brim for a benchmark


def quickstart(folder: Path, wanted: Sequence[str] = (), part: Part | None = None) -> int:
    """``wanted``: backends; none is the usual one, and several, or all that are installed, take turns.

    ``part``: only what is said ``before`` anything is measured, which needs no engine; or only what comes ``after``
    that. Returns the exit code: 0, or 1 when a measurement failed, or 3 when no Phi fits. Raises PhibenchError (exit 1)
    where no engine is installed.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    everything = request.every(wanted)
    names, absent = _engines(wanted, everything)
    machine, goal = inventory.this_machine(matrix_too=True), catalog.goal(GOAL)
    runs = run_files.read_runs(folder)[0]
    before = recommend.advise(machine, goal, runs)
    if part != "after":
        _show("This machine", "\n".join(_line(label, value, width) for label, value in show_machine.short(machine)))
        _show(_title(before), _advice(machine, goal, before, width, hints=part is None))
    if part == "before":
        return 0
    if not names:
        raise PhibenchError(f"nothing was measured: {'; '.join(absent)}", FAILED)
    machine, alive = _trusted(machine, names)
    found = _measured(machine, alive, absent, folder, width) if alive else None
    if found is None:
        without = "" if alive == names else ", without what is not usable here"
        print(f"Nothing was measured, so the advice from the probe stands{without}.\n")
        if part == "after" or without:
            standing = recommend.advise(machine, goal, runs)
            _show(_title(standing), _advice(machine, goal, standing, width))
        return FAILED
    setups, done, path = found
    verdicts = recommend.advise(machine, goal, run_files.read_runs(folder)[0])
    _show("What the measurement changed", "\n".join(changes(setups, before, verdicts)))
    told_too = "".join(_of_the_measured(setup, verdicts) for setup in setups)
    _show(f"What fits for the goal '{GOAL}'", _advice(machine, goal, verdicts, width) + told_too)
    print(f"Run file: {path}\n\nNext:\n{next_commands(setups[0], _program())}")
    if alive != names or (absent and not everything):
        return FAILED
    return record.exit_code((done,)) or (0 if recommend.fits(verdicts) else NOTHING_FITS)


def _measured(
    machine: Machine, names: Sequence[str], absent: Sequence[str], folder: Path, width: int | None
) -> tuple[list[Setup], Run, Path] | None:
    """What was measured of these backends, shown; a line for all that failed. None where nothing was."""
    tasks, suite, notes = _planned(machine, names)
    if told := [*absent, *notes]:
        print("\n".join(told), end="\n\n")
    done, path = measure(tasks, suite, machine, folder)
    some = any(isinstance(result, Measured) for result in done.results)
    if some:
        _show("Measured", results.FORMATS["table"](results.rows((done,)), width))
    for line in failures(done):
        print(f"{line}; the run is in {path}", file=sys.stderr)
    return ([task.setup for task in tasks], done, path) if some else None


def measure(tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path) -> tuple[Run, Path]:
    names = ", ".join(str(task.setup) for task in tasks)
    turns = f" in {suite.launches} turns" if len(tasks) > 1 else ""
    print(f"Measuring {names}{turns} with synthetic weights of its true shape (nothing is downloaded) ...", flush=True)
    done = cli_run.execute(tasks, suite, machine, folder)
    print()
    return done


# ---------------------------------------------------------------------------------------------- what is said


def failures(done: Run) -> list[str]:
    """One line for everything that failed in the same way: which setup, which tests, how."""
    found: dict[tuple[Setup, str], list[str]] = {}
    for result in done.results:
        if isinstance(result, Failed):
            found.setdefault((result.setup, result.reason), []).append(str(result.workload))
    return [
        f"The measurement of {setup} failed ({', '.join(dict.fromkeys(tests))}): {reason}"
        for (setup, reason), tests in found.items()
    ]


_CHANGED = {"decode_tps": "decode tok/s", "prefill_tps": "prefill tok/s", "ttft_s": "TTFT"}


def changes(setups: Sequence[Setup], before: Sequence[Verdict], after: Sequence[Verdict]) -> list[str]:
    """The pick, the variants whose answer is another now, and what was expected of each setup beside what it is."""
    old, new = before[0], after[0]
    same = old.setup == new.setup
    lines = [f"  {'The pick':<16} {'still ' if same else f'{old.setup} -> '}{new.setup}"]
    answers = {v.setup.variant: v.verdict for v in ranking.shown(before, len(before))}
    for verdict in ranking.shown(after, len(after)):
        was = answers[verdict.setup.variant]
        if was != verdict.verdict:
            lines.append(f"  {verdict.setup.variant}: {was} -> {verdict.verdict}")
    for setup in setups:
        plain = msgspec.structs.replace(setup, options=())  # the safe ones of an engine were not known before
        one = next(v for v in before if msgspec.structs.replace(v.setup, options=()) == plain).estimates
        other = next(v for v in after if v.setup == setup).estimates
        lines.append(f"  {setup}")
        for metric, label in _CHANGED.items():
            expected, found = (amounts.shown(metric, e[metric]) if metric in e else "not known" for e in (one, other))
            lines.append(f"    {label:<14} {expected} -> {found}")
    return lines


def _line(label: str, value: str, width: int | None) -> str:
    text = f"  {label:<16} {value}"
    return textwrap.fill(text, width, subsequent_indent=" " * 19) if width else text


def _title(verdicts: Sequence[Verdict]) -> str:
    bases = {e.basis for v in ranking.shown(verdicts, _TOP) if (e := v.estimates.get("decode_tps"))}
    if bases & {"measured", "calibrated"}:
        return f"What fits for the goal '{GOAL}', by what was measured here before"
    return f"What should fit for the goal '{GOAL}': NOT YET MEASURED, from what the probe knows"


def _advice(machine: Machine, goal: Goal, verdicts: Sequence[Verdict], width: int | None, *, hints: bool = True) -> str:
    return advice.text(machine, goal, goal.context, verdicts, _TOP, "table", width, hints=hints)


def _of_the_measured(setup: Setup, verdicts: Sequence[Verdict]) -> str:
    """What the advice says of what was just measured, where the table does not show it."""
    if any(verdict.setup == setup for verdict in ranking.shown(verdicts, _TOP)):
        return ""
    verdict = next(v for v in verdicts if v.setup == setup)
    why = "; ".join(verdict.objections or map(str, verdict.unknowns))
    return f"\nThe one just measured, {setup}: {verdict.verdict}{', ' if why else ''}{why}"


# ---------------------------------------------------------------------------------------- what is measured


def _engines(wanted: Sequence[str], everything: bool) -> tuple[tuple[str, ...], list[str]]:
    """The backends asked for that are installed, and a line for each that is not.

    Raises PhibenchError for an unknown name, and for a backend that runs no Phi.
    """
    names = backends.names() if everything else wanted or (WANTED.backend,)
    modules = {module.NAME: module for module in map(backends.load, names) if module.RECOMMENDABLE or not everything}
    if other := next((name for name, module in modules.items() if not module.RECOMMENDABLE), None):
        raise PhibenchError(f"{other} runs no Phi, so there is nothing to recommend; leave it out of -b")
    absent = [module for module in modules.values() if module.installed() is None]
    lines = [f"{module.NAME} is not installed: pip install 'phibench[{module.EXTRA}]'" for module in absent]
    return tuple(name for name, module in modules.items() if module not in absent), lines


def _trusted(machine: Machine, names: Sequence[str]) -> tuple[Machine, tuple[str, ...]]:
    """The machine with what self-tests say of these backends, and those that can be used."""
    machine = selftest.tested(machine, [(name, WANTED.device) for name in names], lambda line: print(line, flush=True))
    setups = (msgspec.structs.replace(WANTED, backend=name) for name in names)
    return machine, tuple(setup.backend for setup in setups if not trust.objection(setup, machine))


def _planned(machine: Machine, names: Sequence[str]) -> tuple[tuple[Task, ...], Suite, list[str]]:
    """What is run of the suite ``quick``, and notes on what is not."""
    suite = suites.load("quick")
    if tuple(names) != (WANTED.backend,):
        return compare(suite, machine, names)
    task, note = choose(suite, machine)
    return (task,), suite, [note] if note else []


def choose(suite: Suite, machine: Machine) -> tuple[Task, str]:
    """Phi-4-mini Q4_K_M, or with a note the largest smaller file that fits memory and disk here.

    Raises PhibenchError (exit 3) when none does.
    """
    task = prepare((trust.with_options(WANTED, machine),), suite, machine)[0]
    why = _obstacle(task)
    if why is None:
        return task, ""
    assert task.plan is not None
    for setup in (trust.with_options(one, machine) for one in smaller_setups(task.plan.weights_bytes)):
        smaller = prepare((setup,), suite, machine)[0]
        if _obstacle(smaller) is None:
            return smaller, f"{WANTED}: {why}.\nTaking the largest that fits instead: {setup}"
    raise PhibenchError(f"{WANTED}: {why}; and no smaller Phi fits either", NOTHING_FITS)


def compare(suite: Suite, machine: Machine, names: Sequence[str]) -> tuple[tuple[Task, ...], Suite, list[str]]:
    """Phi-4-mini on several backends, the suite in turns, and notes on what was left out.

    Raises PhibenchError (exit 2 for a backend that is not here, exit 3 when it fits on none).
    """
    notes, tasks = [], []
    for name in names:
        module = backends.load(name)
        usual = Setup(variant=WANTED.variant, quantization=module.QUANTIZATION, backend=module.NAME)
        setup = trust.with_options(usual, machine)
        task = prepare((setup,), suite, machine)[0]
        if why := _obstacle(task):
            notes.append(f"{setup} is left out: {why}")
        else:
            tasks.append(task)
    if not tasks:
        raise PhibenchError("; ".join(notes), NOTHING_FITS)
    suite = suites.in_turns(suite) if len(tasks) > 1 else suite
    return tuple(msgspec.structs.replace(task, suite=suite) for task in tasks), suite, notes


def _obstacle(task: Task) -> str | None:
    if refusal := task.objection or next((refusal for _, refusal in task.refused), None):
        return refusal.reason
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
        runtime = _USUAL.runs(variant)
        if not (runtime and runtime.runs) or backends.objection(_USUAL, variant):
            continue
        for quantization in catalog.quantizations(_USUAL.FORMATS[0]):
            size = backends.plan(_USUAL, variant, quantization.id).weights_bytes
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
