"""What was seen on this machine: the speeds in its run files, each with the work behind it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from phibench import backends
from phibench.core import caches, stats, units
from phibench.core.errors import PhibenchError
from phibench.core.metrics import values
from phibench.core.nouns import Device, Machine, Measured, Noun, Run, Setup, Spread, Workload
from phibench.predict import costs
from phibench.predict.costs import Cost, Phase

METRIC: dict[Phase, str] = {"decode": "decode_tps", "prefill": "prefill_tps"}
_UNKNOWN_CACHE_BYTES = 128 << 20
# What no machine falls below or goes beyond: an hour for a token; 10^15 FLOP/s of a model of 5 M weights.
_LEAST_TPS, _MOST_TPS = 1 / 3600, 1e8
_NEAR_S = 30.0  # in which other programs are taken for the same (chosen)


class Launch(NamedTuple):
    """What one launch of a worker did, and when: the median of its repetitions; of a slice, which is over in a second
    and held up or not, the best."""

    tps: float
    at_s: float  # since 1970, of its run where nobody noted it; 0 where nobody noted that
    busy_share: float = 0.0  # of the cpus, taken by other programs meanwhile; 0 where nobody looked


class CalibrationPoint(Noun, frozen=True, kw_only=True):
    """A speed seen on this machine, of one setup and workload in one run. ``peak_tps``: the best repetition."""

    setup: Setup
    layers: int | None
    cost: Cost
    tps: float
    low: float
    high: float
    peak_tps: float
    launches: tuple[Launch, ...]
    engine: str  # name and version
    busy_share: float  # the most of a launch
    seen: str

    @property
    def phase(self) -> Phase:
        return self.cost.phase


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


def taught(machine: Machine, seen: Sequence[CalibrationPoint]) -> Machine:
    """The machine with what measurements prove of it: who decodes at a speed has read that many bytes a second.

    The best repetition counts, and only what no cache can hold; it corrects a probe that was disturbed, and all
    backends gain from it.
    """
    devices = tuple(_taught(device, machine, seen) for device in machine.devices)
    return machine if devices == machine.devices else msgspec.structs.replace(machine, devices=devices)


def _taught(device: Device, machine: Machine, seen: Sequence[CalibrationPoint]) -> Device:
    cached = caches.last_level_bytes(machine, device.kind, _UNKNOWN_CACHE_BYTES)
    mine = [p for p in seen if p.setup.device == device.kind and p.phase == "decode" and not p.setup.options]
    proofs = [p for p in mine if p.cost.bytes >= caches.FACTOR * cached]
    best = max(proofs, key=lambda p: p.cost.bytes * p.peak_tps, default=None)
    if best is None or best.cost.bytes * best.peak_tps <= (device.read_bytes_s or 0.0):
        return device
    because = f"proved by the best repetition of {best.setup}, {best.seen}"
    return msgspec.structs.replace(
        device, read_bytes_s=best.cost.bytes * best.peak_tps, basis="probed", because=because
    )


def _pauses(result: Measured) -> bool:
    try:
        return costs.recomputes(result.setup, result.workload)
    except PhibenchError:  # a setup that this version does not know: left out below
        return False


def _points_of(machine: Machine, run: Run, results: Sequence[Measured]) -> list[CalibrationPoint]:
    """The speeds of one setup and workload in one run, over all launches of the worker."""
    first = results[0]
    try:
        if machine.device(first.setup.device) is None or not backends.load(first.setup.backend).RECOMMENDABLE:
            return []
        backends.check_options(first.setup)
        found = [(cost, _launches(run, cost, results)) for cost in _costs_of(first)]
    except PhibenchError:
        return []
    return [_point(run, first, cost, launches) for cost, launches in found if launches]


def _point(
    run: Run, first: Measured, cost: Cost, launches: Sequence[tuple[list[float], float, float]]
) -> CalibrationPoint:
    spread = stats.spread([told for told, _, _ in launches])
    assert spread is not None, "each launch has a repetition"
    of_all = stats.median if first.artifact.layers is None else max
    return CalibrationPoint(
        setup=first.setup, layers=first.artifact.layers, cost=cost, tps=spread.median, low=spread.low, high=spread.high,
        engine=_engine(first), peak_tps=max(max(told) for told, _, _ in launches),
        launches=tuple(Launch(of_all(told), at_s, busy) for told, at_s, busy in launches),
        busy_share=max(busy for _, _, busy in launches), seen=_seen(run, first, spread),
    )  # fmt: skip


def _launches(run: Run, cost: Cost, results: Sequence[Measured]) -> list[tuple[list[float], float, float]]:
    """Tokens per second of every repetition, when, and what others took, by launch; empty where the suite does not
    claim them.

    A speed that no machine has comes of a broken clock or file, and teaches nothing.
    """
    metric = METRIC[cost.phase]
    if metric not in run.suite.metrics:
        return []
    told = [
        (values(metric, r.workload, r.samples), units.since_1970(r.at or run.started), _busy_share(run, r))
        for r in results
    ]
    return [one for one in told if one[0] and _LEAST_TPS < min(one[0]) <= max(one[0]) < _MOST_TPS]


def _busy_share(run: Run, result: Measured) -> float:
    """A test that is too short to look is taken for as disturbed as what the same launch did before and after it, else
    as what was measured nearest in time."""
    if result.busy_share is not None:
        return min(max(result.busy_share, 0.0), 1.0)
    told = [r for r in run.results if isinstance(r, Measured) and r.busy_share is not None]
    beside = [
        r for r in told if r.setup == result.setup and r.artifact == result.artifact and r.launch == result.launch
    ]
    if not beside and result.at:
        at_s = units.since_1970(result.at)
        apart_s = {abs(units.since_1970(r.at) - at_s): r for r in told if r.at}
        nearest = min(apart_s, default=math.inf)
        beside = [apart_s[nearest]] if nearest <= _NEAR_S else []
    return min(max((r.busy_share or 0.0 for r in beside), default=0.0), 1.0)


def _costs_of(result: Measured) -> list[Cost]:
    """Of its prompt and of a step half-way through what it generates; as far as it has both."""
    w, sheet = result.workload, costs.cost_sheet(result.setup, result.artifact.layers)
    found = []
    if w.prompt_tokens:
        found.append(costs.prompt(sheet, w.prompt_tokens, w.depth))
    if w.new_tokens:
        found.append(costs.step(sheet, w.depth + w.prompt_tokens + w.new_tokens / 2))
    return found


def _engine(result: Measured) -> str:
    return f"{result.engine.name} {result.engine.version}"


def _seen(run: Run, result: Measured, spread: Spread) -> str:
    weights = f"{result.artifact.weights} weights"
    source = f", imported from {run.imported}" if run.imported else ""
    told = f"{result.workload} on {run.started[:10]}, {_engine(result)}, {weights}"
    return f"{told}, {spread.kind} of {spread.count}{source}"
