"""One command for a newcomer: the machine, first advice, a measured Phi, what that changed, and what to type next."""

from __future__ import annotations

import functools
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from phibench import backends, catalog
from phibench.advise import ranking, recommend
from phibench.advise.doubted import at_the_ends
from phibench.cli import calibrate, choice, waiting
from phibench.cli import run as cli_run
from phibench.core import extras, run_files
from phibench.core.errors import FAILED, TOO_BUSY, PhibenchError
from phibench.core.nouns import Failed, Goal, Machine, Measured, Run, Setup, Suite, Verdict
from phibench.core.text import wrap
from phibench.machine import inventory
from phibench.measure import record, request
from phibench.measure.tasks import Task
from phibench.probe.busy import Busy
from phibench.show import advice, changed, results
from phibench.show import busy as show_busy
from phibench.show import machine as show_machine

GOAL = "chat"
Part = Literal["before", "after"]
_TOP = 3  # variants shown


def quickstart(
    folder: Path, wanted: Sequence[str] = (), part: Part | None = None, wait_s: float = waiting.WAIT_S
) -> int:
    """``wanted``: backends; none is the usual one, and several, or all that are installed, take turns.

    ``part``: only what is said ``before`` anything is measured, which needs no engine; or only what comes ``after``
    that. ``wait_s``: for a quiet machine at most. Returns the exit code: 0, or 1 when a measurement failed, or 3 when
    no Phi fits, or 5 where nothing can be said. Raises PhibenchError (exit 1) where no engine is installed.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    everything = request.every(wanted)
    names, absent = choice.engines(wanted or choice.usual(), everything)
    now = waiting.until_quiet(wait_s, lambda line: print(*wrap(line), "", sep="\n", flush=True))
    machine, goal = inventory.this_machine(matrix_too=True), catalog.goal(GOAL)
    runs = run_files.read_runs(folder)[0]
    before = recommend.advise(machine, goal, runs)
    if part != "after":
        _show_machine(machine, width)
        _show(_title(before), _advice(machine, goal, before, width, hints=part is None))
    if part == "before":
        return 0
    if not names:
        raise PhibenchError(f"nothing was measured: {'; '.join(absent if wanted else choice.ways_in())}", FAILED)
    if not wanted and names != (backends.DEFAULT,):
        print(f"{backends.DEFAULT} is not installed; {names[0]} is, so that is measured.\n")
    machine, alive = choice.trusted(machine, names)
    found = _measured(machine, alive, absent, folder, width) if alive else None
    if found is None:
        without = "" if alive == names else ", without what is not usable here"
        print(f"Nothing was measured, so the advice from the probe stands{without}.\n")
        if part == "after" or without:
            _stands(machine, goal, runs, width)
        return FAILED
    setups, done, path = found
    advise = functools.partial(recommend.advise, goal=goal, runs=run_files.read_runs(folder)[0])
    verdicts = advise(machine)
    _show_changed(machine, goal, setups, before, verdicts, width)
    print(f"Run file: {path}\n\nNext:\n{next_commands(setups[0], extras.program())}")
    failed = alive != names or (absent and not everything)
    return FAILED if failed else record.exit_code((done,)) or _outcome(machine, verdicts, advise, now)


def _stands(machine: Machine, goal: Goal, runs: Sequence[Run], width: int | None) -> None:
    """The advice that nothing was added to."""
    verdicts = recommend.advise(machine, goal, runs)
    _show(_title(verdicts), _advice(machine, goal, verdicts, width))


def _show_changed(
    machine: Machine, goal: Goal, setups: Sequence[Setup], before: Sequence[Verdict], after: Sequence[Verdict],
    width: int | None,
) -> None:  # fmt: skip
    _show(changed.TITLE, "\n".join(changed.lines(setups, before, after)))
    told_too = "".join(_of_the_measured(setup, after) for setup in setups)
    _show(f"What fits for the goal '{GOAL}'", _advice(machine, goal, after, width) + told_too)


def _outcome(
    machine: Machine, verdicts: Sequence[Verdict], advise: Callable[[Machine], Sequence[Verdict]], now: Busy
) -> int:
    """The exit code of the advice; where nothing can be said, with why."""
    code = recommend.outcome(verdicts, here=True)
    if code == TOO_BUSY:
        told = wrap(show_busy.nothing_can_be_said(machine, verdicts, at_the_ends(machine, advise), now, "quickstart"))
        print("", *told, sep="\n", file=sys.stderr)
    return code


def _measured(
    machine: Machine, names: Sequence[str], absent: Sequence[str], folder: Path, width: int | None
) -> tuple[list[Setup], Run, Path] | None:
    """What was measured of these backends, shown; a line for all that failed. None where nothing was."""
    tasks, suite, notes = choice.planned(machine, names)
    if told := [*absent, *notes]:
        print("\n".join(told), end="\n\n")
    done, path = measure(tasks, suite, machine, folder)
    some = any(isinstance(result, Measured) for result in done.results)
    if some:
        rows = results.rows((done,))
        wholes = [row for row in rows if row.layers is None]
        beside = "\n".join(wrap(_beside(done), width))
        _show("Measured", results.FORMATS["table"](wholes, width) + beside)
    for line in failures(done):
        print(f"{line}; the run is in {path}", file=sys.stderr)
    return ([task.setup for task in tasks], done, path) if some else None


def _beside(done: Run) -> str:
    slices = {(r.setup, r.artifact.layers) for r in done.results if isinstance(r, Measured) and r.artifact.layers}
    if not slices:
        return ""
    quantizations = ", ".join(dict.fromkeys(setup.quantization for setup, _ in sorted(slices)))
    some = "a slice" if len(slices) == 1 else f"{len(slices)} slices"
    return f"Also {some} of a few layers, to predict how fast the others are here: {quantizations}"


def measure(tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path) -> tuple[Run, Path]:
    """One setup is measured once, with slices of its engine beside it, which narrow what is said of all others; several
    take turns with each other."""
    names = ", ".join(str(task.setup) for task in tasks)
    turns = f" in {suite.launches} turns" if len(tasks) > 1 else ""
    print(f"Measuring {names}{turns} with synthetic weights of its true shape (nothing is downloaded) ...", flush=True)
    if len(tasks) == 1:
        done = calibrate.around(tasks[0], machine, folder)
    else:
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


def _show_machine(machine: Machine, width: int | None) -> None:
    _show("This machine", "\n".join(_line(label, value, width) for label, value in show_machine.short(machine)))


def _line(label: str, value: str, width: int | None) -> str:
    text = f"  {label:<16} {value}"
    return textwrap.fill(text, width, subsequent_indent=" " * 19) if width else text


def _title(verdicts: Sequence[Verdict]) -> str:
    bases = {e.basis for v in ranking.shown(verdicts, _TOP) if (e := v.estimates.get("decode_tps"))}
    if bases & {"measured", "calibrated"}:
        return f"What fits for the goal '{GOAL}', based on earlier measurements here"
    return f"What should fit for the goal '{GOAL}': NOT YET MEASURED, from what the probe knows"


def _advice(machine: Machine, goal: Goal, verdicts: Sequence[Verdict], width: int | None, *, hints: bool = True) -> str:
    return advice.text(machine, goal, goal.context, verdicts, _TOP, "table", width, hints=hints)


def _of_the_measured(setup: Setup, verdicts: Sequence[Verdict]) -> str:
    """What the advice says of what was just measured, where the table does not show it."""
    if any(verdict.setup == setup for verdict in ranking.shown(verdicts, _TOP)):
        return ""
    verdict = next(v for v in verdicts if v.setup == setup)
    why = "; ".join(verdict.objections or map(str, verdict.unknowns))
    return f"\nThe one just measured, {setup}: {verdict.level}{', ' if why else ''}{why}"


def next_commands(setup: Setup, program: str = "phibench") -> str:
    """Three commands that go deeper, each with what it is for."""
    engine = "" if setup.backend == backends.DEFAULT else f" -b {setup.backend}"
    lines = (
        (f"run latency -m {setup.variant} -q {setup.quantization}{engine}", "TTFT and gaps between tokens"),
        ("recommend --goal code --context 8k", "another goal, a longer context"),
        ("dashboard", "results and advice in the browser")
        if find_spec("streamlit")
        else ("report latest --out report.html", "one page with charts"),
    )
    wide = max(len(command) for command, _ in lines)
    return "\n".join(f"  {program} {command:<{wide}}  {what}" for command, what in lines)


def _show(title: str, text: str) -> None:
    print(f"{title}\n{text.rstrip()}\n", flush=True)
