"""Predictions against the grid: how far off, how often inside the interval, how wide, beside what the machine wanders.

    python benchmarks/accuracy/score.py GRID [--calibration RUN.json ...] [--json FILE] [--cells]

GRID is the folder of grid.py. The truth of a cell is its speed over its anchor's, launch by launch, within the same
minute. The anchor tells how fast memory was then: the prediction of the cell is moved by what the anchor ran at over
what it was predicted at, as far as the cell waits for memory as the anchor does (``Terms.wandering``). Beside it the
same divided by the anchor whatever the cell waits for, and undivided. Bases:

calibrate      from a run file of ``phibench calibrate``, of several from each by itself
all N together from all of these
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

import peers

from phibench import backends
from phibench.core import files, stats
from phibench.core.metrics import values
from phibench.core.nouns import Measured, Run, Setup
from phibench.core.run_files import read_run
from phibench.predict import calibration, costs
from phibench.predict.calibration import CalibrationPoint
from phibench.predict.costs import Phase
from phibench.predict.speed import Knowledge
from phibench.predict.terms import Z80

PHASES: tuple[Phase, ...] = ("decode", "prefill")
NOISY = 0.04  # cells whose two launches differ by more are told apart


class Truth(NamedTuple):
    """One phase of one cell. ``floor``: A against A of its rounds, each over the anchor's of that round."""

    setup: Setup
    point: CalibrationPoint
    anchor: CalibrationPoint
    ratio: float  # the cell's tokens per second over the anchor's
    floor: float


class Guess(NamedTuple):
    truth: Truth
    error: float  # predicted / true - 1, moved with the anchor as far as the cell waits for what the anchor waits for
    divided: float  # the same, both over the anchor as they are
    undivided: float  # the same without the anchor
    inside: bool
    factor: float  # of the interval, geometric: [value / f, value * f]


def truths(folder: Path) -> list[tuple[Truth, Run]]:
    """Of each cell and phase, with its run. A cell that was measured again has the rounds of all its files."""
    ratios: dict[tuple[Setup, Phase], list[float]] = defaultdict(list)
    last: dict[tuple[Setup, Phase], tuple[CalibrationPoint, CalibrationPoint, Run]] = {}
    for path in sorted(folder.glob("*.json")):
        run = read_run(path)
        points = calibration.points(run.machine, [run])
        for phase in PHASES:
            mine = [p for p in points if p.phase == phase]
            cell, anchor = (next((p for p in mine if (p.layers is None) == whole), None) for whole in (True, False))
            if cell and anchor:
                key = cell.setup, phase
                rounds = zip(_rounds(run, cell), _rounds(run, anchor), strict=True)
                ratios[key] += [one / other for one, other in rounds]
                last[key] = cell, anchor, run
    return [(Truth(key[0], cell, anchor, *_ratio(ratios[key])), run) for key, (cell, anchor, run) in last.items()]


def _ratio(ratios: Sequence[float]) -> tuple[float, float]:
    """(the middle, how far every second round lies from the others)"""
    if len(ratios) < 2:
        return ratios[0], math.nan
    halves = stats.median(ratios[::2]), stats.median(ratios[1::2])
    return stats.median(ratios), max(halves) / min(halves) - 1


def _rounds(run: Run, point: CalibrationPoint) -> list[float]:
    """Tokens per second of each; of the anchor between what it did before and after the cell."""
    metric = calibration.METRIC[point.phase]
    mine = [r for r in run.results if isinstance(r, Measured) and r.artifact.layers == point.layers]
    told = [values(metric, r.workload, r.samples) for r in mine]
    return [stats.median(one) for one in told if one]


def guess(known: Knowledge, truth: Truth) -> Guess | None:
    """The prediction of a cell, moved by what the anchor was predicted at and ran at."""
    point, anchor, kind = truth.point, truth.anchor, truth.setup.device
    fit = known.fit(truth.setup, point.phase)
    if fit is None:
        found = known.tokens_s(truth.setup, point.cost)
        if found is None:
            return None
        value, factor = found.value, math.sqrt(found.high / found.low)
        alone = divided = value
    else:
        mine, its = known.started(point.cost, kind), known.started(anchor.cost, kind)
        (seconds, sd), (then_s, _) = fit.seconds(point.cost, mine), fit.seconds(anchor.cost, its)
        alone = point.cost.tokens / seconds
        drift = point.tps / truth.ratio / (anchor.cost.tokens / then_s)
        value, divided = alone * drift ** min(mine.wandering / its.wandering, 1.0), alone * drift
        factor = math.exp(Z80 * sd)
    inside = value / factor <= point.tps <= value * factor
    error, over_anchor, undivided = (tps / point.tps - 1 for tps in (value, divided, alone))
    return Guess(truth, error, over_anchor, undivided, inside, factor)


def by_basis(rows: Sequence[tuple[Truth, Run]], calibrations: Sequence[Run]) -> dict[str, list[Guess]]:
    machine = rows[0][1].machine
    found: dict[str, list[Guess]] = defaultdict(list)
    probe, together = Knowledge(machine), Knowledge(machine, calibrations)
    each = [Knowledge(machine, (one,)) for one in calibrations]
    for truth, _ in rows:
        found["calibrate"] += [made for one in each if (made := guess(one, truth))]
        known = {f"all {len(each)} together": together} if len(each) > 1 else {}
        others = list({id(r): r for t, r in rows if t.setup != truth.setup}.values())
        known["leave one out"] = Knowledge(machine, others)
        usual = Setup(
            variant="phi-4-mini-instruct", quantization=backends.load(truth.setup.backend).QUANTIZATION,
            backend=truth.setup.backend,
        )  # fmt: skip
        if truth.setup != usual:
            known["one setup"] = Knowledge(machine, [r for t, r in rows if t.setup == usual][:1])
        known["probe"] = probe
        for basis, one in known.items():
            if made := guess(one, truth):
                found[basis].append(made)
        if truth.point.phase == "decode":
            for name, tps in _peers(truth).items():
                error = tps / truth.point.tps - 1
                found[name].append(Guess(truth, error, error, error, False, math.nan))
    return found


def _peers(truth: Truth) -> dict[str, float]:
    """Both know only that it is a CPU: neither asks for its bandwidth."""
    plan = costs.cost_sheet(truth.setup).plan
    weights_b, build = plan.parameters / 1e9, truth.setup.quantization
    return {
        "llmfit": peers.llmfit(weights_b, build, None),
        "whichllm": peers.whichllm(weights_b, build, plan.disk_bytes, None),
    }


def summary(found: Iterable[Guess]) -> dict[str, Any]:
    rows = list(found)
    errors = [abs(g.error) for g in rows]
    return {
        "cells": len(rows),
        "median": stats.median(errors),
        "p90": stats.percentile(errors, 0.9),
        "bias": stats.median([g.error for g in rows]),
        "divided": stats.median([abs(g.divided) for g in rows]),
        "divided_p90": stats.percentile([abs(g.divided) for g in rows], 0.9),
        "undivided": stats.median([abs(g.undivided) for g in rows]),
        "undivided_p90": stats.percentile([abs(g.undivided) for g in rows], 0.9),
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
    print(
        "| basis | phase | engine | cells | median | p90 | bias | inside 80 % | width x/: | floor | divided | "
        "undivided | noisy |"
    )
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for t in tables:
        interval = "– | –" if math.isnan(t["factor"]) else f"{t['coverage']:.0%} | {t['factor']:.2f}"
        print(
            f"| {t['basis']} | {t['phase']} | {t['backend']} | {t['cells']} | {t['median']:.1%} | {t['p90']:.1%} | "
            f"{t['bias']:+.1%} | {interval} | {t['floor']:.1%} | {t['divided']:.1%}, {t['divided_p90']:.1%} | "
            f"{t['undivided']:.1%}, {t['undivided_p90']:.1%} | "
            f"{t['noisy']} |"
        )
    if asked.cells:
        for basis, told in found.items():
            for g in told:
                point, where = g.truth.point, "in" if g.inside else "OUT"
                print(f"{basis:14} {point.phase:8} {g.truth.setup!s:52} {g.error:+7.1%} {where:4}", end="")
                print(f"x/{g.factor:.2f} floor {g.truth.floor:6.1%} true {point.tps:.2f}")
    if asked.json:
        cells = [
            {"basis": basis, "phase": g.truth.point.phase, "setup": str(g.truth.setup), "true_tps": g.truth.point.tps,
             "predicted_tps": g.truth.point.tps * (1 + g.error), "floor": g.truth.floor, "inside": g.inside}
            for basis, told in found.items() for g in told
        ]  # fmt: skip
        files.write_json(asked.json, {"tables": tables, "cells": cells})


if __name__ == "__main__":
    main()
