"""Advice of a machine whose figures are doubted: at both ends of what they can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from phibench.core.nouns import Device, Machine, Verdict

replace = msgspec.structs.replace


def at_the_ends(
    machine: Machine, advise: Callable[[Machine], Sequence[Verdict]]
) -> tuple[Verdict | None, Verdict | None]:
    """What leads where it is as slow as was seen, and where it is as fast as it can be; None where nothing is tried."""
    firsts = []
    for fast in (False, True):
        there = replace(machine, devices=tuple(_at(device, fast=fast) for device in machine.devices))
        firsts.append(next(iter(advise(there)), None))
    return firsts[0], firsts[1]


def _at(device: Device, *, fast: bool) -> Device:
    """With its doubtful rates at one end, and believed there."""
    read, rates = device.read_bytes_s, dict(device.matrix_flops_s)
    if fast:
        read, rates = device.most_read_bytes_s or read, rates | device.most_matrix_flops_s
    return replace(
        device, read_bytes_s=read, matrix_flops_s=rates, most_read_bytes_s=None, most_matrix_flops_s={}, doubt="",
        matrix_doubt="",
    )  # fmt: skip
