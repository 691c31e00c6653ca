"""Setup x machine -> estimates: bytes from the plan, speeds by the best basis, scores as published.

No bare predicted number exists: each estimate carries its interval, its basis and the reason.
"""

from __future__ import annotations

import functools

from phibench import catalog
from phibench.core.nouns import Estimate, Goal, Need, Quantization, Setup, Variant
from phibench.core.nouns.advice import exact
from phibench.predict import costs, energy, load, media, offload, timings
from phibench.predict.memory import sizes
from phibench.predict.speed import Knowledge

_USUAL = {"decode_tps", "prefill_tps", "ttft_s", "answer_s", "quant_kld", "quality", "host_needed_bytes", "disk_bytes",
          "weights_bytes", "kv_bytes"}  # fmt: skip


def estimates(
    known: Knowledge, goal: Goal, setup: Setup, quantization: Quantization, need: Need | None,
    speeds: dict[str, Estimate] | None = None, *, all_of_it: bool = True,
) -> dict[str, Estimate]:  # fmt: skip
    """Everything that can be said about ``setup`` at the goal's workload; or not ``all_of_it``: what its limits, its
    comfort and an order ask for.

    ``need`` is the backend's at the goal's context, without (no file is known) only what is published can be said;
    ``speeds``: as :func:`speeds_of` says them, where somebody has asked.
    """
    variant = catalog.variant(setup.variant)
    found = _published(goal, variant, quantization)
    machine = known.machine
    device = machine.device(setup.device)
    if need is None or device is None:
        return found
    rare = all_of_it or not {*goal.limits, *goal.comfort} <= _USUAL
    found |= sizes(machine, goal, setup, device, variant, need, longest=rare)
    if goal.training:
        return found  # no time of it is told
    found |= speeds_of(known, goal, setup, variant) if speeds is None else speeds
    if rare:
        found |= energy.estimates(setup, device, found, known.powers, whole=offload.of(setup) is None)
        found |= load.estimates(known, setup, device)
    return media.estimates(goal, variant, device, found)


def _published(goal: Goal, variant: Variant, quantization: Quantization) -> dict[str, Estimate]:
    """Nothing is taken off a score for a quantization, whose loss is a metric of its own."""
    found = {}
    if quality := _quality(goal, variant):
        found["quality"] = quality
    if told := loss(quantization):
        found["quant_kld"] = told
    return found


@functools.cache
def loss(quantization: Quantization) -> Estimate | None:
    """Of a quantization: published, or assumed to be that of one with its bits and blocks."""
    if quantization.kld is not None:
        return exact(quantization.kld, "published", f"measured on {quantization.kld_source}")
    if quantization.like and (row := catalog.quantization(quantization.like, "gguf")).kld is not None:
        return exact(row.kld, "assumed", f"as {row.id}, which has the same bits and blocks: {row.kld_source}")
    return None


def _quality(goal: Goal, variant: Variant) -> Estimate | None:
    """The first of the goal's benchmarks that the variant has; of several scores the best documented one."""
    kinds = ("primary", "secondary", "memory")
    for name in goal.benchmarks:
        scores = [s for s in variant.scores if s.benchmark == name]
        if scores:
            best = min(scores, key=lambda s: kinds.index(s.source_kind))
            setting = f" ({best.setting})" if best.setting else ""
            doubt = ", from memory" if best.source_kind == "memory" else ""
            return exact(best.value, "published", f"{name}: {best.source}{setting}{doubt}", name)
    return None


def speeds_of(
    known: Knowledge, goal: Goal, setup: Setup, variant: Variant, decode: Estimate | None = None
) -> dict[str, Estimate]:
    """Speeds at the goal's workload, and the times of its use: its prompt is read into an empty cache. ``decode``:
    where somebody has asked."""
    use = use_of(goal, variant)
    decode = decode or decode_tps(known, goal, setup, variant)
    prefill = offload.tokens_s(known, setup, _prompt(setup, use.prompt_tokens))
    found = {"decode_tps": decode, "prefill_tps": prefill}
    return {k: e for k, e in found.items() if e} | timings.timings(use, prefill, decode)


def decode_tps(known: Knowledge, goal: Goal, setup: Setup, variant: Variant) -> Estimate | None:
    """Half-way through what is generated."""
    return offload.tokens_s(known, setup, _step(setup, use_of(goal, variant).depth))


def use_of(goal: Goal, variant: Variant) -> timings.Use:
    """What the goal asks of the variant, in tokens."""
    return timings.Use(
        prompt_tokens=goal.prompt_tokens,
        new_tokens=goal.new_tokens,
        thinking_tokens=goal.thinking_tokens if variant.reasoning else 0,
    )


@functools.lru_cache(maxsize=8192)  # other machines are asked for the same
def _step(setup: Setup, depth: float) -> costs.Cost:
    return costs.step(costs.cost_sheet(setup), depth)


@functools.lru_cache(maxsize=8192)
def _prompt(setup: Setup, tokens: int) -> costs.Cost:
    return costs.prompt(costs.cost_sheet(setup), tokens)
