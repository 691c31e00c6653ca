"""Memory of fine-tuning with adapters of low rank (LoRA, QLoRA). Pure functions of a plan; no time is promised.

What is counted is a step as PyTorch, transformers and PEFT take it where nothing is fused: adapters on all matrices of
the layers, in float32; AdamW; every layer computed again in its backward (gradient checkpointing); attention that
keeps no scores (SDPA, FlashAttention), so that nothing grows with the square of the sequence; cross entropy over all
tokens; gradients that stay from one step to the next, as where they are accumulated.

Sources: Hu et al. 2021 (arXiv 2106.09685): adapters, two matrices beside one. Dettmers et al. 2023 (arXiv 2305.14314):
NF4 and double quantization. PEFT, ``cast_adapter_dtype``: adapters are float32. Korthikanti et al. 2022 (arXiv
2205.05198): which activations a layer keeps; their 34 bytes are of another layer, so the terms here were derived anew
from the operations of transformers 5 (modeling_phi3.py, modeling_phi.py, modeling_phimoe.py) and of frozen weights,
whose inputs nobody keeps. Held against PyTorch's own account by benchmarks/accuracy/finetuning.py.
"""

from __future__ import annotations

import math
from typing import Literal

from phibench.catalog import plans
from phibench.catalog.plans.base import Plan
from phibench.catalog.tensor_types import Tensor
from phibench.core import units
from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Need, Noun, Shape, Training, Variant

Quantization = Literal["bf16", "int4"]
# Of all, what CUDA's allocator keeps beside what is in use: 29.7 GB reserved where 26.1 GB were allocated (A100, PEFT,
# scripts/benchmarks/refs/a100_80gb.csv of foundation-model-stack/fms-acceleration).
_HELD = 0.14
QUANTIZATIONS: dict[str, str] = {"bf16": "LoRA", "int4": "QLoRA"}  # of the frozen weights, and how that is called

_BF16, _FP32 = 2, 4
# NF4: 4 bits, a scale of 8 bits for 64 weights, of these scales one of 32 bits for 256 (arXiv 2305.14314, section 3)
_NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
_MOMENTS = 2  # AdamW's, of every trained weight, in float32
_RUNTIME_BYTES = 270 << 20  # Python, torch and transformers, imported: as phibench/backends/torch/facts.py has it
# The loss, for each word of each token: log softmax, its gradient and that of the logits, all float32 and alive at
# once. The logits in bf16 and their float32 copy are gone by then: 2 + 4 + 4 bytes in the forward are less.
_LOSS = 3 * _FP32


class Footprint(Noun, frozen=True, kw_only=True):
    """What a step of training occupies at its peak. ``adapters``: trained weights, a number."""

    adapters: int
    weights_bytes: int  # frozen
    adapter_bytes: int
    gradient_bytes: int
    optimiser_bytes: int
    activation_bytes: int

    @property
    def training_bytes(self) -> int:
        """All but the frozen weights."""
        return self.adapter_bytes + self.gradient_bytes + self.optimiser_bytes + self.activation_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.training_bytes


def need(variant: Variant, quantization: str, training: Training) -> Need:
    """As a backend tells what running needs, so that the same rules judge whether it fits: there is no KV cache, and
    compute is all that training adds to the weights. On a GPU all of it must fit there.

    Raises PhibenchError where no shape is known, for a strange quantization, and for numbers below one.
    """
    found = footprint(plan_of(variant), _shape(variant), quantization, training)
    return Need(
        weights_bytes=found.weights_bytes, kv_bytes=0, compute_bytes=found.training_bytes,
        runtime_bytes=_RUNTIME_BYTES, reserved_bytes=round(_HELD * found.total_bytes),
        because=_because(found, quantization, training),
    )  # fmt: skip


def plan_of(variant: Variant) -> Plan:
    """Of the checkpoint that is trained, in bf16: torch's, of a mixture of experts GGUF's, which has the same matrices.

    Raises NoFilesError where no shape is known.
    """
    fmt, kind = ("gguf", "BF16") if _shape(variant).experts else ("torch", "bf16")
    return plans.plan(variant, kind, fmt=fmt)


def footprint(plan: Plan, shape: Shape, quantization: str, training: Training) -> Footprint:
    """Of a whole model or a slice: of the plan's layers. Raises PhibenchError (exit 2) as :func:`need` does."""
    if quantization not in QUANTIZATIONS:
        known = f"there are: {', '.join(QUANTIZATIONS)}"
        raise unknown("quantization to fine-tune", quantization, QUANTIZATIONS, known)
    if min(training.rank, training.sequence_tokens, training.batch) < 1:
        raise PhibenchError("rank, sequence and batch of fine-tuning are 1 or more")
    adapters = adapter_weights(plan, training.rank)
    return Footprint(
        adapters=adapters,
        weights_bytes=weights_bytes(plan, quantization),
        adapter_bytes=adapters * _FP32,
        gradient_bytes=adapters * _FP32,
        optimiser_bytes=adapters * _FP32 * _MOMENTS,
        activation_bytes=activation_bytes(plan, shape, quantization, training),
    )


def weights_bytes(plan: Plan, quantization: str) -> int:
    """Of the frozen weights: bf16; with int4 the layers' matrices in NF4, embedding, head, norms and biases not."""
    bits = {True: _NF4_BITS if quantization == "int4" else 16, False: 16}
    return math.ceil(sum(math.prod(tensor.shape) * bits[is_matrix(tensor)] for tensor in plan.tensors) / 8)


def adapter_weights(plan: Plan, rank: int) -> int:
    """How many are trained: rank x (rows + columns) for every matrix of the layers, each expert's too, no router's."""
    return rank * sum(sum(t.shape[:2]) * math.prod(t.shape[2:]) for t in plan.tensors if is_adapted(t))


def is_matrix(tensor: Tensor) -> bool:
    """Of a layer: what is quantized."""
    return len(tensor.shape) > 1 and (".layers." in tensor.name or tensor.name.startswith("blk."))


def is_adapted(tensor: Tensor) -> bool:
    return is_matrix(tensor) and "ffn_gate_inp" not in tensor.name


def activation_bytes(plan: Plan, shape: Shape, quantization: str, training: Training) -> int:
    """The inputs of all layers, and the larger of two peaks: the loss, or the last layer computed again.

    With int4 a matrix at a time is turned into bf16 to be multiplied.
    """
    tokens = training.sequence_tokens * training.batch
    inputs = plan.layers * shape.hidden * _BF16
    layer = tokens * (shape.hidden * _BF16 + _kept(shape, training.rank) + _passing(shape))
    layer += adapter_weights(plan, training.rank) // plan.layers * _BF16  # cast to bf16 where they are multiplied
    loss = tokens * (_last_norm(shape) + _LOSS * shape.vocab)
    matrix = max(math.prod(t.shape[:2]) for t in plan.tensors if is_matrix(t)) if quantization == "int4" else 0
    tables = 2 * training.sequence_tokens * shape.rope_dims * _BF16
    return tokens * inputs + max(layer + matrix * _BF16, loss) + tables


def _kept(shape: Shape, rank: int) -> int:
    """Bytes of a token that a layer keeps from its forward for its backward."""
    heads, kv, ffn = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.ffn
    scores = shape.heads * _FP32  # log of the sum of each row of attention
    if shape.architecture == "phi3":  # two RMS norms in float32; queries, keys and values in one, and turned
        norms = 2 * (shape.hidden * (_FP32 + _BF16) + _FP32)
        return norms + (3 * heads + 3 * kv + 4 * ffn + 4 * rank) * _BF16 + scores
    attention = (2 * heads + 2 * kv) * _BF16 + scores  # turned queries, turned keys, values, what comes out
    if shape.architecture == "phi2":  # one norm; gelu_new keeps four of its steps, and its product
        return (shape.hidden + 5 * ffn + 6 * rank) * _BF16 + 2 * _FP32 + attention
    expert = (2 * shape.hidden + 4 * ffn + 3 * rank) * _BF16  # its tokens, gate, up, activated, product, what comes out
    return (2 * shape.hidden + 4 * rank) * _BF16 + 4 * _FP32 + attention + shape.experts_used * expert


def _passing(shape: Shape) -> int:
    """Bytes of a token that come and go in a layer's backward, at most: at its last matrix, the gradient of its input
    by the frozen weights and by the adapter, and some as wide as the stream: four, chosen so that PyTorch's own account
    is never above."""
    return (2 * shape.ffn + 4 * shape.hidden) * _BF16


def _last_norm(shape: Shape) -> int:
    """Of a token: what the last norm keeps in float32, what it was given and what it gave. PyTorch's own account has
    the first alone, peaks that others measured on GPUs are nearer with all three."""
    return shape.hidden * (_FP32 + 2 * _BF16) + _FP32


def _shape(variant: Variant) -> Shape:
    if variant.shape is None:
        plans.plan(variant, "bf16", fmt="torch")  # says why
    assert variant.shape is not None
    return variant.shape


def _because(found: Footprint, quantization: str, training: Training) -> str:
    parts = {
        "weights": found.weights_bytes, "adapters": found.adapter_bytes, "gradients": found.gradient_bytes,
        "AdamW": found.optimiser_bytes, "activations": found.activation_bytes,
    }  # fmt: skip
    asked = f"rank {training.rank}, batch {training.batch}, sequence {training.sequence_tokens}"
    told = ", ".join(f"{name} {units.gib(count)}" for name, count in parts.items())
    return f"{QUANTIZATIONS[quantization]} of {asked}: {told}; by formula, not run on hardware"
