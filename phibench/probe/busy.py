"""What keeps this machine busy just now: other programs by their names, and the host of a virtual machine.

It is looked at and told, and goes into no run and no machine: which programs somebody runs is nobody else's business.
"""

from __future__ import annotations

import time

from phibench.core.nouns import Noun
from phibench.core.text import plain
from phibench.probe import conditions
from phibench.probe.other_programs import Others
from phibench.probe.system import cpu, gauges

GLANCE_S = 0.3  # before a figure is measured again: 30 ticks of each cpu
_FULL_LOOK_S = 1.0
_LEAST_CPUS = 0.05  # a program that takes less is not named
_MOST_NAMED = 3


class Program(Noun, frozen=True, kw_only=True):
    """All processes of one name, without command lines; ``cpus``: how many they took."""

    name: str
    cpus: float


class Busy(Noun, frozen=True, kw_only=True):
    """``share`` of the cpus that this process may use, taken by others, None where nobody tells; the largest first."""

    look_s: float = 0.0
    cpus: int = 1
    share: float | None = None
    steal_share: float | None = None
    programs: tuple[Program, ...] = ()

    @property
    def quiet(self) -> bool | None:
        """None: not known. In a short look a few ticks weigh much."""
        if self.share is None:
            return None
        full = self.look_s >= _FULL_LOOK_S
        limits = conditions.LIMITS
        calm = self.share <= limits["busy_share" if full else "busy_share_short"]
        return calm and (not full or (self.steal_share or 0.0) <= limits["steal_share"])


def look(seconds: float = GLANCE_S) -> Busy:
    """Watch for ``seconds`` what others do; nothing of ours may run meanwhile. Ctrl-C ends it at once."""
    seconds = min(seconds, conditions.LOOK_S)
    if seconds <= 0:
        return Busy()
    taken, before, others, began = _taken(), gauges.ticks(cpu.ROOT), Others(least_s=0.1), time.perf_counter()
    time.sleep(seconds)
    share, wall_s = others.share(), time.perf_counter() - began
    return Busy(
        look_s=wall_s,
        cpus=len(cpu.usable()[1]),
        share=share,
        steal_share=gauges.stolen(before),
        programs=_programs(taken, wall_s),
    )


def _programs(before: dict[int, tuple[str, float]], wall_s: float) -> tuple[Program, ...]:
    """What began meanwhile counts from zero."""
    found: dict[str, float] = {}
    for pid, (name, cpu_s) in _taken().items():
        found[name] = found.get(name, 0.0) + cpu_s - before.get(pid, (name, 0.0))[1]
    known = [Program(name=name, cpus=round(cpu_s / wall_s, 2)) for name, cpu_s in found.items()]
    named = sorted(known, key=lambda program: (-program.cpus, program.name))[:_MOST_NAMED]
    return tuple(program for program in named if program.cpus >= _LEAST_CPUS)


def _taken() -> dict[int, tuple[str, float]]:
    """Name and processor time by process; without this one and the one that started it."""
    import psutil

    mine = psutil.Process()
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times, name = process.info["cpu_times"], process.info["name"]
        if times and process.pid not in (mine.pid, mine.ppid()):
            found[process.pid] = plain(name or "a program without a name"), times.user + times.system
    return found
