"""The small models as Hugging Face folders, and the weights that the torch backend computes with.

A checkpoint holds float32; int8 and int4 are made from it when the model is opened, so what is read here is what the
backend's own layers make of each matrix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phibench.catalog.plans import hf_config
from phibench.catalog.plans import torch as plan_torch
from phibench.core import files
from phibench.verify.reference import one_thread
from phibench.verify.seeded_models import Model, Stored

SELFTESTED = ("bf16", "int8", "int4", "fp16", "fp32")
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write(model: Model, quantization: str, folder: Path) -> Path:  # noqa: ARG001  one for all
    """The model as a folder in ``folder``: config.json and float32 safetensors."""
    from safetensors.numpy import save

    path = folder / f"{model.variant.id}-hf"
    path.mkdir(exist_ok=True)
    told = hf_config.config(model.shape, model.shape.layers, model.rope) | {"dtype": "float32"}
    files.write_text(path / CONFIG, json.dumps(told, indent=2) + "\n")
    with files.atomic(path / WEIGHTS) as stream:
        stream.write(save(model.weights, metadata={"format": "pt"}))
    return path


def stored(model: Model, quantization: str, path: Path) -> Iterator[Stored]:
    """Every tensor as the backend holds it, turned back into float32."""
    from safetensors.torch import load_file

    types = {tensor.name: tensor.type for tensor in plan_torch.plan(model.variant, quantization).tensors}
    with one_thread():
        held = {name: _held(values, types[name]) for name, values in load_file(path / WEIGHTS).items()}
    for name, values in held.items():
        yield Stored(name, [(name, slice(None))], values.numpy())


def _held(values: Any, kind: str) -> Any:
    """Rounded to a float type, or quantized by the backend's own layer and back."""
    import torch

    from phibench.backends.torch import linear

    if kind in linear.KINDS:
        rows, columns = values.shape
        layer = linear.KINDS[kind](rows, columns, None, "cpu")
        layer.take(values)
        return layer.dequantized()
    return values.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]).float()


def has_scales(quantization: str) -> bool:
    """None in its files: the backend makes its own when it opens a model."""
    del quantization
    return False


def damage_scale(path: Path) -> str:
    raise AssertionError(f"{path} holds no scales")
