"""Where a number comes from, best first."""

from __future__ import annotations

from phibench.core.nouns import Basis

# From the best known to the least: a number made of two is as good as the worse.
BASES: tuple[Basis, ...] = ("exact", "published", "measured", "calibrated", "probed", "spec", "assumed")


def worst(*bases: Basis) -> Basis:
    return max(bases, key=BASES.index)
