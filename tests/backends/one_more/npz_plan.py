"""npz: the arrays of a checkpoint in half precision, under their Hugging Face names. Phi-3 alone."""

from __future__ import annotations

import msgspec

from phibench.catalog.plans import torch
from phibench.catalog.plans.base import NoFiles, NoFilesError, Plan
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Variant


def plan(variant: Variant, quantization: str, layers: int | None = None) -> Plan:
    if why := objection(variant):
        raise NoFilesError(why)
    if quantization != "half":
        raise PhibenchError(f"npz has no {quantization}")
    made = torch.plan(variant, "fp16", layers)
    return msgspec.structs.replace(made, format="npz", quantization=quantization, file_bytes=made.weights_bytes + 65536)


def objection(variant: Variant) -> NoFiles | None:
    if why := torch.objection(variant):
        return why
    if variant.shape and variant.shape.architecture != "phi3":
        return NoFiles(reason=f"{variant.id} is no Phi-3", remedy="use -b {backend}", instead="gguf")
    return None
