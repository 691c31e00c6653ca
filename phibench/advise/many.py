"""One answer for each of many machines; equal machines are asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from phibench.advise.candidates import Narrowed
from phibench.advise.ranking import in_turn, order_key
from phibench.advise.recommend import advise
from phibench.core.nouns import Goal, Machine, Run, Verdict


def picks(
    machines: Sequence[Machine], goal: Goal, runs: Sequence[Run], on_answer: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> tuple[Verdict | None, ...]:  # fmt: skip
    """The best verdict of each machine, in their order; ``asked`` as :func:`advise` takes it.

    ``on_answer`` hears how many of the different machines have been asked, and of how many.
    """
    keys = [_key(machine) for machine in machines]
    different = dict(zip(keys, machines, strict=True))
    found: dict[bytes, Verdict | None] = {}
    for key, machine in different.items():
        found[key] = best(machine, goal, runs, **asked)
        if on_answer:
            on_answer(len(found), len(different))
    return tuple(found[key] for key in keys)


def best(
    machine: Machine, goal: Goal, runs: Sequence[Run], *, only: Narrowed | None = None, **asked: Any
) -> Verdict | None:
    """The first of :func:`advise`, several times as fast; None where nothing is left to try.

    Variants behind one that serves comfortably cannot lead, and are not asked.
    """
    only = only or Narrowed()
    found: list[Verdict] = []
    for group in in_turn(goal):
        variants = tuple(name for name in group if not only.variants or name in only.variants)
        if variants:
            narrowed = msgspec.structs.replace(only, variants=variants)
            found += advise(machine, goal, runs, only=narrowed, **asked)[:1]
        if found and found[-1].comfortable and found[-1].verdict == "yes":
            break
    return min(found, key=lambda verdict: order_key(goal, verdict), default=None)


def _key(machine: Machine) -> bytes:
    """All that advice may read of it; a name is nothing."""
    return msgspec.json.encode(msgspec.structs.replace(machine, name=""))
