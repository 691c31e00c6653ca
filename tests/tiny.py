"""Phi shapes with narrow widths: the real engine runs them in milliseconds."""

from __future__ import annotations

import msgspec

from phibench import catalog
from phibench.nouns import Variant


def variant(name: str = "phi-4-mini-instruct", vocab: int = 512) -> Variant:
    """The same layers, heads per KV head, experts and tying, so that llama.cpp chooses the same types."""
    full = catalog.variant(name)
    assert full.shape is not None
    kv_heads = 2
    heads = kv_heads * (full.shape.heads // full.shape.kv_heads)
    hidden = heads * 128
    while hidden % 256:
        kv_heads, heads, hidden = kv_heads * 2, heads * 2, hidden * 2
    shape = msgspec.structs.replace(
        full.shape, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=128, ffn=512, vocab=vocab,
        rope_dims=96 if full.shape.rope_dims < full.shape.head_dim else 128,
    )  # fmt: skip
    return msgspec.structs.replace(full, shape=shape)
