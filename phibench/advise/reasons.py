"""What explains the rows of an advice beyond themselves: other builds of the first, what would change a no, and where
nothing fits what would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.advise.asked_for import candidate_of
from phibench.advise.candidates import candidates
from phibench.advise.changes import Search
from phibench.advise.explain import Reasons
from phibench.advise.limits import KNOWN, judge
from phibench.advise.moves import Again, Change, Inquiry, Seen
from phibench.advise.ranking import order_key
from phibench.advise.weighing import Scales
from phibench.core.metrics import METRICS
from phibench.core.nouns import Goal, Setup, Verdict
from phibench.predict.speed import Knowledge

_TRIED = 20  # candidates, the best first, of which one is to be made fit


def reasons(asks: Inquiry, verdicts: Sequence[Verdict], chosen: Sequence[Verdict], only: Any, *, json: bool) -> Reasons:
    """What explains the rows: builds beside the first, of each no that is shown what would change it (in JSON, where it
    is read), and where nothing fits what would."""
    seen: Seen = {}
    nos = [v for v in chosen if v.verdict == "no"] if json else []
    changes = {v.setup: change for v in nos if (change := _change(asks, v, seen))}
    nothing = all(v.verdict == "no" for v in verdicts)
    return Reasons(
        beside=_beside(asks, verdicts, only), changes=changes,
        nearest=nearest(asks, verdicts, seen) if nothing else None, whole_family=not (only and only.variants),
    )  # fmt: skip


def _beside(asks: Inquiry, verdicts: Sequence[Verdict], only: Any) -> Sequence[Verdict]:
    """The builds of the first variant at its place, where the verdicts have only its best."""
    first = verdicts[0]
    if first.verdict != "yes" or sum(v.setup.variant == first.setup.variant for v in verdicts) > 1:
        return ()
    alone = msgspec.structs.replace(only, variants=(first.setup.variant,))
    scales = Scales(Knowledge(asks.machine, asks.runs), asks.goal, all_of_it=False)
    place = first.setup.backend, first.setup.device
    of_it = (
        one for one in candidates(asks.machine, asks.goal, asks.runs, alone)
        if (one.backend.NAME, one.device.kind) == place
    )  # fmt: skip
    found = [
        scales.exactly(one, msgspec.structs.replace(first.setup, quantization=one.quantization.id)).verdict
        for one in of_it
    ]
    return sorted(found, key=lambda v: order_key(asks.goal, v))


def _change(asks: Inquiry, verdict: Verdict, seen: Seen) -> Change | None:
    return Search(Again(asks, candidate_of(asks.machine, verdict.setup), verdict.setup, seen)).change()


def nearest(asks: Inquiry, verdicts: Sequence[Verdict], seen: Seen | None = None) -> tuple[Setup, Change] | None:
    """The best candidate that a change makes fit, with that change. ``seen``: what was answered already."""
    seen = {} if seen is None else seen
    changed = ((v.setup, _change(asks, v, seen)) for v in verdicts[:_TRIED])
    return next(((setup, change) for setup, change in changed if change), None)


def is_guessed(verdict: Verdict, goal: Goal) -> bool:
    """Whether a limit is missed that the better end of what is predicted keeps."""
    for metric, limit in goal.limits.items():
        estimate = verdict.estimates.get(metric)
        if estimate is None or judge(metric, estimate, limit) or estimate.basis in KNOWN:
            continue
        if estimate.high >= limit if METRICS[metric].better == "higher" else estimate.low <= limit:
            return True
    return False
