"""What ONNX Runtime keeps in memory of a model on a cpu. Pure arithmetic.

Weights lie in mapped files. Most of them are packed into copies for its kernels when the model is opened, and their
pages are given back; a few are used where they lie. The KV cache is made for ``max_length`` tokens of every sequence
and set to zero, so it is there from the start, full or not; where past and present do not share one (fp16), both grow
and exist for a moment. A prompt is computed whole, with logits of all its tokens where the graph keeps them. Factors
were read from real processes: docs/onnxruntime.md.
"""

from __future__ import annotations

import math

from phibench.catalog.plan import Plan
from phibench.nouns import Need, Shape

_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}  # of an element, without scales
# Bytes packed for a byte of the file, on x86-64: for a block of 32 weights its scale and their sum; without activations
# in int8 the weights alone; fp16 becomes fp32
_PACKED = {"int4": 24 / 20, "int4-acc0": 16 / 20, "int8": 40 / 36, "fp16": 2.0}
_FFN_STATES = {"phi2": 4, "phi3": 5}  # rows of feed-forward width alive at once
_RUNTIME_BYTES = 100 << 20  # Python, numpy and the libraries


def shares(plan: Plan) -> bool:
    """Whether past and present keys share their room."""
    return plan.facts.get("kv_buffer", "grown" if plan.facts["kv_type"] == "fp16" else "shared") == "shared"


def need(plan: Plan, shape: Shape, context: int, prompt: int, batch: int) -> Need:
    """``context``: tokens of one sequence that room is made for; ``prompt``: most tokens of one that are computed at
    once; ``batch``: sequences."""
    kv = kv_bytes_per_token(plan, shape) * (context + 1) * batch
    weights, passing = _weights(plan)
    return Need(
        weights_bytes=weights,
        kv_bytes=round(kv if shares(plan) else 2 * kv),
        compute_bytes=max(_compute(plan, shape, prompt, batch), passing),
        runtime_bytes=_RUNTIME_BYTES,
        because=f"packed weights, KV cache of {context + 1} tokens in {plan.facts['kv_type']}, "
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


def _weights(plan: Plan) -> tuple[int, int]:
    """(bytes that stay in memory, bytes that only opening needs).

    The tables of LongRoPE are constants in the branches of an If: two copies stay, two more exist while it is opened.
    An embedding that is the head too is reshaped for the lookup: one more copy, of a quantized one without its scales.
    """
    stay = passing = 0
    for tensor in plan.tensors:
        if tensor.name.endswith(("_cache_small", "_cache_large")):
            stay += 2 * tensor.bytes
            passing += 2 * tensor.bytes
        elif tensor.name == plan.embedding and not plan.tied:
            continue  # rows are read from the mapped file
        elif len(tensor.shape) > 1:
            stay += round(tensor.bytes * _PACKED.get(plan.quantization, 1.0))
            if tensor.name == plan.head and plan.tied:
                stay += round(math.prod(tensor.shape) * _BYTES[tensor.type])
    return stay, passing
