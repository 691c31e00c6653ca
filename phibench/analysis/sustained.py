"""Decode that goes on for minutes: burst against steady state, and where the speed changes. Pure functions.

The speed over time comes from the arrivals of tokens, in equal stretches of time; what is between two tests (their
preparation) is not in it. A change is found by Pettitt's test (1979, Applied Statistics 28:126), which asks of all
places at once whether what lies before has another level than what lies after, by ranks, and is told where the level
changes by at least :data:`CHANGE`.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from phibench.core import stats, units
from phibench.core.metrics import complete
from phibench.core.nouns import Measured, Noun, Sample, Suite, Workload

BURST_S = 30.0  # a cool processor keeps its highest clock for some ten seconds
_STRETCHES = 120  # of the whole time
_LEAST_S = 1.0  # of a stretch
STEADY = 0.5  # the last half of the time counts as steady
CHANGE = 0.05  # of the level; less is what a shared machine does all the time
ALPHA = 0.01  # of a change
_SIDE = 5  # stretches on either side of a change, at least


class Point(Noun, frozen=True, kw_only=True):
    """A stretch of time: its middle, in seconds since the window began, and the speed of all sequences in it."""

    at_s: float
    tps: float


class Change(Noun, frozen=True, kw_only=True):
    """From ``at_s`` on the median is ``after`` instead of ``before``, tokens per second."""

    at_s: float
    before: float
    after: float

    def __str__(self) -> str:
        word = "slower" if self.after < self.before else "faster"
        return f"{word} from {units.duration(self.at_s)} on: {self.before:.3g} -> {self.after:.3g} tok/s"


def values(result: Measured) -> list[float]:
    """The steady speed of every window: the median over its last half."""
    found = (_steady(points) for points in curves(result))
    return [speed for speed in found if speed is not None]


def curves(result: Measured) -> list[list[Point]]:
    """Speed over time, of every work window."""
    return [_points(result.workload, part) for part in _parts(result)]


def _parts(result: Measured) -> Iterator[Sequence[Sample]]:
    """The samples of each work window, from its own start on."""
    first = 0
    for window in (w for w in result.windows if w.kind == "work"):
        part = result.samples[first : first + window.tests]
        first += window.tests
        if part and all(s.start_s is not None for s in part):
            yield part


def _points(workload: Workload, samples: Sequence[Sample]) -> list[Point]:
    began = samples[0].start_s or 0.0
    ends: list[tuple[float, float]] = []  # (when a token came, how long it took)
    for sample in samples:
        if complete(workload, sample) and not workload.prompt_tokens and workload.new_tokens:
            start = (sample.start_s or 0.0) - began
            both = itertools.pairwise((0.0, *sample.arrivals_s))
            ends += [(start + there, there - here) for here, there in both]
    if not ends:
        return []
    width = max(_LEAST_S, ends[-1][0] / _STRETCHES)
    taken: dict[int, list[float]] = defaultdict(list)
    for end, gap in ends:
        taken[int(end / width)].append(gap)
    return [
        Point(at_s=(place + 0.5) * width, tps=workload.batch * len(gaps) / total)
        for place, gaps in sorted(taken.items())
        if (total := math.fsum(gaps)) > 0
    ]


def _steady(points: Sequence[Point]) -> float | None:
    if not points:
        return None
    begins = STEADY * points[-1].at_s
    return stats.median([p.tps for p in points if p.at_s >= begins])


def _burst(points: Sequence[Point]) -> float:
    ends = min(BURST_S, STEADY * points[-1].at_s)
    return stats.median([p.tps for p in points if p.at_s <= ends] or [points[0].tps])


def changes(points: Sequence[Point]) -> list[Change]:
    """Every change of level, in order of time; found by halving at the most significant place again and again."""
    places = sorted(_places([p.tps for p in points]))
    levels = [
        stats.median([p.tps for p in points[a:b]]) for a, b in itertools.pairwise((0, *places, len(points)))
    ]  # fmt: skip
    found = []
    for place, (before, after) in zip(places, itertools.pairwise(levels), strict=True):
        if abs(after / before - 1) >= CHANGE:
            found.append(Change(at_s=(points[place - 1].at_s + points[place].at_s) / 2, before=before, after=after))
    return found


def _places(speeds: Sequence[float]) -> list[int]:
    place, p = pettitt(speeds)
    if p >= ALPHA or not _SIDE <= place <= len(speeds) - _SIDE:
        return []
    return [*_places(speeds[:place]), place, *(place + later for later in _places(speeds[place:]))]


def pettitt(values: Sequence[float]) -> tuple[int, float]:
    """(place of the likeliest change: the first value after it; approximate two-sided p). (0, 1.0) of few values."""
    n = len(values)
    if n < 2:
        return 0, 1.0
    highest, place, total = -1.0, 0, 0.0
    for t in range(1, n):
        total += sum((values[t - 1] > other) - (values[t - 1] < other) for other in values)
        if abs(total) > highest:
            highest, place = abs(total), t
    return place, min(1.0, 2 * math.exp(-6 * highest**2 / (n**3 + n**2)))


def notes(suite: Suite, measured: Sequence[Measured]) -> tuple[str, ...]:
    """What people are told of one test: burst, steady, changes, and what sensors showed."""
    if "sustained_tps" not in suite.metrics:
        return ()
    said = []
    for result in measured:
        for points, part in zip(curves(result), _parts(result), strict=True):
            said += _told(points) + _shown(part)
    return tuple(dict.fromkeys(said))


def _told(points: Sequence[Point]) -> list[str]:
    steady = _steady(points)
    if steady is None or len(points) < 2:
        return []
    burst = _burst(points)
    ends = min(BURST_S, STEADY * points[-1].at_s)
    line = (
        f"{burst:.3g} tok/s in the first {units.duration(ends)}, {steady:.3g} tok/s in the last half "
        f"({steady / burst - 1:+.0%})"
    )
    return [line, *map(str, changes(points))]


_GAUGES = {"cpu_temp_c": ("cpu", 1.0, "°C"), "cpu_hz": ("cpu clock", 1e-9, "GHz"), "gpu_temp_c": ("gpu", 1.0, "°C"),
           "gpu_hz": ("gpu clock", 1e-9, "GHz"), "gpu_w": ("gpu power", 1.0, "W")}  # fmt: skip


def _shown(samples: Sequence[Sample]) -> list[str]:
    """First and last of each sensor."""
    told = []
    for name, (title, scale, unit) in _GAUGES.items():
        seen = [s.gauges[name] * scale for s in samples if name in s.gauges]
        if seen:
            told.append(f"{title} {seen[0]:.3g} -> {seen[-1]:.3g} {unit} (highest {max(seen):.3g})")
    return ["; ".join(told) if told else "no sensor of heat or clock can be read here"]
