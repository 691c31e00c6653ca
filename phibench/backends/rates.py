"""How near a backend comes to what a device could do: its ``RATES``, which predictions multiply with.

Every range is (slow, fast), meant to hold for 80 % of machines, with its source; docs/predicting.md says what is not
validated yet. benchmarks/thread_rates.py times the threads.
"""

from __future__ import annotations

from phibench.core.nouns import Noun

Span = tuple[float, float]  # of a rate: (slow, fast); of a time: (short, long)
Where = tuple[str, str]  # kind of device ("cpu" or "other"), basis of its figure
KV = "KV"
THREAD_SHARE: Span = (0.6, 1.6)  # of a thread's rate, on another CPU (assumed)


class Rates(Noun, frozen=True, kw_only=True):
    """``read_share``: of the stated bandwidth, what decode reaches where it only waits for memory.

    ``matrix_share``: of the matrix rate, what prefill reaches. ``thread_gb_s``: GB/s of weights that one CPU thread can
    multiply when they lie in its cache, by tensor type; where this is less than the thread's part of the bandwidth,
    decode waits for arithmetic. ``attention_gflop_s``: GFLOP/s of one CPU thread over the KV cache in decode.
    """

    read_share: dict[Where, Span]
    matrix_share: dict[Where, Span]
    thread_gb_s: dict[str, float]
    attention_gflop_s: float

    def thread_bytes_s(self, kind: str) -> float:
        """A type that nobody timed counts as the slowest one that somebody did."""
        return 1e9 * self.thread_gb_s.get(kind, min(self.thread_gb_s.values()))
