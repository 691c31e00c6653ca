"""What was seen on this machine: the speeds in its run files, each with the work behind it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from phibench import backends
from phibench.core import stats
from phibench.core.errors import PhibenchError
from phibench.core.metrics import values
from phibench.core.nouns import Device, Machine, Measured, Noun, Run, Setup, Spread, Workload
from phibench.predict import roofline

Speed = Literal["decode_tps", "prefill_tps"]


class CalibrationPoint(Noun, frozen=True, kw_only=True):
    """A speed seen on this machine. ``work`` is what a token cost there in the unit of :func:`work`."""

    metric: Speed
    setup: Setup
    layers: int | None
    prompt_tokens: int
    tps: float
    low: float
    high: float
    work: float
    seen: str


def work(metric: Speed, cost: roofline.TokenCost, device: Device, threads: int) -> float:
    """What a token costs, in a unit in which time is nearly proportional: modelled seconds, else bytes; FLOPs."""
    if metric == "prefill_tps":
        return cost.prompt_flops
    span = roofline.decode_s(cost, device, threads)
    return math.sqrt(span[0] * span[1]) if span else cost.read_bytes


def points(machine: Machine, runs: Iterable[Run]) -> tuple[CalibrationPoint, ...]:
    """Every speed measured on a machine of this identity, newest first.

    Left out: what computed its KV cache anew on the way, example runs, backends that only test the harness, batches,
    metrics that the suite does not claim (memory was watched), and setups or options that this version does not know.
    """
    mine = [r for r in runs if not r.example and r.machine.identity == machine.identity]
    found: list[CalibrationPoint] = []
    for run in sorted(mine, key=lambda r: r.started, reverse=True):
        together: dict[tuple[Setup, Workload, int | None, str], list[Measured]] = defaultdict(list)
        for result in run.results:
            if isinstance(result, Measured) and result.workload.batch == 1 and not _pauses(result):
                artifact = result.artifact
                together[result.setup, result.workload, artifact.layers, artifact.weights].append(result)
        for results in together.values():
            found += _points_of(machine, run, results)
    return tuple(found)


def _pauses(result: Measured) -> bool:
    try:
        return roofline.recomputes(result.setup, result.workload)
    except PhibenchError:  # a setup that this version does not know: left out below
        return False


def _points_of(machine: Machine, run: Run, results: Sequence[Measured]) -> list[CalibrationPoint]:
    """The speeds of one setup and workload in one run, over all launches of the worker."""
    first = results[0]
    device = machine.device(first.setup.device)
    try:
        if device is None or not backends.load(first.setup.backend).RECOMMENDABLE:
            return []
        backends.check_options(first.setup)
        cost = _cost_of(first)
    except PhibenchError:
        return []
    found = []
    for metric in _claimed(run):
        spread = stats.spread([values(metric, first.workload, r.samples) for r in results])
        if spread:
            found.append(
                CalibrationPoint(
                    metric=metric,
                    setup=first.setup,
                    layers=first.artifact.layers,
                    prompt_tokens=first.workload.prompt_tokens,
                    tps=spread.median,
                    low=spread.low,
                    high=spread.high,
                    work=work(metric, cost, device, first.threads),
                    seen=_seen(run, first, spread),
                )
            )
    return found


def _claimed(run: Run) -> tuple[Speed, ...]:
    known: tuple[Speed, ...] = ("decode_tps", "prefill_tps")
    return tuple(m for m in known if m in run.suite.metrics)


def _cost_of(result: Measured) -> roofline.TokenCost:
    w = result.workload
    return roofline.token_cost(
        roofline.cost_sheet(result.setup, result.artifact.layers),
        prompt_tokens=w.prompt_tokens,
        prompt_depth=w.depth,
        depth=w.depth + w.prompt_tokens + w.new_tokens / 2,
    )


def _seen(run: Run, result: Measured, spread: Spread) -> str:
    weights = f"{result.artifact.weights} weights"
    engine = f"{result.engine.name} {result.engine.version}"
    source = f", imported from {run.imported}" if run.imported else ""
    return f"{result.workload} on {run.started[:10]}, {engine}, {weights}, {spread.kind} of {spread.count}{source}"
