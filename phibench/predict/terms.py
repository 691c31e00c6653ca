"""How long a step or a prompt should take where nobody has measured: seconds by kernel, from bandwidth and FLOP/s.

This is what is believed before anything was measured here; ``fit`` moves it to what was.
"""

from __future__ import annotations

import math

from phibench import backends
from phibench.backends.rates import KV, THREAD_SHARE, Rates, Span
from phibench.core import units
from phibench.core.nouns import Basis, Device, Grounds, Machine, Noun
from phibench.predict.costs import Cost, kernel_type

FIXED = "fixed"  # what no rate shortens: kernels started, threads waited for
_CPU_LAYER_S = 30e-6  # of one layer's kernels on a cpu, each a wait for all threads (assumed)
Z80 = 1.2816  # standard deviations on either side that hold 80 % of a normal distribution


class Terms(Noun, frozen=True, kw_only=True):
    """Seconds by kernel, ``fixed`` among them; ``sd`` of the logarithm of their sum."""

    seconds: dict[str, float]
    sd: float
    basis: Basis
    because: str
    grounds: Grounds

    @property
    def total_s(self) -> float:
        return math.fsum(self.seconds.values())


def terms(cost: Cost, machine: Machine, device: Device) -> Terms | None:
    """None where nothing says: no bandwidth, or no matrix rate."""
    if cost.phase == "decode":
        return _decode(cost, device, machine.limits.threads)
    return _prefill(cost, device)


def matrix_rate(device: Device) -> tuple[float, Basis, str] | None:
    """FLOP/s, where it comes from, and in words: the largest that was measured, else the data sheet's."""
    if device.matrix_flops_s:
        kind, rate = max(device.matrix_flops_s.items(), key=lambda item: item[1])
        return rate, "probed", f"{kind} product measured here"
    return (device.flops_s, "spec", "data sheet") if device.flops_s else None


def _decode(cost: Cost, device: Device, threads: int) -> Terms | None:
    bandwidth = device.read_bytes_s
    if not bandwidth:
        return None
    rates, basis = _rates(cost.backend), device.basis or "spec"
    slow, fast = rates.read_share["cpu" if device.kind == "cpu" else "other", basis]
    spans: dict[str, Span] = {}
    for kernel, count in cost.bytes_by_type.items():
        attention = cost.flops_by_type[kernel] if kernel_type(kernel) == KV and device.kind == "cpu" else 0.0
        short, long = (
            max(
                count / _bytes_s(rates, kernel, device, threads, bandwidth * share, more),
                attention / (threads * rates.attention_gflop_s * 1e9 * more),
            )
            for share, more in ((fast, THREAD_SHARE[1]), (slow, THREAD_SHARE[0]))
        )
        spans[kernel] = (short, long)
    spans[FIXED] = _fixed(cost, device)
    source = "probed" if basis == "probed" else "data sheet"
    grounds = Grounds(bytes=cost.bytes, rate=bandwidth, share=math.sqrt(slow * fast))
    because = f"{units.gb(cost.bytes)} per token at {units.gb(bandwidth)}/s ({source})"
    return _middle(spans, basis, because, grounds)


def _bytes_s(rates: Rates, kernel: str, device: Device, threads: int, memory: float, more: float) -> float:
    """What memory gives, or on a CPU what its threads can multiply where that is less."""
    if device.kind != "cpu":
        return memory
    return min(memory, threads * rates.thread_bytes_s(kernel_type(kernel)) * more)


def _prefill(cost: Cost, device: Device) -> Terms | None:
    found = matrix_rate(device)
    if found is None:
        return None
    rate, basis, source = found
    slow, fast = _rates(cost.backend).matrix_share["cpu" if device.kind == "cpu" else "other", basis]
    spans = {kernel: (flops / (rate * fast), flops / (rate * slow)) for kernel, flops in cost.flops_by_type.items()}
    spans[FIXED] = _fixed(cost, device)
    grounds = Grounds(flops=cost.flops, rate=rate, share=math.sqrt(slow * fast))
    because = f"{cost.flops / cost.tokens / 1e9:.3g} GFLOP per token at {rate / 1e9:.3g} GFLOP/s ({source})"
    return _middle(spans, basis, because, grounds)


def _fixed(cost: Cost, device: Device) -> Span:
    once = _CPU_LAYER_S * cost.layers if device.kind == "cpu" else 0.0
    return once, once


def _middle(spans: dict[str, Span], basis: Basis, because: str, grounds: Grounds) -> Terms:
    """The geometric mean of both ends, kernel by kernel, and how far the sums of the ends are apart."""
    short, long = (math.fsum(span[end] for span in spans.values()) for end in (0, 1))
    return Terms(
        seconds={kernel: math.sqrt(span[0] * span[1]) for kernel, span in spans.items() if span[0]},
        sd=math.log(long / short) / 2 / Z80, basis=basis, because=because, grounds=grounds,
    )  # fmt: skip


def _rates(backend: str) -> Rates:
    found = backends.load(backend).RATES
    assert found is not None, f"nobody recommends {backend}"
    return found
