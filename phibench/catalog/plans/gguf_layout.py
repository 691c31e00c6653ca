"""A Phi's shape in GGUF: the name and shape of every tensor, and the key-values, as llama.cpp wants them.

Sources: conversion/phi.py (the converter) and src/models/phi2.cpp, phi3.cpp, phimoe.cpp (the loaders), llama.cpp
0c1e57098.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from phibench.catalog.tensor_types import MetaValue
from phibench.core.nouns import Shape


def is_loadable(shape: Shape) -> bool:
    """The loaders take hidden / heads as head size and hidden x hidden for attn_output."""
    return shape.heads * shape.head_dim == shape.hidden


def weight_shapes(shape: Shape, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in the order of llama.cpp's quantizer: outside first, then layer by layer."""
    yield from _outer(shape)
    layer = _moe_layer(shape) if shape.architecture == "phimoe" else _dense_layer(shape)
    for index in range(layers):
        for name, dims in sorted(layer.items()):
            yield f"blk.{index}.{name}", dims


def is_quantizable(name: str, shape: tuple[int, ...]) -> bool:
    """Norms, biases, rope factors and the router stay F32 (tensor_allows_quantization)."""
    return len(shape) > 1 and "ffn_gate_inp" not in name


def key_values(shape: Shape, layers: int) -> dict[str, MetaValue]:
    """The keys that llama.cpp's loader asks for, as its converter writes them; a vocabulary without words."""
    rms = shape.architecture != "phi2"
    found: dict[str, MetaValue] = {
        "context_length": shape.context,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.ffn,
        "block_count": layers,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        f"attention.layer_norm_{'rms_' if rms else ''}epsilon": shape.norm_eps,
        "rope.dimension_count": shape.rope_dims,
        "rope.freq_base": shape.rope_theta,
        "vocab_size": shape.vocab,
    }
    if rms:
        found["attention.sliding_window"] = shape.sliding_window or 0  # 0 tells Phi-4 from Phi-3
        found["rope.scaling.original_context_length"] = shape.original_context or shape.context
    if shape.longrope:
        found["rope.scaling.attn_factor"] = _attention_factor(shape)
    if shape.experts:
        found |= {"expert_count": shape.experts, "expert_used_count": shape.experts_used}
    return {f"{shape.architecture}.{key}": value for key, value in found.items()} | {"tokenizer.ggml.model": "no_vocab"}


def _attention_factor(shape: Shape) -> float:
    """LongRoPE's scale of attention, conversion/phi.py: sqrt(1 + ln(context / original) / ln(original))."""
    original = shape.original_context or shape.context
    scale = shape.context / original
    return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0


def _outer(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    biased = shape.architecture != "phi3"
    if not shape.tied:
        if biased:
            yield "output.bias", (shape.vocab,)
        yield "output.weight", (shape.hidden, shape.vocab)
    if biased:
        yield "output_norm.bias", (shape.hidden,)
    yield "output_norm.weight", (shape.hidden,)
    if shape.longrope:
        yield "rope_factors_long.weight", (shape.rope_dims // 2,)
        yield "rope_factors_short.weight", (shape.rope_dims // 2,)
    yield "token_embd.weight", (shape.hidden, shape.vocab)


def _dense_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    """phi2: parallel block with biases, one norm; phi3: two norms, ``ffn_up`` is gate and up in one."""
    hidden, ffn, qkv = shape.hidden, shape.ffn, (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,),
        "attn_qkv.weight": (hidden, qkv),
        "attn_output.weight": (hidden, hidden),
        "ffn_down.weight": (ffn, hidden),
    }
    if shape.architecture == "phi3":
        return tensors | {"ffn_norm.weight": (hidden,), "ffn_up.weight": (hidden, 2 * ffn)}
    biases: dict[str, tuple[int, ...]] = {
        "attn_norm.bias": (hidden,),
        "attn_qkv.bias": (qkv,),
        "attn_output.bias": (hidden,),
        "ffn_up.bias": (ffn,),
        "ffn_down.bias": (hidden,),
    }
    return tensors | biases | {"ffn_up.weight": (hidden, ffn)}


def _moe_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    hidden, ffn, experts, kv = shape.hidden, shape.ffn, shape.experts, shape.kv_heads * shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "ffn_gate_inp.weight": (hidden, experts),
        "ffn_gate_exps.weight": (hidden, ffn, experts),
        "ffn_up_exps.weight": (hidden, ffn, experts),
        "ffn_down_exps.weight": (ffn, hidden, experts),
    }
    for name, out in (("attn_q", hidden), ("attn_k", kv), ("attn_v", kv), ("attn_output", hidden)):
        tensors |= {f"{name}.weight": (hidden, out), f"{name}.bias": (out,)}
    for name in ("attn_norm", "ffn_norm"):
        tensors |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return tensors
