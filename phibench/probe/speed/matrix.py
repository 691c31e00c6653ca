"""Matrix rate of the processor: float32 by numpy's BLAS, bfloat16 by torch where it is installed.

A large square product counts 2 n^3 operations and hardly waits for memory. It bounds how fast a prompt can be read;
an engine's own kernels may be faster (integer products) or slower. Where other programs held the threads up, one thread
multiplies small matrices, which fit between what others do: no n threads multiply more than n times what one does.
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

from phibench.core.nouns import Noun, Rate
from phibench.probe.other_programs import Others
from phibench.probe.speed import child, doubts
from phibench.probe.system import cpu, gauges

_SECONDS = 0.8  # of each data type, after a first small product
_SMALL_SECONDS = 0.2  # of one thread: tens of rounds, each of few ms
_LEAST_ROUNDS = 3
_SMALL, _LARGE = 512, 2048
_SLOW_FLOPS_S = 2e10  # below it the large product takes a second and the small one must do


class Matrix(Noun, frozen=True, kw_only=True):
    """FLOP/s by data type ("float32", "bfloat16"); ``because`` says why there is none.

    Where there is a ``doubt``, an undisturbed rate lies between ``flops_s`` and ``most_flops_s``.
    """

    flops_s: dict[str, Rate] = msgspec.field(default_factory=dict)
    because: str = ""
    doubt: str = ""
    most_flops_s: dict[str, Rate] = msgspec.field(default_factory=dict)


class Product(Noun, frozen=True, kw_only=True):
    """The best round of one data type; the shares are means of all rounds, None where nobody tells.

    How long its threads had a core is no help: some BLAS wait awake for each other, some leave cores alone.
    ``one_flops_s``: of one thread with small matrices, where it was asked.
    """

    flops_s: float
    others_share: float | None = None
    steal_share: float | None = None
    one_flops_s: float | None = None


def rates(threads: int, cpus: float | None = None) -> Matrix:
    """What the processor multiplies with ``threads``; ``cpus``: what a quota grants, which is no disturbance."""
    found: dict[str, Product] = {}
    reason = ""
    for kind in ("float32", *(("bfloat16",) if importlib.util.find_spec("torch") else ())):
        answer = child.ask(__spec__.name, ["--threads", threads, "--type", kind], Product, 60, threads)
        if isinstance(answer, str):
            reason = reason or answer
        elif 0 < answer.flops_s < math.inf:
            found[kind] = answer
    if not found:
        return Matrix(because=f"not measured: {reason or 'no answer'}")
    return judged({kind: _with_one(kind, product, threads, cpus) for kind, product in found.items()}, threads, cpus)


def _with_one(kind: str, product: Product, threads: int, cpus: float | None) -> Product:
    """Numpy reads its number of threads when it is imported: one thread is another process, where it is needed."""
    if product.one_flops_s or not doubts.why(_kept(product, threads, cpus)):
        return product
    alone = child.ask(__spec__.name, ["--threads", 1, "--type", kind, "--small"], Product, 60)
    return product if isinstance(alone, str) else msgspec.structs.replace(product, one_flops_s=alone.flops_s)


def judged(found: dict[str, Product], threads: int, cpus: float | None = None) -> Matrix:
    """A rate is believed where others were about, too, if it comes near the most that its threads can do."""
    most, doubt = {}, ""
    for kind, product in found.items():
        kept = _kept(product, threads, cpus)
        whole = (product.one_flops_s or 0.0) * threads * doubts.granted(cpus, threads)
        left = max(0.1, 1.0 - kept.others_cpus / kept.cpus - kept.steal_share)
        bound = max(whole, product.flops_s) if whole else product.flops_s / left
        if (why := doubts.why(kept)) and doubts.is_off(product.flops_s, bound):
            doubt, most[kind] = doubt or f"too low: {why}", bound * doubts.MARGIN
    return Matrix(flops_s={kind: product.flops_s for kind, product in found.items()}, doubt=doubt, most_flops_s=most)


def _kept(product: Product, threads: int, cpus: float | None) -> doubts.Kept:
    return doubts.kept(threads, cpus, others_share=product.others_share, steal_share=product.steal_share)


# -------------------------------------------------------------------------------------------- in the child


def best(product: Callable[[int], object]) -> Product:
    """The best round; ``product(n)`` multiplies two n x n matrices and waits for the result."""
    product(_SMALL)
    size = _LARGE if _rate(product, _SMALL) >= _SLOW_FLOPS_S else _SMALL
    product(size)
    before, others, began = gauges.ticks(cpu.ROOT), Others(), time.perf_counter()
    found: list[float] = []
    while len(found) < _LEAST_ROUNDS or time.perf_counter() - began < _SECONDS:
        found.append(_rate(product, size))
    return Product(flops_s=max(found), others_share=others.share(), steal_share=gauges.stolen(before))


def best_small(product: Callable[[int], object]) -> float:
    """FLOP/s of the best of many short rounds: some fit between what other programs do."""
    product(_SMALL)
    began, found = time.perf_counter(), [0.0]
    while len(found) < _LEAST_ROUNDS or time.perf_counter() - began < _SMALL_SECONDS:
        found.append(_rate(product, _SMALL))
    return max(found)


def _rate(product: Callable[[int], object], size: int) -> float:
    start = time.perf_counter()
    product(size)
    return 2.0 * size**3 / max(time.perf_counter() - start, 1e-9)


def _numpy() -> Callable[[int], object]:
    import numpy as np

    values = np.random.default_rng(0).standard_normal((_LARGE, _LARGE), dtype=np.float32)
    out = np.empty_like(values)
    square = {n: (np.ascontiguousarray(values[:n, :n]), np.ascontiguousarray(out[:n, :n])) for n in (_SMALL, _LARGE)}
    return lambda n: np.matmul(square[n][0], square[n][0], out=square[n][1])


def _torch(threads: int) -> Product:
    import torch

    torch.set_num_threads(threads)
    values = torch.randn(_LARGE, _LARGE, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    square = {n: values[:n, :n].contiguous() for n in (_SMALL, _LARGE)}
    found = best(lambda n: square[n] @ square[n])
    torch.set_num_threads(1)
    return msgspec.structs.replace(found, one_flops_s=best_small(lambda n: square[n] @ square[n]))


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description="matrix rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--type", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--small", action="store_true", help="short rounds with small matrices")
    chosen = parser.parse_args()
    if chosen.small:
        found = Product(flops_s=best_small(_numpy()))
    elif chosen.type == "float32":
        found = best(_numpy())
    else:
        found = _torch(chosen.threads)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
