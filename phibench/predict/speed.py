"""Tokens per second by the best basis there is: measured > calibrated > probed > spec.

measured    the same whole setup and workload was measured on a machine of this identity.
calibrated  something near it was: same backend, device and options; every measurement there is teaches (``fit``).
probed      only the machine's bandwidth (and matrix rate) is known.
spec        the same from a data sheet.

Unknown is None. Formulas, sources and what is not validated yet: docs/predicting.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from phibench.core.nouns import Basis, Device, Estimate, Grounds, Machine, Run, Setup
from phibench.predict import calibration, device_class, observed, terms
from phibench.predict.calibration import CalibrationPoint
from phibench.predict.costs import KV_OPTIONS, Cost, Phase
from phibench.predict.fit import DRIFT_SD, UNKNOWN_SD, Fit
from phibench.predict.terms import Z80, Terms

# Seconds that differ by less than this are of the same workload: below the noise of one run. A prompt must have the
# same length, too.
SAME_WORK = 0.05
_ENOUGH = 6  # measurements with an engine: as many as a short calibration has
_LAST = 3  # measurements of one workload: their median is not turned by one of them
_QUIET = 0.1  # of the cpus: less than other programs take of any machine that is left alone (probe/other_programs.py)
# What stands for a device that says nothing of itself: the fit only needs a start, and is told that it knows nothing.
_ANY = {"cpu": (50e9, 500e9), "other": (500e9, 50e12)}

Place = tuple[str, str, tuple[tuple[str, str], ...], Phase]


class Knowledge:
    """What is known of a machine: itself, taught by what was measured on it, and the fits of each engine and device."""

    def __init__(self, machine: Machine, runs: Iterable[Run] = ()) -> None:
        runs = tuple(runs)
        self.points = calibration.points(machine, runs)
        self.powers, self.loads = observed.powers(machine, runs), observed.loads(machine, runs)
        self.machine = calibration.taught(machine, self.points)
        self._of: dict[Setup, list[CalibrationPoint]] = defaultdict(list)
        for point in self.points:
            self._of[point.setup].append(point)
        self._places: dict[str, device_class.Place] = {}  # of its devices
        self._fits: dict[Place, Fit | None] = {}
        self._told: dict[Place, tuple[str, str]] = {}  # of each fit: what it rests on, and the doubt about it

    def tokens_s(self, setup: Setup, cost: Cost) -> Estimate | None:
        """Tokens per second, over all sequences, by the best basis there is; None where nothing says."""
        device = self.machine.device(setup.device)
        if device is None:
            return None
        return self._measured(setup, cost) or self._calibrated(setup, cost, device) or self._before(cost, device)

    def has_seen(self, setup: Setup, phase: Phase) -> bool:
        return any(point.phase == phase for point in self._of.get(setup, ()))

    def fit(self, setup: Setup, phase: Phase) -> Fit | None:
        """Of this setup's engine, device and options; None where nothing was measured with them."""
        place = _place(setup, phase)
        if place not in self._fits:
            mine = _of_now([p for p in self.points if _place(p.setup, p.phase) == place])
            made = Fit([(p, self.started(p.cost, setup.device)) for p in mine]) if mine else None
            self._fits[place], self._told[place] = made, (_from(mine), _doubt(mine))
        return self._fits[place]

    def _measured(self, setup: Setup, cost: Cost) -> Estimate | None:
        same = self._same(setup, cost)
        fit = self.fit(setup, cost.phase)
        quiet = [p for p in same if p.busy_share < _QUIET and fit and p.engine == fit.points[0].engine]
        if not quiet:
            return None  # a disturbed one only calibrates, and so does one of an engine that has been upgraded since
        last = quiet[:_LAST]  # the newest, but for one that stands alone against two before it
        chosen = last[0] if len(last) < _LAST else sorted(last, key=lambda p: p.tps)[_LAST // 2]
        grounds = Grounds(anchors=len(last))
        return Estimate(
            value=chosen.tps, low=chosen.low, high=chosen.high, basis="measured", because=f"measured: {chosen.seen}",
            grounds=grounds,
        )  # fmt: skip

    def _same(self, setup: Setup, cost: Cost) -> list[CalibrationPoint]:
        return [p for p in self._of.get(setup, ()) if self._is_same(p, setup, cost)]

    def _is_same(self, point: CalibrationPoint, setup: Setup, cost: Cost) -> bool:
        """A KV cache costs more time than its bytes say, so the fit tells how much longer another depth takes."""
        if point.layers is not None or point.phase != cost.phase:
            return False
        if cost.phase == "prefill" and point.cost.tokens != cost.tokens:
            return False
        fit = self.fit(setup, cost.phase)
        assert fit is not None, "the point is in it"
        one, other = (fit.seconds(c, self.started(c, setup.device))[0] for c in (cost, point.cost))
        return abs(one / other - 1) <= SAME_WORK

    def _calibrated(self, setup: Setup, cost: Cost, device: Device) -> Estimate | None:
        fit = self.fit(setup, cost.phase)
        if fit is None:
            return None
        started = self.started(cost, device.kind)
        seconds, sd = fit.seconds(cost, started)
        sd = math.hypot(sd, started.wandering * DRIFT_SD[cost.phase])
        grounds = _grounds(cost, seconds, anchors=len(fit.points))
        told, doubt = self._told[_place(setup, cost.phase)]
        found = _estimate(cost, seconds, sd, Z80, "calibrated", told, grounds)
        return self._at_least(msgspec.structs.replace(found, doubt=doubt), setup, cost) if doubt else found

    def _at_least(self, found: Estimate, setup: Setup, cost: Cost) -> Estimate:
        """What was disturbed went as fast as it went: left alone, it is no slower than its best repetition."""
        seen = max((p.peak_tps for p in self._same(setup, cost)), default=0.0)
        value, high = max(found.value, seen), max(found.high, seen)
        return msgspec.structs.replace(found, value=value, low=max(found.low, seen), high=high)

    def _before(self, cost: Cost, device: Device) -> Estimate | None:
        if device.kind not in self._places:
            self._places[device.kind] = device_class.place(self.machine, device)
        found = terms.terms(cost, self.machine, device, self._places[device.kind])
        if found is None:
            return None
        told = _estimate(cost, found.total_s, found.sd, Z80, found.basis, found.because, found.grounds)
        return msgspec.structs.replace(told, doubt=found.doubt)

    def started(self, cost: Cost, kind: str) -> Terms:
        """Where a fit starts from on the device of this kind, whatever the machine tells of itself."""
        device = self.machine.device(kind)
        assert device is not None
        found = terms.terms(cost, self.machine, device)
        if found is not None:
            return found
        read, flops = _ANY["cpu" if device.kind == "cpu" else "other"]
        told = msgspec.structs.replace(device, read_bytes_s=read, flops_s=flops, basis="spec")
        found = terms.terms(cost, self.machine, told)
        assert found is not None, "both rates are known"
        return msgspec.structs.replace(found, sd=UNKNOWN_SD)


def _of_now(points: list[CalibrationPoint]) -> list[CalibrationPoint]:
    """Of the newest version of the engine alone, once there are enough: an upgrade changes kernels."""
    newest = [p for p in points if p.engine == points[0].engine]
    return newest if len(newest) >= _ENOUGH else points


def _place(setup: Setup, phase: Phase) -> Place:
    """What has rates of its own; another type of KV cache is another kernel, not another engine."""
    options = tuple(option for option in setup.options if option[0] not in KV_OPTIONS)
    return setup.backend, setup.device, options, phase


def _from(points: Sequence[CalibrationPoint]) -> str:
    names = list(dict.fromkeys(str(p.setup) + (f", {p.layers} layers" if p.layers else "") for p in points))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    told = "; ".join(names[:2])
    return f"fitted to {len(points)} measurement{'s' if len(points) > 1 else ''} here: {told}{more}"


def _doubt(points: Sequence[CalibrationPoint]) -> str:
    """Where one was quiet, the fit leans on it."""
    least = min((launch.busy_share for point in points for launch in point.launches), default=0.0)
    return f"measured while other programs kept {least:.0%} of the cpus busy" if least >= _QUIET else ""


def _grounds(cost: Cost, seconds: float, anchors: int) -> Grounds:
    read, flops = (cost.bytes, None) if cost.phase == "decode" else (None, cost.flops)
    return Grounds(bytes=read, flops=flops, rate=cost.size / seconds, anchors=anchors)


def _estimate(
    cost: Cost, seconds: float, sd: float, width: float, basis: Basis, because: str, grounds: Grounds
) -> Estimate:
    value, factor = cost.tokens / seconds, math.exp(width * sd)
    return Estimate(
        value=value, low=value / factor, high=value * factor, basis=basis, because=because, grounds=grounds,
    )  # fmt: skip
