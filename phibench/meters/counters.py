"""A source of energy as something that is read again and again, and the joules between two readings.

A counter is not sampled: its energy is the last reading minus the first. It is read in between so that no wrap is
missed, and so that one that stands still is noticed. Power is integrated (trapezoids between real times).
What cannot be told is None with a note; nothing here raises.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from phibench.core.nouns import Energy
from phibench.probe.system import text_files

Clock = Callable[[], float]
Scope = Literal["cpu_package", "cpu_core", "dram", "gpu_board", "gpu_die", "soc", "system_dc", "system_ac"]

MIN_WINDOW_S, LEAST_TICKS = 10.0, 100  # a window: two ticks of error are 2 % of it at most
ALIGNED_S = 0.11  # windows begin at a tick of counters that tick at least this often: 100 ms, and what a look may err
_LOOK_S, _LOOK_TICKS = 0.5, 5  # a counter is watched this long, or for so many ticks, before the model is opened
_LONG_LOOK_S = 3.0  # or this long, while fewer than two ticks were seen
_MOST_MISSED = 10  # readings in a row: longer, and power between them is not known, nor how often a counter wrapped
_STILL_S, _STILL_TICKS = 3.0, 10  # a counter that has not moved for longer has stopped
_OVER_LIMIT = 1.5  # times what the part may take: no measurement
_MOST_W = 20_000.0  # where no limit is told


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read again and again: counts of ``joules`` each, which begin again after ``wraps_at``; or watts.

    ``read`` raises OSError.
    """

    name: str
    scope: Scope
    method: Literal["counter", "integrated_power"]
    read: Callable[[], float]
    joules: float = 1.0
    wraps_at: int | None = None
    every_s: float = 1.0  # read in between
    min_window_s: float = MIN_WINDOW_S
    most_w: float | None = None  # the part's power limit
    tick_s: float | None = None  # as it was seen; None: not seen, or not a counter
    note: str = ""

    @property
    def window_s(self) -> float:
        """How long a window must last: some ticks are lost at its ends."""
        return max(self.min_window_s, LEAST_TICKS * (self.tick_s or 0.0))


def number(path: Path) -> int:
    """The number that a file of the kernel's holds now. Raises OSError where it holds none."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        value = text_files.integer(stream.read(64))
    if value is None or value < 0:
        raise OSError("it gives no number")
    return value


class Reading:
    """What one counter has shown since a window began."""

    def __init__(self, counter: Counter, clock: Clock = time.perf_counter) -> None:
        self.counter = counter
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Start anew with a first reading."""
        self._joules, self._reads, self._wraps, self._lost = 0.0, 0, 0, ""
        self._value = self._first_s = self._at_s = self._moved_s = 0.0
        self.look()

    def look(self) -> None:
        """Read once more; after a reading that is lost there is none."""
        if self._lost:
            return
        try:
            value = self.counter.read()
        except OSError as error:
            self._lost = f"could not be read any more: {error.strerror or error}"
            return
        except Exception as error:  # noqa: BLE001  a driver's library may raise anything, and a thread dies in silence
            self._lost = f"could not be read any more: {type(error).__name__}: {error}"
            return
        now = self._clock()
        if self._reads:
            self._add(value, now)
        else:
            self._first_s = self._moved_s = now
        if value != self._value:
            self._moved_s = now
        self._value, self._at_s, self._reads = value, now, self._reads + 1

    def look_if_due(self, now: float) -> None:
        """Read if it is time; several counters are read by one thread."""
        if now - self._at_s >= 0.9 * self.counter.every_s:
            self.look()

    def _add(self, value: float, now: float) -> None:
        seconds = now - self._at_s
        if self._blind(seconds):
            self._lost = f"was not read for {seconds:.3g} s"
            return
        if self.counter.method == "integrated_power":
            self._joules += seconds * (self._value + value) / 2
            return
        counts = value - self._value
        if counts < 0:
            counts += self.counter.wraps_at or 0
            self._wraps += 1
            if counts < 0 or not self.counter.wraps_at or counts * self.counter.joules > seconds * self._most_w():
                self._lost = "went backwards"
                return
        self._joules += counts * self.counter.joules

    def _blind(self, seconds: float) -> bool:
        """Whether anything may have happened since the last reading: a counter may have wrapped and not be lower."""
        if seconds <= _MOST_MISSED * self.counter.every_s:
            return False
        range_joules = self.counter.wraps_at * self.counter.joules if self.counter.wraps_at else None
        if self.counter.method == "counter":
            return range_joules is not None and seconds * self._most_w() >= range_joules
        return True

    def end(self) -> Energy:
        """The last reading, and what lies between it and the first."""
        self.look()
        seconds = self._at_s - self._first_s
        why = self._lost or self._doubt(seconds)
        return Energy(
            name=self.counter.name,
            scope=self.counter.scope,
            method=self.counter.method,
            joules=None if why else self._joules,
            seconds=seconds,
            tick_s=self.counter.tick_s,
            limit_w=self.counter.most_w,
            reads=self._reads,
            wraps=0 if why else self._wraps,
            note="; ".join(filter(None, (why, self.counter.note, self._short(seconds)))),
        )

    def _doubt(self, seconds: float) -> str:
        """Why the joules are none."""
        if self.counter.method == "counter" and (still := self._at_s - self._moved_s) >= min(seconds, self._still_s()):
            return f"stood still for {still:.3g} s"
        if seconds <= 0:
            return "the clock stood still"
        if self._joules / seconds > self._most_w():
            limit = f"{_OVER_LIMIT:g} times its limit" if self.counter.most_w else "what any part draws"
            return f"reported {self._joules / seconds:.4g} W, more than {limit}"
        return ""

    def _short(self, seconds: float) -> str:
        least = self.counter.window_s
        return f"its windows are shorter than the {least:.3g} s it needs" if seconds < least else ""

    def _still_s(self) -> float:
        return max(_STILL_S, _STILL_TICKS * (self.counter.tick_s or 0.0))

    def _most_w(self) -> float:
        return _OVER_LIMIT * self.counter.most_w if self.counter.most_w else _MOST_W


def watched(counter: Counter, clock: Clock = time.perf_counter) -> Counter:
    """A counter with the tick that it was seen to have: the median time between two changes.

    One that changed once has the time that it was looked at; of one that stood nothing is known. Both say so.
    """
    if counter.method != "counter":
        return counter
    try:
        changes = list(_changes(counter, clock))
    except OSError:
        return counter  # it says so in the first window
    gaps = sorted(b - a for a, b in itertools.pairwise(changes))
    if gaps:
        return msgspec.structs.replace(counter, tick_s=gaps[len(gaps) // 2])
    said = f"{'changed once' if changes else 'did not change'} in the {_LONG_LOOK_S:g} s before the model was opened"
    note = "; ".join(filter(None, (counter.note, said)))
    return msgspec.structs.replace(counter, tick_s=_LONG_LOOK_S if changes else None, note=note)


def _changes(counter: Counter, clock: Clock) -> Iterable[float]:
    start, last, seen = clock(), counter.read(), 0
    while seen <= _LOOK_TICKS and clock() - start < (_LOOK_S if seen > 1 else _LONG_LOOK_S):
        value = counter.read()
        if value != last:
            last, seen = value, seen + 1
            yield clock()


def wait_for_tick(counter: Counter, clock: Clock = time.perf_counter) -> None:
    """Until the counter changes, for three of its ticks at most."""
    if counter.tick_s is None:
        return
    try:
        start, first = clock(), counter.read()
        while clock() - start < 3 * counter.tick_s and counter.read() == first:
            pass
    except OSError:
        return


def distinct(counters: Sequence[Counter], clock: Clock = time.perf_counter) -> tuple[Counter, ...]:
    """Without those that repeat another's counts: parts of several dies show one counter more than once."""
    kept: list[Counter] = []
    for counter in counters:
        twin = next((k for k in kept if k.scope == counter.scope and _same(k, counter, clock)), None)
        if twin is None:
            kept.append(counter)
        else:
            note = "; ".join(filter(None, (twin.note, f"{counter.name} shows the same counts and is not added")))
            kept[kept.index(twin)] = msgspec.structs.replace(twin, note=note)
    return tuple(kept)


def _same(one: Counter, other: Counter, clock: Clock) -> bool:
    """Whether two counters move by the very same counts at every one of a few ticks.

    Only readings of ``other`` between two equal ones of ``one`` count: no tick lies between them.
    """
    if "integrated_power" in (one.method, other.method):
        return False
    pairs: list[tuple[float, float]] = []
    start = clock()
    try:
        while clock() - start < _LOOK_S and len(pairs) <= _LOOK_TICKS:
            before, between, after = one.read(), other.read(), one.read()
            if before == after and (not pairs or before != pairs[-1][0]):
                pairs.append((before, between))
    except OSError:
        return False
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(pairs)]
    return len(steps) >= _LOOK_TICKS and all(a == b for a, b in steps)
