"""Every tensor of variant x quantization: name, shape, type and bytes, before any file exists.

Names and shapes are those of llama.cpp's converter and loader (conversion/phi.py, src/models/phi2.cpp, phi3.cpp,
phimoe.cpp); which tensor gets which type is llama.cpp's own choice, asked once and kept in ``gguf_types.json``
(``make types`` writes it).
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from phibench.catalog import ggml
from phibench.catalog.ggml import MetaValue, Tensor
from phibench.nouns import Noun, PhibenchError, Shape, Variant, unknown

TYPES_FILE = Path(__file__).with_name("gguf_types.json")
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION in ggml.h

Mix = dict[str, str | dict[str, str]]


class FileType(msgspec.Struct, frozen=True):
    """``ftype``: LLAMA_FTYPE number; ``imatrix``: the types were asked with an importance matrix."""

    ftype: int
    imatrix: bool = False


class TypeTable(msgspec.Struct, frozen=True):
    """``gguf_types.json``. A mix maps ``*`` to its base type and a role (``attn_qkv``) to its exceptions:

    one type for every layer, or ``{type: layers}`` with layers as ``0-3,6,9``.
    """

    about: str
    llama_cpp: str
    llama_cpp_python: str
    quantizations: dict[str, FileType]
    mixes: dict[str, dict[str, Mix]]


class Plan(Noun, frozen=True, kw_only=True):
    """A GGUF file that need not exist; ``layers`` of ``of_layers`` (fewer: a slice with true widths)."""

    variant: str
    quantization: str
    layers: int
    of_layers: int
    tensors: tuple[Tensor, ...]
    metadata: dict[str, MetaValue]
    tied: bool
    experts_share: float = 1.0  # of the expert tensors, what one token reads
    tokenizer_bytes: int = 0

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Weights as model cards count them: without the rope factors, which are constants."""
        return sum(math.prod(t.shape) for t in self.tensors if not t.name.startswith("rope_factors"))

    @property
    def histogram(self) -> dict[str, int]:
        return dict(Counter(tensor.type for tensor in self.tensors))

    @property
    def header(self) -> bytes:
        return ggml.header(self.metadata, self.tensors)

    @property
    def file_bytes(self) -> int:
        """The synthetic file: header and padded data, no tokenizer."""
        data = sum(ggml.padded(tensor.bytes) for tensor in self.tensors)
        return ggml.header_bytes(self.metadata, self.tensors) + data

    @property
    def disk_bytes(self) -> int:
        """What a published file weighs: the same with the tokenizer's share (0 where that is not known)."""
        return self.file_bytes + self.tokenizer_bytes

    @property
    def read_bytes_per_token(self) -> float:
        """What one decode step streams: of an untied embedding nothing (one row), of the experts those used."""
        return sum(t.bytes * self._share(t.name) for t in self.tensors)

    def _share(self, name: str) -> float:
        if name == "token_embd.weight" and not self.tied:
            return 0.0
        return self.experts_share if "_exps." in name else 1.0


def plan(variant: Variant, quantization: str, layers: int | None = None) -> Plan:
    """The plan of the whole model, or of a slice of ``layers`` evenly spread ones.

    Raises PhibenchError (exit 2) when the variant has no GGUF form or the quantization is not a GGUF one.
    """
    shape = _shape(variant)
    table = types()
    if quantization not in table.quantizations:
        raise unknown("GGUF quantization", quantization, table.quantizations, "see phibench models")
    if layers is not None and not 1 <= layers <= shape.layers:
        raise PhibenchError(f"{variant.id} has {shape.layers} layers; --layers {layers} is not 1 to {shape.layers}")
    count = layers or shape.layers
    keys: dict[str, MetaValue] = {
        "general.architecture": shape.architecture,
        "general.type": "model",
        "general.name": f"phibench synthetic {variant.id}",
        "general.file_type": table.quantizations[quantization].ftype,
        "general.quantization_version": QUANTIZATION_VERSION,
        "phibench.synthetic": True,
        "phibench.variant": variant.id,
        "phibench.layers": count,
        "phibench.of_layers": shape.layers,
        **metadata(shape, count),
    }
    return Plan(
        variant=variant.id,
        quantization=quantization,
        layers=count,
        of_layers=shape.layers,
        tensors=_tensors(_widths(shape), quantization, count),
        metadata=keys,
        tied=shape.tied,
        experts_share=shape.experts_used / shape.experts if shape.experts else 1.0,
        tokenizer_bytes=variant.tokenizer_bytes or 0,
    )


def can_plan(variant: Variant) -> bool:
    return _objection(variant) is None


@functools.cache
def types() -> TypeTable:
    return msgspec.json.decode(TYPES_FILE.read_bytes(), type=TypeTable)


def weight_shapes(shape: Shape, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in the order of llama.cpp's quantizer: outside first, then layer by layer."""
    yield from _outer(shape)
    layer = _moe_layer(shape) if shape.architecture == "phimoe" else _dense_layer(shape)
    for index in range(layers):
        for name, dims in sorted(layer.items()):
            yield f"blk.{index}.{name}", dims


def mix_key(shape: Shape) -> str:
    """Everything of a shape that llama.cpp's choice of types looks at; shapes with one key share their types.

    llama_tensor_get_type_impl: architecture, layers, heads per KV head, experts, tied or not; tensor_type_fallback:
    whether rows are whole blocks of 256 (or 32).
    """
    parts = [shape.architecture, f"{shape.layers} layers", f"gqa {shape.heads // shape.kv_heads}"]
    parts += [f"{shape.experts} experts"] if shape.experts else []
    parts += ["tied"] if shape.tied else []
    parts += [f"{name}%256={width % 256}" for name, width in _rows(shape) if width % 256]
    return " ".join(parts)


def is_quantizable(name: str, shape: tuple[int, ...]) -> bool:
    """Norms, biases, rope factors and the router stay F32 (tensor_allows_quantization)."""
    return len(shape) > 1 and "ffn_gate_inp" not in name


def is_loadable(shape: Shape) -> bool:
    """The loaders take hidden / heads as head size and hidden x hidden for attn_output."""
    return shape.heads * shape.head_dim == shape.hidden


def _rows(shape: Shape) -> tuple[tuple[str, int], ...]:
    return ("hidden", shape.hidden), ("ffn", shape.ffn)


def _objection(variant: Variant) -> str | None:
    shape = variant.shape
    if shape is None:
        return f"{variant.id} has no GGUF form that llama.cpp runs ({variant.shape_source})"
    if not is_loadable(shape):
        return (
            f"llama.cpp cannot load {variant.id}: its {shape.architecture} loader needs heads x head_dim = hidden, "
            f"here {shape.heads} x {shape.head_dim} = {shape.heads * shape.head_dim}, not {shape.hidden}"
        )
    if mix_key(shape) not in types().mixes:
        return f"gguf_types.json does not know the shape of {variant.id} ({mix_key(shape)}); run make types"
    return None


def _shape(variant: Variant) -> Shape:
    if objection := _objection(variant):
        raise PhibenchError(objection)
    assert variant.shape is not None
    return variant.shape


def _widths(shape: Shape) -> Shape:
    """Without what tensors do not show, so that variants of one shape share their plan."""
    return msgspec.structs.replace(
        shape, rope_theta=0.0, context=0, original_context=None, sliding_window=None, norm_eps=0.0
    )


@functools.lru_cache(maxsize=1024)
def _tensors(shape: Shape, quantization: str, layers: int) -> tuple[Tensor, ...]:
    mix = types().mixes[mix_key(shape)][quantization]
    chosen = {role: _by_layer(mix["*"], mix.get(role), shape.layers) for role in _roles(shape)}
    spread = [(2 * index + 1) * shape.layers // (2 * layers) for index in range(layers)]
    found = []
    for name, dims in weight_shapes(shape, layers):
        if is_quantizable(name, dims):
            role, layer = role_of(name)
            kind = chosen[role][spread[layer] if layer is not None else 0]
        else:
            kind = "F32"
        found.append(ggml.tensor(name, dims, kind))
    return tuple(found)


def role_of(name: str) -> tuple[str, int | None]:
    """``blk.7.attn_qkv.weight`` is (``attn_qkv``, 7); ``output.weight`` is (``output``, None)."""
    parts = name.split(".")
    return (parts[2], int(parts[1])) if parts[0] == "blk" else (parts[0], None)


def _roles(shape: Shape) -> set[str]:
    return {role_of(name)[0] for name, dims in weight_shapes(shape, 1) if is_quantizable(name, dims)}


def _by_layer(base: object, exceptions: str | dict[str, str] | None, layers: int) -> list[str]:
    """The type of a role in every layer."""
    assert isinstance(base, str)
    if isinstance(exceptions, dict):
        found = [base] * layers
        for kind, text in exceptions.items():
            for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
                for layer in range(int(first), int(last or first) + 1):
                    found[layer] = kind
        return found
    return [exceptions or base] * layers


def _outer(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    biased = shape.architecture != "phi3"
    if not shape.tied:
        if biased:
            yield "output.bias", (shape.vocab,)
        yield "output.weight", (shape.hidden, shape.vocab)
    if biased:
        yield "output_norm.bias", (shape.hidden,)
    yield "output_norm.weight", (shape.hidden,)
    if shape.longrope:
        yield "rope_factors_long.weight", (shape.rope_dims // 2,)
        yield "rope_factors_short.weight", (shape.rope_dims // 2,)
    yield "token_embd.weight", (shape.hidden, shape.vocab)


def _dense_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    """phi2: parallel block with biases, one norm; phi3: two norms, ``ffn_up`` is gate and up in one."""
    hidden, ffn, qkv = shape.hidden, shape.ffn, (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,),
        "attn_qkv.weight": (hidden, qkv),
        "attn_output.weight": (hidden, hidden),
        "ffn_down.weight": (ffn, hidden),
    }
    if shape.architecture == "phi3":
        return tensors | {"ffn_norm.weight": (hidden,), "ffn_up.weight": (hidden, 2 * ffn)}
    biases: dict[str, tuple[int, ...]] = {
        "attn_norm.bias": (hidden,),
        "attn_qkv.bias": (qkv,),
        "attn_output.bias": (hidden,),
        "ffn_up.bias": (ffn,),
        "ffn_down.bias": (hidden,),
    }
    return tensors | biases | {"ffn_up.weight": (hidden, ffn)}


def _moe_layer(shape: Shape) -> dict[str, tuple[int, ...]]:
    hidden, ffn, experts, kv = shape.hidden, shape.ffn, shape.experts, shape.kv_heads * shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "ffn_gate_inp.weight": (hidden, experts),
        "ffn_gate_exps.weight": (hidden, ffn, experts),
        "ffn_up_exps.weight": (hidden, ffn, experts),
        "ffn_down_exps.weight": (ffn, hidden, experts),
    }
    for name, out in (("attn_q", hidden), ("attn_k", kv), ("attn_v", kv), ("attn_output", hidden)):
        tensors |= {f"{name}.weight": (hidden, out), f"{name}.bias": (out,)}
    for name in ("attn_norm", "ffn_norm"):
        tensors |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return tensors


def metadata(shape: Shape, layers: int) -> dict[str, MetaValue]:
    """The keys that llama.cpp's loader asks for, as its converter writes them; a vocabulary without words."""
    rms = shape.architecture != "phi2"
    found: dict[str, MetaValue] = {
        "context_length": shape.context,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.ffn,
        "block_count": layers,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        f"attention.layer_norm_{'rms_' if rms else ''}epsilon": shape.norm_eps,
        "rope.dimension_count": shape.rope_dims,
        "rope.freq_base": shape.rope_theta,
        "vocab_size": shape.vocab,
    }
    if rms:
        found["attention.sliding_window"] = shape.sliding_window or 0  # 0 tells Phi-4 from Phi-3
        found["rope.scaling.original_context_length"] = shape.original_context or shape.context
    if shape.longrope:
        found["rope.scaling.attn_factor"] = _attention_factor(shape)
    if shape.experts:
        found |= {"expert_count": shape.experts, "expert_used_count": shape.experts_used}
    return {f"{shape.architecture}.{key}": value for key, value in found.items()} | {"tokenizer.ggml.model": "no_vocab"}


def _attention_factor(shape: Shape) -> float:
    """LongRoPE's scale of attention, conversion/phi.py: sqrt(1 + ln(context / original) / ln(original))."""
    original = shape.original_context or shape.context
    scale = shape.context / original
    return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
