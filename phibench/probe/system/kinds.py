"""Kinds of cores as Linux tells them, and what a core of each is worth: some say how fast each is, others only which.

A layer is cut into equal shares, one for each thread, and done when the slowest is: n threads are worth n times the
weakest core among them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from phibench.core.nouns import Noun
from phibench.probe.system import arm, text_files, topology

_CPUS = "sys/devices/system/cpu"
# An Intel efficiency core has vector units of half the width and three quarters of the clock: at most 3/8. With a
# third, all are taken only where there are more than two for each fast one (llama.cpp issues 842, 28625).
EFFICIENCY = 1 / 3
LITTLE = 1 / 4  # a 7B model on an RK3588: 0.8 tokens/s on its A55, 3.3 on its A76 (llama.cpp issue 1571)
_LITTLE_CAPACITY = 0.5  # parts little from big: an RK3588 shows 1024 for its A76 and about 400 for its A55
# Compact cores lie apart: 5.1 and 3.3 GHz for Zen 5 and 5c, 5.0 and 3.7 for Zen 4 and 4c. Cores of one kind differ by
# less from one to the next, and no compact core has less than half.
_GAP, _LEAST_COMPACT = 0.75, 0.5
_KHZ = range(100_000, 6_200_001)  # no processor was ever sold with more than 6.2 GHz (Core i9-14900KS)


class Kinds(Noun, frozen=True, kw_only=True):
    """``fast``: cpus of performance cores; ``worth``: of each cpu, against the best."""

    fast: frozenset[int]
    worth: dict[int, float]


def kinds(root: Path, cpus: frozenset[int]) -> Kinds:
    """One kind where nobody tells more, or tells nonsense."""
    sources: tuple[Callable[[Path, frozenset[int]], Kinds | None], ...] = (_intel, _capacities, _parts, _clocks)
    found = (told for source in sources if (told := source(root, cpus)))
    return next(found, Kinds(fast=cpus, worth=dict.fromkeys(cpus, 1.0)))


def threads(worth: Iterable[float], most: float = math.inf) -> int:
    """How many threads to start on cores that are worth so much, each on one: a slow core holds up all others at every
    barrier, yet seven outdo one. At most ``most``; the fewer where more would gain nothing."""
    best_first = sorted(worth, reverse=True)
    counts = range(1, max(1, int(min(len(best_first), most))) + 1)
    return max(counts, key=lambda count: (count * best_first[count - 1], -count))


def hertz(path: Path) -> float | None:
    """A clock of cpufreq, which counts kHz; None for nonsense."""
    kilohertz = text_files.number(path)
    return kilohertz * 1e3 if kilohertz is not None and kilohertz in _KHZ else None


def max_hz(root: Path, cpus: frozenset[int]) -> float | None:
    """The highest clock of any core; None where one tells nonsense: kernels compute it, and then all may be wrong."""
    told = [number for number in _max_khz(root, cpus).values() if number]
    return max(told) * 1e3 if told and all(number in _KHZ for number in told) else None


def _max_khz(root: Path, cpus: frozenset[int]) -> dict[int, int]:
    """0: not told."""
    return _numbers(root, cpus, "cpufreq/cpuinfo_max_freq")


def _numbers(root: Path, cpus: frozenset[int], file: str) -> dict[int, int]:
    shown = topology.shown(root, cpus)
    return dict.fromkeys(cpus, 0) | {cpu: text_files.number(root / _CPUS / f"cpu{cpu}" / file) or 0 for cpu in shown}


def _intel(root: Path, cpus: frozenset[int]) -> Kinds | None:
    fast = text_files.cpu_list(text_files.text(root / "sys/devices/cpu_core/cpus", 4096)) & cpus
    return Kinds(fast=fast, worth={cpu: 1.0 if cpu in fast else EFFICIENCY for cpu in cpus}) if fast else None


def _capacities(root: Path, cpus: frozenset[int]) -> Kinds | None:
    """The same for all says nothing: it is what a kernel shows that was not told."""
    told = _numbers(root, cpus, "cpu_capacity")
    if min(told.values(), default=0) <= 0 or len({*told.values()}) == 1:
        return None
    worth = {cpu: capacity / max(told.values()) for cpu, capacity in told.items()}
    return Kinds(fast=frozenset(cpu for cpu in cpus if worth[cpu] >= _LITTLE_CAPACITY), worth=worth)


def _parts(root: Path, cpus: frozenset[int]) -> Kinds | None:
    cores = arm.cores(root)
    if not cores.keys() >= cpus:
        return None
    fast = frozenset(cpu for cpu in cpus if not cores[cpu].little)
    return Kinds(fast=fast, worth={cpu: 1.0 if cpu in fast else LITTLE for cpu in cpus}) if fast else None


def _clocks(root: Path, cpus: frozenset[int]) -> Kinds | None:
    told = _max_khz(root, cpus)
    if not all(number in _KHZ for number in told.values()):
        return None
    steps = sorted({*told.values()}, reverse=True)
    edges = [slow for quick, slow in itertools.pairwise(steps) if slow < _GAP * quick]
    if not edges or edges[0] < _LEAST_COMPACT * steps[0]:
        return None
    worth = {cpu: edges[0] / steps[0] if clock <= edges[0] else 1.0 for cpu, clock in told.items()}
    return Kinds(fast=frozenset(cpu for cpu in cpus if told[cpu] > edges[0]), worth=worth)
