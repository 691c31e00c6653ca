"""Predictions against the grid: how far off, how often inside the interval, how wide, beside what the machine wanders.

    python benchmarks/accuracy/score.py GRID [--calibration RUN.json ...] [--json FILE] [--cells]

GRID is the folder of grid.py. The truth of a cell is its median over what its anchor ran at in the same minutes; the
prediction is divided by the same anchor, as it was predicted. Bases:

calibrate      from run files of ``phibench calibrate``
leave one out  from all other cells of the grid
one setup      from Phi-4-mini as the engine usually has it, alone
probe          from the machine's bandwidth and matrix rate
llmfit, whichllm: their formulas on the same rows (peers.py)
"""

from __future__ import annotations

import argparse
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from phibench import backends
from phibench.core import files, stats
from phibench.core.nouns import Measured, Run, Setup
from phibench.core.run_files import read_run
from phibench.predict import calibration
from phibench.predict.calibration import CalibrationPoint
from phibench.predict.costs import Phase
from phibench.predict.speed import Knowledge

PHASES: tuple[Phase, ...] = ("decode", "prefill")
NOISY = 0.04  # cells whose two launches differ by more are told apart


class Truth(NamedTuple):
    """One phase of one cell. ``ratio``: its tokens per second over the anchor's; ``floor``: A against A of launches."""

    setup: Setup
    point: CalibrationPoint
    anchor: CalibrationPoint
    ratio: float
    floor: float


class Guess(NamedTuple):
    truth: Truth
    error: float  # predicted / true - 1
    inside: bool
    factor: float  # of the interval, geometric: [value / f, value * f]


def truths(folder: Path) -> list[tuple[Truth, Run]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        run = read_run(path)
        points = calibration.points(run.machine, [run])
        for phase in PHASES:
            mine = [p for p in points if p.phase == phase]
            cell, anchor = (next((p for p in mine if (p.layers is None) == whole), None) for whole in (True, False))
            if cell and anchor:
                found.append((Truth(cell.setup, cell, anchor, cell.tps / anchor.tps, _floor(run, phase)), run))
    return found


def _floor(run: Run, phase: Phase) -> float:
    """How far two launches of the cell lie apart once both are divided by the anchor of their launch."""
    by_launch: dict[int, dict[bool, float]] = defaultdict(dict)
    for result in run.results:
        if isinstance(result, Measured) and (result.workload.new_tokens > 0) == (phase == "decode"):
            sample = result.samples[0].arrivals_s
            whole = result.artifact.layers is None
            by_launch[result.launch][whole] = sample[-1]
    ratios = [both[True] / both[False] for both in by_launch.values() if len(both) == 2]
    return max(ratios) / min(ratios) - 1 if len(ratios) > 1 else math.nan


def guesses(known: Knowledge, truth: Truth) -> Guess | None:
    """The prediction of a cell, moved by what the anchor was predicted at and ran at."""
    found = known.tokens_s(truth.setup, truth.point.cost)
    anchor = known.fit(truth.setup, truth.point.phase)
    if found is None:
        return None
    moved = 1.0
    if anchor is not None:
        seconds, _ = anchor.seconds(truth.anchor.cost, known.started(truth.anchor.cost, truth.setup.device))
        moved = truth.anchor.tps / (truth.anchor.cost.tokens / seconds)
    value, low, high = found.value * moved, found.low * moved, found.high * moved
    return Guess(truth, value / truth.point.tps - 1, low <= truth.point.tps <= high, math.sqrt(high / low))


def by_basis(rows: Sequence[tuple[Truth, Run]], calibrations: Sequence[Run]) -> dict[str, list[Guess]]:
    machine = rows[0][1].machine
    found: dict[str, list[Guess]] = defaultdict(list)
    calibrated, probe = Knowledge(machine, calibrations), Knowledge(machine)
    for truth, _ in rows:
        known = {"calibrate": calibrated} if calibrations else {}
        others = list({id(r): _whole(r) for t, r in rows if t.setup != truth.setup}.values())
        known["leave one out"] = Knowledge(machine, others)
        usual = Setup(
            variant="phi-4-mini-instruct", quantization=backends.load(truth.setup.backend).QUANTIZATION,
            backend=truth.setup.backend,
        )  # fmt: skip
        if truth.setup != usual:
            known["one setup"] = Knowledge(machine, [_whole(r) for t, r in rows if t.setup == usual][:1])
        known["probe"] = probe
        for basis, one in known.items():
            if guess := guesses(one, truth):
                found[basis].append(guess)
    return found


def _whole(run: Run) -> Run:
    return msgspec.structs.replace(run, id=str(id(run)))


def summary(found: Iterable[Guess]) -> dict[str, Any]:
    rows = list(found)
    errors = [abs(g.error) for g in rows]
    return {
        "cells": len(rows),
        "median": stats.median(errors),
        "p90": stats.percentile(errors, 0.9),
        "bias": stats.median([g.error for g in rows]),
        "coverage": sum(g.inside for g in rows) / len(rows),
        "factor": stats.median([g.factor for g in rows]),
        "floor": stats.median([g.truth.floor for g in rows]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--calibration", type=Path, nargs="*", default=[])
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cells", action="store_true", help="every cell")
    asked = parser.parse_args()
    rows = [(t, r) for t, r in truths(asked.grid) if asked.only.search(str(t.setup))]
    found = by_basis(rows, [read_run(path) for path in asked.calibration])
    tables: list[dict[str, Any]] = []
    for basis, told in found.items():
        for phase in PHASES:
            for backend in ("all", *dict.fromkeys(g.truth.setup.backend for g in told)):
                mine = [g for g in told if g.truth.point.phase == phase and backend in ("all", g.truth.setup.backend)]
                quiet = [g for g in mine if not g.truth.floor > NOISY]
                if quiet:
                    tables.append(
                        {
                            "basis": basis,
                            "phase": phase,
                            "backend": backend,
                            **summary(quiet),
                            "noisy": len(mine) - len(quiet),
                        }
                    )
    print("| basis | phase | engine | cells | median | p90 | bias | inside 80 % | width x/: | floor | noisy |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for t in tables:
        print(
            f"| {t['basis']} | {t['phase']} | {t['backend']} | {t['cells']} | {t['median']:.1%} | {t['p90']:.1%} | "
            f"{t['bias']:+.1%} | {t['coverage']:.0%} | {t['factor']:.2f} | {t['floor']:.1%} | {t['noisy']} |"
        )
    if asked.cells:
        for basis, told in found.items():
            for g in told:
                print(
                    f"{basis:14} {g.truth.point.phase:8} {g.truth.setup!s:55} {g.error:+7.1%} {'in ' if g.inside else 'OUT'} x/{g.factor:.2f} floor {g.truth.floor:.1%} true {g.truth.point.tps:.2f}"
                )
    if asked.json:
        files.write_json(asked.json, {"tables": tables})


if __name__ == "__main__":
    main()
