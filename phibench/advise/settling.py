"""Which measurements could change the pick: estimates moved within their intervals, and the rules and the order asked
again.

The pick at the worse end of what nobody has measured of it, the others at the better end of theirs. Every key of the
order only improves with better speeds, so where none of them leads there, none does in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.advise.candidates import Candidate, Narrowed, candidates
from phibench.advise.ranking import PARTS, hope, order_key
from phibench.advise.weighing import Scales
from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate, Goal, Machine, Run, Setup, Verdict
from phibench.predict.speed import Knowledge

SPEEDS = ("decode_tps", "prefill_tps", "ttft_s", "tpot_s", "answer_s")  # what a run tells: two speeds, and their times
_STEPS = 8  # from the middle of an interval to its end: how near a flip is, no finer than that is told apart


def undecided(
    machine: Machine, goal: Goal, runs: Sequence[Run], verdicts: Sequence[Verdict], only: Narrowed | None = None
) -> tuple[Verdict, ...]:
    """Those of ``verdicts``, in the order of the advice, whose measurement could make another one the pick: what needs
    the least of its interval for it first; before them the pick, with which all are compared, where its own decides.

    ``goal``: as it was asked for. Left out is what was measured, what no amount cures, what has no estimate to move.
    """
    weigh = _Moved(machine, goal, runs, only)
    if not verdicts or verdicts[0].hard:
        return ()
    pick, others = verdicts[0], [verdict for verdict in verdicts[1:] if not verdict.hard]
    far = {other.setup: weigh.how_far(other, pick) for other in others if not is_measured(other)}
    found = [(steps, other) for other in others if (steps := far.get(other.setup)) is not None]
    ups = [steps for steps, _ in found]
    first = (pick,) if not is_measured(pick) and weigh.decides(pick, others, ups) else ()
    return (*first, *(other for _, other in sorted(found, key=lambda one: one[0])))


def unforeseen(
    machine: Machine, goal: Goal, runs: Sequence[Run], verdicts: Sequence[Verdict], only: Narrowed | None = None
) -> tuple[Verdict, ...]:
    """Those of whose speed nothing tells and which would lead if they were fast enough, for all that is known."""
    if not verdicts or verdicts[0].hard or goal.training:
        return ()
    weigh, pick = _Moved(machine, goal, runs, only), verdicts[0]
    return tuple(v for v in verdicts if not v.hard and "decode_tps" not in v.estimates and weigh.may_lead(v, pick))


def is_measured(verdict: Verdict) -> bool:
    """Whether both speeds of it are known here."""
    told = [verdict.estimates.get(metric) for metric in SPEEDS[:2]]
    return all(one is not None and _is_known(one) for one in told)


def moved(verdict: Verdict, share: float) -> dict[str, Estimate]:
    """Its estimates where this share of the way from the middle to the better end of their intervals turns out to be
    so, or with less than nothing to the worse end. What moves up counts as measured then."""
    if is_measured(verdict):
        return verdict.estimates
    return {m: _moved(m, e, share) if m in SPEEDS else e for m, e in verdict.estimates.items()}


def _moved(metric: str, estimate: Estimate, share: float) -> Estimate:
    if _is_known(estimate):
        return estimate
    up = (METRICS[metric].better == "higher") == (share > 0)
    value = estimate.value + abs(share) * ((estimate.high if up else estimate.low) - estimate.value)
    told = msgspec.structs.replace(estimate, value=value, low=value, high=value)
    return msgspec.structs.replace(told, basis="measured", doubt="") if share >= 0 else told


def _is_known(estimate: Estimate) -> bool:
    return estimate.basis == "measured" and not estimate.doubt


class _Moved:
    """The keys that candidates would have."""

    def __init__(self, machine: Machine, goal: Goal, runs: Sequence[Run], only: Narrowed | None) -> None:
        self._goal, self._scales = goal, Scales(Knowledge(machine, runs), goal)
        self._of: dict[tuple[str, ...], Candidate] = {
            _place(one.setup): one for one in candidates(machine, goal, runs, only)
        }

    def key(self, verdict: Verdict, share: float) -> tuple[Any, ...]:
        one = self._of[_place(verdict.setup)]
        return order_key(self._goal, self._scales.judged(one, verdict.setup, moved(verdict, share)))

    def may_lead(self, other: Verdict, pick: Verdict) -> bool:
        one = self._of[_place(other.setup)]
        return hope(self._goal, one, other.overflows) < self.key(pick, -1.0)[:PARTS]

    def how_far(self, other: Verdict, pick: Verdict) -> int | None:
        """Steps up that put it before the pick where that is as expected, or as many more where that must come down,
        too; None where nothing does."""
        best, shares = self.key(other, 1.0), [step / _STEPS for step in range(_STEPS + 1)]
        if best >= self.key(pick, -1.0):
            return None
        if best < (expected := self.key(pick, 0.0)):
            return next(step for step, share in enumerate(shares) if self.key(other, share) < expected)
        return _STEPS + next(
            step for step, share in enumerate(shares) if self.key(other, share) < self.key(pick, -share)
        )

    def decides(self, pick: Verdict, others: Sequence[Verdict], ups: Sequence[int]) -> bool:
        """Whether what is expected behind it would lead where it comes down, or one that comes up then, too; ``ups``:
        the steps of those that do."""
        expected, falls = self.key(pick, 0.0), self.key(pick, -1.0)
        behind = (key for other in others if (key := self.key(other, 0.0)) > expected)
        return any(key < falls for key in behind) or any(steps > _STEPS for steps in ups)


def _place(setup: Setup) -> tuple[str, ...]:
    """Of a setup with whatever options."""
    return setup.variant, setup.quantization, setup.backend, setup.device
