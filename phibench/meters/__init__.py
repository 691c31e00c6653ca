"""What looks on while a model runs: energy counters, memory, sensors. A suite's metrics decide which.

One file per kind. A meter that cannot be read raises PhibenchError "unavailable: ...", with the remedy, before a model
is opened: nothing is ever filled in for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from phibench.metrics import metered
from phibench.nouns import Energy, Job, Noun


class Seen(Noun, frozen=True, kw_only=True):
    """``readings``: metric -> value; ``memory``: bytes by kind of page (meters/memory.py); ``notes``: what lacks."""

    readings: dict[str, float] = {}
    memory: dict[str, int] = {}
    notes: tuple[str, ...] = ()


class EnergyMeter(Protocol):
    @property
    def least_s(self) -> float:
        """Seconds that a window must last for the counters to be exact enough."""

    def begin(self) -> None:
        """A window begins."""

    def end(self) -> tuple[Energy, ...]:
        """It has ended: what each source counted since."""


class MemoryMeter(Protocol):
    def finish(self, again: Callable[[], object]) -> Seen:
        """What a test took; ``again`` runs it once more, to see which pages it touches."""


class Watch:
    """The meters that a job needs, as one."""

    def __init__(
        self,
        energy: EnergyMeter | None = None,
        sensors: Callable[[], dict[str, float]] | None = None,
        memory: MemoryMeter | None = None,
    ) -> None:
        self._energy, self._sensors, self._memory = energy, sensors, memory

    @property
    def least_s(self) -> float:
        """Seconds that a window must last; 0 where no meter minds."""
        return self._energy.least_s if self._energy else 0.0

    def begin(self) -> None:
        """A window begins."""
        if self._energy:
            self._energy.begin()

    def end(self) -> tuple[Energy, ...]:
        """It has ended: what was counted since."""
        return self._energy.end() if self._energy else ()

    def gauges(self) -> dict[str, float]:
        """What sensors show now."""
        return self._sensors() if self._sensors else {}

    def finish(self, again: Callable[[], object]) -> Seen:
        """A test is done: what memory it took."""
        return self._memory.finish(again) if self._memory else Seen()


UNWATCHED = Watch()


@contextlib.contextmanager
def watching(job: Job) -> Iterator[Watch]:
    """The meters of the job's suite, opened before its model. Raises PhibenchError where one cannot be read."""
    names = job.suite.metrics
    with contextlib.ExitStack() as stack:
        energy = sensors = memory = None
        if metered(names, "energy"):
            from phibench.meters import energy as of_energy

            energy = stack.enter_context(of_energy.watching(job.setup.device))
        if metered(names, "window"):
            from phibench.meters import sensors as of_sensors

            sensors = of_sensors.of(job.setup.device)
        if metered(names, "memory"):
            from phibench.meters import memory as of_memory

            memory = stack.enter_context(of_memory.opened(job))
        yield Watch(energy, sensors, memory)
