"""The bytes of synthetic weights: a pool per tensor type, and each tensor its own way through it.

Speed and memory do not depend on the values, as long as nothing is zero (GPUs run faster on zeros) and no two
tensors are byte-identical (engines and kernels share what is equal).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from phibench.catalog.tensor_types import TYPES, Tensor
from phibench.core.errors import unknown
from phibench.synth import quantizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 2  # raise it when the bytes change, so that cached files are not taken for new ones
SCALE = 0.02  # standard deviation; initializer_range of every Phi config in transformers
# Token embeddings tower over what the layers add. Otherwise attention averages all tokens into one, layer after
# layer, and deep routers send every token to the same few experts (seen: 8 of 16 in Phi-mini-MoE).
EMBEDDING_SCALE = 16.0
SEED = 0
# Blocks in a pool of about 2 million weights, by weights per block: primes, so that neither rows, nor experts,
# nor tensors meet the same place of the pool again.
POOL_BLOCKS = {1: 2097143, 32: 65521, 64: 32749, 128: 16381, 256: 8191}
SLOW_POOL_BLOCKS = 1021  # i-quants search a codebook: 2 million weights of IQ2_S take 15 s on one core
MAX_DRAWN = 1 << 20  # weights of an F32 tensor (norm, bias, router) that is drawn by itself
STRIDE = 1009  # blocks between the starts of two neighbouring tensors


def _gaussian(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    import numpy as np

    return rng.standard_normal(count, np.float32)


def _uniform(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    import numpy as np

    return (rng.random(count, np.float32) - np.float32(0.5)) * np.float32(math.sqrt(12))


def _heavy_tailed(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Student's t with three degrees of freedom (variance 3): outliers as trained weights have them, and worse."""
    import numpy as np

    return (rng.standard_t(3, count) / math.sqrt(3)).astype(np.float32)


FILLINGS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float32]]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "heavy-tailed": _heavy_tailed,
}


def tiled(pool: memoryview, size: int, start: int) -> Iterator[memoryview]:
    """``size`` bytes in pieces: the pool from ``start`` on, over and over."""
    start %= len(pool)
    while size:
        piece = pool[start : start + size]
        yield piece
        size -= len(piece)
        start = 0


class Filler:
    """Makes the same bytes for the same plan on every machine; holds one pool of 1 to 5 MB per tensor type."""

    def __init__(self, filling: str = "gaussian") -> None:
        if filling not in FILLINGS:
            raise unknown("filling", filling, FILLINGS, f"there are: {', '.join(FILLINGS)}")
        self._draw = FILLINGS[filling]
        self._pools: dict[tuple[str, float], memoryview] = {}

    def chunks(self, tensor: Tensor, index: int) -> Iterator[memoryview]:
        """The bytes of tensor number ``index`` of a plan, in pieces of a few MB."""
        if tensor.type == "F32" and math.prod(tensor.shape) <= MAX_DRAWN:
            yield memoryview(self._drawn(tensor, index).tobytes())
            return
        pool = self._pool(tensor.type, EMBEDDING_SCALE if tensor.name == "token_embd.weight" else SCALE)
        block_bytes = TYPES[tensor.type].block_bytes
        yield from tiled(pool, tensor.bytes, index * STRIDE * block_bytes)

    def _drawn(self, tensor: Tensor, index: int) -> NDArray[np.float32]:
        import numpy as np

        rng = np.random.default_rng((SEED, index))
        values = self._draw(rng, math.prod(tensor.shape)) * np.float32(SCALE)
        if tensor.name.endswith("norm.weight"):
            values += 1
        elif tensor.name.startswith("rope_factors"):
            values = 1 + np.abs(values)
        return values

    def _pool(self, type_name: str, scale: float) -> memoryview:
        import numpy as np

        if (type_name, scale) not in self._pools:
            number, block, _ = TYPES[type_name]
            blocks = SLOW_POOL_BLOCKS if type_name.startswith("IQ") else POOL_BLOCKS[block]
            rng = np.random.default_rng((SEED, 1 << 32, number))
            values = self._draw(rng, blocks * block) * np.float32(scale)
            self._pools[type_name, scale] = memoryview(quantizer.quantize(type_name, values))
        return self._pools[type_name, scale]
