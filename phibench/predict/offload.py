"""A model that lies on a GPU in part: which of its weights where, and how fast it is then.

As llama.cpp splits: ``n_gpu_layers`` N puts the head and the last N - 1 layers on the device, N above the number of
layers all of them; ``n_cpu_moe`` M leaves the experts of the first M layers on the host. The KV cache lies beside its
layer. A step is computed by each where its weights lie. A prompt of 32 tokens or more is computed by the device alone:
what the host has of the weights is sent over for every micro-batch (ggml's op_offload).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from phibench import backends
from phibench.backends.rates import Span
from phibench.catalog.tensor_types import Tensor
from phibench.core import units
from phibench.core.nouns import Estimate, Noun, Setup
from phibench.predict import costs
from phibench.predict.basis import worst
from phibench.predict.costs import Cost, CostSheet
from phibench.predict.speed import Knowledge

OPTIONS = LAYERS, EXPERTS = "n_gpu_layers", "n_cpu_moe"
# Bytes a second from the host's memory to a card, of pages that are not pinned: between PCIe 3.0 x8 at half of its
# 7.9 GB/s and 4.0 x16 at 0.8 of its 31.5 (assumed: no one of these was measured).
LINK_BYTES_S: Span = (4e9, 25e9)
_STREAMED_TOKENS = 32  # ggml_backend_cuda_device_offload_op: smaller batches stay with the host's weights
_NAME = attrgetter("name")
_LAYER = re.compile(r"blk\.([0-9]+)\.")


class Split(Noun, frozen=True, kw_only=True):
    """Costs of all weights and of what lies in either place; ``layers`` of ``of_layers`` are on the device."""

    whole: CostSheet
    device: CostSheet
    host: CostSheet
    host_bytes: int  # of weights
    layers: int
    of_layers: int


def splits(setup: Setup) -> bool:
    """Whether its engine can leave a part of a model on the host."""
    return LAYERS in backends.load(setup.backend).LEGAL and setup.device != "cpu"


def kv_share(setup: Setup) -> float:
    """Of the KV cache, what lies on the device."""
    asked = dict(setup.options).get(LAYERS)
    total = costs.cost_sheet(unsplit(setup)).plan.layers if asked else 1
    return min(max(int(asked) - 1, 0), total) / total if asked and splits(setup) else 1.0


def is_split(setup: Setup) -> bool:
    """By its options."""
    return any(option in OPTIONS for option, _ in setup.options)


def unsplit(setup: Setup) -> Setup:
    """Not split."""
    rest = tuple(option for option in setup.options if option[0] not in OPTIONS)
    return msgspec.structs.replace(setup, options=rest)


def of(setup: Setup, layers: int | None = None) -> Split | None:
    """How the options of a setup split it; None where all of it lies in one place. ``layers``: of a slice."""
    options = dict(setup.options)
    if not splits(setup) or not (options.get(LAYERS) or options.get(EXPERTS)):
        return None
    sheet = costs.cost_sheet(unsplit(setup), layers)
    most = sheet.plan.layers + 1
    asked = int(options.get(LAYERS) or most)
    experts = int(options.get(EXPERTS) or 0) if sheet.shape.experts else 0
    return None if asked >= most and not experts else _split(unsplit(setup), layers, min(asked, most), experts)


def host_bytes(setup: Setup) -> int:
    """Of weights, what the options of a setup leave on the host; without making the costs of either place."""
    options = dict(setup.options)
    if not splits(setup) or not (options.get(LAYERS) or options.get(EXPERTS)):
        return 0
    per_layer, rest = _sizes(unsplit(setup))
    asked = int(options.get(LAYERS) or len(per_layer) + 1)
    first, experts = max(len(per_layer) + 1 - asked, 0), int(options.get(EXPERTS) or 0)
    kept = sum(whole if layer < first else of_experts for layer, (whole, of_experts) in enumerate(per_layer)
               if layer < first or layer < experts)  # fmt: skip
    return kept + (0 if asked else rest)


@functools.lru_cache(maxsize=4096)
def _sizes(setup: Setup) -> tuple[tuple[tuple[int, int], ...], int]:
    """Bytes of each layer (all, of its experts), and of what belongs to none and is not looked up by rows."""
    plan = costs.cost_sheet(setup).plan
    layers, rest = [[0, 0] for _ in range(plan.layers)], 0
    for tensor, (layer, of_experts) in zip(plan.tensors, _layers(tuple(map(_NAME, plan.tensors))), strict=True):
        if layer is not None:
            layers[layer][0] += tensor.bytes
            layers[layer][1] += tensor.bytes if of_experts else 0
        elif plan.tied or tensor.name != plan.embedding:
            rest += tensor.bytes
    return tuple((whole, of_experts) for whole, of_experts in layers), rest


@functools.lru_cache(maxsize=1024)  # quantizations of one shape have the same names
def _layers(names: tuple[str, ...]) -> tuple[tuple[int | None, bool], ...]:
    """The layer of each tensor, None outside of them, and whether it is of experts."""
    found = ((_LAYER.match(name), "_exps." in name) for name in names)
    return tuple((int(layer[1]) if layer else None, of_experts) for layer, of_experts in found)


@functools.lru_cache(maxsize=4096)
def _split(setup: Setup, layers: int | None, asked: int, experts: int) -> Split:
    sheet = costs.cost_sheet(setup, layers)
    total = sheet.plan.layers
    first = total + 1 - asked  # of the layers on the device
    looked_up = "" if sheet.plan.tied else sheet.plan.embedding  # by rows, on the host, from the mapped file
    there: list[Tensor] = []
    here: list[Tensor] = []
    for tensor, (layer, of_experts) in zip(
        sheet.plan.tensors, _layers(tuple(map(_NAME, sheet.plan.tensors))), strict=True
    ):
        if layer is None:
            is_there = asked > 0 and tensor.name != looked_up
        else:
            is_there = layer >= first and not (layer < experts and of_experts)
        (there if is_there else here).append(tensor)
    layers_there = min(max(total - first, 0), total)
    return Split(
        whole=sheet, device=_part(sheet, there, layers_there), host=_part(sheet, here, total - layers_there),
        host_bytes=sum(t.bytes for t in here if t.name != looked_up), layers=layers_there, of_layers=total,
    )  # fmt: skip


def _part(sheet: CostSheet, tensors: Sequence[Tensor], layers: int) -> CostSheet:
    plan = msgspec.structs.replace(sheet.plan, tensors=tuple(tensors), layers=max(layers, 0))
    cache, last = sheet.kv_bytes_per_token * layers / sheet.plan.layers, costs.last_of(sheet.backend, sheet.plan)
    return msgspec.structs.replace(sheet, plan=plan, parts=costs.parts_of(plan, last), kv_bytes_per_token=cache)


def tokens_s(known: Knowledge, setup: Setup, cost: Cost, layers: int | None = None) -> Estimate | None:
    """Tokens per second as ``Knowledge`` says them, or of a split from both places and the link between them."""
    split = of(setup, layers)
    if split is None or known.has_seen(setup, cost.phase):  # with these very options: nothing teaches more
        return known.tokens_s(setup, cost)
    return _step(known, setup, split, cost) if cost.phase == "decode" else _prompt(known, setup, split, cost)


def _step(known: Knowledge, setup: Setup, split: Split, cost: Cost) -> Estimate | None:
    there, here = _places(setup)
    depth = _depth(split, cost)
    parts = [
        known.tokens_s(place, costs.step(sheet, depth, cost.tokens))
        for place, sheet in ((there, split.device), (here, split.host))
        if sheet.parts
    ]
    told = f"{_told(split, setup)}: each place computes its own part"
    return _together(cost, [e and _seconds(e, cost.tokens) for e in parts], told)


def _prompt(known: Knowledge, setup: Setup, split: Split, cost: Cost) -> Estimate | None:
    there, here = _places(setup)
    if cost.tokens < _STREAMED_TOKENS:  # as a step, only with more tokens
        share = split.host_bytes / (split.host_bytes + split.device.plan.weights_bytes)
        parts = [(known.tokens_s(there, cost), 1 - share), (known.tokens_s(here, cost), share)]
        spans = [e and _seconds(e, cost.tokens * part) for e, part in parts]
        return _together(cost, spans, f"{_told(split, setup)}: a prompt too short to be worth sending weights for")
    whole = known.tokens_s(there, cost)
    batches = math.ceil(cost.tokens / int(backends.effective(setup).get("n_ubatch") or 512))
    sent = batches * split.host_bytes
    slow, fast = LINK_BYTES_S
    link = Estimate(
        value=sent / math.sqrt(slow * fast), low=sent / fast, high=sent / slow, basis="spec", because="link"
    )
    told = (
        f"{_told(split, setup)}: {units.gb(sent)} of weights are sent over at {units.gb(slow)} to {units.gb(fast)}/s "
        "(PCIe, assumed)"
    )
    return _together(cost, [whole and _seconds(whole, cost.tokens), link], told)


def _places(setup: Setup) -> tuple[Setup, Setup]:
    """The device's setup and the host's, whole, with the options that are left."""
    whole = unsplit(setup)
    return whole, msgspec.structs.replace(whole, device="cpu")


def _depth(split: Split, cost: Cost) -> float:
    """Tokens of a sequence that a step looks back on."""
    each = split.device.kv_bytes_per_token + split.host.kv_bytes_per_token
    return cost.bytes_by_type.get(split.device.kv, 0.0) / each / cost.tokens if each else 0.0


def _told(split: Split, setup: Setup) -> str:
    here = units.gib(split.host_bytes)
    return f"{split.layers} of {split.of_layers} layers on {setup.device}, {here} of weights on the cpu"


def _seconds(speed: Estimate, tokens: float) -> Estimate:
    return msgspec.structs.replace(speed, value=tokens / speed.value, low=tokens / speed.high, high=tokens / speed.low)


def _together(cost: Cost, parts: list[Estimate | None], because: str) -> Estimate | None:
    """Tokens per second of parts that follow each other; one that nobody knows makes all unknown."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    value, low, high = (math.fsum(end) for end in zip(*((e.value, e.low, e.high) for e in known), strict=True))
    return Estimate(
        value=cost.tokens / value, low=cost.tokens / high, high=cost.tokens / low,
        basis=worst("calibrated", *(e.basis for e in known)), because=because,
        doubt="; ".join(filter(None, (e.doubt for e in known))),
    )  # fmt: skip
