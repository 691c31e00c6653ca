"""The bytes of each tensor: noise in tiles, or given weights, quantized as the builder does it.

Quantizing is ONNX Runtime's own: the functions of its MatMulNBitsQuantizer, so blocks and scales are the builder's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from phibench.catalog.plans import hf_config
from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.plans.base import Plan
from phibench.catalog.tensor_types import Tensor
from phibench.core import extras
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Shape
from phibench.synth import fill

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = Callable[[str], NDArray[np.float32]]  # a Hugging Face name; shape (out, in)

VERSION = 1  # raise it when the bytes change, so that cached folders are not taken for new ones
# Embeddings tower over what the layers add, as in fill.py, but an fp16 head that shares them must stay below 65504.
EMBEDDING_SCALE = 1.0
REALS = {"fp32": "float32", "fp16": "float16"}


class Part(NamedTuple):
    """One initializer. ``dims`` in ONNX order, ``kind`` as numpy names it."""

    name: str
    dims: tuple[int, ...]
    kind: str

    @property
    def bytes(self) -> int:
        return math.prod(self.dims) * {"uint8": 1, "float16": 2, "float32": 4}[self.kind]


def parts(tensor: Tensor) -> tuple[Part, ...]:
    """The initializers that a tensor of a plan is stored as."""
    if tensor.type in REALS:
        looked_up = tensor.name.startswith(("model.embed_tokens", "cos_cache", "sin_cache"))  # rows by id or position
        dims = tensor.shape[::-1] if looked_up else tensor.shape
        return (Part(tensor.name, dims, REALS[tensor.type]),)
    bits, (inner, outer) = plan_onnx.BITS[tensor.type], tensor.shape
    blocks = -(-inner // plan_onnx.BLOCK)
    packed = Part(f"{tensor.name}_Q{bits}", (outer, blocks, plan_onnx.BLOCK * bits // 8), "uint8")
    return packed, Part(f"{tensor.name}_scales", (outer, blocks), "float32")


def quantize(kind: str, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Blocks and scales of a matrix of shape (out, in); shapes as :func:`parts` tells them."""
    import numpy as np

    outer, inner = values.shape
    blocks, bits = -(-inner // plan_onnx.BLOCK), plan_onnx.BITS[kind]
    packed = np.zeros((outer, blocks, plan_onnx.BLOCK * bits // 8), np.uint8)
    scales = np.zeros((outer, blocks), np.float32)
    unused = np.zeros((outer, -(-blocks * bits // 8)), np.uint8)  # zero points of the asymmetric form
    columns = np.ascontiguousarray(values.T)
    _quantizers()[kind](packed, columns, scales, unused, plan_onnx.BLOCK, outer, inner, True)
    return packed, scales


class Noise:
    """Makes the same bytes for the same plan on every machine; holds one pool of 1 to 10 MB per type."""

    def __init__(self, plan: Plan) -> None:
        self._embedding = plan.embedding
        self._pools: dict[tuple[str, float], tuple[memoryview, ...]] = {}

    def chunks(self, tensor: Tensor, index: int) -> Iterator[memoryview]:
        """The bytes of every part of tensor number ``index``, in pieces of a few MB. No two tensors are alike."""
        if len(tensor.shape) == 1:
            yield memoryview(_drawn(tensor, index).tobytes())
            return
        pools = self._pool(tensor.type, EMBEDDING_SCALE if tensor.name == self._embedding else fill.SCALE)
        for part, pool in zip(parts(tensor), pools, strict=True):
            block_bytes = len(pool) // _pool_shape(tensor.type)[0]
            yield from fill.tiled(pool, part.bytes, index * fill.STRIDE * block_bytes)

    def _pool(self, kind: str, scale: float) -> tuple[memoryview, ...]:
        import numpy as np

        if (kind, scale) not in self._pools:
            rng = np.random.default_rng((fill.SEED, 1 << 33, plan_onnx.BITS[kind]))
            values = rng.standard_normal(_pool_shape(kind), np.float32) * np.float32(scale)
            found = (values.astype(REALS[kind]),) if kind in REALS else quantize(kind, values)
            self._pools[kind, scale] = tuple(memoryview(one.tobytes()) for one in found)
        return self._pools[kind, scale]


class Given:
    """The caller's weights, one tensor at a time."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        self._shape, self._weights = plan_onnx.shape_of(plan), weights

    def chunks(self, tensor: Tensor, index: int) -> Iterator[memoryview]:  # noqa: ARG002 (as Noise has it)
        """The bytes of every part of a tensor."""
        import numpy as np

        values = np.concatenate([self._weights(name)[rows] for name, rows in sources(tensor.name, self._shape)])
        if tensor.type not in REALS:
            found: tuple[NDArray[np.generic], ...] = quantize(tensor.type, values.astype(np.float32))
        elif values.ndim == 2 and not tensor.name.startswith("model.embed_tokens"):
            found = (values.T.astype(REALS[tensor.type]),)
        else:
            found = (values.astype(REALS[tensor.type]),)
        for one in found:
            yield memoryview(one.tobytes())


def sources(name: str, shape: Shape) -> list[tuple[str, slice]]:
    """Which rows of which Hugging Face tensors a tensor of a plan is made of, one below the other."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    slices = {"q_proj": slice(query), "k_proj": slice(query, query + key), "v_proj": slice(query + key, None)}
    slices |= {"gate_proj": slice(shape.ffn), "up_proj": slice(shape.ffn, None)}
    phi2 = shape.architecture == "phi2"
    if name == "lm_head.MatMul.weight" and shape.tied:
        name = "model.embed_tokens.weight"
    if ".final_norm_layernorm." in name:
        final = "model.final_layernorm" if phi2 else "model.norm"
        return [(f"{final}.{name.rpartition('.')[2]}", slice(None))]
    name = name.replace(".MatMul.", ".").replace(".Add.", ".").replace(".attn.", ".self_attn.")
    head, _, tail = name.rpartition(".")
    projection = head.rpartition(".")[2]
    if phi2 and projection == "qkv_proj":
        return [(f"{head.replace('qkv_proj', one)}.{tail}", slice(None)) for one in ("q_proj", "k_proj", "v_proj")]
    if phi2:
        return [(name.replace("o_proj", "dense"), slice(None))]
    whole = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj"}
    whole |= {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}
    rows = slices.get(projection, slice(None))
    return [(f"{head.replace(projection, whole.get(projection, projection))}.{tail}", rows)]


def table(plan: Plan, name: str, rope: hf_config.Factors | None = None) -> NDArray[np.generic]:
    """Cosines or sines by position and pair of rotary dimensions: ``cos_cache``, ``sin_cache_small``, ...

    LongRoPE divides frequencies by its factors and stretches the result by sqrt(1 + ln(context / original) /
    ln(original)), short or long.
    """
    import numpy as np

    shape = plan_onnx.shape_of(plan)
    original = shape.original_context or shape.context
    powers = np.arange(0, shape.rope_dims, 2, dtype=np.float32) / np.float32(shape.rope_dims)
    periods = np.float32(shape.rope_theta) ** powers
    stretch, positions = 1.0, shape.context
    if shape.longrope:
        short, long = rope or hf_config.factors(shape)
        small = name.endswith("_small")
        periods *= np.array(short if small else long, np.float32)
        positions = original if small else shape.context
        ratio = shape.context / original
        stretch = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
    angles = np.outer(np.arange(positions, dtype=np.float32), np.float32(1) / periods)
    values = (np.cos(angles) if name.startswith("cos") else np.sin(angles)) * np.float32(stretch)
    return values.astype(REALS[plan_onnx.real_type(plan.quantization)])


def check_packages() -> None:
    """Raises PhibenchError (exit 1) with the pip line when a package is missing or cannot be loaded."""
    try:
        import onnx  # noqa: F401

        _quantizers()
    except ModuleNotFoundError as error:
        raise PhibenchError(f"{error.name} is not installed: {extras.line('onnxruntime')}", FAILED) from None
    except ImportError as error:
        raise PhibenchError(f"onnx or onnxruntime cannot be loaded: {error}", FAILED) from None


@functools.cache
def _quantizers() -> dict[str, Callable[..., None]]:
    from onnxruntime.capi import _pybind_state as runtime

    return {"int4": runtime.quantize_matmul_4bits, "int8": runtime.quantize_matmul_8bits}


def _drawn(tensor: Tensor, index: int) -> NDArray[np.generic]:
    """A norm or a bias by itself."""
    import numpy as np

    rng = np.random.default_rng((fill.SEED, index))
    values = rng.standard_normal(math.prod(tensor.shape), np.float32) * np.float32(fill.SCALE)
    if tensor.name.endswith("norm.weight"):
        values += 1
    return values.astype(REALS[tensor.type])


def _pool_shape(kind: str) -> tuple[int, int]:
    """Blocks, and weights in each."""
    block = 1 if kind in REALS else plan_onnx.BLOCK
    return fill.POOL_BLOCKS[block], block
