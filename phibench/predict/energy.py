"""Joules of a token: what was metered here, scaled by speed; else a power limit times seconds, which is an upper bound.

A limit is never added to a measurement, and no other part of the machine is guessed: of which part a figure is, its
sentence says.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

from phibench.backends.rates import Span
from phibench.catalog import hardware
from phibench.core.nouns import Device, Estimate, Grounds, Setup
from phibench.predict.basis import worst
from phibench.predict.costs import Phase
from phibench.predict.observed import Power

# Of the limit, what a device draws while it decodes or reads a prompt (assumed): a board's limit is kept by its driver,
# a processor's TDP is not (short bursts draw more). Decode mostly waits for memory.
_DRAWN: dict[tuple[str, Phase], Span] = {
    ("other", "decode"): (0.35, 1.0), ("other", "prefill"): (0.6, 1.0),
    ("cpu", "decode"): (0.35, 1.25), ("cpu", "prefill"): (0.5, 1.4),
}  # fmt: skip
_SAME_PLACE = 1.15  # factor of an 80 % interval: power of one engine on one device at other shapes (assumed)


def estimates(
    setup: Setup, device: Device, found: dict[str, Estimate], seen: Iterable[Power], whole: bool = True
) -> dict[str, Estimate]:
    """From the speeds in ``found``. ``whole``: all of the model is on the device, so that its limit bounds it."""
    told: dict[str, Estimate] = {}
    known = [power for power in seen if (power.setup.backend, power.setup.device) == (setup.backend, setup.device)]
    phases: tuple[Phase, ...] = ("prefill", "decode")
    for phase in phases:
        speed = found.get(f"{phase}_tps")
        drawn = _metered(setup, phase, known) or (_limited(device, phase) if whole else None)
        if speed and drawn:
            told[f"{phase}_j_per_token"] = _joules(speed, drawn)
    if each := told.get("decode_j_per_token"):
        told["decode_tokens_per_j"] = Estimate(
            value=1 / each.value, low=1 / each.high, high=1 / each.low, basis=each.basis, because=each.because,
            grounds=each.grounds, doubt=each.doubt,
        )  # fmt: skip
    return told


def _metered(setup: Setup, phase: Phase, known: list[Power]) -> Estimate | None:
    """Watts of the same quantization, else of any, on this engine and device: the newest."""
    mine = [power for power in known if power.phase == phase]
    nearest = next((p for p in mine if p.setup.quantization == setup.quantization), next(iter(mine), None))
    if nearest is None:
        return None
    watts = nearest.watts
    return Estimate(
        value=watts, low=watts / _SAME_PLACE, high=watts * _SAME_PLACE, basis="calibrated",
        because=f"{watts:.3g} W of {nearest.scope} at {nearest.setup}, {nearest.seen}", grounds=Grounds(anchors=1),
    )  # fmt: skip


def _limited(device: Device, phase: Phase) -> Estimate | None:
    limit = device.power_limit_w or _tdp_w(device.name, device.memory_bytes)
    if not limit:
        return None
    slow, fast = _DRAWN["cpu" if device.kind == "cpu" else "other", phase]
    return Estimate(
        value=limit * math.sqrt(slow * fast), low=limit * slow, high=limit * fast, basis="spec",
        because=f"{'at most its power limit' if device.power_limit_w else 'a data sheet'} of {limit:.4g} W, "
        f"{device.name} alone",
        grounds=Grounds(rate=limit),
    )  # fmt: skip


@functools.cache
def _tdp_w(name: str, memory_bytes: int | None) -> float | None:
    row = hardware.find(name, memory_bytes)
    return row.tdp_w if row else None


def _joules(speed: Estimate, drawn: Estimate) -> Estimate:
    return Estimate(
        value=drawn.value / speed.value, low=drawn.low / speed.high, high=drawn.high / speed.low,
        basis=worst("calibrated", drawn.basis, speed.basis), because=f"{drawn.because}; {speed.because}",
        grounds=drawn.grounds, doubt=speed.doubt,
    )  # fmt: skip
