"""Are the weights in a file those that were to be written? Dequantized, each block must be near its source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from phibench.verify.seeded_models import Model, Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.verify.seeded_models import Weights

EXACT = 0.01  # rounding to bf16 is off by 0.4 % at most
BLOCK = 32  # weights whose error is judged together: the smallest block with a scale of its own in any format
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Off(NamedTuple):
    """A tensor of the file that is not what it should be."""

    name: str
    error: float
    limit: float


class Check(NamedTuple):
    """``weights``: of an untied model, for the reference; ``error``: the worst matrix's; ``off``: worst first."""

    weights: Weights
    error: float
    off: tuple[Off, ...]


def check(model: Model, found: Iterable[Stored], limit: float) -> Check:
    """The file's weights, where they are within ``limit`` of the source; else the source's own.

    So a damaged tensor shows twice: here by its name, and in the answers as the engine's distance from what was meant.
    Norms, biases and factors are never quantized, so for them the limit is EXACT at most.
    """
    import numpy as np

    source = model.source
    source.setdefault(_HEAD, source[_EMBEDDING])
    weights, seen, errors, off = dict(source), set[str](), [0.0], []
    for one in found:
        meant = np.concatenate([source[name][rows] for name, rows in one.places])
        seen |= {name for name, _ in one.places}
        error = block_error(meant, one.values)
        allowed = limit if meant.ndim > 1 else min(limit, EXACT)
        errors += [error] if meant.ndim > 1 else []
        if error <= allowed:
            _put(weights, one)
        else:
            off.append(Off(one.name, error, allowed))
    missing = model.weights.keys() - seen - ({_HEAD, _EMBEDDING} if model.shape.tied else set())
    off += [Off(name, math.inf, limit) for name in sorted(missing)]
    for absent, other in ((_HEAD, _EMBEDDING), (_EMBEDDING, _HEAD)):
        if absent not in seen:
            weights[absent] = weights[other]
    kept = {name: weights[name] for name in {**model.weights, _HEAD: None}}
    return Check(kept, max(errors), tuple(sorted(off, key=lambda one: -one.error / one.limit)))


def block_error(meant: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The largest error of a block, relative to the block: root mean squares of BLOCK neighbours in a row."""
    import numpy as np

    if meant.shape != found.shape:
        return float("inf")
    size = BLOCK if meant.shape[-1] % BLOCK == 0 else meant.shape[-1]
    off, of = (np.square(np.float64(x)).reshape(-1, size).mean(1) for x in (found - meant, meant))
    return float(np.sqrt(off / of).max())


def _put(weights: Weights, one: Stored) -> None:
    """Rows of a tensor to their places; a source is copied before it is changed."""
    done = 0
    for name, rows in one.places:
        values = weights[name].copy()
        count = len(values[rows])
        values[rows] = one.values[done : done + count]
        weights[name] = values
        done += count
