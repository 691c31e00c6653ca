"""One answer for each of many machines; equal machines are asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from phibench.advise.recommend import advise
from phibench.core.nouns import Goal, Machine, Run, Verdict


def picks(
    machines: Sequence[Machine], goal: Goal, runs: Sequence[Run], on_answer: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> tuple[Verdict, ...]:  # fmt: skip
    """The best verdict of each machine, in their order; ``asked`` as :func:`advise` takes it.

    ``on_answer`` hears how many of the different machines have been asked, and of how many.
    """
    keys = [_key(machine) for machine in machines]
    different = dict(zip(keys, machines, strict=True))
    found: dict[bytes, Verdict] = {}
    for key, machine in different.items():
        found[key] = advise(machine, goal, runs, **asked)[0]
        if on_answer:
            on_answer(len(found), len(different))
    return tuple(found[key] for key in keys)


def _key(machine: Machine) -> bytes:
    """All that advice may read of it; a name is nothing."""
    return msgspec.json.encode(msgspec.structs.replace(machine, name=""))
