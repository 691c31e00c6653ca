"""A machine that others keep busy: which figures are doubted, what they can be, by whom, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phibench.core import units
from phibench.core.nouns import Device, Machine, Verdict
from phibench.probe.busy import Busy


def gb_s(rate: float, most: float | None = None) -> str:
    return f"{units.gb(rate)}/s{f' to {units.gb(most)}/s' if most else ''}"


def flops_s(rate: float, most: float | None = None) -> str:
    unit, size = ("TFLOP/s", 1e12) if rate >= 1e12 else ("GFLOP/s", 1e9)
    return f"{rate / size:.3g} {unit}{f' to {most / size:.3g} {unit}' if most else ''}"


def doubts(machine: Machine) -> tuple[str, ...]:
    """A line for each device whose speed is not believed."""
    return tuple(
        f"doubtful: {told}; phibench probe measures again when the machine is quiet"
        for device in machine.devices
        if (told := "; ".join(_doubts(device)))
    )


def _doubts(device: Device) -> Iterator[str]:
    of = "" if device.kind == "cpu" else f" of {device.kind}"
    if device.doubt and device.read_bytes_s:
        yield f"read bandwidth{of} {gb_s(device.read_bytes_s, device.most_read_bytes_s)}, {device.doubt}"
    if device.matrix_doubt:
        rates = device.matrix_flops_s.items()
        told = ", ".join(f"{kind} {flops_s(rate, device.most_matrix_flops_s.get(kind))}" for kind, rate in rates)
        yield f"matrix rate{of} {told}, {device.matrix_doubt}"


def by(now: Busy) -> str:
    """Who keeps the machine busy now, as the subject of a sentence; "" where nobody is seen."""
    if now.programs and now.quiet is False:
        return ", ".join(f"{one.name} ({_cpus(one.cpus)})" for one in now.programs)
    if now.quiet is False:
        host = (now.steal_share or 0.0) > (now.share or 0.0)
        return "the host of this virtual machine" if host else f"other programs ({now.share or 0.0:.0%} of the cpus)"
    return ""


def _cpus(count: float) -> str:
    return f"{count:.0%} of a cpu" if count < 1 else f"{count:.1f} cpus"


def nothing_can_be_said(
    machine: Machine, verdicts: Sequence[Verdict], ends: tuple[Verdict | None, Verdict | None], now: Busy, command: str
) -> str:  # fmt: skip
    """One paragraph: what is doubtful, what leads at both ``ends`` of it, what keeps the machine busy, what to type."""
    count = sum(verdict.doubted and verdict.verdict == "unknown" for verdict in verdicts)
    told = "; ".join(line for device in machine.devices for line in _doubts(device)) or "what was measured here before"
    who = by(now)
    closing = f"Now busy: {who}; close that" if who else "Close what was running when it was measured"
    return (
        f"nothing can be said: no Phi fits for sure, and {count} setups depend on figures that are doubtful: {told}. "
        f"{_at_both(*ends)}{closing}, and type: phibench {command}"
    )


def _at_both(slow: Verdict | None, fast: Verdict | None) -> str:
    if slow is None or fast is None:
        return ""
    if slow.setup == fast.setup:
        levels = (
            slow.level
            if slow.level == fast.level
            else f"{slow.level} as slow as seen, {fast.level} as fast as it can be"
        )
        return f"Either way the pick is {slow.setup} ({levels}). "
    return (
        f"As slow as seen, the pick is {slow.setup} ({slow.level}); as fast as it can be, it is {fast.setup} "
        f"({fast.level}). "
    )
