"""When a measured rate is not believed, and how much more it can still mean.

What was seen is a lower end: the hardware can do that much. The upper end is what it would be with nobody else there:
- a thread that had a core for a share of the time reads that share of what it reads alone, so rate / share;
- a program beside our threads, on a core or a sibling of a core that none of them uses, takes at most as much as one of
  them, so rate x (ours + theirs) / ours.
Checked with programs that take 25 to 100 % of one and of both cpus: docs/probing.md.
"""

from __future__ import annotations

from phibench.core.nouns import Noun
from phibench.probe import conditions
from phibench.probe.system import cpu

_UNDISTURBED = 0.9  # our choice: a figure that is off by less is believed
_STOLEN = 0.02  # of all cpu time: the host gave it to another machine
OTHERS = conditions.LIMITS["busy_share"]  # of the cpus, or of a GPU: as in a look before a run
_BESIDE = 2.0  # at most: a core shares itself and its way to memory evenly between two siblings
MARGIN = 1.1  # of the upper end: what quiet probes in the same minute differ by (docs/probing.md)
_LEAST = 0.01  # of the time: less is no figure


class Kept(Noun, frozen=True, kw_only=True):
    """What kept threads from their cores while a rate was measured.

    ``ran``: share of the best round in which each thread had all of a core that a quota grants. ``others_cpus`` and
    ``steal_share`` are means of all rounds, of ``cpus`` that this process may use; a quota leaves others out: they are
    those of a whole host, and nobody here can close them.
    """

    threads: int
    cpus: float
    ran: float = 1.0
    others_cpus: float = 0.0
    steal_share: float = 0.0


def granted(cpus: float | None, threads: int) -> float:
    """Share of a core that a quota of ``cpus`` leaves each thread."""
    return min(1.0, max(cpus, _LEAST) / threads) if cpus and threads else 1.0


def kept(
    threads: int, cpus: float | None, *, ran: float = 1.0, others_share: float | None, steal_share: float | None
) -> Kept:
    """From what was counted; ``cpus`` as of Limits, ``others_share`` of those that the scheduler may give us."""
    mine = float(len(cpu.usable()[1]))
    limited = cpus is not None and cpus < mine
    return Kept(
        threads=max(threads, 1), cpus=mine, ran=ran, others_cpus=0.0 if limited else (others_share or 0.0) * mine,
        steal_share=steal_share or 0.0,
    )  # fmt: skip


def headroom(kept: Kept) -> float:
    """How many times more than what was seen it can be, at least 1."""
    ours = kept.threads * min(1.0, max(kept.ran, _LEAST))
    beside = min(max(kept.cpus, kept.threads), ours + kept.others_cpus) / ours if _beside(kept) else 1.0
    stolen = kept.steal_share if kept.steal_share > _STOLEN else 0.0
    return max(1.0, kept.threads / ours, min(_BESIDE, beside)) / max(_LEAST, 1.0 - stolen)


def why(kept: Kept) -> str:
    """What can have kept the threads, in words; "" where nobody did."""
    if kept.ran < _UNDISTURBED:
        return f"its threads had a core only {max(kept.ran, 0.0):.0%} of the time"
    if kept.steal_share > _STOLEN:
        return f"the host took {kept.steal_share:.0%} of the cpu time"
    if _beside(kept):
        return f"other programs kept {kept.others_cpus / kept.cpus:.0%} of the cpus busy"
    return ""


def is_off(seen: float, most: float) -> bool:
    """Too far from what it can be to be believed."""
    return most > seen / _UNDISTURBED


def _beside(kept: Kept) -> bool:
    return kept.others_cpus > OTHERS * kept.cpus


def capped(most: float | None, seen: float | None, sheet: float | None) -> float | None:
    """An upper end never above the data sheet, where there is one, and never below what was seen."""
    if most is None or seen is None:
        return None
    return max(seen, min(most, sheet) if sheet else most)
