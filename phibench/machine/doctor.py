"""What is wrong or slow about a machine for running a Phi, each with its evidence and what to do.

A rule is a function of the machine and of the conditions now; it answers with findings, or with nothing. Rules read
figures that were probed: without evidence there is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from phibench import backends
from phibench.analysis import trust
from phibench.core import units
from phibench.core.nouns import Conditions, Finding, Installed, Machine, Problem, Processor
from phibench.machine.doctor_memory import has_memory_held, lacks_memory
from phibench.machine.doctor_numa import has_far_memory

Rule = Callable[[Machine, Conditions], Iterator[Finding]]

# One channel of DDR4-3200: 3.2e9 transfers of 8 bytes (JEDEC JESD79-4). Two of them are what a PC with four cores has.
_ONE_CHANNEL_BYTES_S = 25.6e9
_DISK_BYTES_S = 200e6  # a spinning disk: Phi-4-mini's 2.5 GB take more than 12 s to open
_DISK_FREE_BYTES = 5 << 30


def findings(machine: Machine, conditions: Conditions | None = None) -> tuple[Finding, ...]:
    """The worst first; rules keep their order within that. Without conditions nothing is known of now."""
    order, now = ("wrong", "slow", "note"), conditions or Conditions()
    found = [finding for rule in RULES for finding in rule(machine, now)]
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def saves_power(machine: Machine, _: Conditions) -> Iterator[Finding]:
    p = _processor(machine)
    if p.energy_preference == "power":
        yield _slow("power saver on", "energy performance preference is 'power'", "choose balanced or performance")
    if p.platform_profile in {"low-power", "quiet", "cool"}:
        yield _slow("power saver on", f"platform profile is '{p.platform_profile}'",
                    "powerprofilesctl set performance, or the system's power settings")  # fmt: skip
    if p.governor == "powersave" and p.energy_preference is None:
        yield _slow("power saver on", "cpufreq governor is 'powersave'", "sudo cpupower frequency-set -g performance")
    if p.turbo is False:
        yield _slow(
            "turbo is off", "no_turbo or boost in /sys/devices/system/cpu", "turn it on in the firmware or there"
        )


def runs_on_battery(machine: Machine, _: Conditions) -> Iterator[Finding]:
    if machine.power == "battery":
        yield _slow("running on battery", "no mains supply is online", "plug it in before measuring")


def reads_slowly(machine: Machine, _: Conditions) -> Iterator[Finding]:
    """Cores that share one memory channel wait for it; small boards have no more than one."""
    cpu = machine.device("cpu")
    rate = cpu.read_bytes_s if cpu and cpu.basis == "probed" else None
    if rate and rate < _ONE_CHANNEL_BYTES_S and machine.physical_cores >= 4 and machine.arch == "x86_64":
        evidence = f"measured {units.gb(rate)}/s of read bandwidth; one channel of DDR4-3200 has 25.6 GB/s"
        remedy = "a second memory module of the same size, if a slot is free"
        if cpu and cpu.doubt:
            remedy = "measure again when the machine is quiet: phibench probe --anew"
        elif _processor(machine).hypervisor:
            remedy = "a virtual machine shares memory with others: measure again, or take another kind of machine"
        yield _slow("memory as slow as a single channel", evidence, remedy)


def leaves_instructions_unused(machine: Machine, _: Conditions) -> Iterator[Finding]:
    for engine in machine.backends:
        if engine.version and engine.backend in backends.names():
            found = backends.load(engine.backend).advice(_processor(machine), engine.features)
            yield from [found] if found else []


def is_limited(machine: Machine, conditions: Conditions) -> Iterator[Finding]:
    where = f" ({_processor(machine).container})" if _processor(machine).container else ""
    for restriction in machine.limits.restrictions:
        yield Finding(severity="note", title=f"this process may not use all of the machine{where}",
                      evidence=restriction,
                      remedy="figures are those of the limit; raise it where the job was started")  # fmt: skip
    if (stops := conditions.throttled_periods or 0) > 0:
        yield _slow("the cpu quota has stopped this process", f"nr_throttled {stops}",
                    f"use no more than {machine.limits.threads} threads, or raise the quota")  # fmt: skip


def leaves_a_gpu_unused(machine: Machine, _: Conditions) -> Iterator[Finding]:
    kinds = {kind.partition(":")[0] for b in machine.backends for kind in b.devices}
    for device in machine.devices:
        kind = device.kind.partition(":")[0]
        if kind in ("cpu", "npu"):
            continue
        usable = {kind, "vulkan"} | ({"mps"} if kind == "metal" else set())
        if machine.backends and not usable & kinds:
            built = ", ".join(
                f"{b.backend} {b.version} for {', '.join(b.devices)}" for b in machine.backends if b.version
            )
            yield Finding(
                severity="wrong",
                title=f"no engine here can use {device.name} ({device.kind})",
                evidence=f"installed: {built or 'no engine'}",
                remedy=_gpu_build(kind),
            )


def shares_a_gpu(machine: Machine, conditions: Conditions) -> Iterator[Finding]:
    if (count := conditions.gpu_processes or 0) > 0:
        yield _slow("other programs compute on the GPU", f"{count} processes", "end them before measuring")
    for device in machine.devices:
        if reasons := device.facts.get("throttle"):
            yield _slow(f"{device.kind} runs below its clock", f"NVML: {reasons}", "cooling, or a higher power limit")
        for problem in device.problems:
            if problem.kind == "divided":
                yield _finding("note", f"{device.kind} is divided", problem)


def lists_an_npu_only(machine: Machine, _: Conditions) -> Iterator[Finding]:
    for device in machine.devices:
        for problem in device.problems:
            if problem.kind == "unusable":
                yield _finding("wrong", f"{device.name} cannot be used", problem)


def has_sound_engines(machine: Machine, _: Conditions) -> Iterator[Finding]:
    if machine.backends and not any(b.version for b in machine.backends):
        easiest = min(machine.backends, key=_is_compiled)
        yield Finding(severity="wrong", title="no engine is installed", evidence="none of "
                      + ", ".join(b.package for b in machine.backends), remedy=easiest.install)  # fmt: skip
    for engine in machine.backends:
        titles = {"installed_twice": "is installed more than once", "broken": "does not start"}
        for problem in engine.problems:
            if title := titles.get(problem.kind):
                yield _finding("wrong", f"{engine.backend} {title}", problem)


def engines_pass_their_selftest(machine: Machine, _: Conditions) -> Iterator[Finding]:
    for one in machine.selftests:
        where = trust.place(one)
        again = f"install another build or version of {one.backend}, and see whether it passes: phibench doctor"
        if not one.usable:
            yield Finding(severity="wrong", title=f"{where} is not usable here", evidence=one.reason, remedy=again)
        elif one.options:
            yield _slow(f"{where} fails here with its usual options", one.reason,
                        f"{trust.options(one)} is used instead; {again}")  # fmt: skip
        elif one.untested:
            yield Finding(severity="note", title=f"{where} could not be tested", evidence=one.untested,
                          remedy="it is used untested; phibench doctor tries again")  # fmt: skip


def is_translated(machine: Machine, _: Conditions) -> Iterator[Finding]:
    p = _processor(machine)
    if p.emulated:
        yield Finding(severity="wrong", title="Python runs in an emulator", evidence=p.emulated,
                      remedy="install Python for arm64, and phibench with it")  # fmt: skip
    if p.hypervisor:
        remedy = "other guests share the host: compare only runs that took turns"
        if p.is_wsl:
            remedy = "memory and processors in %UserProfile%\\.wslconfig; measure on Windows itself to compare"
        yield Finding(severity="note", title="a virtual machine", evidence=p.hypervisor, remedy=remedy)


def has_a_slow_disk(machine: Machine, _: Conditions) -> Iterator[Finding]:
    disk = machine.storage
    if disk and disk.read_bytes_s and disk.read_bytes_s < _DISK_BYTES_S:
        yield _slow("the cache folder is on a slow disk", f"{units.gb(disk.read_bytes_s)}/s, {disk.because}",
                    "set PHIBENCH_CACHE to a folder on an SSD")  # fmt: skip
    if disk and disk.free_bytes is not None and disk.free_bytes < _DISK_FREE_BYTES:
        yield Finding(severity="note", title="the disk of the cache folder is nearly full",
                      evidence=f"{units.gib(disk.free_bytes)} free; Phi-4-mini Q4_K_M takes 2.5 GB",
                      remedy="phibench cache --clear, or set PHIBENCH_CACHE")  # fmt: skip


def is_hot_or_busy(_: Machine, conditions: Conditions) -> Iterator[Finding]:
    busy, stolen = conditions.busy_share or 0.0, conditions.look_steal_share or 0.0
    if busy > 0.1:
        yield _slow("other programs are busy", f"{busy:.0%} of the cpus just now", "end them before measuring")
    if stolen > 0.02:
        yield _slow("the host gives cpu time to others", f"{stolen:.0%} of the cpus just now",
                    "measure at another time")  # fmt: skip
    if (count := conditions.thermal_throttles or 0) > 0:
        yield Finding(severity="note", title="the processor has slowed down because of heat",
                      evidence=f"{count} times since boot", remedy="clean the fan, or rest longer")  # fmt: skip


def has_odd_pages(machine: Machine, _: Conditions) -> Iterator[Finding]:
    if _processor(machine).huge_pages == "never":
        yield _slow("huge pages are off", "transparent_hugepage/enabled is 'never'",
                    "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled")  # fmt: skip


def has_slow_cores(machine: Machine, _: Conditions) -> Iterator[Finding]:
    p = _processor(machine)
    if p.efficiency_cores:
        yield Finding(severity="note", title="two kinds of cores",
                      evidence=f"{p.performance_cores} performance, {p.efficiency_cores} efficiency",
                      remedy=f"phibench uses {machine.limits.threads} threads; -t tries others")  # fmt: skip


def hides_energy(machine: Machine, _: Conditions) -> Iterator[Finding]:
    for source in machine.energy:
        if source.grant and not source.readable:
            yield Finding(severity="note", title=f"energy of {source.name} cannot be read", evidence="it is there",
                          remedy=source.because)  # fmt: skip


RULES: tuple[Rule, ...] = (
    has_sound_engines, engines_pass_their_selftest, leaves_a_gpu_unused, lists_an_npu_only, is_translated,
    lacks_memory, has_memory_held, leaves_instructions_unused, saves_power, runs_on_battery, reads_slowly,
    is_hot_or_busy, shares_a_gpu, is_limited, has_a_slow_disk, has_odd_pages, has_far_memory, has_slow_cores,
    hides_energy,
)  # fmt: skip


def unchecked(machine: Machine) -> tuple[str, ...]:
    """What no rule could judge, because nobody told."""
    p, cpu = _processor(machine), machine.device("cpu")
    missing = {
        "read bandwidth of memory": cpu is None or not cpu.read_bytes_s,
        "governor and turbo": p.governor is None and p.turbo is None,
        "power supply": machine.power is None,
        "speed of the disk": machine.storage is None or machine.storage.read_bytes_s is None,
        "energy counters": not machine.energy,
    }
    return tuple(what for what, absent in missing.items() if absent)


def _slow(title: str, evidence: str, remedy: str) -> Finding:
    return Finding(severity="slow", title=title, evidence=evidence, remedy=remedy)


def _finding(severity: Literal["wrong", "slow", "note"], title: str, found: Problem) -> Finding:
    return Finding(severity=severity, title=title, evidence=found.evidence, remedy=found.remedy)


def _processor(machine: Machine) -> Processor:
    return machine.processor or Processor()


def _is_compiled(found: Installed) -> bool:
    """Whether it takes a compiler to install it; a described machine may have engines that nobody knows."""
    return found.backend not in backends.names() or backends.needs_compiler(backends.load(found.backend))


def _gpu_build(kind: str) -> str:
    lines = (backends.load(name).gpu_build(kind) for name in backends.in_order())
    return next(filter(None, lines), "")
