"""Reads a folder of Hugging Face: config.json and the heads of safetensors files, never the weights.

Format: the README of the safetensors repository: 8 bytes of length, JSON, data.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from phibench.catalog.readers import first_bytes, other_folders, untrusted, which
from phibench.catalog.readers.untrusted import Content, Numbers, Said
from phibench.catalog.tensor_types import Tensor
from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError

MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as its own readers allow
MAX_SHARDS = 1000
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# dtype -> our name, bytes of an element
TYPES = {"F32": ("fp32", 4), "BF16": ("bf16", 2), "F16": ("fp16", 2), "F64": ("fp64", 8), "I64": ("int64", 8),
         "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1), "BOOL": ("bool", 1),
         "U16": ("uint16", 2), "U32": ("uint32", 4), "U64": ("uint64", 8), "C64": ("complex64", 8),
         "F8_E4M3": ("fp8", 1), "F8_E5M2": ("fp8", 1), "F8_E8M0": ("fp8", 1),
         "F8_E4M3FNUZ": ("fp8", 1), "F8_E5M2FNUZ": ("fp8", 1)}  # fmt: skip
ARCHITECTURES = {"phi": "phi2", "phi3": "phi3"}  # model type -> GGUF's name
_OTHER = "take the folder of one of 'phibench models'"
_INSTEAD = {  # model types of Phis that are not dense text models, or of before transformers had them
    "phi-msft": "take its newer revision, whose type is phi", "mixformer-sequential": "take its newer revision",
    "phimoe": "take its GGUF file", "phi3_v": "take a GGUF file of its text part",
    "phi4mm": "take a GGUF file of its text part", "phi4_multimodal": "take a GGUF file of its text part",
}  # fmt: skip


def read(path: Path) -> Content:
    """What the folder says. Raises PhibenchError, OSError as :func:`folder.recognise`."""
    config = untrusted.read_json(path / untrusted.HUGGING_FACE)
    kind = untrusted.text(config, "model_type")
    said = _said(config, ARCHITECTURES.get(kind, kind))
    _check_kind(path, config, kind, said)
    tensors, size = _tensors(path)
    tied = untrusted.switch(config, "tie_word_embeddings", path / untrusted.HUGGING_FACE)
    untrusted.required(said.numbers, ("layers", "hidden", "heads", "vocab"), path / untrusted.HUGGING_FACE)
    names = {tensor.name for tensor in tensors}
    embedding = next((name for name in names if name.endswith("embed_tokens.weight")), "")
    if not embedding:
        raise PhibenchError(f"{path} has no embedding (embed_tokens.weight) among its weights: download it again")
    if config.get("tie_word_embeddings") is False and not any(name.endswith("lm_head.weight") for name in names):
        raise PhibenchError(
            f"{path} has no head (lm_head.weight) among its weights, and is not tied: download it again"
        )
    words = next((tensor.shape[:1] for tensor in tensors if tensor.name == embedding), ())
    if words and words[0] != said.numbers["vocab"]:
        raise PhibenchError(
            f"{path} is not the model of its config.json: its embedding has {words[0]} words, not "
            f"{said.numbers['vocab']}; download it again"
        )
    return Content(
        **msgspec.structs.asdict(said),
        format="torch",
        quantization=_type(path, tensors),
        tensors=tensors,
        embedding=embedding,
        head=embedding if tied or "lm_head.weight" not in names else "lm_head.weight",
        bytes=size + (path / untrusted.HUGGING_FACE).stat().st_size,
        facts={},
    )


def _said(config: dict[str, Any], architecture: str) -> Said:
    numbers: Numbers = {
        "layers": untrusted.count(config, "num_hidden_layers"),
        "hidden": untrusted.count(config, "hidden_size"),
        "heads": untrusted.count(config, "num_attention_heads"),
        "kv_heads": untrusted.count(config, "num_key_value_heads") or untrusted.count(config, "num_attention_heads"),
        "ffn": untrusted.count(config, "intermediate_size"),
        "vocab": untrusted.count(config, "vocab_size"),
        "context": untrusted.count(config, "max_position_embeddings"),
    }
    theta = config.get("rope_theta", untrusted.part(config, "rope_parameters").get("rope_theta"))
    return Said(
        architecture=architecture,
        numbers=numbers,
        longrope=_longrope(config),
        rope_theta=float(theta) if isinstance(theta, int | float) and math.isfinite(theta) else None,
        names=(untrusted.text(config, "_name_or_path"),),
    )


def _check_kind(path: Path, config: dict[str, Any], kind: str, said: Said) -> None:
    """Raises PhibenchError (exit 2) for what is no Phi in its own form and types."""
    other_folders.check(path, config)
    if kind not in ARCHITECTURES and kind not in _INSTEAD and (phi := which.in_llamas_form(path, said, "torch")):
        raise PhibenchError(
            f"{path} is {phi.id} in {untrusted.plain(kind, 50)}'s form (its fused matrices are split), another graph: "
            f"take the original, {phi.hf_repo}"
        )
    if kind not in ARCHITECTURES:
        raise PhibenchError(
            f"{path} is a {kind[:50]!r} model; phibench measures {' and '.join(ARCHITECTURES)} in Hugging Face's form: "
            f"{_INSTEAD.get(kind, _OTHER)}"
        )
    architectures = config.get("architectures")
    made = [str(one) for one in architectures] if isinstance(architectures, list) else []
    if made and not any(one.endswith("ForCausalLM") for one in made):
        raise PhibenchError(
            f"{path} is a {made[0][:60]!r}, a Phi without its head for words (it classifies or embeds): "
            "take a model that ends in ForCausalLM"
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
        raise PhibenchError(
            f"{path} keeps its weights as {kind}; phibench opens fp32, bf16 and fp16, and quantizes itself: "
            "take the original"
        )
    return kind


def _tensors(path: Path) -> tuple[tuple[Tensor, ...], int]:
    """(every tensor, bytes of all shards)."""
    found: dict[str, Tensor] = {}
    size = 0
    for shard in shards(path):
        new = {tensor.name: tensor for tensor in read_header(shard)}
        if twice := found.keys() & new.keys():
            raise PhibenchError(
                f"{path} has {min(twice)[:100]!r} in two of its safetensors files, {shard.name[:100]!r} and another: "
                "keep one set of them"
            )
        found |= new
        size += shard.stat().st_size
    return tuple(found.values()), size


def shards(path: Path) -> list[Path]:
    """The safetensors files that the index names; without an index ``model.safetensors``, else all there are.

    Raises PhibenchError (exit 2) for none, too many, and files that are no safetensors or outside of the folder.
    """
    if (path / INDEX).is_file():
        places = untrusted.part(untrusted.read_json(path / INDEX), "weight_map").values()
        found = [untrusted.inside(path, name) for name in sorted({str(place) for place in places})]
    elif (path / WHOLE).is_file():  # as transformers does; beside it lies the same in another form, or an adapter
        found = [path / WHOLE]
    else:
        found = sorted(one for one in path.glob("*.safetensors") if not other_folders.is_beside(one.name))
    if not found or len(found) > MAX_SHARDS:
        raise PhibenchError(
            f"{path} has {len(found)} safetensors files, where a model has 1 to {MAX_SHARDS}: download it again"
        )
    for shard in found:
        if not shard.name.endswith(".safetensors"):
            raise PhibenchError(
                f"{path} names {shard.name[:100]!r} as weights, which is no safetensors file: take one that has them"
            )
    if absent := [shard.name for shard in found if not shard.exists()] or _absent(found):
        raise PhibenchError(
            f"{path} is not whole: of its weights {untrusted.plain(absent[0], 100)} is not there: download it again",
            FAILED,
        )
    return found


def _absent(shards: list[Path]) -> list[str]:
    """Of model-00001-of-00003.safetensors without an index: what else there should be."""
    parts = [re.fullmatch(r"(.+-)(\d{5})-of-(\d{5})(\.safetensors)", shard.name) for shard in shards]
    if not all(parts) or not parts[0] or int(parts[0][3]) > MAX_SHARDS:
        return []
    head, _, count, end = parts[0].groups()
    wanted = [f"{head}{number:05}-of-{count}{end}" for number in range(1, int(count) + 1)]
    return [name for name in wanted if name not in {shard.name for shard in shards}]


def read_header(path: Path) -> list[Tensor]:
    """Names, shapes and types of a safetensors file.

    Raises PhibenchError: exit 2 for what is no such file, exit 1 for one that is cut off; OSError when unreadable.
    """
    files.check_readable(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > MAX_HEADER_BYTES:
            first_bytes.check(path, first_bytes.SAFETENSORS)
            raise PhibenchError(
                f"{path} is not a safetensors file: it says that its header has {length} bytes; download it again"
            )
        if 8 + length > size:
            raise untrusted.cut_off(path, 8 + length)
        said = untrusted.parse_json(stream.read(length), path)
    found = [_tensor(path, name, entry) for name, entry in said.items() if name != "__metadata__"]
    needs = max((end for _, end in found), default=0)
    if 8 + length + needs > size:
        raise untrusted.cut_off(path, 8 + length + needs)
    at = 0
    for tensor, end in sorted(found, key=lambda pair: pair[1]):  # no hole and no overlap, as its own readers demand
        at += tensor.bytes
        if at != end:
            raise PhibenchError(
                f"{path} is not a safetensors file that can be read: tensor {tensor.name[:100]!r} ends at {end}, "
                f"not at {at}; download it again"
            )
    if 8 + length + needs < size:
        raise PhibenchError(f"{path} has {size - 8 - length - needs} bytes that belong to no tensor: download it again")
    return [tensor for tensor, _ in found]


def _tensor(path: Path, name: str, entry: Any) -> tuple[Tensor, int]:
    """A tensor and where its bytes end, counted from the data's start."""
    entry = entry if isinstance(entry, dict) else {}
    dims, ends = entry.get("shape"), entry.get("data_offsets")
    lists = all(isinstance(one, list) and len(one) <= 8 for one in (dims, ends))
    numbers = [*dims, *ends] if lists else [None]
    kind, width = TYPES.get(untrusted.text(entry, "dtype"), ("", 0))
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= untrusted.MAX_COUNT for n in numbers)
    if not whole or not kind or len(ends) != 2 or ends[1] - ends[0] != math.prod(dims) * width:
        raise PhibenchError(
            f"{path} is not a safetensors file that can be read: tensor {name[:100]!r} of type "
            f"{untrusted.text(entry, 'dtype')[:20]!r}; download it again, or take the original"
        )
    return Tensor(name=name, shape=tuple(dims), type=kind, bytes=ends[1] - ends[0]), ends[1]
