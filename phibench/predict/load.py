"""Seconds from opening a model to the first token of a short prompt: with its file on the disk, and in memory.

warm = what the engine starts with + bytes of each tensor type / how fast it is opened + a prompt of 16 tokens
cold = warm + bytes of the file / what the disk reads
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from phibench import backends
from phibench.core import stats, units
from phibench.core.nouns import Device, Estimate, Grounds, Machine, Measured, Noun, Run, Setup
from phibench.predict import costs, offload
from phibench.predict.basis import worst
from phibench.predict.speed import Knowledge

PROMPT = 16  # tokens, as suites/load.toml
_METRICS = ("load_cold_s", "load_warm_s")
_OTHER = 2.0  # factor of an 80 % interval: rates of one machine on another (assumed)
_HERE = 1.3  # the same once loads of this engine were timed here (assumed)


class Load(Noun, frozen=True, kw_only=True):
    """A load that was timed here."""

    metric: str
    setup: Setup
    layers: int | None
    seconds: float
    seen: str


def loads(machine: Machine, runs: Iterable[Run]) -> tuple[Load, ...]:
    """Newest first."""
    mine = [r for r in runs if not r.example and r.machine.identity == machine.identity]
    found = []
    for run in sorted(mine, key=lambda r: r.started, reverse=True):
        timed: dict[tuple[str, Setup, int | None], list[float]] = defaultdict(list)
        for result in run.results:
            if isinstance(result, Measured):
                for name in set(_METRICS) & set(run.suite.metrics) & result.readings.keys():
                    timed[name, result.setup, result.artifact.layers].append(result.readings[name])
        found += [
            Load(metric=name, setup=setup, layers=layers, seconds=stats.median(seconds), seen=run.started[:10])
            for (name, setup, layers), seconds in timed.items()
        ]
    return tuple(found)
