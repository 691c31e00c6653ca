"""What a meter is, and what has been seen by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from phibench.core.nouns import Energy, Noun


class MeterReadings(Noun, frozen=True, kw_only=True):
    """``readings``: metric -> value; ``memory``: bytes by kind of page (meters/memory.py); ``notes``: what lacks."""

    readings: dict[str, float] = {}
    memory: dict[str, int] = {}
    notes: tuple[str, ...] = ()


class EnergyMeter(Protocol):
    @property
    def min_window_s(self) -> float:
        """Seconds that a window must last for the counters to be exact enough."""

    def begin(self) -> None:
        """A window begins."""

    def end(self) -> tuple[Energy, ...]:
        """It has ended: what each source counted since."""


class MemoryMeter(Protocol):
    def finish(self, again: Callable[[], object]) -> MeterReadings:
        """What a test took; ``again`` runs it once more, to see which pages it touches."""


class Meters:
    """The meters that a job needs, as one."""

    def __init__(
        self,
        energy: EnergyMeter | None = None,
        sensors: Callable[[], dict[str, float]] | None = None,
        memory: MemoryMeter | None = None,
    ) -> None:
        self._energy, self._sensors, self._memory = energy, sensors, memory

    @property
    def min_window_s(self) -> float:
        """Seconds that a window must last; 0 where no meter minds."""
        return self._energy.min_window_s if self._energy else 0.0

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

    def finish(self, again: Callable[[], object]) -> MeterReadings:
        """A test is done: what memory it took."""
        return self._memory.finish(again) if self._memory else MeterReadings()


UNWATCHED = Meters()
