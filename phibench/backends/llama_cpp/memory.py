"""What llama.cpp takes of the host's memory on a CPU, by arithmetic: nothing is opened. docs/memory.md compares it."""

from __future__ import annotations

import functools
import platform
from typing import TYPE_CHECKING

from phibench.core.errors import PhibenchError
from phibench.core.nouns import Need, Shape

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan
    from phibench.catalog.tensor_types import Tensor

# GGML type numbers and bytes per element of the KV cache types (ggml.h: enum ggml_type, block layouts)
KV_TYPES = {
    "f32": (0, 4.0), "f16": (1, 2.0), "bf16": (30, 2.0), "q8_0": (8, 34 / 32), "q5_1": (7, 24 / 32),
    "q5_0": (6, 22 / 32), "q4_1": (3, 20 / 32), "q4_0": (2, 18 / 32), "iq4_nl": (20, 18 / 32),
}  # fmt: skip
_PLAIN = ("f32", "f16", "bf16")
_KV_BLOCK = 32  # elements, of every quantized type above
_CELLS = 256  # the cache and what is looked at of it are padded to this (llama_context, get_n_kv)
# Tensor types that are kept a second time, interleaved (ggml_repack_get_optimal_repack_type in ggml-cpu/repack.cpp of
# llama.cpp 0c1e57098). Q2_K only with AVX-512; the types of Arm with its dot product, as every recent one has.
_COPIED = {
    "x86": frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"}),
    "arm": frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q1_0", "IQ4_NL", "MXFP4"}),
}
_COPIED_ROWS = 8  # copied only if its rows are a multiple of this
# Hidden states and rows of the ffn that a micro-batch writes to; fitted to what processes took (docs/memory.md)
_WRITTEN = {"phi2": (2, 2), "phi3": (3, 3), "phimoe": (4, 3)}
# Python, numpy, the libraries and phibench's worker before a model is opened; what the engine keeps of each of the
# synthetic files' nameless tokens (a tokenizer of 200064 names and 199000 merges took 58 MiB instead of 14)
_RUNTIME_BYTES = 50 << 20
_TOKEN_BYTES = 48


def padded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS


def kv_bytes_per_token(shape: Shape, options: dict[str, str]) -> float:
    """K and V of every layer. llama.cpp keeps the full cache: it does not use Phi's sliding window."""
    per_element = KV_TYPES[options["type_k"]][1] + KV_TYPES[options["type_v"]][1]
    return shape.layers * shape.kv_heads * shape.head_dim * per_element


def check(shape: Shape, options: dict[str, str]) -> None:
    """Raises PhibenchError for a type of the KV cache that llama.cpp refuses, before a model is opened."""
    kinds = {"type_k": options["type_k"], "type_v": options["type_v"]}
    quantized = [option for option, kind in kinds.items() if kind not in _PLAIN]
    off = options["flash_attn"] == "off"
    if "type_v" in quantized and off:
        raise PhibenchError(f"type_v={kinds['type_v']} needs flash attention: leave out -fa off, or take -ctv f16")
    if quantized and not off and shape.head_dim % _KV_BLOCK:
        option = quantized[0]
        raise PhibenchError(
            f"{option}={kinds[option]} needs heads that are a multiple of {_KV_BLOCK} wide, here {shape.head_dim}: "
            f"take f16, bf16 or f32"
        )


def copied_bytes(plan: Plan, machine: str | None = None, repack: str = "on") -> int:
    """Bytes of the tensors of which a CPU's kernels want a copy in a layout of their own (CPU_REPACK).

    ``machine``: as of platform.machine(); None: this one. Their pages in the mapped file are not needed any more.
    """
    types = _types(machine, repack)
    looked_up = "" if plan.tied else plan.embedding
    return plan.once(("copied", types), lambda: _copied_bytes(plan.tensors, looked_up, types))


def mapped_bytes(plan: Plan, machine: str | None = None, repack: str = "on") -> int:
    """Bytes of the file that stay mapped: from the first tensor that is used in place to the last."""
    types = _types(machine, repack)
    return plan.once(("mapped", types), lambda: _mapped_bytes(plan.tensors, plan.embedding, types))


@functools.lru_cache(maxsize=1024)  # variants of one shape have the same tensors
def _copied_bytes(tensors: tuple[Tensor, ...], looked_up: str, types: frozenset[str]) -> int:
    return sum(t.bytes for t in tensors if _is_copied(t, types) and t.name != looked_up)


@functools.lru_cache(maxsize=1024)
def _mapped_bytes(tensors: tuple[Tensor, ...], embedding: str, types: frozenset[str]) -> int:
    in_place = [n for n, t in enumerate(tensors) if t.name == embedding or not _is_copied(t, types)]
    return sum(tensor.bytes for tensor in tensors[in_place[0] : in_place[-1] + 1])


def _types(machine: str | None, repack: str) -> frozenset[str]:
    if repack == "off":
        return frozenset()
    arm = (machine or platform.machine()).lower().startswith(("arm", "aarch64"))
    return _COPIED["arm" if arm else "x86"]


def _is_copied(tensor: Tensor, types: frozenset[str]) -> bool:
    return tensor.type in types and len(tensor.shape) > 1 and tensor.shape[1] % _COPIED_ROWS == 0


def need(plan: Plan, shape: Shape, context: int, options: dict[str, str], batch: int, used: int) -> Need:
    """Memory that must be there, and the file's pages that come on top where there is room.

    A tensor counts once, as its copy or in place. Of an embedding that is not the head, rows are looked up: it is
    reclaimable. The cache is cleared when it is made, so it is there as a whole; of the compute buffer only what a
    micro-batch of the test writes to. The peak is reached either while the file is opened, all of it mapped, or later.
    """
    check(shape, options)
    looked_up = 0 if plan.tied else next(t.bytes for t in plan.tensors if t.name == plan.embedding)
    weights = plan.weights_bytes - looked_up
    kv = round(kv_bytes_per_token(shape, options) * padded(context) * batch * plan.layers / plan.of_layers)
    compute = written_bytes(shape, options, batch, used) + batch * shape.vocab * 4
    repack = options["repack"]
    copies, mapped = copied_bytes(plan, repack=repack), mapped_bytes(plan, repack=repack)
    opening, running = plan.weights_bytes, mapped + kv + compute
    return Need(
        weights_bytes=weights,
        kv_bytes=kv,
        compute_bytes=compute,
        runtime_bytes=_RUNTIME_BYTES + shape.vocab * _TOKEN_BYTES,
        reclaimable_bytes=max(0, copies + max(opening, running) - weights - kv - compute),
        reserved_bytes=max(0, reserved_bytes(shape, options, batch, context) - compute),
        because=f"weights, KV cache of {padded(context) * batch} tokens",
    )


def reserved_bytes(shape: Shape, options: dict[str, str], batch: int, context: int) -> int:
    """The compute buffer as it is asked for: states and the logits of all tokens of a micro-batch, and its mask."""
    rows = min(int(options["n_ubatch"]), int(options["n_batch"]), context * batch)
    mask = rows * padded(context) * batch * 2
    return rows * (shape.vocab + 2 * shape.hidden) * 4 + mask


def written_bytes(shape: Shape, options: dict[str, str], batch: int, used: int) -> int:
    """Of the compute buffer, what micro-batches write to: states, the mask, logits of each sequence's last token,
    and without flash attention the scores of all heads. It is reserved larger, for logits of all tokens."""
    rows = min(int(options["n_ubatch"]), int(options["n_batch"]), used * batch)
    hidden, ffn = _WRITTEN[shape.architecture]
    states = rows * (hidden * shape.hidden + ffn * shape.ffn * (shape.experts_used or 1)) * 4
    mask = rows * padded(used) * 2
    scores = rows * padded(used) * shape.heads * 4 if options["flash_attn"] == "off" else 0
    return states + mask + scores + min(batch, rows) * shape.vocab * 4
