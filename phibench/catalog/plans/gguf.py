"""GGUF: every tensor of variant x quantization as llama.cpp's quantizer writes it.

Which tensor gets which type is llama.cpp's own choice, asked once and kept in ``gguf_types.json`` (``make types``
writes it).
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from phibench.catalog import tensor_types
from phibench.catalog.plans import gguf_layout
from phibench.catalog.plans.base import NoFiles, NoFilesError, Plan, check_layers
from phibench.catalog.tensor_types import MetaValue, Tensor
from phibench.core.errors import unknown
from phibench.core.nouns import Shape, Variant

TYPES_FILE = Path(__file__).with_name("gguf_types.json")
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION in ggml.h
SAME_SIZE = 0.10  # mixes of other llama.cpp versions differ by up to some 5 %; a wrong name by far more

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


def plan(variant: Variant, quantization: str, layers: int | None = None) -> Plan:
    """The plan of the whole model, or of a slice of ``layers`` evenly spread ones.

    Raises PhibenchError (exit 2) when the variant has no GGUF form or the quantization is not a GGUF one.
    """
    shape = _shape(variant)
    table = types()
    if quantization not in table.quantizations:
        raise unknown("GGUF quantization", quantization, table.quantizations, "see phibench models")
    count = check_layers(variant, layers)
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
        **gguf_layout.key_values(shape, count),
    }
    tensors, data_bytes, infos_bytes = _tensors(_widths(shape), quantization, count)
    return Plan(
        variant=variant.id,
        format="gguf",
        quantization=quantization,
        layers=count,
        of_layers=shape.layers,
        tensors=tensors,
        file_bytes=tensor_types.header_bytes(keys, infos_bytes) + data_bytes,
        metadata=keys,
        embedding="token_embd.weight",
        head="token_embd.weight" if shape.tied else "output.weight",
        experts_share=shape.experts_used / shape.experts if shape.experts else 1.0,
        tokenizer_bytes=variant.tokenizer_bytes or 0,
    )


def header(plan: Plan) -> bytes:
    """The bytes of the file before its data."""
    return tensor_types.header(plan.metadata, plan.tensors)


@functools.cache
def types() -> TypeTable:
    return msgspec.json.decode(TYPES_FILE.read_bytes(), type=TypeTable)


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


def role_of(name: str) -> tuple[str, int | None]:
    """``blk.7.attn_qkv.weight`` is (``attn_qkv``, 7); ``output.weight`` is (``output``, None)."""
    parts = name.split(".")
    return (parts[2], int(parts[1])) if parts[0] == "blk" else (parts[0], None)


def _rows(shape: Shape) -> tuple[tuple[str, int], ...]:
    return ("hidden", shape.hidden), ("ffn", shape.ffn)


def objection(variant: Variant) -> NoFiles | None:
    """Why there is no GGUF file of the variant."""
    shape = variant.shape
    if shape is None:
        return NoFiles(reason=f"{variant.id} has no GGUF form that llama.cpp runs ({variant.shape_source})")
    if not gguf_layout.is_loadable(shape):
        return NoFiles(
            reason=f"llama.cpp cannot load {variant.id}: its {shape.architecture} loader needs "
            f"heads x head_dim = hidden, here {shape.heads} x {shape.head_dim} = {shape.heads * shape.head_dim}, "
            f"not {shape.hidden}"
        )
    if mix_key(shape) not in types().mixes:
        return NoFiles(
            reason=f"gguf_types.json does not know the shape of {variant.id} ({mix_key(shape)}); run make types"
        )
    return None


def _shape(variant: Variant) -> Shape:
    if why := objection(variant):
        raise NoFilesError(why)
    assert variant.shape is not None
    return variant.shape


def _widths(shape: Shape) -> Shape:
    """Without what tensors do not show, so that variants of one shape share their plan."""
    return msgspec.structs.replace(
        shape, rope_theta=0.0, context=0, original_context=None, sliding_window=None, norm_eps=0.0
    )


class _Sized(NamedTuple):
    tensors: tuple[Tensor, ...]
    data_bytes: int  # padded
    infos_bytes: int  # of the head


@functools.lru_cache(maxsize=1024)
def _tensors(shape: Shape, quantization: str, layers: int) -> _Sized:
    mix = types().mixes[mix_key(shape)][quantization]
    layout = _layout(shape, layers)
    chosen = {role: _by_layer(mix["*"], mix.get(role), shape.layers) for role in {role for _, _, role, _ in layout}}
    spread = [(2 * index + 1) * shape.layers // (2 * layers) for index in range(layers)]
    found = tuple(
        tensor_types.tensor(name, dims, chosen[role][spread[layer]] if role else "F32")
        for name, dims, role, layer in layout
    )
    padded = sum(tensor_types.padded(tensor.bytes) for tensor in found)
    return _Sized(found, padded, tensor_types.infos_bytes(found))


@functools.lru_cache(maxsize=256)
def _layout(shape: Shape, layers: int) -> tuple[tuple[str, tuple[int, ...], str, int], ...]:
    """Of every tensor its name and shape, its role ("" of what is never quantized), its layer (0 outside of them)."""
    found = []
    for name, dims in gguf_layout.weight_shapes(shape, layers):
        role, layer = role_of(name)
        found.append((name, dims, role if gguf_layout.is_quantizable(name, dims) else "", layer or 0))
    return tuple(found)


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
