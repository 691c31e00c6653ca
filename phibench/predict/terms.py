"""How long a step or a prompt should take where nobody has measured: seconds by kernel, from bandwidth and FLOP/s.

This is what is believed before anything was measured here; ``fit`` moves it to what was.
"""

from __future__ import annotations

import math

import msgspec

from phibench import backends
from phibench.backends.rates import KV, THREAD_SHARE, Rates, Span
from phibench.core import units
from phibench.core.nouns import Basis, Device, Grounds, Machine, Noun
from phibench.predict import classes, device_class
from phibench.predict.classes import FIXED, Support
from phibench.predict.costs import Cost, Phase, kernel_type
from phibench.predict.device_class import Place

__all__ = ["FIXED", "Z80", "Terms", "terms"]

Z80 = 1.2816  # standard deviations on either side that hold 80 % of a normal distribution


class Terms(Noun, frozen=True, kw_only=True):
    """Seconds by kernel, ``fixed`` among them; ``sd`` of the logarithm of their sum.

    ``wandering``: how much of a change of the device's speed reaches them: what waits for arithmetic in part feels less
    of what happens to the memory; all of it in prompts, and where nobody tells reading and multiplying apart.
    ``doubt``: why the rate that they rest on is not believed; what it can be at most is in the ``sd``.
    """

    seconds: dict[str, float]
    sd: float
    basis: Basis
    because: str
    grounds: Grounds
    doubt: str = ""
    wandering: float = 1.0

    @property
    def total_s(self) -> float:
        return math.fsum(self.seconds.values())


def terms(cost: Cost, machine: Machine, device: Device, at: Place | None = None) -> Terms | None:
    """None where nothing says: no bandwidth, or no matrix rate. A processor that was measured has a model of its own,
    every other device that of its class. ``at``: its place, where that has been looked up."""
    if device.kind == "cpu" and cost.phase == "decode" and device.basis == "probed" and device.read_bytes_s:
        return _decode(cost, device, device.read_bytes_s, machine.limits.threads)
    if device.kind == "cpu" and cost.phase == "prefill" and device.matrix_flops_s:
        return _prefill(cost, device)
    return _of_class(cost, device, at or device_class.place(machine, device))


# ---------------------------------------------------------------------------------- from classes of devices


def _of_class(cost: Cost, device: Device, at: Place) -> Terms | None:
    table = classes.shipped()
    ops = classes.ops_s(table, at, cost.phase)
    if not ops or (not at.read_bytes_s if cost.phase == "decode" else at.is_cpu and not at.isa):
        return None
    at = at if at.read_bytes_s else msgspec.structs.replace(at, read_bytes_s=math.inf)
    families = {classes.family(kernel): 0.0 for kernel in (KV, *cost.bytes_by_type)}
    of = {one: classes.constants(table, at, one) for one in families}
    times, support = _rates(cost.backend).times[cost.phase], classes.support(table, cost.phase, at)
    seconds = {k: s * times for k, s in classes.seconds(cost, at, ops, of).items() if s > 0}
    grounds = _grounds(cost, at, ops, seconds, support)
    return Terms(
        seconds=seconds, sd=math.hypot(support.sd, _rates(cost.backend).times_sd),
        basis=_basis(cost.phase, device), because=_told(cost, at, grounds, support == table.support[cost.phase][""]),
        grounds=grounds,
        doubt=_doubt(cost.phase, device),
    )  # fmt: skip


def _basis(phase: Phase, device: Device) -> Basis:
    return "probed" if (device.basis == "probed" if phase == "decode" else device.matrix_flops_s) else "spec"


def _grounds(cost: Cost, at: Place, ops: float, seconds: dict[str, float], support: Support) -> Grounds:
    """``share``: what is reached in all; of a processor that reads a prompt ``rate`` is in cycles, and it passes 1."""
    is_decode = cost.phase == "decode"
    size, rate = (cost.bytes, at.read_bytes_s or 0) if is_decode else (cost.flops, ops)
    return Grounds(
        bytes=size if is_decode else None, flops=None if is_decode else size, rate=rate,
        share=size / rate / math.fsum(seconds.values()), fixed_s=seconds.get(FIXED), device_class=at.device_class,
        devices=support.models,
    )  # fmt: skip


def _told(cost: Cost, at: Place, grounds: Grounds, pooled: bool) -> str:
    """``pooled``: too few of its own class were measured to say how far it is off."""
    rate, share = grounds.rate or 0, grounds.share or 0
    models = f"{grounds.devices} model{'' if grounds.devices == 1 else 's'}{' of all classes' if pooled else ''}"
    rests = f"{at.device_class or 'a device of no class'}, {models} measured"
    if cost.phase == "decode":
        return f"{units.gb(cost.bytes)} per token at {share:.2f} of {units.gb(rate)}/s ({rests})"
    each = f"{cost.flops / cost.tokens / 1e9:.3g} GFLOP per token"
    if at.is_cpu:
        return f"{each} at {share:.3g} FLOP a cycle of cores with {rate / 1e9:.3g} GHz together ({rests})"
    return f"{each} at {share:.2f} of {rate / 1e12:.3g} TFLOP/s ({rests})"


# ------------------------------------------------------------------------------ of a processor that was measured


def _decode(cost: Cost, device: Device, bandwidth: float, threads: int) -> Terms:
    rates, most = _rates(cost.backend), max(bandwidth, device.most_read_bytes_s or 0.0)
    slow, fast = rates.read_share
    spans: dict[str, Span] = {}
    waits: dict[str, float] = {}  # the part of each kernel that memory holds up, where reading and multiplying overlap
    for kernel, count in cost.bytes_by_type.items():
        thread_bytes_s = threads * rates.thread_bytes_s(kernel_type(kernel))
        attention = cost.flops_by_type[kernel] if kernel_type(kernel) == KV else 0.0
        short, long = (
            max(
                count / min(memory, thread_bytes_s * more),
                attention / (threads * rates.attention_gflop_s * 1e9 * more),
            )
            for memory, more in ((most * fast, THREAD_SHARE[1]), (bandwidth * slow, THREAD_SHARE[0]))
        )
        spans[kernel] = (short, long)
        read_s = count / math.sqrt(bandwidth * most * slow * fast)
        multiplied_s = max(count / thread_bytes_s, attention / (threads * rates.attention_gflop_s * 1e9))
        waits[kernel] = read_s**2 / (read_s**2 + multiplied_s**2) if read_s else 0.0
    grounds = Grounds(bytes=cost.bytes, rate=math.sqrt(bandwidth * most), share=math.sqrt(slow * fast))
    up_to = f" to {units.gb(most)}" if most > bandwidth else ""
    because = f"{units.gb(cost.bytes)} per token at {units.gb(bandwidth)}{up_to}/s (probed)"
    found = _middle(cost, spans, because, grounds, _doubt(cost.phase, device))
    wandering = math.fsum(waits.get(kernel, 0.0) * s for kernel, s in found.seconds.items()) / found.total_s
    return msgspec.structs.replace(found, wandering=wandering)


def _prefill(cost: Cost, device: Device) -> Terms:
    kind, (slow, fast) = _product(cost, device.matrix_flops_s)
    rate = device.matrix_flops_s[kind]
    most = max(rate, device.most_matrix_flops_s.get(kind, 0.0)) if device.matrix_doubt else rate
    spans: dict[str, Span] = {}
    for kernel, flops in cost.flops_by_type.items():
        read = _read(cost, kernel, device)
        spans[kernel] = max(flops / (most * fast), read[0]), max(flops / (rate * slow), read[1])
    grounds = Grounds(flops=cost.flops, rate=math.sqrt(rate * most), share=math.sqrt(slow * fast))
    up_to = f" to {most / 1e9:.3g}" if most > rate else ""
    each = f"{cost.flops / cost.tokens / 1e9:.3g} GFLOP per token"
    because = f"{each} at {rate / 1e9:.3g}{up_to} GFLOP/s ({kind} product measured here)"
    return _middle(cost, spans, because, grounds, _doubt(cost.phase, device))


def _read(cost: Cost, kernel: str, device: Device) -> Span:
    """Seconds that its weights take to be read, once: of a head that one token passes, longer than its product."""
    bandwidth, (slow, fast) = device.read_bytes_s, _rates(cost.backend).read_share
    if not bandwidth or kernel_type(kernel) == KV:
        return 0.0, 0.0
    most, count = max(bandwidth, device.most_read_bytes_s or 0.0), cost.bytes_by_type.get(kernel, 0.0)
    return count / (most * fast), count / (bandwidth * slow)


def _product(cost: Cost, measured: dict[str, float]) -> tuple[str, Span]:
    """The measured product that the backend's kernels are most like, and what share of it they reach."""
    shares = _rates(cost.backend).matrix_share
    known = [kind for kind in shares if kind in measured and not (kind == "bfloat16" and "fp32" in cost.flops_by_type)]
    if known:
        return known[0], shares[known[0]]
    return max(measured, key=measured.__getitem__), shares["float32"]


def _doubt(phase: Phase, device: Device) -> str:
    """Why what was measured of the device is not believed."""
    if phase == "decode":
        return f"read bandwidth {device.doubt}" if device.doubt and device.basis == "probed" else ""
    return f"matrix rate {device.matrix_doubt}" if device.matrix_doubt and device.matrix_flops_s else ""


def _middle(cost: Cost, spans: dict[str, Span], because: str, grounds: Grounds, doubt: str) -> Terms:
    """The geometric mean of the sums of both ends, shared out by that of each kernel, and how far the sums are apart:
    so the ends of the interval are the sums themselves, which no better machine makes worse."""
    rates = _rates(cost.backend)
    fixed_s = rates.layer_s * cost.layers + rates.step_s
    spans[FIXED] = (fixed_s, fixed_s)
    short, long = (math.fsum(span[end] for span in spans.values()) for end in (0, 1))
    middles = {kernel: math.sqrt(span[0] * span[1]) for kernel, span in spans.items() if span[0]}
    scale = math.sqrt(short * long) / math.fsum(middles.values())
    return Terms(
        seconds={kernel: scale * middle for kernel, middle in middles.items()},
        sd=math.log(long / short) / 2 / Z80, basis="probed", because=because, grounds=grounds, doubt=doubt,
    )  # fmt: skip


def _rates(backend: str) -> Rates:
    found = backends.load(backend).RATES
    assert found is not None, f"nobody recommends {backend}"
    return found
