"""How near a backend comes to what a device could do: its ``RATES``, which predictions multiply with.

Every range is (slow, fast), meant to hold for 80 % of machines, with its source; docs/predicting.md says what is not
validated yet. benchmarks/thread_rates.py times the threads.
"""

from __future__ import annotations

from phibench.core.nouns import Noun

Span = tuple[float, float]  # of a rate: (slow, fast); of a time: (short, long)
KV = "KV"
THREAD_SHARE: Span = (0.6, 1.6)  # of a thread's rate, on another CPU (assumed)


class Rates(Noun, frozen=True, kw_only=True):
    """Of a processor that was measured: ``read_share``: of its bandwidth, what decode reaches where it only waits for
    memory; ``matrix_share``: of a product that was measured, what prefill reaches, by the product's type, the better
    guide first. ``thread_gb_s``: GB/s of weights
    that one thread can multiply, by tensor type; where this is less than the thread's part
    of the bandwidth, decode waits for arithmetic. ``attention_gflop_s``: of one thread over the KV cache in decode.
    ``step_s``: of a step or a prompt, whatever the model. ``layer_s``: of a layer's kernels, whatever they read: each a
    wait for all threads, and what starts them.

    Of every other device: ``times`` the seconds that its class takes (phibench/predict/classes.toml, which llama.cpp's
    kernels were measured for), by phase, with ``times_sd`` of their logarithm.

    ``start_s``: what the engine takes before it opens anything, imports included; None: nobody timed it.
    ``open_gb_s``: GB/s at which weights are opened with their file in memory, by tensor type, "" those of all others:
    with the copies that are made in layouts of its kernels.
    """

    read_share: Span
    matrix_share: dict[str, Span]
    times: dict[str, float]
    times_sd: float
    thread_gb_s: dict[str, float]
    attention_gflop_s: float
    step_s: float = 0.0
    layer_s: float = 30e-6  # assumed
    start_s: float | None = None
    open_gb_s: dict[str, float] = {}  # noqa: RUF012  msgspec copies an empty default

    def opened_bytes_s(self, kind: str) -> float:
        return 1e9 * (self.open_gb_s.get(kind) or self.open_gb_s[""])

    def thread_bytes_s(self, kind: str) -> float:
        """A type that nobody timed counts as the slowest one that somebody did."""
        return 1e9 * self.thread_gb_s.get(kind, min(self.thread_gb_s.values()))
