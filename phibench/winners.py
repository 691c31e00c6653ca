"""Which setup of a run is better at a test, metric by metric: only where the difference is outside the noise.

Setups take turns, launch by launch, so their n-th launches make a pair. A winner must beat each other setup in the
exact paired test (``stats.paired_p``) at ``stats.ALPHA``, which needs ``stats.MIN_PAIRS`` launches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from phibench import stats
from phibench.metrics import METRICS, values
from phibench.nouns import Measured, Run, Setup, Workload

Row = Mapping[str, Any]
Launches = dict[int, float]  # launch -> median of its repetitions
JUDGED = ("prefill_tps", "decode_tps", "ttft_s", "host_peak_bytes")  # the others follow from these


def launches(name: str, results: Sequence[Measured]) -> Launches:
    """The metric of every launch that knows it."""
    found = {r.launch: measured(name, r) for r in results}
    return {launch: stats.median(known) for launch, known in found.items() if known}


def measured(name: str, result: Measured) -> list[float]:
    """The metric of a result: of every repetition, or the one that was read."""
    if name == "load_warm_s":
        return [] if result.load_s is None else [result.load_s]
    if name in result.readings:
        return [result.readings[name]]
    return values(name, result.workload, result.samples)


def wins(run: Run) -> dict[tuple[Setup, Workload], tuple[str, ...]]:
    """The metrics at which a setup beats every other one in the same test; absent where it beats none."""
    tests: dict[Workload, dict[Setup, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for result in run.results:
        if isinstance(result, Measured):
            tests[result.workload][result.setup].append(result)
    found: dict[tuple[Setup, Workload], tuple[str, ...]] = {}
    for workload, setups in tests.items():
        for name in (n for n in run.suite.metrics if n in METRICS):
            known = {setup: launches(name, results) for setup, results in setups.items()}
            if best := _best(name, {setup: seen for setup, seen in known.items() if seen}):
                found[best, workload] = (*found.get((best, workload), ()), name)
    return found


def _best(name: str, known: Mapping[Setup, Launches]) -> Setup | None:
    if len(known) < 2:
        return None
    sign = 1 if METRICS[name].better == "higher" else -1
    best = max(known, key=lambda setup: sign * stats.median([*known[setup].values()]))
    return best if all(_differ(known[best], other) for setup, other in known.items() if setup != best) else None


def _differ(one: Launches, other: Launches) -> bool:
    """Launches that both have, in pairs."""
    both = sorted(one.keys() & other.keys())
    if len(both) < stats.MIN_PAIRS or min(*one.values(), *other.values()) <= 0:
        return False
    return stats.paired_p([one[n] for n in both], [other[n] for n in both]) < stats.ALPHA


def lines(rows: Sequence[Row]) -> list[str]:
    """What people are told: one line per metric of each test that several setups of a run share."""
    tests: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            tests[row["run"], row["test"]].append(row)
    shared = {key: same for key, same in tests.items() if len({row["setup"] for row in same}) > 1}
    pairs = max((min(row["launches"] for row in same) for same in shared.values()), default=0)
    if 0 < pairs < stats.MIN_PAIRS:
        counted = f"{pairs} launch{'es' if pairs > 1 else ''}"
        return [f"no winner is named after {counted}: that takes {stats.MIN_PAIRS} (--launches {stats.MIN_PAIRS})"]
    several = len({run for run, _ in shared}) > 1
    found = []
    for (run, test), same in shared.items():
        for name in JUDGED:
            known = [row for row in same if row.get(name) is not None]
            if len({row["setup"] for row in known}) > 1:
                found.append(
                    (f"run {run}, " if several else "") + f"{test}, {METRICS[name].title}: " + _line(name, known)
                )
    return found


def _line(name: str, rows: Sequence[Row]) -> str:
    metric = METRICS[name]
    best, second = sorted(rows, key=lambda row: row[name], reverse=metric.better == "higher")[:2]
    pairs = min(row["launches"] for row in rows)
    if name in best["wins"]:
        return f"{_name(best, rows)} wins with {best[name] / second[name]:.2f} x {_name(second, rows)} ({pairs} pairs)"
    return f"no winner, {_name(best, rows)} and {_name(second, rows)} are within the noise ({pairs} pairs)"


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The backend where that tells the rows apart, else the whole setup."""
    backends = [other["backend"] for other in rows]
    return str(row["backend"] if len(set(backends)) == len(backends) else row["setup"])
