"""What measuring changed in the advice: the pick, the answers of variants, what was expected beside what was found."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from phibench.advise import ranking
from phibench.core import amounts
from phibench.core.nouns import Estimate, Setup, Verdict

TITLE = "What the measurement changed"
_FIGURES = {"decode_tps": "decode tok/s", "prefill_tps": "prefill tok/s", "ttft_s": "TTFT"}


def lines(setups: Sequence[Setup], before: Sequence[Verdict], after: Sequence[Verdict]) -> list[str]:
    """``setups``: those that were measured, with the options that their engines turned out to need."""
    old, new = before[0], after[0]
    same = old.setup == new.setup
    found = [f"  {'The pick':<16} {'still ' if same else f'{old.setup} -> '}{new.setup}"]
    answers = {v.setup.variant: v.level for v in ranking.shown(before, len(before))}
    for verdict in ranking.shown(after, len(after)):
        was = answers.get(verdict.setup.variant, verdict.level)
        if was != verdict.level:
            found.append(f"  {verdict.setup.variant}: {was} -> {verdict.level}")
    for setup in setups:
        expected, measured = (_estimates(setup, verdicts) for verdicts in (before, after))
        found.append(f"  {setup}")
        for metric, label in _FIGURES.items():
            one, other = (
                amounts.shown(metric, e[metric]) if metric in e else "not known" for e in (expected, measured)
            )
            found.append(f"    {label:<14} {one} -> {other}")
    return found


def _estimates(setup: Setup, verdicts: Sequence[Verdict]) -> dict[str, Estimate]:
    """Of the setup, else of what it was before the safe options of its engine were known."""
    of_it = next((v for v in verdicts if v.setup == setup), None) or next(
        (v for v in verdicts if _plain(v.setup) == _plain(setup)), None
    )
    return of_it.estimates if of_it else {}


def _plain(setup: Setup) -> Setup:
    return msgspec.structs.replace(setup, options=())
