"""What was measured here teaches: seconds by kernel as believed, moved to where the measurements are.

Each kernel's seconds are multiplied by a factor. Before anything is measured its logarithm is normal around 0: with a
part that all kernels share (how fast this machine is), one for the tensor type, one for the kernel, and one for the mix
of tensors as a whole. The measurements of one run share its drift. A few Gauss-Newton steps find the likeliest factors;
measurements that lie far from all others lose weight (Cauchy), so that one outlier does not turn the advice.

The standard deviations below are of logarithms. Source: docs/accuracy.md, the grid that is measured there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from phibench.predict.calibration import CalibrationPoint
from phibench.predict.costs import Cost, kernel_type
from phibench.predict.terms import FIXED, Z80, Terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

UNKNOWN_SD = 1.5  # of the whole, where the machine says nothing of itself
TYPE_SD, KERNEL_SD, FIXED_SD = 0.25, 0.10, 0.5
MIX_SD = {"decode": 0.03, "prefill": 0.04}
SLICE_SD = {"decode": 0.03, "prefill": 0.02}  # a slice leans on caches, and its overhead is another part of it
NOISE_SD, RUN_SD = 0.015, 0.03
_STEPS, _OUTLIER = 12, 2.5


class Fit:
    """Factors of the kernels of one engine on one device, in one phase."""

    def __init__(self, seen: Sequence[tuple[CalibrationPoint, Terms]]) -> None:
        import numpy as np

        self._phase = seen[0][0].phase
        self._shared_sd = max(seen[0][1].sd, 0.05)
        self.points = tuple(point for point, _ in seen)
        self._kernels = {name: i for i, name in enumerate(dict.fromkeys(k for _, t in seen for k in t.seconds))}
        mixes = dict.fromkeys(point.cost.mix for point in self.points)
        self._mixes = {name: i for i, name in enumerate(mixes, len(self._kernels))}
        self._before = np.diag([0.0] * len(self._kernels) + [MIX_SD[self._phase] ** 2] * len(mixes))
        self._before[: len(self._kernels), : len(self._kernels)] = self._prior(self._kernels, self._kernels)
        self._observe([terms for _, terms in seen], np.array([math.log(p.seconds) for p in self.points]))

    def _prior(self, rows: Iterable[str], columns: Iterable[str]) -> Array:
        """Covariance of kernels before anything was measured."""
        import numpy as np

        return np.array([[self._covariance(a, b) for b in columns] for a in rows])

    def _covariance(self, a: str, b: str) -> float:
        same_type = TYPE_SD**2 if kernel_type(a) == kernel_type(b) else 0.0
        own = (FIXED_SD if a == FIXED else KERNEL_SD) ** 2 if a == b else 0.0
        return self._shared_sd**2 + same_type + own

    def _observe(self, terms: Sequence[Terms], logs: Array) -> None:
        """Gauss-Newton on the logarithms of seconds; after each step the weights of what lies far off."""
        import numpy as np

        noise, before = self._noise(), self._before
        factors = np.zeros(len(before))
        off = logs - self._model(terms, factors)[0]
        weights = _weights((off - np.median(off)) / math.hypot(TYPE_SD, KERNEL_SD))  # wild before any has pulled
        for _ in range(_STEPS):
            model, slopes = self._model(terms, factors)
            spread = noise / np.sqrt(np.outer(weights, weights))
            gain = before @ slopes.T @ np.linalg.inv(slopes @ before @ slopes.T + spread)
            factors = gain @ (logs - model + slopes @ factors)
            weights = _weights((logs - self._model(terms, factors)[0]) / np.sqrt(np.diag(noise)))
        self._factors, self._after = factors, before - gain @ slopes @ before
        self.weights = tuple(weights.tolist())  # of each of ``points``

    def _noise(self) -> Array:
        """Covariance of what was seen: each measurement's own, and the drift that those of one run share."""
        import numpy as np

        own = [_noise_sd(point, self._phase) ** 2 for point in self.points]
        runs = [point.run for point in self.points]
        same: Array = np.array([[RUN_SD**2 if a == b else 0.0 for b in runs] for a in runs])
        return same + np.diag(own)

    def _model(self, terms: Sequence[Terms], factors: Array) -> tuple[Array, Array]:
        """(logarithms of seconds, their slopes by the factors) of every measurement."""
        import numpy as np

        logs, slopes = np.zeros(len(terms)), np.zeros((len(terms), len(factors)))
        for row, (one, point) in enumerate(zip(terms, self.points, strict=True)):
            places, mix = [self._kernels[k] for k in one.seconds], self._mixes[point.cost.mix]
            parts = np.array(list(one.seconds.values())) * np.exp(factors[places])
            slopes[row, places], slopes[row, mix] = parts / parts.sum(), 1.0
            logs[row] = math.log(parts.sum()) + factors[mix]
        return logs, slopes

    def seconds(self, cost: Cost, terms: Terms) -> tuple[float, float]:
        """(seconds, standard deviation of their logarithm) of a step or a prompt, measured or not."""
        import numpy as np

        known = [k for k in terms.seconds if k in self._kernels]
        new = [k for k in terms.seconds if k not in self._kernels]
        rows = [self._kernels[k] for k in known]
        factors, covariance = self._with_new(rows, new)
        parts = np.array([terms.seconds[k] for k in (*known, *new)]) * np.exp(factors)
        slopes = parts / parts.sum()
        log, variance = math.log(parts.sum()), float(slopes @ covariance @ slopes)
        at = self._mixes.get(cost.mix)
        if at is None:
            variance += MIX_SD[self._phase] ** 2
        else:
            log += float(self._factors[at])
            variance += float(self._after[at, at] + 2 * slopes[: len(rows)] @ self._after[rows, at])
        return math.exp(log), math.sqrt(max(variance, 0.0) + NOISE_SD**2)

    def _with_new(self, rows: Sequence[int], new: Sequence[str]) -> tuple[Array, Array]:
        """(factors, covariance) of known kernels and of new ones: by what these share with those that were measured."""
        import numpy as np

        after = self._after[np.ix_(rows, rows)]
        if not new:
            return self._factors[rows], after
        count = len(self._kernels)
        lean = self._prior(new, self._kernels) @ np.linalg.inv(self._before[:count, :count])
        learnt = self._before[:count, :count] - self._after[:count, :count]
        own = self._prior(new, new) - lean @ learnt @ lean.T
        between = lean @ self._after[:count, rows]
        factors = np.concatenate([self._factors[rows], lean @ self._factors[:count]])
        return factors, np.block([[after, between.T], [between, own]])


def _weights(far: Array) -> Array:
    """Of measurements that lie so many standard deviations off, by how far off they usually are."""
    import numpy as np

    usual = max(1.0, float(np.median(np.abs(far))))
    weights: Array = 1 / (1 + (far / (_OUTLIER * usual)) ** 4)
    return weights


def _noise_sd(point: CalibrationPoint, phase: str) -> float:
    """Of one measurement: its own spread, what a slice is off by, and what busy programs may have cost it."""
    spread = math.log(point.high / point.low) / 2 / Z80 if point.low > 0 else 0.0
    slice_sd = SLICE_SD[phase] if point.layers else 0.0
    return math.hypot(NOISE_SD, spread, slice_sd, math.log1p(2 * point.busy_share))
