"""What one answer costs (bytes, FLOPs) and how fast a device could serve it. Pure functions.

Decode streams the weights and the KV cache once per token; prefill multiplies matrices. How near a backend comes to
either limit stands in its ``RATES``.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict

from phibench import backends, catalog
from phibench.backends.rates import KV, THREAD_SHARE, Rates, Span
from phibench.catalog.plans.base import Plan
from phibench.catalog.tensor_types import Tensor
from phibench.core.nouns import Basis, Device, Noun, Setup, Shape, Workload


class CostSheet(Noun, frozen=True, kw_only=True):
    """What a setup's weights cost, whatever the workload.

    ``read_bytes_by_type``: of tensors, what one decode step reads. ``layer_flops``: of one token, without attention's
    part that grows with the context; ``head_flops``: of one row of logits.
    """

    backend: str
    plan: Plan
    shape: Shape
    read_bytes_by_type: dict[str, float]
    layer_flops: float
    head_flops: float
    disk_bytes: int
    kv_bytes_per_token: float


class TokenCost(Noun, frozen=True, kw_only=True):
    """What one token costs a backend in a workload, whatever the machine.

    ``read_bytes_by_type``: of tensors, what one decode step reads (the KV cache under "KV").
    ``prompt_flops``: FLOPs of one prompt token, the mean over the ``prompt_tokens``.
    """

    backend: str
    read_bytes_by_type: dict[str, float]
    prompt_flops: float
    prompt_tokens: int

    @property
    def read_bytes(self) -> float:
        return math.fsum(self.read_bytes_by_type.values())


@functools.lru_cache(maxsize=4096)
def cost_sheet(setup: Setup, layers: int | None = None) -> CostSheet:
    """Of the whole model, or of a slice of ``layers``. Raises PhibenchError where no file of the setup is known."""
    variant, backend = catalog.variant(setup.variant), backends.load(setup.backend)
    plan = backends.plan(backend, variant, setup.quantization, layers)
    assert variant.shape is not None  # plan() refuses variants without
    read_bytes: dict[str, float] = defaultdict(float)
    layer_flops = head_flops = 0.0
    for tensor in plan.tensors:
        is_head = tensor.name == plan.head
        share = plan.share(tensor)
        read_bytes[_kernel(tensor, plan)] += tensor.bytes * share
        flops = 2.0 * math.prod(tensor.shape) * share if len(tensor.shape) > 1 else 0.0
        if is_head:
            head_flops += flops
        else:
            layer_flops += flops
    # by the backend's own account, over a context long enough that its padding does not show
    kv_bytes = backend.need(plan, variant.shape, 4096, dict(setup.options)).kv_bytes
    return CostSheet(
        backend=setup.backend, plan=plan, shape=variant.shape, read_bytes_by_type=dict(read_bytes),
        layer_flops=layer_flops, head_flops=head_flops, disk_bytes=plan.disk_bytes, kv_bytes_per_token=kv_bytes / 4096,
    )  # fmt: skip


def _kernel(tensor: Tensor, plan: Plan) -> str:
    """The type that a rate is known for: int4-acc0 stores what int4 stores and multiplies it in another way."""
    return plan.quantization if plan.quantization.startswith(f"{tensor.type}-") else tensor.type


def token_cost(sheet: CostSheet, *, prompt_tokens: int, prompt_depth: int, depth: float) -> TokenCost:
    """The cost of a prompt of ``prompt_tokens`` at ``prompt_depth``, and of a decode step at ``depth``.

    The head counts once per prompt where logits are computed for the last token alone, else for every token.
    """
    seen = prompt_depth + prompt_tokens / 2
    attention = 4.0 * sheet.plan.layers * sheet.shape.heads * sheet.shape.head_dim * seen
    rows = 1 if sheet.plan.facts.get("logits", "last") == "last" else max(prompt_tokens, 1)
    return TokenCost(
        backend=sheet.backend,
        read_bytes_by_type={**sheet.read_bytes_by_type, KV: sheet.kv_bytes_per_token * depth},
        prompt_flops=sheet.layer_flops + attention + sheet.head_flops * rows / max(prompt_tokens, 1),
        prompt_tokens=prompt_tokens,
    )


def recomputes(setup: Setup, workload: Workload) -> bool:
    """Whether a step of the workload computes the whole KV cache anew: its mean speed is no speed of a step then."""
    shape = catalog.variant(setup.variant).shape
    at = backends.load(setup.backend).recomputed_at(shape) if shape else None
    return at is not None and workload.depth + workload.prompt_tokens < at <= workload.context


def _rates(backend: str) -> Rates:
    found = backends.load(backend).RATES
    assert found is not None, f"nobody recommends {backend}"
    return found


def decode_s(cost: TokenCost, device: Device, threads: int) -> Span | None:
    """(short, long) seconds of one decode step; None where the device's bandwidth is not known."""
    if not device.read_bytes_s:
        return None
    is_cpu = device.kind == "cpu"
    backend = _rates(cost.backend)
    slow, fast = backend.read_share["cpu" if is_cpu else "other", device.basis or "spec"]
    times = []
    for share, thread_share in ((fast, THREAD_SHARE[1]), (slow, THREAD_SHARE[0])):
        memory = device.read_bytes_s * share
        times.append(
            math.fsum(
                count / (min(memory, threads * backend.thread_bytes_s(kind) * thread_share) if is_cpu else memory)
                for kind, count in cost.read_bytes_by_type.items()
            )
        )
    return times[0], times[1]


def matrix_rate(device: Device) -> tuple[float, Basis, str] | None:
    """FLOP/s, where it comes from, and in words: the largest that was measured, else the data sheet's."""
    if device.matrix_flops_s:
        kind, rate = max(device.matrix_flops_s.items(), key=lambda item: item[1])
        return rate, "probed", f"{kind} product measured here"
    return (device.flops_s, "spec", "data sheet") if device.flops_s else None


def prompt_token_s(cost: TokenCost, device: Device) -> Span | None:
    """(short, long) seconds per prompt token; None where the device's matrix rate is not known."""
    found = matrix_rate(device)
    if found is None:
        return None
    rate, basis, _ = found
    slow, fast = _rates(cost.backend).matrix_share["cpu" if device.kind == "cpu" else "other", basis]
    return cost.prompt_flops / (rate * fast), cost.prompt_flops / (rate * slow)
