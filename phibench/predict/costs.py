"""What a decode step or a prompt costs a backend in bytes and FLOPs, whatever the machine. Pure functions of a plan.

A decode step reads the weights and the KV cache once; a prompt multiplies matrices, once for every token.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from operator import attrgetter
from typing import Literal

import msgspec

from phibench import backends, catalog
from phibench.backends.rates import KV
from phibench.catalog.plans.base import Plan, share
from phibench.catalog.tensor_types import Tensor
from phibench.core.nouns import Noun, Setup, Shape, Workload

HEAD = " head"  # after a tensor type: the same kernel over the one matrix that is as tall as the vocabulary

KV_OPTIONS = ("type_k", "type_v")  # options that change the cache and nothing else

Phase = Literal["decode", "prefill"]


class Part(Noun, frozen=True, kw_only=True):
    """The weights of one kernel: their bytes, the FLOPs of one token, and which share of them one token uses.

    ``of_logits``: only the tokens whose logits are wanted pass them.
    """

    bytes: float
    flops: float
    share: float = 1.0
    of_logits: bool = False

    def hit(self, tokens: int) -> float:
        """The share that ``tokens`` different tokens read: each picks its experts by itself."""
        return 1.0 if self.share == 1.0 else 1.0 - (1.0 - self.share) ** tokens


class CostSheet(Noun, frozen=True, kw_only=True):
    """What a setup's weights cost, whatever the workload. ``parts``: (kernel, its weights); a type may come twice."""

    backend: str
    plan: Plan
    shape: Shape
    parts: tuple[tuple[str, Part], ...]
    disk_bytes: int
    kv: str  # the kernel that reads the KV cache: KV, the length of a head and, where it is not the usual one, its type
    kv_bytes_per_token: float

    @property
    def mix(self) -> str:
        return f"{self.plan.quantization} {self.shape.hidden}x{self.shape.ffn}"

    @property
    def attention_flops(self) -> float:
        """Of one token, for every token that it looks at: q x k, and weights x v."""
        return 4.0 * self.plan.layers * self.shape.heads * self.shape.head_dim


class Cost(Noun, frozen=True, kw_only=True):
    """One decode step of a batch, or one prompt of a batch. By kernel: a tensor type, one with HEAD, or KV.

    ``tokens``: that come out of it, over all sequences. ``layers``: that each token passes. ``mix``: of which
    tensors of which widths: what is too slow or too fast by the formulas is so at every depth and number of layers.
    """

    backend: str
    phase: Phase
    tokens: int
    layers: int
    mix: str
    bytes_by_type: dict[str, float]
    flops_by_type: dict[str, float]

    @property
    def bytes(self) -> float:
        return math.fsum(self.bytes_by_type.values())

    @property
    def flops(self) -> float:
        return math.fsum(self.flops_by_type.values())

    @property
    def size(self) -> float:
        """What its time is nearly proportional to."""
        return self.bytes if self.phase == "decode" else self.flops


def cost_sheet(setup: Setup, layers: int | None = None) -> CostSheet:
    """Of the whole model, or of a slice of ``layers``. Raises PhibenchError where no file of the setup is known."""
    return _cost_sheet(setup, layers)  # one key, whether the default is written out or not


@functools.lru_cache(maxsize=4096)
def _cost_sheet(setup: Setup, layers: int | None) -> CostSheet:
    variant, backend = catalog.variant(setup.variant), backends.load(setup.backend)
    half = setup.device != "cpu" and "onnx" in backend.FORMATS  # packages for GPUs have tensors of their own
    plan, parts = _planned(setup.backend, setup.variant, setup.quantization, layers, half)
    assert variant.shape is not None  # plan() refuses variants without
    # by the backend's own account, over a context long enough that its padding does not show
    kv_bytes = backend.need(plan, variant.shape, 4096, dict(setup.options)).kv_bytes
    return CostSheet(
        backend=setup.backend, plan=plan, shape=variant.shape, parts=parts, disk_bytes=plan.disk_bytes,
        kv=" ".join((KV, str(variant.shape.head_dim), *(v for key, v in setup.options if key in KV_OPTIONS))),
        kv_bytes_per_token=kv_bytes / 4096,
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _planned(
    backend: str, variant: str, quantization: str, layers: int | None, half: bool
) -> tuple[Plan, tuple[tuple[str, Part], ...]]:
    """What does not depend on devices and options: the plan, and its weights by kernel.

    Of the text part alone, also where phibench writes no files of the others beside it: encoders are counted in media.
    """
    text = msgspec.structs.replace(catalog.variant(variant), modalities_in=("text",))
    plan = backends.plan(backends.load(backend), text, quantization, layers, half=half)
    return plan, parts_of(plan, last_of(backend, plan))


def last_of(backend: str, plan: Plan) -> str:
    """How the names of those weights begin that a prompt passes for its logits alone, beside the head."""
    return f"blk.{plan.layers - 1}.ffn" if backends.load(backend).LAST_FFN == "logits" else plan.head


def parts_of(plan: Plan, last: str) -> tuple[tuple[str, Part], ...]:
    """The plan's weights by kernel, by which share of them one token uses, and by what passes them. ``last``: of the
    whole model, see :func:`last_of`."""
    looked_up = "" if plan.tied else plan.embedding
    return _parts_of(plan.tensors, plan.quantization, looked_up, plan.head, plan.experts_share, last)


@functools.lru_cache(maxsize=4096)  # variants of one shape have the same tensors
def _parts_of(
    tensors: tuple[Tensor, ...], quantization: str, looked_up: str, head: str, experts_share: float, last: str
) -> tuple[tuple[str, Part], ...]:
    uses = _uses(tuple(map(attrgetter("name"), tensors)), looked_up, head, experts_share, last)
    alike = Counter(zip(map(attrgetter("type", "shape", "bytes"), tensors), uses, strict=True))  # layers repeat
    sums: dict[tuple[str, bool, float, bool], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for ((kind, shape, count), (is_head, part, few)), times in alike.items():
        if part:
            one = sums[kind, is_head, part, few]
            one[0] += times * count
            one[1] += times * 2.0 * math.prod(shape) * part if len(shape) > 1 else 0.0
    return tuple(
        (_kernel(kind, quantization) + HEAD * is_head, Part(bytes=b, flops=f, share=part, of_logits=few))
        for (kind, is_head, part, few), (b, f) in sums.items()
    )


@functools.lru_cache(maxsize=1024)  # quantizations of one shape have the same names
def _uses(
    names: tuple[str, ...], looked_up: str, head: str, experts_share: float, last: str
) -> tuple[tuple[bool, float, bool], ...]:
    """Of each tensor: is it the head, which share of it does a token use, do only tokens pass it that want logits."""
    return tuple((name == head, share(name, looked_up, experts_share), name.startswith((last, head))) for name in names)


def _kernel(kind: str, quantization: str) -> str:
    """The type that a rate is known for: int4-acc0 stores what int4 stores and multiplies it in another way."""
    return quantization if quantization.startswith(f"{kind}-") else kind


def step(sheet: CostSheet, depth: float, batch: int = 1) -> Cost:
    """One more token of each of ``batch`` sequences that have ``depth`` tokens in the KV cache."""
    read, flops = _weights(sheet, batch, batch)
    read[sheet.kv] = sheet.kv_bytes_per_token * depth * batch
    flops[sheet.kv] = sheet.attention_flops * depth * batch
    return _cost(sheet, "decode", batch, read, flops)


def prompt(sheet: CostSheet, tokens: int, depth: int = 0, batch: int = 1) -> Cost:
    """A prompt of ``tokens`` in each of ``batch`` sequences, behind ``depth`` tokens.

    The head counts once per prompt where logits are computed for the last token alone, else for every token, and so
    does the last layer's FFN where the engine keeps only those tokens for it.
    """
    rows = batch if sheet.plan.facts.get("logits", "last") == "last" else tokens * batch
    read, flops = _weights(sheet, tokens * batch, rows)
    read[sheet.kv] = sheet.kv_bytes_per_token * (depth + tokens / 2) * batch
    flops[sheet.kv] = sheet.attention_flops * (depth + tokens / 2) * tokens * batch
    return _cost(sheet, "prefill", tokens * batch, read, flops)


def _weights(sheet: CostSheet, tokens: int, rows: int) -> tuple[dict[str, float], dict[str, float]]:
    """(bytes read, FLOPs) by kernel, for ``tokens`` through the layers and ``rows`` of logits."""
    read: dict[str, float] = defaultdict(float)
    flops: dict[str, float] = defaultdict(float)
    for kernel, part in sheet.parts:
        read[kernel] += part.bytes * part.hit(tokens)
        flops[kernel] += part.flops * (rows if part.of_logits else tokens)
    return dict(read), dict(flops)


def _cost(sheet: CostSheet, phase: Phase, tokens: int, read: dict[str, float], flops: dict[str, float]) -> Cost:
    return Cost(
        backend=sheet.backend, phase=phase, tokens=tokens, layers=sheet.plan.layers, mix=sheet.mix,
        bytes_by_type=read, flops_by_type=flops,
    )  # fmt: skip


def kernel_type(kernel: str) -> str:
    """The tensor type, or KV, whose rate a kernel has where its own is not known."""
    return KV if kernel.startswith(KV) else kernel.removesuffix(HEAD)


def recomputes(setup: Setup, workload: Workload) -> bool:
    """Whether a step of the workload computes the whole KV cache anew: its mean speed is no speed of a step then."""
    shape = catalog.variant(setup.variant).shape
    at = backends.load(setup.backend).recomputed_at(shape) if shape else None
    return at is not None and workload.depth + workload.prompt_tokens < at <= workload.context
