"""What ONNX Runtime keeps in memory of a model on a cpu. Pure arithmetic.

Weights lie in mapped files. Most of them are packed into copies for its kernels when the model is opened, and their
pages are given back; some stay mapped, and are used where they lie or not at all. The KV cache is made for
``max_length`` tokens of every sequence and set to zero, so it is there from the start, full or not; where past and
present do not share one (fp16), both grow and exist for a moment. A prompt is computed whole, with logits of all its
tokens where the graph keeps them. Factors were read from real processes: docs/onnxruntime.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from phibench.catalog.plans.base import Plan
from phibench.core.nouns import Need, Shape

_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}  # of an element, without scales
# Bytes packed for a byte of the file, on x86-64: for a block of 32 weights its scale and their sum; without activations
# in int8 the weights alone; fp16 becomes fp32
_PACKED = {"int4": 24 / 20, "int4-acc0": 16 / 20, "int8": 40 / 36, "fp16": 2.0}
_SCALES = {"int4": 4 / 20, "int4-acc0": 4 / 20, "int8": 4 / 36}  # their part of the file, which stays mapped
_ROW_BYTES = 64 << 10  # that Linux maps with a row of a file that it has read; of one just written up to 1.1 MiB
_FFN_STATES = {"phi2": 4, "phi3": 5}  # rows of feed-forward width alive at once
_RUNTIME_BYTES = 100 << 20  # Python, numpy and the libraries


def shares(plan: Plan) -> bool:
    """Whether past and present keys share their room."""
    return plan.facts.get("kv_buffer", "grown" if plan.facts["kv_type"] == "fp16" else "shared") == "shared"


def need(
    plan: Plan, shape: Shape, *, context: int, reached: int, prompt: int, batch: int = 1, random: bool = False,
    prepacking: bool = True,
) -> Need:  # fmt: skip
    """Of ``batch`` sequences: room for ``context`` tokens of each, of which ``reached`` are ever there and ``prompt``
    are computed at once, at most. ``random``: the tokens are those of a test, spread over the whole vocabulary; of a
    text's embedding no page counts, since it touches few and the system can drop them."""
    tokens = context + 1 if shares(plan) else reached + 1
    kv = kv_bytes_per_token(plan, shape) * tokens * batch
    looked_up = reached * batch if random else 0
    weights = plan.once(("packed", looked_up, prepacking), lambda: weights_of(plan, looked_up, prepacking))
    return Need(
        weights_bytes=weights.copies + weights.in_place,
        kv_bytes=round(kv if shares(plan) else 2 * kv),
        compute_bytes=max(_compute(plan, shape, prompt, batch), weights.passing),
        runtime_bytes=_RUNTIME_BYTES,
        reclaimable_bytes=weights.idle,
        because=f"packed weights, KV cache of {tokens} tokens in {plan.facts['kv_type']}, "
        f"{'logits' if plan.facts['logits'] == 'all' else 'states'} of {prompt} tokens"
        + (f", {batch} sequences" if batch > 1 else ""),
    )


def kv_bytes_per_token(plan: Plan, shape: Shape) -> float:
    """Of one sequence, in the layers that the plan has."""
    whole = 2 * shape.layers * shape.kv_heads * shape.head_dim * _BYTES[plan.facts["kv_type"]]
    return whole * plan.layers / plan.of_layers


def _compute(plan: Plan, shape: Shape, prompt: int, batch: int) -> int:
    """Logits, the states alive at once and, without a fused attention, the scores of all heads, twice."""
    width = 6 if plan.facts["kv_type"] == "fp16" else 4  # the graph's, and then in fp32
    logits = ((prompt if plan.facts["logits"] == "all" else 1) + (prompt > 1)) * shape.vocab * width
    scores = 0 if shares(plan) else 2 * shape.heads * prompt * prompt * 4
    projected = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    states = prompt * 4 * (3 * shape.hidden + _FFN_STATES[shape.architecture] * shape.ffn + 2 * projected)
    return batch * (logits + states + scores)


class Weights(NamedTuple):
    """Bytes of weights by what becomes of them."""

    copies: int  # in layouts of the kernels
    in_place: int  # pages of the mapped file that runs read
    idle: int  # pages of the mapped file that came along, and that no run reads
    passing: int  # more copies while the model is opened


def weights_of(plan: Plan, tokens: int, prepacking: bool = True) -> Weights:
    """``tokens``: how many random ones are looked up in the embedding. Without ``prepacking`` matrices stay mapped.

    The tables of LongRoPE are constants in the branches of an If: two copies stay, two more exist while it is opened.
    An embedding that is the head too is reshaped for the lookup: one more copy, of a quantized one without its scales;
    of one in fp32 the original stays mapped as well.
    """
    copies = in_place = idle = passing = 0
    scaled = plan.quantization in _SCALES
    for tensor in plan.tensors:
        both = tensor.name == plan.head and plan.tied
        if tensor.name.endswith(("_cache_small", "_cache_large")):
            copies += 2 * tensor.bytes
            passing += 2 * tensor.bytes
        elif tensor.name == plan.embedding and not plan.tied:
            in_place += _touched(tensor.bytes, tokens)
        elif len(tensor.shape) > 1 and not prepacking:
            in_place += tensor.bytes
        elif len(tensor.shape) > 1:
            copies += round(tensor.bytes * _PACKED.get(plan.quantization, 1.0))
            copies += round(math.prod(tensor.shape) * _BYTES[tensor.type]) if both else 0
            scales = round(tensor.bytes * _SCALES[plan.quantization]) if scaled else 0
            used = scales if plan.quantization == "int4-acc0" else 0
            in_place += used
            idle += scales - used + (tensor.bytes if both and not scaled else 0)
    return Weights(copies, in_place, idle, passing)


def _touched(size: int, tokens: int) -> int:
    """Bytes of a table in a mapped file that are in memory after so many random rows were read, with what lies around
    each."""
    blocks = size / _ROW_BYTES
    return round(size * -math.expm1(-tokens / blocks))
