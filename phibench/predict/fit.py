"""What was measured here teaches: seconds by kernel as believed, moved to where the measurements are.

Each kernel's seconds are multiplied by a factor. Before anything is measured its logarithm is normal around 0: with a
part that all kernels share (how fast this machine is), one for the tensor type, one for the kernel, and one for the mix
of tensors as a whole. A machine that others share drifts, by a fifth of its bandwidth within minutes: what launches
have in common the nearer they lie in time is drift, and no kernel's fault; each drifts as far as it waits for memory
(``Terms.wandering``). A few Gauss-Newton steps find the likeliest
factors; launches that lie far from all others lose weight, so that one outlier does not turn the advice: the slow ones
first, as much can hold a program up and little makes it faster than it is.

The standard deviations below are of logarithms. Source: docs/accuracy.md, the grid that is measured there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from phibench.backends.rates import KV
from phibench.predict.calibration import CalibrationPoint, Launch
from phibench.predict.costs import HEAD, Cost, kernel_type
from phibench.predict.terms import FIXED, Terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

UNKNOWN_SD = 1.5  # of the whole, where the machine says nothing of itself
KERNEL_SD, FIXED_SD = 0.07, 0.5
TYPE_SD = {"decode": 0.25, "prefill": 0.5}  # types of llama.cpp read a prompt at 80 to 495 GFLOP/s on one machine
HEAD_SD = {"decode": 0.07, "prefill": 0.3}  # a prompt's one token through the head is read, not multiplied
KV_SD = 0.7  # of attention as a whole, and of each length of head: heads of 96 took four times as long as of 128
MIX_SD = {"decode": 0.03, "prefill": 0.06}
SLICE_SD = {"decode": 0.05, "prefill": 0.02}  # a slice leans on caches
NOISE_SD = {"decode": 0.05, "prefill": 0.015}
DRIFT_SD = {"decode": 0.10, "prefill": 0.02}
# Other programs only hold up: by nothing at least, at most by this many times the logarithm of 1 / (1 - what they take
# of the cpus): each of two threads has so much less of a core, and waits for the other. The middle is believed.
# Source: docs/probing.md, "A busy machine".
HELD_UP = 2.0
ENGINE_SD = 0.15  # between versions of an engine: kernels change (assumed)
_DRIFT_S = 30.0  # in which a drift forgets itself
_FORGOTTEN_S = 900.0  # e^-30 of it is left: below what a float tells apart
_STEPS, _OUTLIER, _FAST_OUTLIER = 12, 2.5, 7.5  # standard deviations
_WILD_SD = 0.7  # from what was believed: kernels of another processor may take three times as long
_MOST_BUSY = 0.95  # more is no figure


class _Seen(NamedTuple):
    """One launch: its point, what was believed of it, the logarithm of its seconds if nobody held it up, and how far
    that is off, when."""

    point: CalibrationPoint
    terms: Terms
    log_s: float
    held_up_sd: float
    at_s: float
    other_engine: bool  # than that of the newest measurement


class Fit:
    """Factors of the kernels of one engine on one device, in one phase."""

    def __init__(self, seen: Sequence[tuple[CalibrationPoint, Terms]]) -> None:
        import numpy as np

        self._phase = seen[0][0].phase
        self._shared_sd = max(seen[0][1].sd, 0.05)
        self.points = tuple(point for point, _ in seen)
        newest = seen[0][0].engine
        self._seen = [_seen(point, terms, launch, newest) for point, terms in seen for launch in point.launches]
        self._kernels = {name: i for i, name in enumerate(dict.fromkeys(k for _, t in seen for k in t.seconds))}
        mixes = dict.fromkeys(point.cost.mix for point in self.points)
        self._mixes = {name: i for i, name in enumerate(mixes, len(self._kernels))}
        self._parts = np.array([[one.terms.seconds.get(k, 0.0) for k in self._kernels] for one in self._seen])
        self._of_mix = np.array([[float(one.point.cost.mix == mix) for mix in mixes] for one in self._seen])
        self._before = np.diag([0.0] * len(self._kernels) + [MIX_SD[self._phase] ** 2] * len(mixes))
        self._before[: len(self._kernels), : len(self._kernels)] = self._prior(self._kernels, self._kernels)
        self._asked: dict[tuple[str, ...], tuple[list[int], list[int], Array, Array]] = {}
        self._observe(np.array([one.log_s for one in self._seen]))

    def _prior(self, rows: Iterable[str], columns: Iterable[str]) -> Array:
        """Covariance of kernels before anything was measured."""
        import numpy as np

        return np.array([[self._covariance(a, b) for b in columns] for a in rows])

    def _covariance(self, a: str, b: str) -> float:
        kind = kernel_type(a)
        type_sd = KV_SD if kind == KV else TYPE_SD[self._phase]
        own_sd = HEAD_SD[self._phase] if a.endswith(HEAD) else {KV: KV_SD, FIXED: FIXED_SD}.get(kind, KERNEL_SD)
        same_type = type_sd**2 if kind == kernel_type(b) else 0.0
        return self._shared_sd**2 + same_type + (own_sd**2 if a == b else 0.0)

    def _observe(self, logs: Array) -> None:
        """Gauss-Newton on the logarithms of seconds; after each step the weights of what lies far off."""
        import numpy as np

        noise, certain = self._noise(), np.linalg.inv(self._before)
        held_up_sd = np.array([one.held_up_sd for one in self._seen])
        known, own_sd = self._inverse(noise, held_up_sd), np.sqrt(np.diag(noise) + held_up_sd**2)
        factors = np.zeros(len(certain))
        off = logs - self._model(factors)[0]
        weights = _weights((off - np.median(off)) / _WILD_SD)  # wild before any has pulled
        for _ in range(_STEPS):
            model, slopes = self._model(factors)
            told = slopes * np.sqrt(weights)[:, None]
            pull = told.T @ known
            self._after: Array = np.linalg.inv(certain + pull @ told).astype(np.float64)
            factors = self._after @ pull @ (np.sqrt(weights) * (logs - model + slopes @ factors))
            weights = _weights((logs - self._model(factors)[0]) / own_sd)
        self._factors = factors
        self.weights = tuple(weights.tolist())  # of each launch, in the order of ``points``

    def _noise(self) -> Array:
        """Covariance of what was seen but for what other programs cost all: each launch's own, the drift that those
        near in time share, and that a kernel is held up otherwise than others, in all launches alike."""
        import numpy as np

        at_s = np.array([one.at_s for one in self._seen])
        apart_s = np.abs(at_s[:, None] - at_s[None, :])
        far = DRIFT_SD[self._phase] * np.array([one.terms.wandering for one in self._seen])
        drift: Array = np.outer(far, far) * np.exp(-apart_s / _DRIFT_S)
        points = np.repeat(np.arange(len(self.points)), [len(point.launches) for point in self.points])
        otherwise = np.array([one.held_up_sd / 2 for one in self._seen])
        held_up = np.where(points[:, None] == points, np.outer(otherwise, otherwise), 0.0)
        return drift + held_up + np.diag([_own_sd(one) ** 2 for one in self._seen])

    def _inverse(self, noise: Array, held_up_sd: Array) -> Array:
        """Of all noise: what other programs cost is one unknown for all launches, of whatever hour, so that many
        disturbed ones know no better than one (Sherman and Morrison's formula).

        Block by block: launches of different hours share no drift, and thousands at once are slow to invert. That a
        kernel is held up otherwise than others they share in truth; each hour is taken for itself.
        """
        import numpy as np

        at_s = np.array([one.at_s for one in self._seen])
        order, inverse = np.argsort(at_s, kind="stable"), np.zeros_like(noise)
        for block in np.split(order, np.flatnonzero(np.diff(at_s[order]) > _FORGOTTEN_S) + 1):
            at = np.ix_(block, block)
            inverse[at] = np.linalg.inv(noise[at])
        shared = inverse @ held_up_sd
        less: Array = np.outer(shared, shared) / (1 + held_up_sd @ shared)
        return inverse - less

    def _model(self, factors: Array) -> tuple[Array, Array]:
        """(logarithms of seconds, their slopes by the factors) of every launch."""
        import numpy as np

        parts: Array = self._parts * np.exp(factors[: len(self._kernels)])
        total = parts.sum(axis=1)
        logs: Array = np.log(total) + self._of_mix @ factors[len(self._kernels) :]
        slopes = np.concatenate([parts / total[:, None], self._of_mix], axis=1)
        return logs, slopes

    def seconds(self, cost: Cost, terms: Terms) -> tuple[float, float]:
        """(seconds, standard deviation of their logarithm) of a step or a prompt, measured or not, without drift."""
        import numpy as np

        names = tuple(terms.seconds)
        if names not in self._asked:  # setups by the hundred have the same kernels
            rows = [self._kernels[k] for k in names if k in self._kernels]
            new = [k for k in names if k not in self._kernels]
            order = sorted(range(len(names)), key=lambda at: names[at] not in self._kernels)
            self._asked[names] = rows, order, *self._with_new(rows, new)
        rows, order, factors, covariance = self._asked[names]
        parts = np.array(list(terms.seconds.values()))[order] * np.exp(factors)
        slopes = parts / parts.sum()
        log, variance = math.log(parts.sum()), float(slopes @ covariance @ slopes)
        at = self._mixes.get(cost.mix)
        if at is None:
            variance += MIX_SD[self._phase] ** 2
        else:
            log += float(self._factors[at])
            variance += float(self._after[at, at] + 2 * slopes[: len(rows)] @ self._after[rows, at])
        return math.exp(log), math.hypot(math.sqrt(max(variance, 0.0)), NOISE_SD[self._phase])

    def _with_new(self, rows: Sequence[int], new: Sequence[str]) -> tuple[Array, Array]:
        """(factors, covariance) of known kernels and of new ones: by what these share with those that were measured."""
        import numpy as np

        after = self._after[np.ix_(rows, rows)]
        if not new:
            return self._factors[rows], after
        count = len(self._kernels)
        lean = np.linalg.solve(self._before[:count, :count], self._prior(self._kernels, new)).T
        learnt = self._before[:count, :count] - self._after[:count, :count]
        own = self._prior(new, new) - lean @ learnt @ lean.T
        between = lean @ self._after[:count, rows]
        factors = np.concatenate([self._factors[rows], lean @ self._factors[:count]])
        return factors, np.block([[after, between.T], [between, own]])


def _weights(far: Array) -> Array:
    """Of launches that took so many standard deviations longer (below 0: shorter), by how far off they usually are."""
    import numpy as np

    usual = max(1.0, float(np.median(np.abs(far))))
    most = np.where(far > 0, _OUTLIER, _FAST_OUTLIER) * usual
    weights: Array = 1 / (1 + (far / most) ** 4)
    return weights


def _seen(point: CalibrationPoint, terms: Terms, launch: Launch, newest: str) -> _Seen:
    most = HELD_UP * -math.log1p(-min(launch.busy_share, _MOST_BUSY))
    log_s = math.log(point.cost.tokens / launch.tps) - most / 2
    held_up_sd = most / math.sqrt(12)  # of what is anywhere between 0 and the most
    return _Seen(point, terms, log_s, held_up_sd, launch.at_s, point.engine != newest)


def _own_sd(one: _Seen) -> float:
    """Of one launch: its noise, and what a slice or another version of the engine is off by."""
    phase = one.point.phase
    slice_sd = SLICE_SD[phase] if one.point.layers else 0.0
    engine_sd = ENGINE_SD if one.other_engine else 0.0
    return math.hypot(NOISE_SD[phase], slice_sd, engine_sd)
