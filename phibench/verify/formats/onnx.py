"""The small models as ONNX folders, and what the weights in such a folder are once they are dequantized.

Written by ``synth.onnx`` with ONNX Runtime's quantizer, read here by the definition of MatMulNBits alone: blocks of a
row, the lower half of a byte first, zero in the middle (ContribOperators.md of ONNX Runtime).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phibench.catalog.plans import onnx as plan_onnx
from phibench.synth import onnx as writer
from phibench.synth.onnx import weights as contents
from phibench.verify.seeded_models import Model, Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SELFTESTED = ("int4", "int4-acc0", "int8", "fp16", "fp32")
_SCALES, _TABLES = "_scales", ("cos_cache", "sin_cache")


def write(model: Model, quantization: str, folder: Path) -> Path:
    """The model as a folder in ``folder``, for onnxruntime-genai."""
    path = folder / f"{model.variant.id}-{quantization}-onnx"
    plan = plan_onnx.plan(model.variant, quantization)
    writer.write(plan, path, weights=model.weights.__getitem__, rope=model.rope)
    return path


def stored(model: Model, quantization: str, path: Path) -> Iterator[Stored]:
    """Every tensor of a folder, dequantized to float32; not the tables of cosines and sines."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    arrays = {one.name: one for one in onnx.load(path / writer.MODEL).graph.initializer}
    bits = plan_onnx.BITS[plan_onnx.quantizations()[quantization][0]]
    for name, one in arrays.items():
        if name.endswith(_SCALES) or name.startswith(_TABLES):
            continue
        values = numpy_helper.to_array(one)
        plain = name.removesuffix(f"_Q{bits}")
        if plain != name:
            values = dequantized(values, numpy_helper.to_array(arrays[plain + _SCALES]), bits)
        elif plain.endswith("MatMul.weight"):
            values = values.T
        places = contents.sources(plain, model.shape)
        if plain == "lm_head.MatMul.weight":
            places = [("lm_head.weight", slice(None))]
        yield Stored(plain, places, np.asarray(values, np.float32))


def dequantized(blocks: NDArray[np.uint8], scales: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """The matrix (out, in) of blocks (out, blocks of a row, bytes) and their scales (out, blocks of a row)."""
    import numpy as np

    if bits == 4:
        blocks = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:2], -1)
    values = (blocks.astype(np.float32) - (1 << (bits - 1))) * scales.reshape(*blocks.shape[:2], 1)
    found: NDArray[np.float32] = values.reshape(len(blocks), -1).astype(np.float32)
    return found


def has_scales(quantization: str) -> bool:
    return quantization not in ("fp16", "fp32")


def damage_scale(path: Path) -> str:
    """Double the scale of one block in a written folder; returns the name of the tensor."""
    import numpy as np
    import onnx

    names = [f"model.layers.1.mlp.{one}.MatMul.weight_scales" for one in ("down_proj", "fc2")]
    graph = onnx.load(path / writer.MODEL, load_external_data=False).graph
    found = next(one for one in graph.initializer if one.name in names)
    place = {entry.key: entry.value for entry in found.external_data}
    scale = np.memmap(path / writer.DATA, np.float32, "r+", offset=int(place["offset"]), shape=(1,))
    scale *= 2
    return str(found.name).removesuffix("_scales")
