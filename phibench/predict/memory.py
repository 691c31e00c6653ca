"""Memory of a use: what it needs, and what there is."""

from __future__ import annotations

from collections.abc import Callable

from phibench import backends
from phibench.analysis.max_context import max_context
from phibench.core import units
from phibench.core.nouns import Device, Estimate, Goal, Machine, Need, Setup, Variant
from phibench.core.nouns.advice import exact
from phibench.predict import costs


def needed_bytes(need: Need, device: Device) -> int:
    """What must fit into the device's own memory; the runtime stays on the host."""
    return need.total_bytes if device.kind == "cpu" else need.total_bytes - need.runtime_bytes


def free_bytes(machine: Machine, device: Device) -> int | None:
    """What a model may take; an integrated GPU takes it from the memory that the process may use."""
    usable = min(machine.limits.free_bytes, machine.limits.memory_bytes)
    if device.kind == "cpu":
        return usable
    own = device.memory_bytes if device.free_bytes is None else device.free_bytes
    if device.shares_memory:
        return usable if own is None else min(own, usable)
    return own


def sizes(
    machine: Machine, goal: Goal, setup: Setup, device: Device, variant: Variant, need: Need
) -> dict[str, Estimate]:
    sheet = costs.cost_sheet(setup)
    found = {
        "disk_bytes": exact(sheet.disk_bytes, "exact", "every tensor, header and tokenizer"),
        "weights_bytes": exact(need.weights_bytes, "exact", "every tensor"),
        "kv_bytes": exact(need.kv_bytes, "exact", f"context of {goal.context} tokens"),
    }
    parts = {
        "weights": need.weights_bytes, "KV cache": need.kv_bytes,
        "compute": need.compute_bytes, "runtime": need.runtime_bytes,
    }  # fmt: skip
    told = ", ".join(f"{name} {units.gib(count)}" for name, count in parts.items())
    if device.kind == "cpu":
        found["host_needed_bytes"] = _reckoned(need.total_bytes, _counted_bytes(need), told)
    else:
        found["host_needed_bytes"] = _reckoned(need.runtime_bytes, 0, "runtime; the model is on the device")
        found["device_peak_bytes"] = _reckoned(needed_bytes(need, device), _counted_bytes(need), told)
    free = free_bytes(machine, device)
    if free is not None and variant.context_tokens:
        surely = _longest(setup, goal, variant.context_tokens, free, lambda need: needed_bytes(need, device))
        at_best = _longest(setup, goal, variant.context_tokens, free, _counted_bytes)
        told = f"{units.gib(free)} free on {device.kind}; high leaves nothing for compute and runtime"
        found["max_context_tokens"] = Estimate(value=surely, low=surely, high=at_best, basis="exact", because=told)
    return found


def _counted_bytes(need: Need) -> int:
    return need.weights_bytes + need.kv_bytes


def _reckoned(value: int, counted: int, because: str) -> Estimate:
    """Bytes of which only ``counted`` are exact: the rest, compute and runtime, may come out smaller."""
    told = f"{because}; compute and runtime are estimates, low leaves them out"
    return Estimate(value=value, low=counted, high=value, basis="exact", because=told)


def _longest(setup: Setup, goal: Goal, most: int, free: int, occupied: Callable[[Need], int]) -> int:
    """The longest context up to ``most`` whose ``occupied`` bytes fit into ``free``; 0: not even the weights."""
    sheet, need = costs.cost_sheet(setup), backends.load(setup.backend).need
    options = dict(setup.options)
    return max_context(lambda n: occupied(need(sheet.plan, sheet.shape, n, options, goal.prompt_tokens)), most, free)
