"""GGML's tensor types and the head of a GGUF file: what a tensor weighs and where it lies.

Sources: ``enum ggml_type`` in ggml.h and ``GGML_QUANT_SIZES`` in gguf-py/gguf/constants.py, llama.cpp 0c1e57098;
the layout is docs/gguf.md of ggml: magic, version, counts, key-values, tensor infos, padding, data.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phibench.core.nouns import Noun

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT

MetaValue = bool | int | float | str


class TensorType(NamedTuple):
    number: int  # enum ggml_type
    block: int  # weights per block; a row is a whole number of blocks
    block_bytes: int


TYPES = {
    "F32": TensorType(0, 1, 4),
    "F16": TensorType(1, 1, 2),
    "Q4_0": TensorType(2, 32, 18),
    "Q4_1": TensorType(3, 32, 20),
    "Q5_0": TensorType(6, 32, 22),
    "Q5_1": TensorType(7, 32, 24),
    "Q8_0": TensorType(8, 32, 34),
    "Q8_1": TensorType(9, 32, 36),
    "Q2_K": TensorType(10, 256, 84),
    "Q3_K": TensorType(11, 256, 110),
    "Q4_K": TensorType(12, 256, 144),
    "Q5_K": TensorType(13, 256, 176),
    "Q6_K": TensorType(14, 256, 210),
    "Q8_K": TensorType(15, 256, 292),
    "IQ2_XXS": TensorType(16, 256, 66),
    "IQ2_XS": TensorType(17, 256, 74),
    "IQ3_XXS": TensorType(18, 256, 98),
    "IQ1_S": TensorType(19, 256, 50),
    "IQ4_NL": TensorType(20, 32, 18),
    "IQ3_S": TensorType(21, 256, 110),
    "IQ2_S": TensorType(22, 256, 82),
    "IQ4_XS": TensorType(23, 256, 136),
    "I8": TensorType(24, 1, 1),
    "I16": TensorType(25, 1, 2),
    "I32": TensorType(26, 1, 4),
    "I64": TensorType(27, 1, 8),
    "F64": TensorType(28, 1, 8),
    "IQ1_M": TensorType(29, 256, 56),
    "BF16": TensorType(30, 1, 2),
    "TQ1_0": TensorType(34, 256, 54),
    "TQ2_0": TensorType(35, 256, 66),
    "MXFP4": TensorType(39, 32, 17),
    "NVFP4": TensorType(40, 64, 36),
    "Q1_0": TensorType(41, 128, 18),
    "Q2_0": TensorType(42, 64, 18),
}


class Tensor(Noun, frozen=True, kw_only=True):
    """One tensor of a file. ``shape`` in GGUF order: the first number is the length of a row."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


def tensor(name: str, shape: tuple[int, ...], type_name: str) -> Tensor:
    """A tensor with its bytes; ValueError when a row is not a whole number of blocks."""
    size = _bytes(shape, type_name)
    if size is None:
        block = TYPES[type_name].block
        raise ValueError(f"{name}: a row of {shape[0]} is not a multiple of {block}, the block of {type_name}")
    return Tensor(name=name, shape=shape, type=type_name, bytes=size)


@functools.lru_cache(maxsize=4096)  # layers repeat
def _bytes(shape: tuple[int, ...], type_name: str) -> int | None:
    _, block, block_bytes = TYPES[type_name]
    return None if shape[0] % block else math.prod(shape) // block * block_bytes


def padded(count: int) -> int:
    """The next multiple of the alignment."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def header(metadata: Mapping[str, MetaValue], tensors: Sequence[Tensor]) -> bytes:
    """The bytes before the data, padded: key-values (int as uint32, float as float32), then tensor infos."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _value(value)]
    offset = 0
    for item in tensors:
        dims = len(item.shape)
        parts += [
            _string(item.name),
            struct.pack(f"<I{dims}QIQ", dims, *item.shape, TYPES[item.type].number, offset),
        ]
        offset += padded(item.bytes)
    encoded = b"".join(parts)
    return encoded.ljust(padded(len(encoded)), b"\0")


def header_bytes(metadata: Mapping[str, MetaValue], infos: int) -> int:
    """``len(header(...))`` without making it, with :func:`infos_bytes`: the CLI lists hundreds of plans."""
    keys = sum(len(_string(key)) + len(_value(value)) for key, value in metadata.items())
    return padded(24 + keys + infos)


def infos_bytes(tensors: Sequence[Tensor]) -> int:
    """Of their names, shapes, types and places in the head."""
    return sum(24 + len(item.name) + 8 * len(item.shape) for item in tensors)  # 24: all but name and shape


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: MetaValue) -> bytes:
    """Value type numbers: uint32 4, float32 6, bool 7, string 8."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<I", 8) + _string(value)
