"""Distance between two answers, the limits of it, and what a distance beyond them says."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phibench.core import files, text
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Noun
from phibench.verify.seeded_models import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIMITS = Path(__file__).with_name("formats")  # FORMAT.toml has those of a format
CLEAR = 0.1  # a greedy choice counts where the reference prefers it by this much probability


class Limit(Noun, frozen=True, kw_only=True):
    """How far an engine's arithmetic may lead from float32: nat, share, relative error of a block of weights."""

    architecture: str
    format: str
    quantization: str
    kl_mean: float
    kl_max: float
    agreement: float
    weights: float


class _Limits(Noun, frozen=True, kw_only=True):
    limit: tuple[Limit, ...]


class Distance(Noun, frozen=True, kw_only=True):
    """Of an answer from its reference. ``divergence``: nat at every position of every prompt."""

    divergence: tuple[tuple[float, ...], ...]
    agreement: float | None  # None where the reference is never clear

    @property
    def flat(self) -> list[float]:
        return [value for row in self.divergence for value in row]

    @property
    def kl_mean(self) -> float:
        return sum(self.flat) / len(self.flat)

    @property
    def kl_max(self) -> float:
        return max(self.flat, key=lambda value: math.inf if math.isnan(value) else value)


@functools.cache
def limits() -> dict[tuple[str, str, str], Limit]:
    """(architecture, format, quantization) -> limit."""
    table = (one for path in sorted(LIMITS.glob("*.toml")) for one in files.read_strict(path, _Limits).limit)
    return {(one.architecture, one.format, one.quantization): one for one in table}


def limit(architecture: str, fmt: str, quantization: str) -> Limit:
    """Raises PhibenchError (exit 2) for a quantization that no limit was found for."""
    known = limits()
    if found := known.get((architecture, fmt, quantization)):
        return found
    names = dict.fromkeys(name for _, of, name in known if of == fmt)
    raise PhibenchError(f"no limit is known for {quantization} ({fmt}); verify knows: {', '.join(names)}")


def distance(reference: Sequence[NDArray[np.float32]], answer: Sequence[NDArray[np.float32]]) -> Distance:
    """Kullback-Leibler divergence of the answer from the reference, and the share of equal greedy choices."""
    import numpy as np

    divergence, clear, same = [], 0, 0
    with np.errstate(invalid="ignore"):  # what is no number stays none, and is told
        for meant, given in zip(reference, answer, strict=True):
            p, q = _log_softmax(meant), _log_softmax(given)
            divergence.append(tuple(np.maximum((np.exp(p) * (p - q)).sum(-1), 0.0).tolist()))
            second, first = np.sort(np.exp(p), -1)[:, -2:].T
            sure = first - second > CLEAR
            clear += int(sure.sum())
            same += int((p.argmax(-1) == q.argmax(-1))[sure].sum())
    return Distance(divergence=tuple(divergence), agreement=same / clear if clear else None)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    import numpy as np

    exact = logits.astype(np.float64)
    return exact - np.logaddexp.reduce(exact, -1, keepdims=True)


def objection(found: Distance, allowed: Limit, prompts: Sequence[Prompt], original_context: int | None) -> str | None:
    """Why this is not the same answer: how much, from where on, and what to look at. None when it is the same."""
    if any(math.isnan(value) for value in found.flat):
        return "the answer contains NaN; look for an overflow"
    most = allowed.kl_max
    over = ((i, at, kl) for i, row in enumerate(found.divergence) for at, kl in enumerate(row) if kl > most)
    if first := next(over, None):
        i, at, kl = first
        where = f"{f'{at} steps' if at else 'right'} after a prompt of {len(prompts[i].tokens)} tokens"
        look = _suspect(found, most, prompts, original_context)
        return f"KL {_nat(kl)} {where}, limit {_nat(most)}; look at {look}"
    if found.kl_mean > allowed.kl_mean:
        return f"KL {_nat(found.kl_mean)} on average, limit {_nat(allowed.kl_mean)}; look at rounding and accumulation"
    if found.agreement is not None and found.agreement < allowed.agreement:
        return f"greedy choices agree in {found.agreement:.0%}, limit {allowed.agreement:.0%}"
    return None


def _nat(value: float) -> str:
    return f"{text.number(value)} nat" if value >= 1e-6 else f"{value:.1e} nat"


def _suspect(found: Distance, most: float, prompts: Sequence[Prompt], original_context: int | None) -> str:
    """What a person should look at first, by where the answers part."""
    off = [[kl > most for kl in row] for row in found.divergence]
    if not any(row[0] for row in off):
        return "positions and the KV cache between prompt and first step"
    if original_context:
        long = [len(prompt.tokens) > original_context for prompt in prompts]
        parted = {is_long for is_long, row in zip(long, off, strict=True) if any(row)}
        if len(set(long)) == 2 and len(parted) == 1:
            return f"LongRoPE's {'long' if parted.pop() else 'short'} factors"
    return "norms, the rotary width and its factors, the order of gate and up, scales"
