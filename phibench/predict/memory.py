"""Memory of a use: what it needs in each place, and what there is."""

from __future__ import annotations

from collections.abc import Callable

from phibench import backends
from phibench.analysis.max_context import max_context
from phibench.core import units
from phibench.core.nouns import Device, Estimate, Goal, Grounds, Machine, Need, Noun, Setup, Variant
from phibench.core.nouns.advice import exact
from phibench.predict import costs, media, offload

# Of what is needed and not counted byte by byte. benchmarks/accuracy/needed.py: where the measured ones lie.
_SPREAD = 0.015  # of all: pages, alignment, what an allocator keeps
_RUNTIME_SPREAD = 48 << 20  # a real tokenizer of 200,000 words takes 45 MiB more than a synthetic one
# What a driver's context takes of a GPU for a process, before any model: 0 where it was there already, 0.3 to 0.6 GB
# with CUDA and its libraries (assumed: nothing was run).
_CONTEXT_BYTES, _MOST_CONTEXT_BYTES = 256 << 20, 512 << 20


class Place(Noun, frozen=True, kw_only=True):
    """What must fit into one memory. ``high`` is judged: what does not fit then may not fit."""

    kind: str  # of the device whose memory it is
    low: int
    value: int
    high: int
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    runtime_bytes: int


def bounds(need: Need) -> tuple[int, int]:
    """(low, high) of the memory that a process needs on the host, meant to hold 80 % of cases."""
    host = _host(need.weights_bytes, need.kv_bytes, need.compute_bytes, need.runtime_bytes)
    return host.low, host.high


def places(setup: Setup, need: Need, device: Device) -> tuple[Place, ...]:
    """What each memory must hold, the device's first; a GPU that shares the host's memory has no other place."""
    if device.kind == "cpu":
        return (_host(need.weights_bytes, need.kv_bytes, need.compute_bytes, need.runtime_bytes),)
    weights, cache = offload.host_bytes(setup), round(need.kv_bytes * (1 - offload.kv_share(setup)))
    there = _there(need, device, need.weights_bytes - weights, need.kv_bytes - cache)
    if device.shares_memory:
        return (there,)
    return there, _host(weights, cache, need.compute_bytes if weights else 0, need.runtime_bytes)


def _host(weights: int, cache: int, compute: int, runtime: int) -> Place:
    total = weights + cache + compute + runtime
    low = max(round(total * (1 - _SPREAD)) - _RUNTIME_SPREAD // 2, weights + cache)  # these are counted
    return Place(
        kind="cpu", low=low, value=total, high=round(total * (1 + _SPREAD)) + _RUNTIME_SPREAD,
        weights_bytes=weights, kv_bytes=cache, compute_bytes=compute, runtime_bytes=runtime,
    )  # fmt: skip


def _there(need: Need, device: Device, weights: int, cache: int) -> Place:
    """On a GPU all that is reserved counts, and what its driver takes for the process."""
    counted, compute = weights + cache, need.compute_bytes + need.reserved_bytes
    context = 0 if device.shares_memory else _CONTEXT_BYTES
    most = 0 if device.shares_memory else _MOST_CONTEXT_BYTES
    return Place(
        kind=device.kind, low=counted + compute // 2, value=counted + compute + context,
        high=round((counted + compute) * (1 + _SPREAD)) + most,
        weights_bytes=weights, kv_bytes=cache, compute_bytes=compute, runtime_bytes=context,
    )  # fmt: skip


def free_bytes(machine: Machine, device: Device) -> int | None:
    """What a model may take; an integrated GPU takes it from the memory that the process may use."""
    usable = min(machine.limits.free_bytes, machine.limits.memory_bytes)
    if device.kind == "cpu":
        return usable
    own = device.memory_bytes if device.free_bytes is None else device.free_bytes
    if device.shares_memory:
        return usable if own is None else min(own, usable)
    return own


def free_in(machine: Machine, place: Place, device: Device) -> int | None:
    if place.kind == device.kind:
        return free_bytes(machine, device)
    return min(machine.limits.free_bytes, machine.limits.memory_bytes)


def sizes(
    machine: Machine, goal: Goal, setup: Setup, device: Device, variant: Variant, need: Need, *, longest: bool = True
) -> dict[str, Estimate]:
    """``longest``: with the longest context that would fit."""
    found = {
        "weights_bytes": exact(need.weights_bytes, "exact", "every tensor"),
        "kv_bytes": exact(need.kv_bytes, "exact", f"context of {goal.context} tokens"),
    }
    for place in places(setup, need, device):
        found["host_needed_bytes" if place.kind == "cpu" else "device_peak_bytes"] = _reckoned(place)
    if device.shares_memory:
        found["host_needed_bytes"] = _reckoned(_host(0, 0, 0, need.runtime_bytes))
    if goal.training:
        return found
    found["disk_bytes"] = exact(costs.cost_sheet(setup).disk_bytes, "exact", "every tensor, header and tokenizer")
    free = free_bytes(machine, device)
    if longest and free is not None and variant.context_tokens:
        fits = _Longest(setup, goal, variant, device, free)
        surely, at_best = fits(lambda place: place.high), fits(lambda place: place.low)
        told = f"{units.gib(free)} free on {device.kind}; high is what fits if every estimate turns out small"
        found["max_context_tokens"] = Estimate(value=surely, low=surely, high=at_best, basis="exact", because=told)
    return found


def _reckoned(place: Place) -> Estimate:
    """Weights and cache are counted; compute and runtime are estimates."""
    parts = {
        "weights": place.weights_bytes, "KV cache": place.kv_bytes,
        "compute": place.compute_bytes, "runtime": place.runtime_bytes,
    }  # fmt: skip
    told = ", ".join(f"{name} {units.gib(count)}" for name, count in parts.items() if count)
    return Estimate(
        value=place.value, low=min(place.low, place.value), high=place.high, basis="exact",
        because=f"{told}; compute and runtime are estimates",
        grounds=Grounds(bytes=place.weights_bytes + place.kv_bytes),
    )  # fmt: skip


class _Longest:
    """The longest context that fits into ``free``; 0: not even the weights."""

    def __init__(self, setup: Setup, goal: Goal, variant: Variant, device: Device, free: int) -> None:
        self._setup, self._goal, self._variant, self._device, self._free = setup, goal, variant, device, free
        assert variant.context_tokens is not None
        self._most = variant.context_tokens

    def __call__(self, size: Callable[[Place], int]) -> int:
        sheet, need = costs.cost_sheet(self._setup), backends.load(self._setup.backend).need
        options = dict(self._setup.options)

        def occupied(tokens: int) -> int:
            found = need(sheet.plan, sheet.shape, tokens, options, self._goal.prompt_tokens)
            found = media.with_encoder(found, self._goal, self._variant, self._device)
            return size(places(self._setup, found, self._device)[0])

        return max_context(occupied, self._most, self._free)
