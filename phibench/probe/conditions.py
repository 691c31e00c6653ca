"""What went on around a measurement: counters before and after, and what their differences say against it.

Checked and told, never changed: no governor is set, no process stopped. Before the first test the machine is watched
for some seconds in which nothing of ours runs, so what is seen then is the work of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phibench.core import units
from phibench.core.nouns import Conditions
from phibench.probe.devices import nvidia
from phibench.probe.energy import power_supply
from phibench.probe.system import cgroup, cpu, gauges
from phibench.probe.system.limits import limits

LOOK_S = 5.0  # no look takes longer; a suite may ask for a shorter one
_FULL_LOOK_S = 1.0  # 100 ticks of each cpu; in less, single ticks and what we did just before weigh too much

# A figure above these marks a result. They are our choices, not laws of nature.
LIMITS = {
    "steal_share": 0.02,  # of all cpu time: the host gave it to another machine
    "swapped_in_bytes": 1 << 20,  # anything that swaps is measured on a disk; 1 MiB lets a sleeping daemon wake
    "refault_bytes": 256 << 20,  # file pages dropped and read again, beyond opening the model: it does not fit
    "throttled_periods": 0,  # every stop by a quota holds all threads up for the rest of 100 ms
    "thermal_throttles": 0,
    "busy_share": 0.10,  # of all cpus, by others: more than repetitions of one test usually differ by
    "busy_share_short": 0.25,  # the same in a short look, where one waking daemon is 10 % of two cpus
    "cpu_waited_share": 0.10,  # of the look some program had to wait for a cpu: busy cpus, or a quota used up
    "memory_waited_share": 0.05,  # some program waited for memory: the kernel was looking for pages to take away
    "cpu_temp_c": 80.0,  # at rest: a Raspberry Pi slows down from here, laptops from 95 to 100
    "gpu_processes": 0,  # each takes memory and time of the GPU
}
_DURING: dict[str, Callable[[float], str]] = {
    "steal_share": lambda share: f"CPU steal {share:.0%} during the run: the host was busy",
    "swapped_in_bytes": lambda count: f"{units.gib(count)} swapped in during the run",
    "refault_bytes": lambda count: f"{units.gib(count)} of files dropped from memory and read again during the run",
    "throttled_periods": lambda count: f"a cgroup quota stopped the process {count:.0f} times during the run",
    "thermal_throttles": lambda _: "the processor slowed down because of heat during the run",
}
_BEFORE: dict[str, Callable[[float], str]] = {  # look_: gained while the machine was watched
    "busy_share": lambda share: f"other programs kept {share:.0%} of the cpus busy just before the run",
    "cpu_waited_share": lambda share: f"programs waited for a cpu {share:.0%} of the time just before the run",
    "memory_waited_share": lambda share: f"programs waited for memory {share:.0%} of the time just before the run",
    "look_steal_share": lambda share: f"CPU steal {share:.0%} just before the run: the host was busy",
    "look_swapped_in_bytes": lambda count: f"{units.gib(count)} swapped in just before the run",
    "look_thermal_throttles": lambda _: "the processor was slowing down because of heat just before the run",
    "cpu_temp_c": lambda degrees: f"the processor was at {degrees:.0f} °C before the run began",
}
_TICKS = ("cpu_ticks", "steal_ticks")
_COUNTERS = (
    "swapped_in_bytes", "refault_bytes", "major_faults", "throttled_periods", "thermal_throttles",
    "thermal_throttle_ms", "cpu_waited_us", "memory_waited_us",
)  # fmt: skip
_SAVERS = {  # setting -> the values that hold the processor back, and how that is said
    "energy_preference": ({"power"}, "energy preference"),
    "platform_profile": ({"low-power", "quiet"}, "platform profile"),
}
_SETTINGS = ("governor", "energy_preference", "platform_profile", "turbo")
_OWN_GOVERNORS = {"intel_pstate", "amd-pstate-epp"}  # their "powersave" is the ordinary one and reaches full speed


def look(root: Path = cpu.ROOT, busy_s: float | None = None, *, gpu: bool = False) -> Conditions:
    """Counters since boot and states of now, whatever the system tells.

    First watches for ``busy_s`` seconds (default LOOK_S, 0 for not at all) what others do, so nothing of ours may
    run; Ctrl-C ends it at once. A recorded ``root`` stands still and is not watched. ``gpu``: NVIDIA's throttle
    reasons too, and while nothing of ours runs the number of processes.
    """
    seconds = LOOK_S if busy_s is None else busy_s
    watching = seconds > 0 and root == cpu.ROOT
    watched = _watch(seconds) if watching else {}
    seen: dict[str, Any] = {
        "cpus": len(cpu.online(root)),
        "load_1m": gauges.load(root),
        **_counters(root),
        **watched,
        **gauges.pressure(root),
        "cpu_temp_c": gauges.temperature_c(root),
        **gauges.settings(root),
        "power": power_supply.supply(root),
        "free_bytes": limits(root).free_bytes,
        **(_nvidia(watching) if gpu and root == cpu.ROOT else {}),
        "instruction_sets": cpu.flags(root) or None,
    }
    return Conditions(**seen)


def oom_kills(root: Path = cpu.ROOT) -> int | None:
    """Processes of our control group that the kernel has ended for want of memory; None where it does not count them.

    Version 2 ``memory.events``, version 1 ``memory.oom_control``, of the innermost group that counts.
    """
    counts = (cgroup.oom_kills(group) for group in cgroup.groups(root))
    return next((count for count in counts if count is not None), None)


def delta(before: Conditions, after: Conditions) -> dict[str, float]:
    """What the counters gained; a counter that one side lacks or that ran backwards is left out."""
    gains = {key: value for key in (*_COUNTERS, *_TICKS) if (value := _gain(before, after, key)) is not None}
    gained: dict[str, float] = {key: value for key, value in gains.items() if key not in _TICKS}
    if set(_TICKS) <= set(gains) and gains["cpu_ticks"] > 0:
        gained["steal_share"] = round(gains["steal_ticks"] / gains["cpu_ticks"], 4)
    return gained


def warnings(before: Conditions, after: Conditions, opened_bytes: int = 0) -> tuple[str, ...]:
    """Reasons to doubt what was measured between the two looks, in words; empty when it was quiet.

    During the run only what our own load does not cause counts, but for heat: a result of a hot processor is one.
    """
    gained = delta(before, after)
    if "refault_bytes" in gained:  # a system that had set the file's pages aside reads them when a worker opens it
        gained["refault_bytes"] -= opened_bytes
    return (
        *(say(gained[key]) for key, say in _DURING.items() if gained.get(key, 0) > LIMITS[key]),
        *_before(before),
        *_setting(before, after),
        *_gpu(before, after),
    )


def busy_share(first: dict[str, float], last: dict[str, float], own_s: float = 0.0) -> float | None:
    """Share of the time of all cpus that other programs here took; None when the clocks did not move.

    psutil's names; ``own_s`` of it was our own. Waiting for a disk leaves a cpu free, stolen time is told apart;
    guests are already in user.
    """
    gained = {name: max(0.0, last[name] - first[name]) for name in first if not name.startswith("guest")}
    total = sum(gained.values())
    free = sum(gained.get(name, 0.0) for name in ("idle", "iowait", "steal"))
    return round(max(0.0, total - free - own_s) / total, 4) if total > 0 else None


# ------------------------------------------------------------------------------------------------- looking


def _watch(seconds: float) -> dict[str, float | None]:
    """What others do in this time. The averages that the system keeps still hold what we did before it."""
    import psutil

    counters, times = _counted(), psutil.cpu_times()._asdict()
    began, own_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    own_s, wall_s = time.process_time() - own_s, time.perf_counter() - began
    gained = delta(counters, _counted())
    waited = {kind: gained.pop(f"{kind}_waited_us", None) for kind in ("cpu", "memory")}
    return {
        "look_s": round(wall_s, 3),
        "busy_share": busy_share(times, psutil.cpu_times()._asdict(), own_s),
        **{
            f"{kind}_waited_share": round(min(1.0, us / 1e6 / wall_s), 4)
            for kind, us in waited.items()
            if us is not None
        },
        **{f"look_{key}": value for key, value in gained.items()},
    }


def _counted() -> Conditions:
    counters: dict[str, Any] = _counters(cpu.ROOT)
    return Conditions(**counters)


def _counters(root: Path) -> dict[str, int | float | None]:
    waited = {key: value for key, value in gauges.pressure(root).items() if key.endswith("_us")}
    return {
        **gauges.ticks(root),
        **gauges.paging(root),
        "throttled_periods": gauges.total(cgroup.throttled(group) for group in cgroup.groups(root)),
        **gauges.throttles(root),
        **waited,
    }


def _nvidia(alone: bool) -> dict[str, Any]:
    """``alone``: none of our own workers is on the GPU, so that every process there is another's."""
    return {
        "gpu_processes": nvidia.processes() if alone else None,
        "gpu_throttle": nvidia.throttle(),
    }


# ------------------------------------------------------------------------------------------------- judging


def _before(before: Conditions) -> list[str]:
    """What the look before the run saw."""
    full = (before.look_s or 0.0) >= _FULL_LOOK_S
    highest = {**LIMITS, **({} if full else {"busy_share": LIMITS["busy_share_short"]})}
    found = {}
    for key in _BEFORE if full else ("busy_share",):
        value = getattr(before, key)
        if value is not None and value > highest[key.removeprefix("look_")]:
            found[key] = _BEFORE[key](value)
    if "busy_share" in found:
        found.pop("cpu_waited_share", None)  # the same load, said once
    return list(found.values())


def _setting(before: Conditions, after: Conditions) -> list[str]:
    found = [
        f"ran with the {name} '{now}', which saves power"
        for key, (savers, name) in _SAVERS.items()
        if (now := getattr(before, key)) in savers
    ]
    if before.governor == "powersave" and before.frequency_driver not in _OWN_GOVERNORS:
        found.append("ran with the governor 'powersave', which holds the processor at its lowest frequency")
    found += [
        f"{key.replace('_', ' ')} changed during the run: {first} to {last}"
        for key in _SETTINGS
        if (first := getattr(before, key)) and (last := getattr(after, key)) and first != last
    ]
    return [*found, "ran on battery"] if "battery" in {before.power, after.power} else found


def _gpu(before: Conditions, after: Conditions) -> list[str]:
    others = before.gpu_processes
    found = []
    if others is not None and others > LIMITS["gpu_processes"]:
        found.append(f"{others:.0f} other program{'s' * (others > 1)} used the GPU just before the run")
    # A GPU at its power limit is what our load makes of it; heat and emergency brakes are not.
    slow = dict.fromkeys(one.name for seen in (before, after) for one in seen.gpu_throttle if one.protects)
    return [*found, f"the GPU slowed itself down: {', '.join(slow)}"] if slow else found


def _gain(before: Conditions, after: Conditions, key: str) -> int | None:
    first, last = getattr(before, key), getattr(after, key)
    return last - first if first is not None and last is not None and last >= first else None
