"""What the doctor finds about memory: too little of it, and what holds it though no program does."""

from __future__ import annotations

from collections.abc import Iterator

from phibench.core import units
from phibench.core.nouns import Conditions, Finding, Held, Machine

_SMALLEST_BYTES = 2 << 30  # phi-1 in Q4_K_M with its cache and buffers needs 1.3 GiB, Phi-4-mini 3.8 (docs/memory.md)
# What holds memory: in words, and what gives it back.
_HOLDERS = {
    "zfs_cache": ("in ZFS's cache (ARC)", "it gives way when programs ask for memory; to bound it: "
                  "echo BYTES | sudo tee /sys/module/zfs/parameters/zfs_arc_max"),
    "huge_pages": ("set aside for huge pages", "sudo sysctl vm.nr_hugepages=0 gives back those that no program uses"),
    "files_in_memory": ("files in memory (tmpfs) or shared", "delete what is not needed in /dev/shm and /tmp"),
    "balloon": ("taken back by the host (balloon)", "give the virtual machine more memory"),
}  # fmt: skip


def lacks_memory(machine: Machine, conditions: Conditions) -> Iterator[Finding]:
    limits = machine.limits
    if limits.free_bytes < _SMALLEST_BYTES:
        taken = [one for one in limits.held if one.bytes - one.free_bytes >= _SMALLEST_BYTES]
        yield Finding(
            severity="wrong",
            title="too little free memory for most Phi models",
            evidence="; ".join((f"{units.gib(limits.free_bytes)} free of {units.gib(limits.memory_bytes)}",
                                *map(_said, taken))),
            remedy="; ".join([*(_HOLDERS[one.kind][1] for one in taken), "close other programs, or raise the limit"]),
        )  # fmt: skip
    if (swapped := conditions.look_swapped_in_bytes or 0) > 0:
        yield Finding(severity="slow", title="the machine is swapping",
                      evidence=f"{swapped} bytes swapped in just now", remedy="close other programs")  # fmt: skip


def has_memory_held(machine: Machine, _: Conditions) -> Iterator[Finding]:
    """What counts as free though it is in use, and what was set aside on purpose."""
    for one in machine.limits.held:
        if one.free_bytes or one.kind == "huge_pages":
            words, remedy = _HOLDERS[one.kind]
            yield Finding(severity="note", title=f"memory is {words}", evidence=_said(one), remedy=remedy)


def _said(one: Held) -> str:
    counted = f", {units.gib(one.free_bytes)} of it counted as free" if one.free_bytes else ""
    return f"{units.gib(one.bytes)} {_HOLDERS[one.kind][0]}{counted}"
