"""The split of a model that is too large for a GPU: as many layers as fit, or all without the first ones' experts.

Where a processor is about as fast as the GPU beside it, steps may take least on the processor and prompts on the GPU.
Then fewer layers on the GPU are worth a look, too: how many is a trade of the one for the other, and the goal decides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec

from phibench.core.nouns import Device, Machine, Need, Setup
from phibench.predict import costs, memory, offload
from phibench.predict.offload import EXPERTS, LAYERS
from phibench.predict.speed import Knowledge

_LEAST = 2  # asked for: the head and one layer
# Chosen: so near to each other that none between two is much better, and the same on every machine, so that a better
# one has all that a worse one was offered.
_FEWER = (_LEAST, 3, 4, 6, 8, 11, 16, 23, 32, 45)


def offered(known: Knowledge, setup: Setup, need: Need, device: Device) -> tuple[Setup, ...]:
    """Of ``setup`` those that are worth a look, none twice."""
    if not offload.splits(setup) or device.shares_memory:
        return ()
    found = [best(known, setup, need, device)]
    if _host_keeps_up(known, setup):
        fewer = (_with(setup, {LAYERS: n}) for n in _FEWER if n <= costs.cost_sheet(setup).plan.layers)
        found += [one for one in fewer if _fits(known.machine, one, need, device)]
    return tuple(one for one in dict.fromkeys(found) if one)


def best(known: Knowledge, setup: Setup, need: Need, device: Device) -> Setup | None:
    """``setup`` with the options that put on its device what fits there; None where all fits, nothing, or no split can.

    Of a mixture of experts the faster of two: fewer layers, or the experts of the first ones on the host.
    """
    if not offload.splits(setup) or device.shares_memory or _fits(known.machine, setup, need, device):
        return None
    sheet = costs.cost_sheet(setup)
    total = sheet.plan.layers
    found = []
    fits = functools.partial(_fits_with, known.machine, setup, need, device)
    asked = _most(lambda n: fits({LAYERS: n}), total)
    if asked >= _LEAST:
        found.append(_with(setup, {LAYERS: asked}))
    if sheet.shape.experts:
        there = _most(lambda n: fits({EXPERTS: total - n}), total - 1)  # layers with their experts on the device
        if there or fits({EXPERTS: total}):
            found.append(_with(setup, {EXPERTS: total - there}))
    ready = [one for one in found if _fits(known.machine, one, need, device)]
    return min(ready, key=lambda one: _step_s(known, one)) if len(ready) > 1 else next(iter(ready), None)


def _host_keeps_up(known: Knowledge, setup: Setup) -> bool:
    """A step takes at most twice as long on the host alone as on the device alone."""
    step = costs.step(costs.cost_sheet(setup), 0.0)
    there, here = known.tokens_s(setup, step), known.tokens_s(msgspec.structs.replace(setup, device="cpu"), step)
    return there is not None and here is not None and 2 * here.value >= there.value


def _most(fits: Callable[[int], bool], most: int) -> int:
    """The largest of 1 to ``most`` that fits; 0 where none does."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _with(setup: Setup, more: dict[str, int]) -> Setup:
    options = {**dict(setup.options), **{key: str(value) for key, value in more.items()}}
    return msgspec.structs.replace(setup, options=tuple(sorted(options.items())))


def _fits_with(machine: Machine, setup: Setup, need: Need, device: Device, more: dict[str, int]) -> bool:
    """Of the device alone: what the host must hold only grows less with what lies there."""
    there = memory.places(_with(setup, more), need, device)[0]
    free = memory.free_bytes(machine, device)
    return free is not None and there.high <= free


def _fits(machine: Machine, setup: Setup, need: Need, device: Device) -> bool:
    """In every place; where nobody knows what is free there is nothing to split for."""
    for place in memory.places(setup, need, device):
        free = memory.free_in(machine, place, device)
        if free is not None and place.high > free:
            return False
    return True


def _step_s(known: Knowledge, setup: Setup) -> float:
    """Seconds of a step, to compare with; endless where nobody knows."""
    split = offload.of(setup)
    assert split is not None
    speed = offload.tokens_s(known, setup, costs.step(split.whole, 0.0))
    return 1 / speed.value if speed else float(split.host_bytes)
