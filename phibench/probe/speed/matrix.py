"""Matrix rate of the processor: float32 by numpy's BLAS, bfloat16 by torch where it is installed.

A large square product counts 2 n^3 operations and hardly waits for memory. It bounds how fast a prompt can be read;
an engine's own kernels may be faster (integer products) or slower.
Run by hand: ``python -m phibench.probe.speed.matrix --threads 2`` prints JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Callable

import msgspec

from phibench.probe.speed import child

_SECONDS = 0.8  # of each data type, after a first small product
_LEAST_ROUNDS = 3
_SMALL, _LARGE = 512, 2048
_SLOW_FLOPS_S = 2e10  # below it the large product takes a second and the small one must do


def rates(threads: int) -> dict[str, float] | str:
    """FLOP/s by data type ("float32", "bfloat16"), or the reason why there is none."""
    found: dict[str, float] = {}
    reason = ""
    for kind in ("float32", *(("bfloat16",) if importlib.util.find_spec("torch") else ())):
        answer = child.ask(__spec__.name, ["--threads", threads, "--type", kind], dict[str, float], 60, threads)
        if isinstance(answer, str):
            reason = reason or answer
        else:
            found |= {name: rate for name, rate in answer.items() if 0 < rate < math.inf}
    return found or f"not measured: {reason or 'no answer'}"


def best(product: Callable[[int], object]) -> float:
    """FLOP/s of the best round; ``product(n)`` multiplies two n x n matrices and waits for the result."""
    product(_SMALL)
    rate = _rate(product, _SMALL)
    size = _LARGE if rate >= _SLOW_FLOPS_S else _SMALL
    product(size)
    began, rounds = time.perf_counter(), 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() - began < _SECONDS:
        rate = max(rate, _rate(product, size))
        rounds += 1
    return rate


def _rate(product: Callable[[int], object], size: int) -> float:
    start = time.perf_counter()
    product(size)
    return 2.0 * size**3 / max(time.perf_counter() - start, 1e-9)


def _numpy() -> float:
    import numpy as np

    values = np.random.default_rng(0).standard_normal((_LARGE, _LARGE), dtype=np.float32)
    out = np.empty_like(values)
    square = {n: (np.ascontiguousarray(values[:n, :n]), np.ascontiguousarray(out[:n, :n])) for n in (_SMALL, _LARGE)}
    return best(lambda n: np.matmul(square[n][0], square[n][0], out=square[n][1]))


def _torch(threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    values = torch.randn(_LARGE, _LARGE, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    square = {n: values[:n, :n].contiguous() for n in (_SMALL, _LARGE)}
    return best(lambda n: square[n] @ square[n])


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description="matrix rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--type", choices=("float32", "bfloat16"), default="float32")
    chosen = parser.parse_args()
    rate = _numpy() if chosen.type == "float32" else _torch(chosen.threads)
    sys.stdout.buffer.write(msgspec.json.encode({chosen.type: rate}) + b"\n")


if __name__ == "__main__":
    main()
