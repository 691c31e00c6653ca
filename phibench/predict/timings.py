"""Times of a use from the rates of prefill and decode."""

from __future__ import annotations

from phibench.core.nouns import Estimate, Noun
from phibench.predict.basis import worst


class Use(Noun, frozen=True, kw_only=True):
    """A goal's workload as the predictor needs it; ``thinking_tokens`` come before the answer, None is not known."""

    prompt_tokens: int
    new_tokens: int
    thinking_tokens: int | None = 0

    @property
    def generated(self) -> int:
        return self.new_tokens + (self.thinking_tokens or 0)

    @property
    def depth(self) -> float:
        """Mean number of tokens in the KV cache while decoding."""
        return self.prompt_tokens + self.generated / 2


def timings(use: Use, prefill: Estimate | None, decode: Estimate | None) -> dict[str, Estimate]:
    """ttft_s, tpot_s and answer_s from the two speeds; what cannot be said is left out."""
    found: dict[str, Estimate] = {}
    if prefill:
        found["ttft_s"] = _inverse(prefill, use.prompt_tokens, f"{use.prompt_tokens} prompt tokens")
    if decode:
        found["tpot_s"] = _inverse(decode, 1, "one token")
    if prefill and decode and use.thinking_tokens is not None:
        first, later, count = found["ttft_s"], found["tpot_s"], max(use.generated - 1, 0)
        thinks = f", of them {use.thinking_tokens} thinking (assumed)" if use.thinking_tokens else ""
        found["answer_s"] = Estimate(
            value=first.value + count * later.value,
            low=first.low + count * later.low,
            high=first.high + count * later.high,
            basis=worst(first.basis, later.basis, "assumed" if use.thinking_tokens else "exact"),
            because=f"TTFT + {count} tokens x TPOT{thinks}",
            doubt=later.doubt or first.doubt,
        )
    return found


def _inverse(speed: Estimate, tokens: int, what: str) -> Estimate:
    return Estimate(
        value=tokens / speed.value,
        low=tokens / speed.high,
        high=tokens / speed.low,
        basis=speed.basis,
        because=f"{what}; {speed.because}",
        doubt=speed.doubt,
    )
