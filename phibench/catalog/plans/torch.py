"""torch: every tensor of variant x quantization as the torch backend holds it, under its Hugging Face name.

Published checkpoints have 16 bits per weight, so that is what a download weighs; int8 and int4 are made from it when
the model is opened. As in transformers' ``TorchAoConfig``, embedding, head, norms and biases stay in bf16.
int8: a scale per row. int4: groups of 128, a scale and a zero point per group (docs/torch.md).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import msgspec

from phibench.catalog.plans.base import NoFiles, NoFilesError, Plan, check_layers
from phibench.catalog.tensor_types import Tensor
from phibench.core.errors import unknown
from phibench.core.nouns import Shape, Variant

GROUP = 128  # weights of a row that share scale and zero point in int4; torchao's default
FLOAT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
QUANTIZATIONS = (*FLOAT_BYTES, "int8", "int4")
_CHECKPOINT_BYTES = 2  # per weight, of every published Phi
EMBEDDING = "model.embed_tokens.weight"


def plan(variant: Variant, quantization: str, layers: int | None = None) -> Plan:
    """The plan of the whole model, or of a slice of ``layers``.

    Raises PhibenchError (exit 2) when the variant has no such form or the quantization is not one of torch's.
    """
    if why := objection(variant):
        raise NoFilesError(why)
    assert variant.shape is not None
    if quantization not in QUANTIZATIONS:
        raise unknown("torch quantization", quantization, QUANTIZATIONS, f"there are: {', '.join(QUANTIZATIONS)}")
    count = check_layers(variant, layers)
    tensors = _tensors(_widths(variant.shape), quantization, count)
    return Plan(
        variant=variant.id,
        format="torch",
        quantization=quantization,
        layers=count,
        of_layers=variant.shape.layers,
        tensors=tensors,
        file_bytes=sum(math.prod(tensor.shape) for tensor in tensors) * _CHECKPOINT_BYTES,
        embedding=EMBEDDING,
        head=EMBEDDING if variant.shape.tied else "lm_head.weight",
        tokenizer_bytes=variant.tokenizer_bytes or 0,
        facts={"kv_type": dtype_of(quantization), "logits": "last"},
    )


def dtype_of(quantization: str) -> str:
    """Of activations, KV cache and all that is not quantized."""
    return quantization if quantization in FLOAT_BYTES else "bf16"


def objection(variant: Variant) -> NoFiles | None:
    """Why there is no model of the variant that transformers builds."""
    shape = variant.shape
    if shape is None:
        return NoFiles(reason=f"the shape of {variant.id} is not known ({variant.shape_source})", unknown=True)
    if shape.experts:
        return NoFiles(
            reason=f"{variant.id} is a mixture of experts, which phibench runs in llama.cpp alone",
            remedy="use -b {backend}",
            instead="gguf",
        )
    return None


def _type(name: str, dims: tuple[int, ...], quantization: str) -> str:
    """int8 and int4 apply to the matrices of the layers; int4 only where a row is whole groups."""
    if quantization in FLOAT_BYTES or ".layers." not in name or len(dims) < 2:
        return dtype_of(quantization)
    return "bf16" if quantization == "int4" and dims[0] % GROUP else quantization


def _widths(shape: Shape) -> Shape:
    """Without what tensors do not show, so that variants of one shape share their plan."""
    return msgspec.structs.replace(
        shape, rope_dims=0, rope_theta=0.0, context=0, original_context=None, longrope=False, sliding_window=None,
        norm_eps=0.0,
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _tensors(shape: Shape, quantization: str, layers: int) -> tuple[Tensor, ...]:
    return tuple(_tensor(name, dims, quantization) for name, dims in _shapes(shape, layers))


def _tensor(name: str, dims: tuple[int, ...], quantization: str) -> Tensor:
    kind, count = _type(name, dims, quantization), math.prod(dims)
    if kind == "int8":
        size = count + dims[1] * FLOAT_BYTES["bf16"]
    elif kind == "int4":
        size = count // 2 + count // GROUP * 2 * FLOAT_BYTES["bf16"]
    else:
        size = count * FLOAT_BYTES[kind]
    return Tensor(name=name, shape=dims, type=kind, bytes=size)


def _shapes(shape: Shape, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape, the row first. Source: transformers 5, modeling_phi3.py and modeling_phi.py."""
    yield EMBEDDING, (shape.hidden, shape.vocab)
    layer = _phi2_layer(shape) if shape.architecture == "phi2" else _phi3_layer(shape)
    for index in range(layers):
        for name, dims in layer.items():
            yield f"model.layers.{index}.{name}", dims
    if shape.architecture == "phi2":
        yield "model.final_layernorm.weight", (shape.hidden,)
        yield "model.final_layernorm.bias", (shape.hidden,)
        yield "lm_head.bias", (shape.vocab,)
    else:
        yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.hidden, shape.vocab)


def _phi3_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    hidden, ffn, attention = shape.hidden, shape.ffn, shape.heads * shape.head_dim
    return {
        "self_attn.qkv_proj.weight": (hidden, attention + 2 * shape.kv_heads * shape.head_dim),
        "self_attn.o_proj.weight": (attention, hidden),
        "mlp.gate_up_proj.weight": (hidden, 2 * ffn),
        "mlp.down_proj.weight": (ffn, hidden),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }


def _phi2_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    attention, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrices = {
        "self_attn.q_proj": (shape.hidden, attention),
        "self_attn.k_proj": (shape.hidden, kv),
        "self_attn.v_proj": (shape.hidden, kv),
        "self_attn.dense": (attention, shape.hidden),
        "mlp.fc1": (shape.hidden, shape.ffn),
        "mlp.fc2": (shape.ffn, shape.hidden),
    }
    found: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (shape.hidden,),
        "input_layernorm.bias": (shape.hidden,),
    }
    for name, dims in matrices.items():
        found |= {f"{name}.weight": dims, f"{name}.bias": dims[1:]}
    return found
