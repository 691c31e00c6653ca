"""What other programs took of the cpus while a test was measured, and when that speaks against it.

Two limits, both our choices. A tenth of the cpus that this process may use: more than repetitions usually differ by.
And half of one cpu, however many there are: a step of an engine ends when its slowest thread does, so one program on
one of 64 cpus holds all threads up. Under a quota (a container with 2 cpus of a large host) the whole host's cpus are
seen, but half a cpu of a host is nobody's disturbance: there a tenth counts, and the quota's own stops are counted
apart (``throttled_periods``). Time that the host gave to other machines (steal) is counted apart too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from phibench.core.nouns import Measured, Result, Setup
from phibench.probe import conditions
from phibench.probe.system import cpu

LIMIT_CPUS = 0.5
_LEAST_S = 0.5  # 50 ticks of each cpu: in less, a single tick weighs too much


class Others:
    """Other programs on the cpus that this process may use. Make it before an engine opens: some bind its threads."""

    def __init__(self, least_s: float = _LEAST_S) -> None:
        self._least_s = least_s
        online, mine = cpu.usable()
        self._places = [place for place, number in enumerate(sorted(online)) if number in mine]
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._began, self._times, self._own_s = time.perf_counter(), self._read(), _own_s()

    def share(self) -> float | None:
        """Of the time of these cpus since :meth:`begin`; this process and its parent left out. None: too short."""
        if time.perf_counter() - self._began < self._least_s:
            return None
        own_s = _own_s() - self._own_s  # first: what reading takes must not seem to be another's
        return conditions.busy_share(self._times, self._read(), own_s)

    def _read(self) -> dict[str, float]:
        """Seconds by kind, of these cpus together."""
        import psutil

        every = psutil.cpu_times(percpu=True)
        mine = [every[place] for place in self._places if place < len(every)] or every
        return {kind: sum(getattr(times, kind) for times in mine) for kind in mine[0]._fields}


def _own_s() -> float:
    """Of all threads of this process, and of the parent that shows its progress."""
    import psutil

    parent_s = 0.0
    with contextlib.suppress(psutil.Error, AttributeError):  # gone, or another user's
        times = psutil.Process().parent().cpu_times()
        parent_s = times.user + times.system
    return time.process_time() + parent_s


def told(results: Iterable[Result], cpus: float) -> tuple[str, ...]:
    """A line for each setup that was disturbed: by how much at most, and in which tests. ``cpus``: as of Limits."""
    limit = min(conditions.LIMITS["busy_share"], LIMIT_CPUS / cpus)
    found: dict[Setup, list[Measured]] = {}
    for result in results:
        if isinstance(result, Measured) and (result.busy_share or 0.0) > limit:
            found.setdefault(result.setup, []).append(result)
    return tuple(_line(setup, disturbed, cpus) for setup, disturbed in found.items())


def _line(setup: Setup, disturbed: list[Measured], cpus: float) -> str:
    most = max(result.busy_share or 0.0 for result in disturbed)
    much = f"{most:.0%} of the cpus" if most >= conditions.LIMITS["busy_share"] else f"{most * cpus:.1f} cpus"
    tests = ", ".join(dict.fromkeys(str(result.workload) for result in disturbed))
    up_to = "up to " if len(disturbed) > 1 else ""
    return f"other programs kept {up_to}{much} busy during {tests} ({setup})"
