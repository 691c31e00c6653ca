"""What one answer costs (bytes, FLOPs) and how fast a device could serve it. Pure functions.

Decode streams the weights and the KV cache once per token; prefill multiplies matrices. Every constant here is a
range (slow, fast) meant to hold for 80 % of machines, with its source; docs/predicting.md says what is not
validated yet.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict

from phibench import backends, catalog
from phibench.catalog import plan as plans
from phibench.catalog.plan import Plan
from phibench.nouns import Basis, Device, Noun, Setup, Shape

Span = tuple[float, float]  # of a rate: (slow, fast); of a time: (short, long)
KV = "KV"

# Share of the stated bandwidth that decode reaches where it only waits for memory: (kind of device, basis).
#   cpu, probed: Phi-4-mini Q4_K_M decoded 11-14 tok/s x 2.49 GB against 41 GB/s read on a 2-core Zen 4 virtual
#     machine: 0.67-0.85. One machine, so wider.
#   cpu, spec: the same, and a read test reaches 0.6-0.9 of channels x MT/s x 8 B (assumed).
#   other, spec: published llama-bench decode of Phi x file size / data sheet: RTX 4080 0.85, M2 Max 0.75,
#     RTX 3060 0.75, RX 6600 0.70, Arc B70 0.78 (SYCL) and 0.38 (Vulkan).
#   other, probed: the same against a bandwidth test, which reaches about 0.9 of the data sheet (assumed).
READ_SHARE: dict[tuple[str, str], Span] = {
    ("cpu", "probed"): (0.60, 0.90),
    ("cpu", "spec"): (0.36, 0.81),
    ("other", "spec"): (0.40, 0.86),
    ("other", "probed"): (0.45, 0.95),
}

# Share of the matrix rate that prefill reaches: (kind of device, measured or from a data sheet).
#   cpu, probed: Phi-4-mini Q4_K_M pp512, 43 tok/s x 7.2 GFLOP against 205 GFLOP/s of float32 by numpy on a 2-core
#     Zen 4 virtual machine (AVX-512 VNNI): 1.5, since integer kernels do more per clock. Without them less than 1
#     (assumed). One machine, so wide.
#   cpu, spec: Phi-3.5-mini F16 with 8192 tokens on a Ryzen 9 7950X: llama.cpp 81 and 32 tok/s (flash attention), a fork
#     307 tok/s with BF16, against 5.1 TFLOPS: 0.14, 0.06, 0.54.
#   other, spec: pp512 x 2 x parameters / data sheet: RTX 4080 0.86, RTX 3060 1.0 (integer kernels), M2 Max 0.55,
#     RX 6600 0.23 (Vulkan).
#   other, probed: the same against a bf16 product by torch, which reaches 0.6 to 0.9 of the data sheet (assumed).
MATRIX_SHARE: dict[tuple[str, str], Span] = {
    ("cpu", "probed"): (0.3, 2.0),
    ("cpu", "spec"): (0.05, 0.55),
    ("other", "spec"): (0.2, 1.0),
    ("other", "probed"): (0.25, 1.5),
}

# GB/s of weights that one CPU thread can multiply when they lie in its cache, by tensor type: where this is less
# than the thread's part of the memory bandwidth, decode waits for arithmetic. ggml's vec_dot in llama-cpp-python
# 0.3.36 on one Zen 4 core (AVX-512), best of 40 calls on 2^18 weights; only the order of magnitude travels to
# other CPUs. The last row is repacked on x86 and so faster than its vec_dot: Q4_K (vec_dot 8.5) is fitted to the
# 11-14 tok/s above, the others are given the same gain of 2.4 (assumed).
THREAD_GB_S = {
    "F32": 18.2, "F16": 18.2, "BF16": 16.8, KV: 18.2, "Q8_0": 14.0, "Q6_K": 11.4, "Q5_K": 8.6, "Q5_1": 7.7,
    "Q5_0": 7.5, "Q4_1": 7.1, "IQ4_XS": 7.1, "Q3_K": 5.9, "IQ2_S": 3.2, "IQ3_XXS": 2.8, "IQ3_S": 2.8,
    "IQ2_XS": 2.7, "IQ2_XXS": 2.5, "IQ1_M": 2.0, "IQ1_S": 1.9,
    "Q4_K": 20.6, "Q4_0": 16.5, "IQ4_NL": 16.5, "Q2_K": 12.4,
}  # fmt: skip
THREAD_SHARE: Span = (0.6, 1.6)  # of the above, on another CPU (assumed)


class Sheet(Noun, frozen=True, kw_only=True):
    """What a setup's weights cost, whatever the workload.

    ``streams``: tensor type -> bytes that one decode step reads. ``layer_flops``: of one token, without attention's
    part that grows with the context; ``head_flops``: of one row of logits.
    """

    plan: Plan
    shape: Shape
    streams: dict[str, float]
    layer_flops: float
    head_flops: float
    disk_bytes: int
    kv_bytes_per_token: float


class Load(Noun, frozen=True, kw_only=True):
    """What one token costs in a workload, whatever the machine.

    ``streams``: tensor type -> bytes that one decode step reads (the KV cache under "KV").
    ``prompt_flops``: FLOPs of one prompt token, the mean over the ``prompt_tokens``.
    """

    streams: dict[str, float]
    prompt_flops: float
    prompt_tokens: int

    @property
    def read_bytes(self) -> float:
        return math.fsum(self.streams.values())


@functools.lru_cache(maxsize=4096)
def sheet(setup: Setup, layers: int | None = None) -> Sheet:
    """Of the whole model, or of a slice of ``layers``. Raises PhibenchError where no file of the setup is known."""
    variant, backend = catalog.variant(setup.variant), backends.load(setup.backend)
    plan = plans.plan(variant, setup.quantization, layers, backend.FORMATS[0])
    assert variant.shape is not None  # plan() refuses variants without
    streams: dict[str, float] = defaultdict(float)
    layer_flops = head_flops = 0.0
    for tensor in plan.tensors:
        is_head = tensor.name == plan.head
        share = plan.share(tensor)
        streams[tensor.type] += tensor.bytes * share
        flops = 2.0 * math.prod(tensor.shape) * share if len(tensor.shape) > 1 else 0.0
        if is_head:
            head_flops += flops
        else:
            layer_flops += flops
    # by the backend's own account, over a context long enough that its padding does not show
    kv_bytes = backend.need(plan, variant.shape, 4096, dict(setup.options)).kv_bytes
    return Sheet(
        plan=plan, shape=variant.shape, streams=dict(streams), layer_flops=layer_flops, head_flops=head_flops,
        disk_bytes=plan.disk_bytes, kv_bytes_per_token=kv_bytes / 4096,
    )  # fmt: skip


def load(sheet: Sheet, *, prompt_tokens: int, prompt_depth: int, depth: float) -> Load:
    """The load of a prompt of ``prompt_tokens`` at ``prompt_depth``, and of a decode step at ``depth``.

    The head counts once per prompt: llama.cpp and torch compute logits for the last token alone.
    """
    seen = prompt_depth + prompt_tokens / 2
    attention = 4.0 * sheet.plan.layers * sheet.shape.heads * sheet.shape.head_dim * seen
    return Load(
        streams={**sheet.streams, KV: sheet.kv_bytes_per_token * depth},
        prompt_flops=sheet.layer_flops + attention + sheet.head_flops / max(prompt_tokens, 1),
        prompt_tokens=prompt_tokens,
    )


def decode_s(load: Load, device: Device, threads: int) -> Span | None:
    """(short, long) seconds of one decode step; None where the device's bandwidth is not known."""
    if not device.read_bytes_s:
        return None
    is_cpu = device.kind == "cpu"
    slow, fast = READ_SHARE["cpu" if is_cpu else "other", device.basis or "spec"]
    times = []
    for share, thread_share in ((fast, THREAD_SHARE[1]), (slow, THREAD_SHARE[0])):
        memory = device.read_bytes_s * share
        times.append(
            math.fsum(
                count / (min(memory, threads * _thread_bytes_s(kind) * thread_share) if is_cpu else memory)
                for kind, count in load.streams.items()
            )
        )
    return times[0], times[1]


def matrix_rate(device: Device) -> tuple[float, Basis, str] | None:
    """FLOP/s, where it comes from, and in words: the largest that was measured, else the data sheet's."""
    if device.matrix_flops_s:
        kind, rate = max(device.matrix_flops_s.items(), key=lambda item: item[1])
        return rate, "probed", f"{kind} product measured here"
    return (device.flops_s, "spec", "data sheet") if device.flops_s else None


def prompt_token_s(load: Load, device: Device) -> Span | None:
    """(short, long) seconds per prompt token; None where the device's matrix rate is not known."""
    found = matrix_rate(device)
    if found is None:
        return None
    rate, basis, _ = found
    slow, fast = MATRIX_SHARE["cpu" if device.kind == "cpu" else "other", basis]
    return load.prompt_flops / (rate * fast), load.prompt_flops / (rate * slow)


def _thread_bytes_s(kind: str) -> float:
    """A type that nobody timed counts as the slowest one that somebody did."""
    return 1e9 * THREAD_GB_S.get(kind, min(THREAD_GB_S.values()))
