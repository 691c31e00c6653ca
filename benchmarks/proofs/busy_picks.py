"""With other programs on half of both cpus: is the pick of ``phibench quickstart`` the quiet machine's?

Ten trials, each one quickstart on a quiet machine and one beside a program of 50 % on every cpu, which knows nothing:
no cache, no runs. A pick beside the programs is right where it is the quiet one before it or one that could lead
there within the intervals (phibench/advise/settling.py), as the quiet one could lead beside the programs. "Too busy
to say" (exit code 5) is none.
Asked for: 7 picks at least, all right, and of the quiet ones never "too busy". ``--trials N --state FILE`` does a
part and goes on where it was left; the last part says how it went.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import busy  # benchmarks/proofs/busy.py
import msgspec

from phibench import catalog
from phibench.advise import recommend, settling
from phibench.cli.quickstart import GOAL
from phibench.core import files, run_files
from phibench.core.errors import TOO_BUSY
from phibench.core.nouns import Noun

TRIALS, PICKS = 10, 7
HOGS_LAST_S = 290.0  # the programs end by themselves then
_PICK = re.compile(r"^1 +(\S+:\S+)", re.MULTILINE)


class Said(Noun, frozen=True, kw_only=True):
    """By one quickstart. ``could_lead``: what could be the pick within the intervals, by their names, the pick too."""

    exit_code: int
    pick: str
    could_lead: tuple[str, ...]
    wall_s: float


class Trial(Noun, frozen=True, kw_only=True):
    quiet: Said
    busy: Said


def quickstart() -> Said:
    """By a machine that knows nothing; what it made is removed."""
    with tempfile.TemporaryDirectory() as folder:
        results, began = Path(folder, "results"), time.monotonic()
        words = [sys.executable, "-m", "phibench", "quickstart", "--results", str(results)]
        environment = {**os.environ, "PHIBENCH_CACHE": str(Path(folder, "cache"))}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        wall_s, picks = time.monotonic() - began, _PICK.findall(done.stdout)
        leaders = could_lead(results)
    return Said(exit_code=done.returncode, pick=picks[-1] if picks else "", could_lead=leaders, wall_s=wall_s)


def could_lead(results: Path) -> tuple[str, ...]:
    """Of the run that quickstart wrote."""
    runs = run_files.read_runs(results)[0]
    if not runs:
        return ()
    machine, goal = runs[-1].machine, catalog.goal(GOAL)
    verdicts = recommend.advise(machine, goal, runs)
    found = (verdicts[0], *settling.undecided(machine, goal, runs, verdicts))
    return tuple(dict.fromkeys(f"{verdict.setup.variant}:{verdict.setup.quantization}" for verdict in found))


def wrong(trial: Trial) -> str:
    """What is wrong with it, "" for nothing."""
    if trial.quiet.exit_code == TOO_BUSY:
        return "too busy to say on a quiet machine"
    for when, said in (("quiet", trial.quiet), ("busy", trial.busy)):
        if said.exit_code not in (0, TOO_BUSY) or not said.pick:
            return f"{when}: exit code {said.exit_code}, pick {said.pick or 'none'}"
    if trial.busy.wall_s > HOGS_LAST_S:
        return f"{trial.busy.wall_s:.0f} s beside the programs, which had ended by then"
    quiet, beside = trial.quiet, trial.busy
    if picked(trial) and not (beside.pick in quiet.could_lead and quiet.pick in beside.could_lead):
        return f"busy pick {beside.pick}, quiet {quiet.pick}, where it could not lead, or the other way round"
    return ""


def picked(trial: Trial) -> bool:
    return trial.busy.exit_code != TOO_BUSY


def show(trial: Trial) -> None:
    for when, said in (("quiet", trial.quiet), ("busy", trial.busy)):
        told = "too busy to say" if said.exit_code == TOO_BUSY else said.pick
        print(f"{when}: {told}, exit code {said.exit_code}, {said.wall_s:.0f} s; {len(said.could_lead)} could lead")
    print(wrong(trial) or "right", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS, help="at most so many now")
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    known = args.state and args.state.exists()
    trials = msgspec.json.decode(args.state.read_bytes(), type=list[Trial]) if known else []
    for _ in range(min(args.trials, TRIALS - len(trials))):
        quiet = quickstart()
        with busy.hogs():
            beside = quickstart()
        trials.append(Trial(quiet=quiet, busy=beside))
        show(trials[-1])
        if args.state:
            files.write_json(args.state, trials)
    if len(trials) < TRIALS:
        print("not all trials are done; go on with the same --state", file=sys.stderr)
        return 1
    picks = [trial for trial in trials if picked(trial)]
    same = sum(trial.busy.pick == trial.quiet.pick for trial in picks)
    quiet_too_busy = sum(trial.quiet.exit_code == TOO_BUSY for trial in trials)
    faults = [told for trial in trials if (told := wrong(trial))]
    for fault in faults:
        print(fault, file=sys.stderr)
    sizes = sorted(len(trial.quiet.could_lead) for trial in trials)
    print(
        f"beside programs {len(picks)} picks of {len(trials)}, {same} the quiet one, {len(faults)} wrong, where on the "
        f"quiet machine {sizes[0]} to {sizes[-1]} setups could lead; quiet "
        f'{quiet_too_busy} times "too busy" (at least {PICKS}, each the quiet one or one that could lead there; never)'
    )
    return 0 if len(picks) >= PICKS and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
