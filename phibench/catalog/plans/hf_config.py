"""A Phi's shape as Hugging Face's config.json has it: what transformers, and exporters that read its folders, want.

Source of the keys: transformers 5, models/phi3/configuration_phi3.py and models/phi/configuration_phi.py.
"""

from __future__ import annotations

import math
from typing import Any

from phibench.catalog.plans.base import NoFiles, NoFilesError
from phibench.core.nouns import Shape

Factors = tuple[tuple[float, ...], tuple[float, ...]]  # LongRoPE: short, long; one per pair of rotary dimensions


def factors(shape: Shape) -> Factors:
    """LongRoPE factors of synthetic weights: rising to context / original, as published ones do; speed ignores them."""
    pairs = shape.rope_dims // 2
    most = math.log(max(2.0, shape.context / (shape.original_context or shape.context)))
    place = [index / max(1, pairs - 1) for index in range(pairs)]
    return tuple(1 + 0.1 * p for p in place), tuple(math.exp(most * p) for p in place)


def config(shape: Shape, layers: int, rope: Factors | None = None) -> dict[str, Any]:
    """The content of config.json; ``rope`` None: :func:`factors` where the shape has LongRoPE.

    Raises NoFilesError for a mixture of experts.
    """
    if shape.experts:
        raise NoFilesError(NoFiles(reason="a mixture of experts has no dense configuration"))
    return _common(shape, layers) | (_phi2(shape) if shape.architecture == "phi2" else _phi3(shape, rope))


def _common(shape: Shape, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "partial_rotary_factor": shape.rope_dims / shape.head_dim,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "bfloat16",
    }


def _phi2(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["PhiForCausalLM"],
        "model_type": "phi",
        "hidden_act": "gelu_new",
        "layer_norm_eps": shape.norm_eps,
        "qk_layernorm": False,
    }


def _phi3(shape: Shape, rope: Factors | None) -> dict[str, Any]:
    short, long = rope or factors(shape)
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps,
        "original_max_position_embeddings": shape.original_context or shape.context,
        "rope_scaling": {"type": "longrope", "short_factor": list(short), "long_factor": list(long)}
        if shape.longrope
        else None,
        "sliding_window": shape.sliding_window,
    }
