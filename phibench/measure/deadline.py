"""Which launches are still begun before a deadline: what says most is never left out for what says less."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from phibench.core.nouns import Event, Failed, Job, Measured, Setup, Suite
from phibench.measure.calibration import Place, Seconds, place_of
from phibench.measure.launch import MOST_DEATHS
from phibench.measure.tasks import Task

_MARGIN = 1.1  # what launches take longer than they should at times, kept in hand before another is begun
_SLOWEST, _FASTEST = 5.0, 0.2  # what launches took against what they should: beyond that it was something else

Key = tuple[Setup, int | None, Suite]


class Deadline:
    """Asked before every launch, and told how long it took, so that what is still to come is known better.

    ``tasks``: in order of what they say, the check where it may stand. All are begun in this order, as many as leave
    time for the check and for the second launch of those that have one; these come in the same order.
    ``sure``: the check is measured whatever it takes. ``again``: whose first launch was done before.
    """

    def __init__(
        self, tasks: Sequence[tuple[Task, Seconds]], ends: float, clock: Callable[[], float] = time.monotonic,
        *, sure: bool = False, again: Sequence[Task] = (),
    ) -> None:  # fmt: skip
        self.left_out: list[tuple[Task, int]] = []
        self._ends, self._clock = ends, clock
        self._seconds = {_key(task): seconds for task, seconds in tasks}
        self._took: dict[Key, float] = {}  # the last launch of each, without its file and the start of its worker
        self._started: set[Place] = set()
        self._writing: dict[Key, float] = {}  # seconds of the files that were written
        self._again = [_key(task) for task in again]  # a second launch is owed
        self._check = {_key(task) for task, _ in tasks if task.layers is None}
        self._closed, self._sure = False, sure
        self._wrote: float | None = None
        self._alive: set[Place] = set()
        self._deaths: Counter[Place] = Counter()

    def allows(self, task: Task, launch: int) -> bool:
        """Whether this launch is begun; if not it stands in ``left_out``."""
        key, self._wrote = _key(task), None
        if key not in self._seconds or (self._sure and key in self._check):
            return True
        if (launch and (task, 0) in self.left_out) or self._is_dead(task.setup):
            return False
        fits = self._clock() + self._needs(task, key, launch) <= self._ends
        if launch == 0 and key not in self._check:
            fits = fits and not self._closed
            self._closed = not fits
        if not fits:
            self.left_out.append((task, launch))
            self._again = [owed for owed in self._again if owed != key]
        return fits

    def _needs(self, task: Task, key: Key, launch: int) -> float:
        """Seconds of this launch, and of what must not be left out for it."""
        owed = [other for other in self._again if other != key]
        if launch:
            return self._start_s(key) + self._launch_s(key)
        seconds = self._write_s(key) + self._start_s(key) + self._launch_s(key) * task.suite.launches
        seconds += sum(self._launch_s(other) for other in owed)
        if key in self._check and self._took:  # room was kept for it
            return seconds
        checks = self._check - set(self._took)
        return _MARGIN * (seconds + sum(self._write_s(check) + self._launch_s(check) for check in checks))

    def heard(self, job: Job, event: Event) -> None:
        """Of a worker. An engine that has died twice on a device and never measured there is not tried again."""
        place = place_of(job.setup)
        if isinstance(event, Measured):
            self._alive.add(place)
        elif isinstance(event, Failed) and event.kind:
            self._deaths[place] += 1

    def _is_dead(self, setup: Setup) -> bool:
        place = place_of(setup)
        return place not in self._alive and self._deaths[place] >= MOST_DEATHS

    def wrote(self) -> None:
        """A file is written: what comes now is the launch."""
        self._wrote = self._clock()

    def took(self, task: Task, launch: int, began: float) -> None:
        key = _key(task)
        if key not in self._seconds:
            return
        if self._wrote is not None:
            self._writing[key] = self._wrote - began
        took_s = self._clock() - (self._wrote or began)
        self._took[key] = max(took_s - self._start_s(key), _FASTEST * self._seconds[key].launch_s)
        self._started.add(place_of(task.setup))
        self._again = [owed for owed in self._again if owed != key]
        if launch + 1 < task.suite.launches:
            self._again.append(key)

    def _start_s(self, key: Key) -> float:
        """Of its worker, where it is the first of its engine."""
        return 0.0 if place_of(key[0]) in self._started else self._seconds[key].start_s

    def _launch_s(self, key: Key) -> float:
        known = self._took.get(key)
        return self._seconds[key].launch_s * self._off(key[0].backend) if known is None else known

    def _write_s(self, key: Key) -> float:
        should = sum(self._seconds[one].write_s for one in self._writing)
        off = sum(self._writing.values()) / should if should else 1.0
        return self._seconds[key].write_s * _within(off)

    def _off(self, backend: str) -> float:
        """How much longer launches took than they should, of this backend where one was seen, else of all."""
        done = [key for key in self._took if key[0].backend == backend] or list(self._took)
        should = sum(self._seconds[key].launch_s for key in done)
        ratio = sum(self._took[key] for key in done) / should if should else 1.0
        return _within(ratio)


class Spare:
    """What is left of a deadline: a launch is begun where a little more is left than the last one of its task took; of
    one that failed no other is.

    ``tasks``: with what a launch should take.
    """

    def __init__(
        self, tasks: Sequence[tuple[Task, float]], ends: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = {_key(task): seconds for task, seconds in tasks}
        self._ends, self._clock = ends, clock
        self._failed: set[Key] = set()

    def allows(self, task: Task, launch: int) -> bool:  # noqa: ARG002 - each counts for itself
        key = _key(task)
        return key not in self._failed and self._clock() + _MARGIN * self._seconds[key] <= self._ends

    def heard(self, job: Job, event: Event) -> None:
        if isinstance(event, Failed):
            self._failed.add((job.setup, job.artifact.layers, job.suite))

    def took(self, task: Task, launch: int, began: float) -> None:  # noqa: ARG002
        self._seconds[_key(task)] = self._clock() - began


def _within(ratio: float) -> float:
    return min(max(ratio, _FASTEST), _SLOWEST)


def _key(task: Task) -> Key:
    return task.setup, task.layers, task.suite
