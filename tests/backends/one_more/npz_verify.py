"""The small models as .npz files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from phibench.catalog.plans import hf_config
from phibench.verify.seeded_models import Model, Stored

SELFTESTED: tuple[str, ...] = ()


def write(model: Model, quantization: str, folder: Path) -> Path:
    import numpy as np

    path = folder / f"{model.variant.id}-{quantization}.npz"
    told = json.dumps(hf_config.config(model.shape, model.shape.layers, model.rope))
    halves = {name: values.astype(np.float16) for name, values in model.weights.items()}
    np.savez(path, config=np.array(told), **halves)  # type: ignore[arg-type]
    return path


def stored(model: Model, quantization: str, path: Path) -> Iterator[Stored]:
    import numpy as np

    del model, quantization
    with np.load(path) as held:
        for name in held.files:
            if name != "config":
                yield Stored(name, [(name, slice(None))], held[name].astype(np.float32))


def has_scales(quantization: str) -> bool:
    del quantization
    return False


def damage_scale(path: Path) -> str:
    raise AssertionError(path)
