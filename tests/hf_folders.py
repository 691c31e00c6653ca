"""Heads of safetensors files, as a Phi's folder of Hugging Face has them; the weights are holes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.readers import hugging_face


def shapes(variant: str, vocab: int | None = None) -> dict[str, list[int]]:
    """Name and shape of every tensor, in order; ``vocab``: as many words."""
    shape = catalog.variant(variant).shape
    assert shape is not None
    plan = plans.plan(catalog.variant(variant), "bf16", fmt="torch")
    words = {shape.vocab: vocab or shape.vocab}
    return {one.name: [words.get(dim, dim) for dim in reversed(one.shape)] for one in plan.tensors}


def head(of: Mapping[str, Sequence[int]], dtype: str = "BF16") -> dict[str, Any]:
    """What a safetensors file says of such tensors, one behind the other."""
    found: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dims in of.items():
        start, end = end, end + math.prod(dims) * hugging_face.TYPES[dtype][1]
        found[name] = {"dtype": dtype, "shape": list(dims), "data_offsets": [start, end]}
    return found


def part(of: Mapping[str, Sequence[int]], names: Iterable[str]) -> dict[str, Sequence[int]]:
    """Those of these names."""
    return {name: of[name] for name in names}
