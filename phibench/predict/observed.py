"""What was seen on this machine beyond speeds: watts while it worked, and seconds until a model's first token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from phibench.analysis import energy
from phibench.core import stats
from phibench.core.nouns import Machine, Measured, Noun, Result, Run, Setup
from phibench.predict.costs import Phase

LOADS = ("load_cold_s", "load_warm_s")


class Power(Noun, frozen=True, kw_only=True):
    """Watts that were metered here while one setup worked."""

    setup: Setup
    phase: Phase
    watts: float
    scope: str
    seen: str


def powers(machine: Machine, runs: Iterable[Run]) -> tuple[Power, ...]:
    """Of each result with energy, newest first."""
    return tuple(power for run in _newest(machine, runs) for result in run.results for power in _of(run, result))


def _of(run: Run, result: Result) -> Iterator[Power]:
    if not isinstance(result, Measured) or bool(result.workload.prompt_tokens) == bool(result.workload.new_tokens):
        return
    windows = [w for w, busy in energy.work_windows(result) if busy >= 1 - energy.MOST_PAUSES]
    drawn = [joules / w.seconds for w in windows if (joules := energy.joules_of(w, {})) is not None and joules > 0]
    if drawn:
        parts = energy.counted(windows[0].energy)
        yield Power(
            setup=result.setup, phase="prefill" if result.workload.prompt_tokens else "decode",
            watts=stats.median(drawn), scope=" + ".join(part.name for part in parts),
            seen=f"{result.workload} on {run.started[:10]}",
        )  # fmt: skip


class Load(Noun, frozen=True, kw_only=True):
    """A load that was timed here."""

    metric: str
    setup: Setup
    layers: int | None
    seconds: float
    seen: str


def loads(machine: Machine, runs: Iterable[Run]) -> tuple[Load, ...]:
    """Newest first."""
    found = []
    for run in _newest(machine, runs):
        timed: dict[tuple[str, Setup, int | None], list[float]] = defaultdict(list)
        for result in run.results:
            if isinstance(result, Measured):
                for name in set(LOADS) & set(run.suite.metrics) & result.readings.keys():
                    if result.readings[name] <= 0:  # a broken clock's
                        continue
                    timed[name, result.setup, result.artifact.layers].append(result.readings[name])
        found += [
            Load(metric=name, setup=setup, layers=layers, seconds=stats.median(seconds), seen=run.started[:10])
            for (name, setup, layers), seconds in timed.items()
        ]
    return tuple(found)


def _newest(machine: Machine, runs: Iterable[Run]) -> list[Run]:
    mine = [r for r in runs if not r.example and r.machine.identity == machine.identity]
    return sorted(mine, key=lambda r: r.started, reverse=True)
