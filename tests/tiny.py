"""Phis with the true structure (layers, heads per KV head, experts) and narrow rows: seconds instead of minutes."""

from __future__ import annotations

import msgspec

from phibench import catalog
from phibench.core.nouns import Variant

# ffn 192 falls back as Phi-mini-MoE's 960 does: both leave 192 when divided by 256
_WIDTHS = {
    "phi-2": {"hidden": 512, "heads": 8, "kv_heads": 8, "head_dim": 64, "ffn": 512, "rope_dims": 32},
    "phi-4-mini-instruct": {"hidden": 768, "heads": 6, "kv_heads": 2, "head_dim": 128, "ffn": 512},
    "phi-4": {"hidden": 512, "heads": 8, "kv_heads": 2, "head_dim": 64, "ffn": 512, "rope_dims": 64},
    "phi-3.5-moe-instruct": {"hidden": 512, "heads": 8, "kv_heads": 2, "head_dim": 64, "ffn": 256, "rope_dims": 64},
    "phi-mini-moe-instruct": {"hidden": 256, "heads": 8, "kv_heads": 2, "head_dim": 32, "ffn": 192, "rope_dims": 32},
}
NAMES = tuple(_WIDTHS)


def tiny(name: str, vocab: int = 1024) -> Variant:
    """The variant with narrow rows; llama.cpp gives it the same types."""
    known = catalog.variant(name)
    assert known.shape is not None
    shape = msgspec.structs.replace(known.shape, vocab=vocab, **_WIDTHS[name])
    return msgspec.structs.replace(known, shape=shape)
