"""Scores predictions from data sheets alone against published speeds, each hardware model left out with all its rows.

    python benchmarks/accuracy/datasheet.py [--json] [--rows FILE] [--worst N]

The constants are fitted again without the model (fit_classes.py), and so are the intervals: from the residuals of the
other models, left out in turn among themselves. Every model counts the same whatever its number of rows. A class with
fewer than three models has no figures of its own; it is listed apart. Beside: llmfit's and whichllm's formulas, and how
far posts about one and the same device, model and backend are apart (the floor). ``--rows``: other rows of the same
columns, predicted with the constants that ship.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fit_classes
import peers
from fit_classes import FOLDS, Problem, by_class, by_model, quantile
from published import Published, figures

from phibench.predict import classes
from phibench.predict.classes import Table
from phibench.predict.costs import Phase
from phibench.predict.terms import Z80

_SCORED = 3  # models that a class needs


class Scored(NamedTuple):
    """log(predicted / true tokens per second), and the standard deviation that was claimed."""

    row: Published
    off: float
    sd: float


def left_out(problem: Problem) -> list[Scored]:
    """Each clean row by constants and intervals that have not seen its hardware model."""
    every = range(len(problem.rows))
    off = fit_classes.off(problem, by_model, every)
    found = []
    for model in sorted({row.model for row in problem.rows if row.clean}):
        kept = [i for i in every if problem.rows[i].model != model]
        others = fit_classes.off(problem, by_model, kept, FOLDS)
        support = fit_classes.supports(problem.rows, others, others)
        for i in every:
            row = problem.rows[i]
            if row.model == model and row.clean:
                told = support.get(by_class(row), support[""])
                found.append(Scored(row, -float(off[i]), told.sd))
    return found


def shipped(phase: Phase, path: Path) -> list[Scored]:
    """Rows that nobody fitted, by the constants that ship."""
    return [_of_table(row, classes.shipped()) for row in figures(phase, path) if row.clean]


def _of_table(row: Published, table: Table) -> Scored:
    ops = classes.ops_s(table, row.place, row.cost.phase)
    assert ops is not None
    families = {classes.family(kernel) for kernel in row.cost.bytes_by_type}
    of = {family: classes.constants(table, row.place, family) for family in families}
    seconds = sum(classes.seconds(row.cost, row.place, ops, of).values())
    return Scored(row, math.log(row.seconds / seconds), classes.support(table, row.cost.phase, row.place).sd)


# ------------------------------------------------------------------------------------------------- figures


def score(found: Sequence[Scored], phase: Phase) -> dict[str, Any]:
    """Median and 90th percentile of |predicted / true - 1|, coverage and width of the 80 % intervals, the floor."""
    models = {one.row.model for one in found}
    within = [(float(abs(one.off) > Z80 * one.sd), one.row.model) for one in found]
    wrong = [(abs(math.expm1(one.off)), one.row.model) for one in found]
    told = {
        "models": len(models), "rows": len(found), "median": quantile(wrong, 0.5), "p90": quantile(wrong, 0.9),
        "coverage": 1 - _mean(within), "width": math.exp(Z80 * statistics.median(one.sd for one in found)),
        "floor": floor(one.row for one in found),
    }  # fmt: skip
    if phase == "decode":
        for name, formula in (("llmfit", llmfit), ("whichllm", whichllm)):
            off = [(abs(formula(one.row) / one.row.tps - 1), one.row.model) for one in found]
            told |= {f"{name}_median": quantile(off, 0.5), f"{name}_p90": quantile(off, 0.9)}
    return told


def _mean(values: Sequence[tuple[float, str]]) -> float:
    by: dict[str, list[float]] = defaultdict(list)
    for value, model in values:
        by[model].append(value)
    return statistics.mean(statistics.mean(of) for of in by.values())


def floor(rows: Iterable[Published]) -> float | None:
    """Median of how far posts on one device, model, quantization, backend and workload are from their own median."""
    same: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for row in rows:
        workload = row.cost.tokens if row.cost.phase == "prefill" else 1
        same[row.device, row.place.api, row.llm, row.quantization, workload].append(row.tps)
    apart = [abs(t / statistics.median(of) - 1) for of in same.values() if len(of) > 1 for t in of]
    return statistics.median(apart) if apart else None


def llmfit(row: Published) -> float:
    return peers.llmfit(row.weights_b, row.quantization, None if row.place.is_cpu else row.place.read_bytes_s or 0)


def whichllm(row: Published) -> float:
    bandwidth = None if row.place.is_cpu else row.place.read_bytes_s or 0
    return peers.whichllm(row.weights_b, row.quantization, row.file_gib * (1 << 30), bandwidth, row.place.vendor)


# -------------------------------------------------------------------------------------------------- output


def report(found: Sequence[Scored], phase: Phase) -> dict[str, Any]:
    """Both sets, and every class of the larger one; classes of few models apart and in no total."""
    models: dict[str, set[str]] = defaultdict(set)
    for one in found:
        models[by_class(one.row)].add(one.row.model)
    large = {name for name, of in models.items() if len(of) >= _SCORED}
    sets = {}
    for name in ("phi", "other"):
        rows = [one for one in found if one.row.set == name]
        kept = [one for one in rows if by_class(one.row) in large]
        if rows:
            sets[name] = {"scored": score(kept, phase) if kept else None, "all": score(rows, phase)}
    by = {name: score([one for one in found if by_class(one.row) == name], phase) for name in sorted(models)}
    return {"sets": sets, "classes": {k: v for k, v in by.items() if k in large},
            "apart": {k: v for k, v in by.items() if k not in large}}  # fmt: skip


def lines(told: dict[str, Any]) -> Iterator[str]:
    yield "| | models | rows | median | 90 % | coverage | x/: | floor | llmfit | whichllm |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    names = {"phi": "Phi", "other": "other models"}
    for name, of in told["sets"].items():
        yield from (_line(f"**{names[name]}, {which}**", of[which]) for which in ("scored", "all") if of[which])
    yield from (_line(name, of) for name, of in told["classes"].items())
    yield from (_line(f"*{name}*", of) for name, of in told["apart"].items())


def _line(name: str, of: dict[str, Any]) -> str:
    def share(key: str) -> str:
        return "" if of.get(key) is None else f"{of[key]:.0%}".replace("%", " %")

    def both(peer: str) -> str:
        return f"{share(f'{peer}_median')}, {share(f'{peer}_p90')}" if f"{peer}_median" in of else ""

    cells = (of["models"], of["rows"], share("median"), share("p90"), share("coverage"), f"{of['width']:.2f}",
             share("floor"), both("llmfit"), both("whichllm"))  # fmt: skip
    return f"| {name} | {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Score predictions from data sheets against published speeds.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=Path, help="other rows, predicted with the constants that ship")
    parser.add_argument("--worst", type=int, default=0, help="print so many rows that are farthest off")
    wanted = parser.parse_args()
    told: dict[str, Any] = {}
    problems = () if wanted.rows else fit_classes.problems()[:2]
    phases: tuple[Phase, ...] = ("decode", "prefill")
    for at, phase in enumerate(phases):
        found = shipped(phase, wanted.rows) if wanted.rows else left_out(problems[at])
        if not found:
            continue
        told[phase] = report(found, phase)
        told.setdefault("rows", []).extend(
            {"phase": phase, "device": one.row.device, "model": one.row.llm, "quantization": one.row.quantization,
             "true_tps": one.row.tps, "predicted_tps": one.row.tps * math.exp(one.off)} for one in found
        )  # fmt: skip
        if not wanted.json:
            print(f"\n{phase}\n", *lines(told[phase]), sep="\n")
            for one in sorted(found, key=lambda one: -abs(one.off))[: wanted.worst]:
                row = one.row
                print(f"{math.exp(one.off):.2f} x true {row.tps:.1f}: {row.device}, {row.place.api}, {row.llm}",
                      f"{row.quantization}, {row.engine}; {row.notes[:60]}")  # fmt: skip
    if wanted.json:
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
