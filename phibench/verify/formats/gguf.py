"""The small models as GGUF files, and what a GGUF file's weights are once they are dequantized.

Written with ggml's quantizer, read with the ``gguf`` package's own decoders: two implementations that must agree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from phibench.catalog import tensor_types
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.plans import gguf_layout
from phibench.core import extras, files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Shape
from phibench.synth import gguf_types, quantizer
from phibench.verify.seeded_models import FACTORS, Model, Stored

SELFTESTED = ("all types",)  # in one file: ``selftest.answers.MIXED``
_OUTER = {"token_embd": "model.embed_tokens", "output": "lm_head"}
_LAST = {"phi2": "model.final_layernorm", "phi3": "model.norm"}
_LAYER = {
    "phi2": {"attn_norm": "input_layernorm", "attn_output": "self_attn.dense", "ffn_up": "mlp.fc1",
             "ffn_down": "mlp.fc2"},
    "phi3": {"attn_norm": "input_layernorm", "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
             "ffn_norm": "post_attention_layernorm", "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"},
}  # fmt: skip


def write(model: Model, quantization: str, folder: Path) -> Path:
    """The model as a GGUF file in ``folder``. Loads llama.cpp, so only a child process does it."""
    import numpy as np

    shape, mix = model.shape, _mix(model.shape, quantization)
    tensors = [
        tensor_types.tensor(name, dims, mix[name]) for name, dims in gguf_layout.weight_shapes(shape, shape.layers)
    ]
    keys = {
        "general.architecture": shape.architecture,
        "general.type": "model",
        "general.name": f"phibench verify {model.variant.id}",
        "general.file_type": plan_gguf.types().quantizations[quantization].ftype,
        "general.quantization_version": plan_gguf.QUANTIZATION_VERSION,
        **gguf_layout.key_values(shape, shape.layers),
    }
    path = folder / f"{model.variant.id}-{quantization}.gguf"
    with files.atomic(path) as stream:
        stream.write(tensor_types.header(keys, tensors))
        for tensor in tensors:
            values = np.concatenate([model.source[name] for name in hf_names(shape, tensor.name)])
            data = quantizer.quantize(tensor.type, values.ravel())
            stream.write(data.ljust(tensor_types.padded(len(data)), b"\0"))
    return path


def stored(model: Model, quantization: str, path: Path) -> Iterator[Stored]:  # noqa: ARG001  the file knows its types
    """Every tensor of a file, dequantized to float32; LongRoPE's factors are among them."""
    import numpy as np

    try:
        import gguf
    except ModuleNotFoundError:
        raise PhibenchError(f"the gguf package is not installed: {extras.line('llama-cpp')}", FAILED) from None
    for tensor in gguf.GGUFReader(path).tensors:
        values = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        yield Stored(tensor.name, [(name, slice(None)) for name in hf_names(model.shape, tensor.name)], values)


def hf_names(shape: Shape, name: str) -> tuple[str, ...]:
    """Hugging Face's names of the weights that a GGUF tensor holds, one below the other."""
    if name in FACTORS:
        return (name,)
    role, layer = plan_gguf.role_of(name)
    kind = name.rpartition(".")[2]
    if layer is None:
        return (f"{_LAST[shape.architecture] if role == 'output_norm' else _OUTER[role]}.{kind}",)
    if shape.architecture == "phi2" and role == "attn_qkv":
        return tuple(f"model.layers.{layer}.self_attn.{letter}_proj.{kind}" for letter in "qkv")
    return (f"model.layers.{layer}.{_LAYER[shape.architecture][role]}.{kind}",)


@functools.cache
def _mix(shape: Shape, quantization: str) -> dict[str, str]:
    """Tensor -> type, asked from llama.cpp's quantizer: its choice depends on the number of layers."""
    kinds = plan_gguf.types().quantizations
    return gguf_types.ask_here(shape, {quantization: kinds[quantization]})[quantization]


_SCALE_AT = {"Q6_K": 208, "Q3_K": 108, "Q2_K": 80}  # of the fp16 scale in a block; 0 elsewhere (ggml-common.h)


def has_scales(quantization: str) -> bool:
    return quantization not in ("F16", "BF16")


def damage_scale(path: Path) -> str:
    """Double the scale of one block in a written file; returns the name of the tensor."""
    import gguf
    import numpy as np

    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "blk.1.ffn_down.weight")
    at = _SCALE_AT.get(tensor.tensor_type.name, 0)
    scale = tensor.data[0, at : at + 2].view(np.float16)  # of the mapped file
    scale *= np.float16(2)
    return str(tensor.name)
