"""Synthetic .npz files: one row of numbers, over and over."""

from __future__ import annotations

import json
import math
from pathlib import Path

from phibench.catalog.plans import hf_config, plan
from phibench.catalog.plans.base import Plan
from phibench.core import files
from phibench.core.nouns import Artifact, Variant
from phibench.synth import cache
from phibench.synth.artifacts import Progress, artifact

ENTRIES = "*.npz"
QUANTIZER = "numpy"


def ensure(
    variant: Variant, quantization: str, layers: int | None = None, progress: Progress | None = None
) -> Artifact:
    wanted = plan(variant, quantization, layers, fmt="npz")
    path = _path(wanted)
    cache.ensure(path, wanted.file_bytes, progress, is_whole=path.exists, check=lambda: None,
                 write=lambda: _write(variant, wanted, path))  # fmt: skip
    return artifact(wanted, str(path))


def cached(variant: Variant, quantization: str, layers: int | None = None) -> Path | None:
    path = _path(plan(variant, quantization, layers, fmt="npz"))
    return path if path.exists() else None


def _path(wanted: Plan) -> Path:
    return cache.folder("npz") / f"{wanted.variant}-{wanted.layers}.npz"


def _write(variant: Variant, wanted: Plan, path: Path) -> None:
    import numpy as np

    assert variant.shape is not None
    row = (np.random.default_rng(0).standard_normal(65521) * 0.02).astype(np.float16)

    arrays = {one.name: np.resize(row, math.prod(one.shape)).reshape(one.shape[::-1]) for one in wanted.tensors}
    told = json.dumps(hf_config.config(variant.shape, wanted.layers))
    with files.atomic(path) as stream:
        np.savez(stream, config=np.array(told), **arrays)  # type: ignore[arg-type]
