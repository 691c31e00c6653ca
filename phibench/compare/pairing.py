"""Like with like, and what makes a pair: the figures of two sides that may be compared.

On one machine launches that were measured one after the other make a pair, so that what both suffered cancels. Two
machines share no noise that could cancel: there the n-th launches make a pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import NamedTuple

import msgspec

from phibench.analysis import winners
from phibench.compare.selection import Selection
from phibench.core import stats
from phibench.core.metrics import METRICS
from phibench.core.nouns import Measured, Noun, Run, Setup, Workload

COMPARED = (  # the others follow from these
    "prefill_tps", "decode_tps", "ttft_s", "sustained_tps", "load_cold_s", "load_warm_s", "prefill_j_per_token",
    "decode_j_per_token", "host_peak_bytes", "host_needed_bytes", "device_peak_bytes",
)  # fmt: skip
_WHY = {  # field -> why what differs in it is left out
    "weights": "real and synthetic weights are never compared",
    "layers": "it has different layers",
    "bytes": "it is a different file: of another size",
    "example": "one is an example",
    "short": "one is a short run",
    "imported": "one is imported",
    "suite": "it is from another suite",
    "protocol": "it was measured another way (repetitions, warm-up, ...)",
}


class Like(Noun, frozen=True, kw_only=True):
    """What two figures must share. ``setup`` None: two setups are compared; ``test`` None: of the whole worker."""

    setup: Setup | None
    test: Workload | None
    metric: str
    weights: str
    layers: int | None
    bytes: int | None  # of a real file; synthetic ones may change with the version that writes them
    suite: str
    short: bool
    imported: bool
    example: bool
    protocol: tuple[Hashable, ...]


class Seen(NamedTuple):
    """The median of one launch, and when it was taken."""

    when: tuple[str, str, int]
    value: float
    run: Run


Pair = tuple[Seen, Seen]  # of A and of B


def seen_of(selection: Selection) -> dict[Like, list[Seen]]:
    """Every launch's medians, in the order in which they were taken."""
    found: dict[Like, dict[Hashable, Seen]] = defaultdict(dict)
    for run in map(winners.with_peaks, selection.runs):
        for place, result in enumerate(run.results):
            if not isinstance(result, Measured) or selection.setup not in (None, result.setup):
                continue
            for name in (name for name in COMPARED if name in run.suite.metrics):
                like = _like(run, result, name, selection.setup)
                launch = (run.machine.slug, run.id, result.launch, result.setup)
                if known := [value for value in winners.measured(name, result) if value > 0]:
                    when = (result.at or run.started, run.id, place)
                    found[like].setdefault(launch, Seen(when, stats.median(known), run))
    return {like: sorted(launches.values(), key=lambda seen: seen.when) for like, launches in found.items()}


def _like(run: Run, result: Measured, metric: str, setup: Setup | None) -> Like:
    suite = run.suite
    whole = METRICS[metric].meter == "process" and not suite.fresh  # a peak is that of all tests of the worker
    ways = (suite.repetitions, suite.window_s, suite.idle_s, suite.fresh, suite.page_cache, suite.warmup)
    return Like(
        setup=None if setup else result.setup,
        test=None if whole else result.workload,
        metric=metric,
        weights=result.artifact.weights,
        layers=result.artifact.layers,
        bytes=result.artifact.bytes if result.artifact.weights == "real" and setup is None else None,
        suite=suite.name,
        short=suite.short,
        imported=bool(run.imported),
        example=run.example,
        protocol=(*ways, suite.workloads()) if whole else ways,
    )


def matches(first: Collection[Like], second: Collection[Like]) -> list[tuple[Like, Like]]:
    """Figures of A and of B that may be compared: the same way to the same figure.

    Of an imported figure no suite and no protocol is known. It is compared with what else is like it, unless both
    sides have a better one.
    """
    same = {_loosely(like) for like in first if like in second}
    others: dict[Like, list[Like]] = defaultdict(list)
    for other in second:
        others[_loosely(other)].append(other)
    return [
        (like, other)
        for like in first
        for other in others[_loosely(like)]
        if like == other or ((like.imported or other.imported) and _loosely(like) not in same)
    ]


def _loosely(like: Like) -> Like:
    return msgspec.structs.replace(like, suite="", protocol=(), imported=False, bytes=None)


def apart(like: Like, other: Like) -> str | None:
    """In words, where the figure is the same and the way to it is not."""
    if (like.setup, like.test, like.metric) != (other.setup, other.test, other.metric):
        return None
    return next(why for field, why in _WHY.items() if getattr(like, field) != getattr(other, field))


# ------------------------------------------------------------------------------------------------------- pairs


def pair_up(a: Sequence[Seen], b: Sequence[Seen], *, alone: Callable[[Run], Hashable] = lambda _: None) -> list[Pair]:
    """Launches of A and B that make a pair; each list is in the order of time.

    On each machine (identity) that both have: neighbours in time of different sides, each used once; those that differ
    in what ``alone`` says of their runs are none. Where they share no machine: the n-th launches, if each side is one.
    """
    turns = {seen.run.machine.identity for seen in a} & {seen.run.machine.identity for seen in b}
    if turns:
        return [pair for machine in sorted(turns) for pair in _neighbours(_of(a, machine), _of(b, machine), alone)]
    one_each = len({seen.run.machine.identity for seen in a}) == len({seen.run.machine.identity for seen in b}) == 1
    return list(zip(a, b, strict=False)) if one_each else []


def _neighbours(a: Sequence[Seen], b: Sequence[Seen], alone: Callable[[Run], Hashable]) -> list[Pair]:
    line = sorted([(seen.when, 0, seen) for seen in a] + [(seen.when, 1, seen) for seen in b], key=lambda at: at[:2])
    found, place = [], 0
    while place + 1 < len(line):
        (_, here, one), (_, there, other) = line[place : place + 2]
        if here == there or alone(one.run) != alone(other.run):
            place += 1
            continue
        found.append((one, other) if here == 0 else (other, one))
        place += 2
    return found


def _of(seen: Sequence[Seen], machine: str) -> list[Seen]:
    return [one for one in seen if one.run.machine.identity == machine]


def of_software(run: Run) -> Hashable:
    return tuple(sorted(run.software.items()))
