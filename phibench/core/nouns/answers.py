"""What came of asking: what settling measured."""

from __future__ import annotations

from phibench.core.nouns.base import Noun
from phibench.core.nouns.calibration import LeftOut
from phibench.core.nouns.setups import Setup


class Settled(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """What was measured because it could change the pick, which was ``before``; ``left_out``: what still could."""

    seconds: float
    budget_s: float
    before: Setup
    measured: tuple[Setup, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
