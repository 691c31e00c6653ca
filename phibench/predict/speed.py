"""Tokens per second by the best basis there is: measured > calibrated > probed > spec.

measured    the same whole setup and workload was measured on a machine of this identity.
calibrated  something near it was: same backend, device and options, other shapes; scaled by what both cost.
probed      only the machine's bandwidth (and matrix rate) is known.
spec        the same from a data sheet.

Unknown is None. Formulas, sources and what is not validated yet: docs/predicting.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from phibench.core import stats, units
from phibench.core.nouns import Basis, Device, Estimate, Machine, Setup
from phibench.predict import roofline
from phibench.predict.calibration import CalibrationPoint, Speed, work

# Work per token that differs by less than this is the same workload: below the noise of one run. A prompt must
# have the same length, too.
SAME_WORK = 0.05
# Factors of an 80 % interval: [value / f, value * f].
SAME_SHAPE = 1.15  # the same tensors at another depth or prompt length, or under another variant's name (assumed)
# On public community results, a line through two points of a machine leaves 16 % mean error, one multiplier 32 %.
# With normal errors 80 % lie within 1.6 mean errors: 26 % and 51 %.
TWO_POINTS = 1.26
ONE_POINT = 1.51
OTHER_QUANTIZATION = 1.75  # kernels differ by type: wider than one point (assumed)
FAR = 4.0  # a line is not trusted beyond this ratio from its nearest point
APART = 1.3  # points whose work is closer than this give no slope


def estimate(
    metric: Speed, setup: Setup, cost: roofline.TokenCost, machine: Machine, points: Sequence[CalibrationPoint]
) -> Estimate | None:
    """Tokens per second by the best basis there is; None where nothing says."""
    device = machine.device(setup.device)
    if device is None:
        return None
    needed = work(metric, cost, device, machine.limits.threads)
    near = [a for a in points if a.metric == metric and _engine_of(a.setup) == _engine_of(setup)]
    same = [a for a in near if metric == "decode_tps" or a.prompt_tokens == cost.prompt_tokens]
    return (
        _measured(setup, needed, same)
        or _calibrated(setup, needed, near)
        or _physical(metric, cost, device, machine.limits.threads)
    )


def _engine_of(setup: Setup) -> tuple[object, ...]:
    return setup.backend, setup.device, setup.options


def _is_same(point: CalibrationPoint, setup: Setup, needed: float) -> bool:
    return point.setup == setup and point.layers is None and abs(needed / point.work - 1) <= SAME_WORK


def _measured(setup: Setup, needed: float, near: Sequence[CalibrationPoint]) -> Estimate | None:
    newest = next((a for a in near if _is_same(a, setup, needed)), None)
    if newest is None:
        return None
    return Estimate(
        value=newest.tps, low=newest.low, high=newest.high, basis="measured", because=f"measured: {newest.seen}"
    )


def _calibrated(setup: Setup, needed: float, near: Sequence[CalibrationPoint]) -> Estimate | None:
    alike = [a for a in near if a.setup.quantization == setup.quantization]
    twins = [a for a in alike if a.layers is None and _is_twin(a.setup, setup)]
    if twins:
        return _scaled(_nearest(twins, needed), needed, SAME_SHAPE)
    pool = alike or near
    if not pool:
        return None
    return (_on_line(pool, needed) if alike else None) or _scaled(
        _nearest(pool, needed), needed, ONE_POINT if alike else OTHER_QUANTIZATION
    )


def _is_twin(one: Setup, other: Setup) -> bool:
    """Phi-4 and Phi-4-reasoning are one set of tensors: what one was seen to do, the other does."""
    return one == other or roofline.cost_sheet(one).read_bytes_by_type == roofline.cost_sheet(other).read_bytes_by_type


def _nearest(pool: Sequence[CalibrationPoint], needed: float) -> CalibrationPoint:
    """The point whose work is nearest; the newest of equals."""
    return min(pool, key=lambda a: abs(math.log(needed / a.work)))


def _scaled(point: CalibrationPoint, needed: float, factor: float) -> Estimate:
    tps = point.tps * point.work / needed
    slice_of = f", {point.layers} layers" if point.layers else ""
    return Estimate(
        value=tps,
        low=tps / factor * point.low / point.tps,
        high=tps * factor * point.high / point.tps,
        basis="calibrated",
        because=f"scaled from {point.setup}{slice_of}: {point.tps:.3g} tok/s, {point.seen}",
    )


def _on_line(pool: Sequence[CalibrationPoint], needed: float) -> Estimate | None:
    """Time per token = a + b x work through two or more points; None where they do not make a sensible line."""
    newest: dict[tuple[Setup, int | None, int], CalibrationPoint] = {}
    for point in pool:
        newest.setdefault((point.setup, point.layers, point.prompt_tokens), point)
    points = [(a.work, 1 / a.tps) for a in newest.values()]
    works = [x for x, _ in points]
    if max(works) < APART * min(works) or not min(works) / FAR <= needed <= max(works) * FAR:
        return None
    mean_x, mean_y = stats.mean(works), stats.mean([y for _, y in points])
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / math.fsum((x - mean_x) ** 2 for x in works)
    start = mean_y - slope * mean_x
    if slope <= 0 or start < 0:
        return None
    tps = 1 / (start + slope * needed)
    names = ", ".join(dict.fromkeys(str(key[0]) for key in newest))
    return Estimate(
        value=tps,
        low=tps / TWO_POINTS,
        high=tps * TWO_POINTS,
        basis="calibrated",
        because=f"line through {len(points)} measurements here: {names}",
    )


def _physical(metric: Speed, cost: roofline.TokenCost, device: Device, threads: int) -> Estimate | None:
    basis: Basis
    if metric == "decode_tps":
        span, basis = roofline.decode_s(cost, device, threads), device.basis or "spec"
        source = "probed" if basis == "probed" else "data sheet"
        what = f"{units.gb(cost.read_bytes)} per token at {units.gb(device.read_bytes_s or 0)}/s ({source})"
    else:
        span, (rate, basis, source) = (
            roofline.prompt_token_s(cost, device),
            roofline.matrix_rate(device) or (0, "spec", ""),
        )
        what = f"{cost.prompt_flops / 1e9:.3g} GFLOP per token at {rate / 1e9:.3g} GFLOP/s ({source})"
    if span is None:
        return None
    return Estimate(
        value=1 / math.sqrt(span[0] * span[1]),
        low=1 / span[1],
        high=1 / span[0],
        basis=basis,
        because=what,
    )
