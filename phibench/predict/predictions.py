"""Setup x machine -> estimates: bytes from the plan, speeds by the best basis, scores as published.

No bare predicted number exists: each estimate carries its interval, its basis and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phibench import backends, catalog
from phibench.analysis.max_context import longest
from phibench.core import units
from phibench.core.nouns import Basis, Device, Estimate, Goal, Machine, Need, Quantization, Setup, Variant
from phibench.predict import calibration, roofline, speed


def estimates(
    machine: Machine,
    goal: Goal,
    setup: Setup,
    quantization: Quantization,
    need: Need | None,
    seen: Sequence[calibration.Anchor],
) -> dict[str, Estimate]:
    """Everything that can be said about ``setup`` at the goal's workload.

    ``need`` is the backend's at the goal's context; without (no file is known) only what is published can be said.
    """
    variant = catalog.variant(setup.variant)
    found = _published(goal, variant, quantization)
    device = machine.device(setup.device)
    if need is None or device is None:
        return found
    found |= _sizes(machine, goal, setup, device, variant, need)
    return found | _speeds(machine, goal, setup, variant, seen)


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


def _published(goal: Goal, variant: Variant, quantization: Quantization) -> dict[str, Estimate]:
    """Scores order the variants; nothing is taken off for a quantization, whose loss is a metric of its own."""
    found = {}
    if quality := _quality(goal, variant):
        found["quality"] = quality
    if quantization.kld is not None:
        found["quant_kld"] = _fixed(quantization.kld, "published", f"measured on {quantization.kld_source}")
    return found


def _quality(goal: Goal, variant: Variant) -> Estimate | None:
    """The first of the goal's benchmarks that the variant has; of several scores the best documented one."""
    kinds = ("primary", "secondary", "memory")
    for name in goal.benchmarks:
        scores = [s for s in variant.scores if s.benchmark == name]
        if scores:
            best = min(scores, key=lambda s: kinds.index(s.source_kind))
            setting = f" ({best.setting})" if best.setting else ""
            doubt = ", from memory" if best.source_kind == "memory" else ""
            return _fixed(best.value, "published", f"{name}: {best.source}{setting}{doubt}", name)
    return None


def _sizes(
    machine: Machine, goal: Goal, setup: Setup, device: Device, variant: Variant, need: Need
) -> dict[str, Estimate]:
    sheet = roofline.sheet(setup)
    found = {
        "disk_bytes": _fixed(sheet.disk_bytes, "exact", "every tensor, header and tokenizer"),
        "weights_bytes": _fixed(need.weights_bytes, "exact", "every tensor"),
        "kv_bytes": _fixed(need.kv_bytes, "exact", f"context of {goal.context} tokens"),
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
    sheet, need = roofline.sheet(setup), backends.load(setup.backend).need
    options = dict(setup.options)
    return longest(lambda n: occupied(need(sheet.plan, sheet.shape, n, options, goal.prompt_tokens)), most, free)


def _speeds(
    machine: Machine, goal: Goal, setup: Setup, variant: Variant, seen: Sequence[calibration.Anchor]
) -> dict[str, Estimate]:
    """Speeds at the goal's workload: its prompt into an empty cache, decode half-way through what is generated."""
    use = speed.Use(
        prompt_tokens=goal.prompt_tokens,
        new_tokens=goal.new_tokens,
        thinking_tokens=goal.thinking_tokens if variant.reasoning else 0,
    )
    load = roofline.load(roofline.sheet(setup), prompt_tokens=use.prompt_tokens, prompt_depth=0, depth=use.depth)
    decode = speed.speed("decode_tps", setup, load, machine, seen)
    prefill = speed.speed("prefill_tps", setup, load, machine, seen)
    found = {"decode_tps": decode, "prefill_tps": prefill}
    return {k: e for k, e in found.items() if e} | speed.timings(use, prefill, decode)


def _fixed(value: float, basis: Basis, because: str, benchmark: str = "") -> Estimate:
    return Estimate(value=value, low=value, high=value, basis=basis, because=because, benchmark=benchmark)
