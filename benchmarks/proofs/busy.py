"""With other programs on half of both cpus: do the probe's figures hold, and does the advice heal by itself?

A trial is the probe of a quiet machine, the same while a program of 50 % runs on every cpu, and the quiet one again:
some machines wander by themselves. A figure holds where what is said of it, from what was seen to ``most``, reaches the
quiet ones, or lies between two that the machine wandered between; each end within 5 %. Where ``phibench calibrate`` is
there, it runs in each part, too, and holds where four fifths of its rates do, whose intervals are meant to hold 80 %.
Asked for: read bandwidth, matrix rates and calibration in 18 of 20 trials each.

Then ``phibench recommend`` runs quiet, disturbed (it must doubt), and once more after the programs have ended: without
a doubt, and no yes that was a no.

``--trials N --state FILE`` does a part and goes on where it was left; the last part says how it went.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phibench import backends, probe
from phibench.cli import cli
from phibench.core import files
from phibench.core.nouns import Machine
from phibench.probe.speed import matrix

TRIALS, ASKED, SHARE = 20, 18, 0.5
_NEAR = 1.05  # two quiet probes, one after the other, differ by as much
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
_HELD = 0.8  # of the rates of a calibration
Figures = dict[str, tuple[float, float, float]]  # the figure, and both ends of what is said of it


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


def figures(machine: Machine) -> Figures:
    read = probe.bandwidth(machine, 3.0)
    rates = matrix.rates(machine.limits.threads, machine.limits.cpus)
    seen = read.read_bytes_s or 0.0
    told = {kind: (rate, rate, rates.most_flops_s.get(kind, rate)) for kind, rate in rates.flops_s.items()}
    return {"read": (seen, seen, read.most_read_bytes_s or seen), **told, **calibrated()}


def calibrated() -> Figures:
    """By what it is a rate of; empty where this phibench calibrates nothing. It learns from no run before."""
    if _CALIBRATE[0] not in cli.commands or backends.load("llama_cpp").installed() is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "phibench", *_CALIBRATE, "--results", folder]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    rates = json.loads(done.stdout)["rates"]
    return {
        f"{_CALIBRATE[0]} {r['device']} {r['tensor_type']} {r['phase']}": (r["value"], r["low"], r["high"])
        for r in rates
    }


def holds(before: float, busy: tuple[float, float], after: float) -> bool:
    low, high = sorted((before, after))
    return busy[0] <= high * _NEAR and busy[1] >= low / _NEAR


def trial(machine: Machine, before: Figures | None) -> tuple[dict[str, bool], Figures]:
    before = before or figures(machine)
    with hogs():
        busy = figures(machine)
    after = figures(machine)
    shared = [kind for kind in before if kind in busy and kind in after]
    found = {kind: holds(before[kind][0], busy[kind][1:], after[kind][0]) for kind in shared}
    for kind in shared:
        quiet, seen = f"{before[kind][0] / 1e9:.3g} and {after[kind][0] / 1e9:.3g}", [x / 1e9 for x in busy[kind][1:]]
        not_held = "" if found[kind] else ": NOT HELD"
        print(f"{kind}: quiet {quiet}, busy {seen[0]:.3g} to {seen[1]:.3g}{not_held}", flush=True)
    rates = [held for kind, held in found.items() if kind.startswith(_CALIBRATE[0])]
    plain = {kind: held for kind, held in found.items() if not kind.startswith(_CALIBRATE[0])}
    return {**plain, **({_CALIBRATE[0]: sum(rates) >= _HELD * len(rates)} if rates else {})}, after


def advice(cache: Path) -> tuple[bool, dict[str, str]]:
    """Whether a figure is doubted, and the answers by setup."""
    words = [sys.executable, "-m", "phibench", "recommend", "--top", "all", "-o", "json", "--results", str(cache)]
    done = subprocess.run(words, stdout=subprocess.PIPE, env={**os.environ, "PHIBENCH_CACHE": str(cache)}, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    doubted = any(device.get("doubt") for device in document["machine"]["devices"])
    return doubted, {one["setup"]: one["verdict"] for one in document["candidates"]}


def heals() -> str:
    """What is wrong with it, or "" where nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        quiet, answers = advice(Path(folder, "quiet"))
        with hogs():
            disturbed, while_busy = advice(Path(folder, "busy"))
        after, healed = advice(Path(folder, "busy"))
    believed = [setup for setup, answer in while_busy.items() if answer == "no" and answers[setup] == "yes"]
    turned = [setup for setup, answer in healed.items() if {answer, answers[setup]} == {"yes", "no"}]
    print(f"quiet doubted: {quiet}, busy doubted: {disturbed}, after doubted: {after}; turned: {turned}", flush=True)
    if quiet or not disturbed:
        return "the first two were not one quiet and one doubted"
    return "a doubt stayed" if after else "a busy no was a yes" if believed else "answers turned" if turned else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    machine = probe.machine(bandwidth_s=None)
    known: list[dict[str, bool]] = json.loads(args.state.read_bytes()) if args.state and args.state.exists() else []
    last: Figures | None = None
    for _ in range(min(args.trials, TRIALS - len(known))):
        held, last = trial(machine, last)
        known.append(held)
        if args.state:
            files.write_json(args.state, known)
    if len(known) < TRIALS:
        print(f"{len(known)} of {TRIALS} trials are done; go on with the same --state", file=sys.stderr)
        return 1
    wrong = heals()
    counts = {kind: sum(held.get(kind, False) for held in known) for kind in known[0]}
    told = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    healed = f"the next recommend {'heals' if not wrong else f'does not heal: {wrong}'}"
    print(f"{told} of {TRIALS}; {healed} (each {ASKED} of {TRIALS}, and it heals)")
    return 0 if min(counts.values()) >= ASKED and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
