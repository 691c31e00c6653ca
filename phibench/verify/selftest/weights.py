"""The tiny models that an engine must answer before it is trusted, with the same bytes on every machine.

GGUF: one file with every tensor type of the catalog. Its blocks are random bits, so no quantizer of the engine has a
part in it: every bit pattern is a valid block, once the scales of the block are set to a sensible number. When any byte
changes, ``make answers`` writes what is right anew, and ``trust.VERSION`` is raised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from phibench import catalog
from phibench.catalog import tensor_types
from phibench.catalog.plans import gguf_layout
from phibench.catalog.tensor_types import Tensor
from phibench.core import files
from phibench.verify import seeded_models

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VARIANT = "phi-4-mini-instruct"  # grouped heads, partial rotary, LongRoPE, gate and up in one
LAYERS = 6  # four matrices each: room for every type
PROMPT, STEPS = 96, 7  # tokens: more than the 64 from which engines take their kernels for batches
SEED = 13


class Scales(NamedTuple):
    """Where a block has its fp16 numbers (ggml-common.h), and what the weights are when the first of them is 1.

    ``at``: byte offsets of the scale and of the offset, if the type has one; ``offset``: the second as a multiple of
    the first that makes the mean of random weights zero; ``deviation``: standard deviation of random weights then.
    """

    at: tuple[int, ...]
    deviation: float
    offset: float = 0.0


# Deviations are those of blocks of random bits, dequantized by the gguf package (tests/verify/test_selftest.py).
BLOCKS = {
    "Q4_0": Scales((0,), 4.61), "Q4_1": Scales((0, 2), 4.61, -7.5), "Q5_0": Scales((0,), 9.22),
    "Q5_1": Scales((0, 2), 9.22, -15.5), "Q8_0": Scales((0,), 73.9), "Q2_K": Scales((80, 82), 13.9, 1.5),
    "Q3_K": Scales((108,), 43.4), "Q4_K": Scales((0, 2), 257.0, 7.5), "Q5_K": Scales((0, 2), 528.0, 15.5),
    "Q6_K": Scales((208,), 1362.0), "IQ2_XXS": Scales((0,), 53.2), "IQ2_XS": Scales((0,), 55.8),
    "IQ2_S": Scales((0,), 56.5), "IQ3_XXS": Scales((0,), 142.0), "IQ3_S": Scales((0,), 140.0),
    "IQ1_S": Scales((0,), 7.19), "IQ1_M": Scales((), 7.19), "IQ4_NL": Scales((0,), 67.2),
    "IQ4_XS": Scales((0,), 1246.0),
}  # fmt: skip
FLOATS = ("F16", "BF16")
TYPES = (*FLOATS, *BLOCKS)


class Plain:
    """The same numbers from every version of numpy: raw bits of PCG64, whose stream is promised (NEP 19)."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self._bits = np.random.PCG64(seed)

    def standard_normal(self, size: tuple[int, ...] | int, /) -> NDArray[np.float64]:
        """Not normal but uniform, with the same variance: bits alone decide, and no library's logarithm."""
        count = math.prod(size) if isinstance(size, tuple) else size
        return self.uniform(-math.sqrt(3), math.sqrt(3), count).reshape(size)

    def uniform(self, low: float, high: float, size: int, /) -> NDArray[np.float64]:
        import numpy as np

        share = (self._bits.random_raw(size) >> 11) * 2.0**-53
        found: NDArray[np.float64] = (low + (high - low) * share).astype(np.float64)
        return found

    def choice(self, options: tuple[float, float], size: int, /) -> NDArray[np.float64]:
        import numpy as np

        found: NDArray[np.float64] = np.asarray(options)[self._bits.random_raw(size) >> 63]
        return found

    def bytes(self, count: int) -> NDArray[np.uint8]:
        import numpy as np

        return self._bits.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]


def model() -> seeded_models.Model:
    """The small Phi-4-mini with more layers and a head of its own; the weights of ONNX and torch, norms of GGUF."""
    variant = seeded_models.shrunk(catalog.variant(VARIANT))
    assert variant.shape is not None
    shape = msgspec.structs.replace(variant.shape, layers=LAYERS, tied=False)
    variant = msgspec.structs.replace(variant, shape=shape)
    return seeded_models.Model(
        variant, seeded_models.weights(shape, Plain(SEED)), seeded_models.factors(shape, Plain(SEED + 1))
    )


def prompt() -> seeded_models.Prompt:
    ids = [int(one) for one in Plain(SEED + 2).uniform(3, seeded_models.VOCAB, PROMPT + STEPS)]
    return seeded_models.Prompt(tokens=tuple(ids[:PROMPT]), then=tuple(ids[PROMPT:]))


def tensors(made: seeded_models.Model) -> Iterator[Tensor]:
    """Of the GGUF file: a type for each matrix, in turn."""
    turn = 0
    for name, dims in gguf_layout.weight_shapes(made.shape, LAYERS):
        if len(dims) == 1:
            yield tensor_types.tensor(name, dims, "F32")
        else:
            yield tensor_types.tensor(name, dims, TYPES[turn % len(TYPES)])
            turn += 1


def write_gguf(made: seeded_models.Model, folder: Path) -> Path:
    """The file with every type. Raises PhibenchError (exit 1) when it cannot be written."""
    from phibench.verify.formats import gguf

    wanted = list(tensors(made))
    keys = {
        "general.architecture": made.shape.architecture,
        "general.type": "model",
        "general.name": "phibench self-test",
        "general.file_type": 1,
        "general.quantization_version": 2,
        **gguf_layout.key_values(made.shape, LAYERS),
    }
    path, bits = folder / "selftest.gguf", Plain(SEED + 3)
    with files.atomic(path) as stream:
        stream.write(tensor_types.header(keys, wanted))
        for tensor in wanted:
            if tensor.type == "F32":
                (name,) = gguf.hf_names(made.shape, tensor.name)
                data = made.source[name].astype("<f4").tobytes()
            else:
                data = matrix(tensor, bits, _deviation(tensor)).tobytes()
            stream.write(data.ljust(tensor_types.padded(len(data)), b"\0"))
    return path


def _deviation(tensor: Tensor) -> float:
    """What makes a product about as large as its input; embeddings are rows that are looked up."""
    if tensor.name == "token_embd.weight":
        return 1.0
    return (2.0 if tensor.name == "output.weight" else 1.2) / math.sqrt(tensor.shape[0])


def matrix(tensor: Tensor, bits: Plain, deviation: float) -> NDArray[np.uint8]:
    """Random blocks of the tensor's type whose weights have this standard deviation."""
    import numpy as np

    count = math.prod(tensor.shape)
    if tensor.type in FLOATS:
        values = (bits.standard_normal(count) * deviation).astype("<f4")
        if tensor.type == "F16":
            return values.astype("<f2").view(np.uint8)
        return (values.view("<u4") >> 16).astype("<u2").view(np.uint8)
    size = tensor_types.TYPES[tensor.type].block_bytes
    blocks = bits.bytes(tensor.bytes).reshape(-1, size).copy()
    known = BLOCKS[tensor.type]
    scale = deviation / known.deviation
    for at, value in zip(known.at, (scale, scale * known.offset), strict=False):
        blocks[:, at : at + 2] = np.frombuffer(np.float16(value).astype("<f2").tobytes(), np.uint8)
    if tensor.type == "IQ1_M":
        _set_iq1_m(blocks, np.float16(scale))
    if tensor.type == "Q8_0":  # no quantizer makes -128, and kernels need not bear it
        quants = blocks[:, 2:].view(np.int8)
        np.maximum(quants, -127, out=quants)
    return blocks


def _set_iq1_m(blocks: NDArray[np.uint8], scale: np.float16) -> None:
    """Its fp16 scale lies in the highest four bits of four 16-bit words at the end of a block."""
    import numpy as np

    number = int(np.frombuffer(scale.astype("<f2").tobytes(), "<u2")[0])
    words = blocks[:, 48:56].copy().view("<u2")
    for place in range(4):
        words[:, place] = (words[:, place] & 0x0FFF) | (((number >> 4 * place) & 0xF) << 12)
    blocks[:, 48:56] = words.view(np.uint8)
