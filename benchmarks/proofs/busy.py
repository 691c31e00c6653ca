"""With other programs on half of both cpus: do the figures of the probe and of calibrate hold, and does advice heal?

A trial is the figures of a quiet machine, the same while a program of 50 % runs on every cpu, and the quiet ones again.
Some machines wander by themselves, so a figure is judged only where its two quiet ones are neighbours: within 10 % of
each other, and within 15 % of the best quiet one of all trials. The rest is no trial; it is repeated, and counted.
Where the first quiet ones lie below that already, they are measured again, up to five times, before a program starts.
- A figure of the probe holds where what is said of it, from what was seen to ``most``, reaches the quiet ones, each end
  within 5 %.
- A trial of ``phibench calibrate`` is one such run under the programs, of llama.cpp; its rates are judged one by one,
  without those 5 %, and it holds where four fifths of them do: they are 80 % intervals. It is a trial where half of
  its rates can be judged.
Asked for: read bandwidth, matrix rates and calibration in 18 of 20 trials each.

Then ``phibench recommend`` runs quiet, disturbed (it must doubt), and once more after the programs have ended: without
a doubt, no yes turned to no or back, and of the answers as many "not known" as before, give or take what another quiet
probe turns too. It runs three times, of which each must heal; where the quiet machine wandered, it is no trial.

``--trials N --state FILE`` does a part and goes on where it was left; the last part says how it went. ``--only`` does
trials of read bandwidth, of matrix rates or of calibrate, or the healing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from phibench import backends, probe
from phibench.cli import cli
from phibench.core import files
from phibench.core.nouns import Machine, Noun
from phibench.probe.speed import matrix

TRIALS, ASKED, SHARE, HEALINGS = 20, 18, 0.5, 3
_NEAR = 1.05  # two quiet probes, one after the other, differ by as much
_SAME = 1.1  # two quiet figures of a trial; a machine that wanders changes by a third
_BEST = 1.15  # a quiet figure, and the best of all
_NEIGHBOUR_S = 30.0  # a quiet figure older than this is measured again
_MOST = 3  # times as many trials as are asked for: then it is said that the machine was never quiet
_HOG = """
import os, sys, time
share, cpu, parent, end = float(sys.argv[1]), int(sys.argv[2]), os.getppid(), time.monotonic() + 300
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {cpu})
while time.monotonic() < end and os.getppid() == parent:
    began = time.perf_counter()
    while time.perf_counter() - began < share * 0.05:
        pass
    time.sleep((1 - share) * 0.05)
"""
_CALIBRATE = ("calibrate", "--budget", "20s", "-b", "llama_cpp", "-o", "json")
_HELD, _JUDGED = 0.8, 0.5  # of the rates of a calibration
_TURNED = 0.01  # of the answers: a limit lies where two quiet probes differ, too
_AGAIN = 5  # times that quiet figures are measured, at most, until they are
Part = Literal["read", "matrix", "calibrate", "heal"]
Figures = dict[str, tuple[float, float, float]]  # the figure, and both ends of what is said of it


class Trial(Noun, frozen=True, kw_only=True):
    before: Figures
    busy: Figures
    after: Figures


class Done(Noun, frozen=True, kw_only=True):
    """What ``--state`` keeps; ``healed``: what was wrong with each, "" for nothing, None where it was no trial."""

    read: tuple[Trial, ...] = ()
    matrix: tuple[Trial, ...] = ()
    calibrate: tuple[Trial, ...] = ()
    healed: tuple[str | None, ...] = ()


class Count(Noun, frozen=True, kw_only=True):
    """Of one figure, or of calibrate: of ``trials`` that counted; the rest was disturbed while it should be quiet."""

    held: int
    trials: int
    rejected: int


# ------------------------------------------------------------------------------------------ what is measured


@contextlib.contextmanager
def hogs(share: float = SHARE) -> Iterator[None]:
    """A program on every cpu that this process may use; each ends with the block, with this process, or in 300 s."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    with contextlib.ExitStack() as started:
        for cpu in cpus:
            hog = started.enter_context(subprocess.Popen([sys.executable, "-c", _HOG, str(share), str(cpu)]))
            started.callback(hog.kill)
        time.sleep(0.5)
        yield


def read(machine: Machine) -> Figures:
    found = probe.bandwidth(machine, 3.0)
    seen = found.read_bytes_s or 0.0
    return {"read": (seen, seen, found.most_read_bytes_s or seen)}


def multiplied(machine: Machine) -> Figures:
    rates = matrix.rates(machine.limits.threads, machine.limits.cpus)
    return {kind: (rate, rate, rates.most_flops_s.get(kind, rate)) for kind, rate in rates.flops_s.items()}


def calibrated(_: Machine) -> Figures:
    """By what it is a rate of. It learns from no run before."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "phibench", *_CALIBRATE, "--results", folder]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    rates = json.loads(done.stdout)["rates"]
    return {f"{r['tensor_type']} {r['phase']}": (r["value"], r["low"], r["high"]) for r in rates}


def trials(measure: Callable[[], Figures], count: int, known: Sequence[Trial] = ()) -> Iterator[Trial]:
    """The last quiet figures of one are the first of the next."""
    made, after, at_s = list(known), Figures(), 0.0
    for _ in range(count):
        before = after if after and time.monotonic() - at_s <= _NEIGHBOUR_S else measure()
        again = 1
        while again < _AGAIN and not _is_quiet(before, best(made)):
            before, again = measure(), again + 1
        with hogs():
            busy = measure()
        after, at_s = measure(), time.monotonic()
        made.append(Trial(before=before, busy=busy, after=after))
        yield made[-1]


def _is_quiet(figures: Figures, most: dict[str, float]) -> bool:
    """Half of its figures come near the best of them."""
    near = [most.get(kind, 0.0) <= value * _BEST for kind, (value, _, _) in figures.items()]
    return 2 * sum(near) >= len(near)


# ------------------------------------------------------------------------------------------ what came of it


def judged(found: Sequence[Trial], near: float) -> list[dict[str, bool]]:
    """Of each trial which figures held, of those whose quiet ones are neighbours."""
    most = best(found)
    return [
        {
            kind: holds(*quiet, busy[1:], near)
            for kind, busy in trial.busy.items()
            if (quiet := _quiet(trial, kind, most)) is not None
        }
        for trial in found
    ]


def best(found: Sequence[Trial]) -> dict[str, float]:
    """Of all quiet figures, by kind."""
    most: dict[str, float] = {}
    for figures in (figures for trial in found for figures in (trial.before, trial.after)):
        for kind, (value, _, _) in figures.items():
            most[kind] = max(most.get(kind, 0.0), value)
    return most


def _quiet(trial: Trial, kind: str, most: dict[str, float]) -> tuple[float, float] | None:
    """The lower and the higher of the two, where both were quiet."""
    if kind not in trial.before or kind not in trial.after:
        return None
    low, high = sorted((trial.before[kind][0], trial.after[kind][0]))
    return (low, high) if high <= low * _SAME and most[kind] <= low * _BEST else None


def holds(low: float, high: float, busy: tuple[float, float], near: float = _NEAR) -> bool:
    """Whether what is said of a disturbed figure reaches what is between two quiet ones."""
    return busy[0] <= high * near and busy[1] >= low / near


def counts(done: Done) -> dict[str, Count]:
    """By figure of the probe, and of calibrate as a whole; of the first 20 trials that count."""
    found = {}
    for made in (done.read, done.matrix):
        by_figure = judged(made, _NEAR)
        for kind in dict.fromkeys(kind for trial in made for kind in trial.busy):
            found[kind] = _count([held.get(kind) for held in by_figure])
    if done.calibrate:
        rates = zip(done.calibrate, judged(done.calibrate, 1.0), strict=True)
        found[_CALIBRATE[0]] = _count([_most_hold(held, len(trial.busy)) for trial, held in rates])
    return found


def _most_hold(held: dict[str, bool], of: int) -> bool | None:
    return sum(held.values()) >= _HELD * len(held) if held and len(held) >= _JUDGED * of else None


def _count(held: Sequence[bool | None]) -> Count:
    counted = [one for one in held if one is not None][:TRIALS]
    return Count(held=sum(counted), trials=len(counted), rejected=held.count(None))


def told(name: str, count: Count) -> str:
    rejected = f" ({count.rejected} more were not quiet before or after)" if count.rejected else ""
    return f"{name} {count.held} of {count.trials}{rejected}"


def show(trial: Trial, held: dict[str, bool]) -> None:
    for kind, (_, low, high) in trial.busy.items():
        quiet = " and ".join(f"{one[kind][0] / 1e9:.3g}" for one in (trial.before, trial.after) if kind in one)
        how = {True: "", False: ": NOT HELD", None: ": no trial"}[held.get(kind)]
        print(f"{kind}: quiet {quiet}, busy {low / 1e9:.3g} to {high / 1e9:.3g}{how}", flush=True)


# ------------------------------------------------------------------------------------------ whether it heals


class Advice(NamedTuple):
    doubted: bool
    read_bytes_s: float
    answers: dict[str, str]  # by setup


def advice(cache: Path) -> Advice:
    words = [sys.executable, "-m", "phibench", "recommend", "--top", "all", "-o", "json", "--results", str(cache)]
    environment = {**os.environ, "PHIBENCH_CACHE": str(cache)}
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    devices = document["machine"]["devices"]
    doubted = any(device.get(key) for device in devices for key in ("doubt", "matrix_doubt"))
    answers = {one["setup"]: one["verdict"] for one in document["candidates"]}
    return Advice(doubted, devices[0]["read_bytes_s"], answers)


def heals() -> str | None:
    """What is wrong with it, "" where nothing is, None where it was no trial."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = advice(Path(folder, "quiet"))
        with hogs():
            busy = advice(Path(folder, "busy"))
        healed, again = advice(Path(folder, "busy")), advice(Path(folder, "again"))
    for name, one in (("quiet", quiet), ("busy", busy), ("healed", healed), ("quiet again", again)):
        turned, gone = turns(quiet, one)
        told = f"{turned} answers yes for no or no for yes, {gone} to or from not known"
        print(f"{name}: {one.read_bytes_s / 1e9:.3g} GB/s, doubted {one.doubted}; {told}", flush=True)
    return unhealed(quiet, busy, healed, again)


def unhealed(quiet: Advice, busy: Advice, healed: Advice, again: Advice) -> str | None:
    rates = [one.read_bytes_s for one in (quiet, healed, again)]
    if quiet.doubted or again.doubted or not busy.doubted or max(rates) > _SAME * min(rates):
        return None
    if healed.doubted:
        return "a doubt stayed"
    if any(answer == "no" and quiet.answers[setup] == "yes" for setup, answer in busy.answers.items()):
        return "a busy no was a yes"
    turned, gone = turns(quiet, healed)
    return "answers turned" if turned or gone > max(turns(quiet, again)[1], _TURNED * len(quiet.answers)) else ""


def turns(before: Advice, after: Advice) -> tuple[int, int]:
    """How many answers are another: yes and no, and to or from "not known"."""
    pairs = [{before.answers[setup], answer} for setup, answer in after.answers.items()]
    return pairs.count({"yes", "no"}), sum(len(pair) == 2 and pair != {"yes", "no"} for pair in pairs)


# ------------------------------------------------------------------------------------------ all of it


def owed(done: Done, part: Part) -> int:
    """How many are to be done still; none where there were so many that the machine is never quiet."""
    if part == "heal":
        return min(HEALINGS - len(_told(done)), _MOST * HEALINGS - len(done.healed))
    made: tuple[Trial, ...] = getattr(done, part)
    mine = counts(msgspec.structs.replace(Done(), **{part: made})).values()
    return min(TRIALS - min((count.trials for count in mine), default=0), _MOST * TRIALS - len(made))


def _told(done: Done) -> list[str]:
    return [wrong for wrong in done.healed if wrong is not None]


def more(done: Done, part: Part, count: int, keep: Callable[[Done], None]) -> Done:
    if part == "heal":
        for _ in range(count):
            wrong = heals()
            done = msgspec.structs.replace(done, healed=(*done.healed, wrong))
            keep(done)
        return done
    machine = probe.machine(bandwidth_s=None)
    measure = {"read": read, "matrix": multiplied, "calibrate": calibrated}[part]
    near = 1.0 if part == "calibrate" else _NEAR
    for trial in trials(lambda: measure(machine), count, getattr(done, part)):
        made = (*getattr(done, part), trial)
        done = msgspec.structs.replace(done, **{part: made})
        show(trial, judged(made, near)[-1])
        keep(done)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="at most so many now, of each part")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--only", choices=get_args(Part))
    args = parser.parse_args()
    done = msgspec.json.decode(args.state.read_bytes(), type=Done) if args.state and args.state.exists() else Done()
    able = _CALIBRATE[0] in cli.commands and backends.load("llama_cpp").installed() is not None
    parts: list[Part] = [part for part in get_args(Part) if able or part != "calibrate"]
    for part in (part for part in parts if args.only in (None, part)):
        left = args.trials
        while (count := min(owed(done, part), TRIALS if left is None else left)) > 0:
            done = more(done, part, count, lambda kept: files.write_json(args.state, kept) if args.state else None)
            left = None if left is None else left - count
    found = counts(done)
    if any(owed(done, part) > 0 for part in parts):
        print(", ".join(told(*one) for one in found.items()), file=sys.stderr)
        print("not all trials are done; go on with the same --state", file=sys.stderr)
        return 1
    wrong = [one for one in _told(done) if one]
    healed = "; ".join((f"advice heals {_told(done).count('')} of {len(_told(done))} times", *wrong))
    print(f"{', '.join(told(*one) for one in found.items())}; {healed} (each {ASKED} of {TRIALS}, and it heals)")
    held = all(c.held >= ASKED and c.trials == TRIALS for c in found.values())
    return 0 if held and _told(done) == [""] * HEALINGS else 1


if __name__ == "__main__":
    sys.exit(main())
