"""What was seen of a machine around a measurement, and the flat texts that a run file keeps of it.

In a run file ``before_NAME`` and ``after_NAME`` are of the two looks, ``selftest_ENGINE`` is what came of an engine's
self-test. These names are made and taken apart here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from phibench.core.nouns.base import Noun

_PLACES = ("before", "after", "selftest")
Unit = Literal["bytes", "share"]


class Throttle(Noun, frozen=True, kw_only=True):
    """Why a GPU runs below its clock. ``protects``: from heat or a failing supply; no load of ours alone does that."""

    name: str
    protects: bool = False


class Conditions(Noun, frozen=True, kw_only=True):
    """One look at a machine: counters since boot and states of now. None: the system does not tell.

    ``look_``: what a counter gained while the machine was watched, for ``look_s``. In the order of a run file.
    """

    cpus: int | None = None
    load_1m: float | None = None
    cpu_ticks: int | None = None
    steal_ticks: int | None = None
    swapped_in_bytes: int | None = None
    refault_bytes: int | None = None
    major_faults: int | None = None
    throttled_periods: int | None = None
    thermal_throttles: int | None = None
    thermal_throttle_ms: int | None = None
    cpu_waited_us: int | None = None
    memory_waited_us: int | None = None
    look_s: float | None = None
    busy_share: float | None = None  # of all cpus, by others
    cpu_waited_share: float | None = None
    memory_waited_share: float | None = None
    look_swapped_in_bytes: int | None = None
    look_refault_bytes: int | None = None
    look_major_faults: int | None = None
    look_throttled_periods: int | None = None
    look_thermal_throttles: int | None = None
    look_thermal_throttle_ms: int | None = None
    look_steal_share: float | None = None
    cpu_pressure: float | None = None
    memory_pressure: float | None = None
    cpu_temp_c: float | None = None
    frequency_driver: str | None = None
    governor: str | None = None
    energy_preference: str | None = None
    platform_profile: str | None = None
    turbo: str | None = None
    power: str | None = None
    free_bytes: int | None = None
    gpu_processes: int | None = None
    gpu_throttle: tuple[Throttle, ...] = ()
    instruction_sets: str | None = None

    def texts(self) -> dict[str, str]:
        """By name, without what was not told."""
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: _text(name, value) for name, value in told.items() if value is not None and value != ()}


def _text(name: str, value: float | str | tuple[Throttle, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(one.name for one in value)
    return f"{value:.10g}" if name == "look_steal_share" else str(value)  # run files have "0" there, not "0.0"


class Stored(Noun, frozen=True, kw_only=True):
    """The conditions of a run file, in texts by name; ``selftest`` by backend and device."""

    before: dict[str, str] = {}
    after: dict[str, str] = {}
    selftest: dict[str, str] = {}

    def flat(self) -> dict[str, str]:
        """As the file has them."""
        groups = {"before": self.before, "selftest": self.selftest, "after": self.after}
        return {f"{place}_{name}": text for place, texts in groups.items() for name, text in texts.items()}


def stored(flat: Mapping[str, str]) -> Stored:
    """From a run file; what has another name is left out."""
    found: dict[str, dict[str, str]] = {place: {} for place in _PLACES}
    for key, text in flat.items():
        place, name = _place(key)
        if place:
            found[place][name] = text
    return Stored(**found)


class Line(Noun, frozen=True, kw_only=True):
    """One condition of a run file before and after; a number where it has a unit and is one."""

    what: str
    unit: Unit | None = None
    before: float | str | None = None
    after: float | str | None = None


def lines(flat: Mapping[str, str]) -> tuple[Line, ...]:
    """All that a run file has, in its order; what was not seen twice stands before."""
    found: dict[str, dict[str, str]] = {}
    for key, text in flat.items():
        place, name = _place(key)
        if place in ("before", "after"):
            found.setdefault(name, {})[place] = text
        else:
            found.setdefault(key, {}).setdefault("before", text)
    return tuple(_line(name, texts.get("before"), texts.get("after")) for name, texts in found.items())


def _place(key: str) -> tuple[str, str]:
    """``before_load_1m`` is before, load_1m."""
    place, _, name = key.partition("_")
    return (place, name) if name and place in _PLACES else ("", key)


def _line(name: str, before: str | None, after: str | None) -> Line:
    unit: Unit | None = "bytes" if name.endswith("_bytes") else "share" if name.endswith("_share") else None
    what = name.removesuffix(f"_{unit}").replace("_", " ")
    return Line(what=what, unit=unit, before=_value(before, unit), after=_value(after, unit))


def _value(text: str | None, unit: Unit | None) -> float | str | None:
    is_number = unit and text and re.fullmatch(r"\d{1,18}(\.\d{1,9})?", text)
    return float(text) if text and is_number else text
