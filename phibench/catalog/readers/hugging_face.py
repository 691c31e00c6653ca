"""Reads a folder of Hugging Face: config.json and the heads of safetensors files, never the weights.

Format: the README of the safetensors repository: 8 bytes of length, JSON, data.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from phibench.catalog.readers import untrusted
from phibench.catalog.readers.untrusted import Content, Numbers
from phibench.catalog.tensor_types import Tensor
from phibench.core import files
from phibench.core.errors import PhibenchError

MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as its own readers allow
MAX_SHARDS = 1000
INDEX = "model.safetensors.index.json"
# dtype -> our name, bytes of an element
TYPES = {"F32": ("fp32", 4), "BF16": ("bf16", 2), "F16": ("fp16", 2), "F64": ("fp64", 8), "I64": ("int64", 8),
         "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1), "BOOL": ("bool", 1),
         "F8_E4M3": ("fp8", 1), "F8_E5M2": ("fp8", 1)}  # fmt: skip
ARCHITECTURES = {"phi": "phi2", "phi3": "phi3"}  # model type -> GGUF's name


def read(path: Path) -> Content:
    """What the folder says. Raises PhibenchError, OSError as :func:`folder.recognise`."""
    config = untrusted.read_json(path / untrusted.HUGGING_FACE)
    kind = untrusted.text(config, "model_type")
    if kind not in ARCHITECTURES:
        raise PhibenchError(
            f"{path} is a {kind[:50]!r} model; phibench measures {' and '.join(ARCHITECTURES)} in Hugging Face's form"
        )
    if config.get("quantization_config"):
        raise PhibenchError(f"{path} was quantized by another tool; phibench opens the original and quantizes itself")
    tensors, size = _tensors(path)
    tied = config.get("tie_word_embeddings") is True
    numbers: Numbers = {
        "layers": untrusted.count(config, "num_hidden_layers"),
        "hidden": untrusted.count(config, "hidden_size"),
        "heads": untrusted.count(config, "num_attention_heads"),
        "kv_heads": untrusted.count(config, "num_key_value_heads") or untrusted.count(config, "num_attention_heads"),
        "ffn": untrusted.count(config, "intermediate_size"),
        "vocab": untrusted.count(config, "vocab_size"),
        "context": untrusted.count(config, "max_position_embeddings"),
    }
    untrusted.required(numbers, ("layers", "hidden", "heads", "vocab"), path / untrusted.HUGGING_FACE)
    names = {tensor.name for tensor in tensors}
    embedding = next((name for name in names if name.endswith("embed_tokens.weight")), "")
    return Content(
        format="torch",
        quantization=_type(path, tensors),
        architecture=ARCHITECTURES[kind],
        numbers=numbers,
        longrope=_longrope(config),
        tensors=tensors,
        embedding=embedding,
        head=embedding if tied or "lm_head.weight" not in names else "lm_head.weight",
        bytes=size + (path / untrusted.HUGGING_FACE).stat().st_size,
        facts={},
        names=(untrusted.text(config, "_name_or_path"),),
    )


def _longrope(config: dict[str, Any]) -> bool:
    """transformers 5 writes rope_parameters; before that it was rope_scaling, and LongRoPE once was called su."""
    ropes = [untrusted.part(config, key) for key in ("rope_parameters", "rope_scaling")]
    return any(untrusted.text(rope, key) in ("longrope", "su") for rope in ropes for key in ("rope_type", "type"))


def _type(path: Path, tensors: tuple[Tensor, ...]) -> str:
    weighs: Counter[str] = Counter()
    for tensor in tensors:
        weighs[tensor.type] += math.prod(tensor.shape)
    kind = weighs.most_common(1)[0][0] if weighs else "nothing"
    if kind not in ("fp32", "bf16", "fp16"):
        raise PhibenchError(f"{path} keeps its weights as {kind}; phibench opens fp32, bf16 and fp16")
    return kind


def _tensors(path: Path) -> tuple[tuple[Tensor, ...], int]:
    """(every tensor, bytes of all shards)."""
    found: dict[str, Tensor] = {}
    size = 0
    for shard in shards(path):
        found |= {tensor.name: tensor for tensor in read_header(shard)}
        size += shard.stat().st_size
    return tuple(found.values()), size


def shards(path: Path) -> list[Path]:
    """The safetensors files that the index names; without an index all there are.

    Raises PhibenchError (exit 2) for none, too many, and files that are no safetensors or outside of the folder.
    """
    if (path / INDEX).is_file():
        places = untrusted.part(untrusted.read_json(path / INDEX), "weight_map").values()
        found = [untrusted.inside(path, name) for name in sorted({str(place) for place in places})]
    else:
        found = sorted(path.glob("*.safetensors"))
    if not found or len(found) > MAX_SHARDS:
        raise PhibenchError(f"{path} has {len(found)} safetensors files; phibench opens a model of 1 to {MAX_SHARDS}")
    for shard in found:
        if not shard.name.endswith(".safetensors"):
            raise PhibenchError(f"{path} names {shard.name[:100]!r} as weights, which is no safetensors file")
    return found


def read_header(path: Path) -> list[Tensor]:
    """Names, shapes and types of a safetensors file.

    Raises PhibenchError: exit 2 for what is no such file, exit 1 for one that is cut off; OSError when unreadable.
    """
    files.check_readable(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > MAX_HEADER_BYTES:
            raise PhibenchError(f"{path} is not a safetensors file: it says that its header has {length} bytes")
        if 8 + length > size:
            raise untrusted.cut_off(path, 8 + length)
        said = untrusted.parse_json(stream.read(length), path)
    found = []
    needs = 0
    for name, entry in said.items():
        if name != "__metadata__":
            tensor, end = _tensor(path, name, entry)
            needs = max(needs, end)
            found.append(tensor)
    if 8 + length + needs > size:
        raise untrusted.cut_off(path, 8 + length + needs)
    return found


def _tensor(path: Path, name: str, entry: Any) -> tuple[Tensor, int]:
    """A tensor and where its bytes end, counted from the data's start."""
    entry = entry if isinstance(entry, dict) else {}
    dims, ends = entry.get("shape"), entry.get("data_offsets")
    lists = all(isinstance(one, list) and len(one) <= 8 for one in (dims, ends))
    numbers = [*dims, *ends] if lists else [None]
    kind, width = TYPES.get(untrusted.text(entry, "dtype"), ("", 0))
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= untrusted.MAX_COUNT for n in numbers)
    if not whole or not kind or len(ends) != 2 or ends[1] - ends[0] != math.prod(dims) * width:
        raise PhibenchError(f"{path} is not a safetensors file that can be read: tensor {name[:100]!r}")
    return Tensor(name=name, shape=tuple(dims), type=kind, bytes=ends[1] - ends[0]), ends[1]
