"""Files of models from anywhere: GGUF, folders of Hugging Face, packages of onnxruntime-genai. No weight is read."""

from __future__ import annotations

import importlib.util
import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hf_folders
import numpy as np
from mutate import JSON_STEPS, Sparse, Step, Tree, in_json

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.plans import hf_config
from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.readers import folder as folders
from phibench.catalog.readers import gguf, hugging_face
from readers.oracles import Reader, noun


def _check(_tree: Tree, found: Any) -> Iterator[str]:
    """Sizes that can be, of a Phi that is known."""
    yield from noun(found)
    size = found.artifact.bytes
    if not all(one.bytes >= 0 and all(n >= 1 for n in one.shape) for one in found.plan.tensors):
        yield "a tensor of no such size"
    if not 0 < found.plan.weights_bytes <= size:
        yield "more bytes of weights than of files"
    if not found.artifact.parameters > 0:
        yield "no parameters"


def _beside(found: Any, right: Any) -> Iterator[str]:
    """What is not what the sample is must say so in a note: a damaged file is never another model in silence."""
    if right is not None and _what(found) != _what(right) and not set(found.notes) - set(right.notes):
        differs = [name for name, one, other in zip(_WHAT, _what(found), _what(right), strict=True) if one != other]
        yield f"another {', '.join(differs)} without a word"


_WHAT = ("variant", "quantization", "layers", "parameters", "weights", "tying", "facts")


def _what(found: Any) -> tuple[Any, ...]:
    facts = {key: value for key, value in found.artifact.facts.items() if key not in ("exporter", "kv_buffer")}
    return (found.variant, found.quantization, found.plan.layers, found.artifact.parameters, found.plan.weights_bytes,
            found.plan.tied, facts)  # fmt: skip


# ------------------------------------------------------------------------------------------------- GGUF


def _ggufs() -> list[Tree]:
    found: list[Tree] = []
    for name, quantization in (("phi-1", "Q4_K_M"), ("phi-3.5-mini-instruct", "Q8_0"), ("phi-4-mini-instruct", "Q4_0")):
        plan = plans.plan(catalog.variant(name), quantization, fmt="gguf")
        keys = {k: v for k, v in plan.metadata.items() if not k.startswith("phibench.")} | {"general.name": name}
        head = tensor_types.header(keys, plan.tensors)
        found.append({"model.gguf": Sparse(head, len(head) + sum(tensor_types.padded(t.bytes) for t in plan.tensors))})
    return found


def _gguf(folder: Path) -> Any:
    return gguf.recognise(folder / "model.gguf")


# ------------------------------------------------------------------------------------------------- Hugging Face


def _safetensors(entries: dict[str, Any]) -> Sparse:
    head = json.dumps(entries).encode()
    size = max(entry["data_offsets"][1] for entry in entries.values() if "data_offsets" in entry)
    return Sparse(struct.pack("<Q", len(head)) + head, 8 + len(head) + size)


def _hugging_faces() -> list[Tree]:
    found: list[Tree] = []
    for name in ("phi-4", "phi-3.5-mini-instruct", "phi-4-mini-instruct"):
        shape = catalog.variant(name).shape
        assert shape is not None
        config = json.dumps(hf_config.config(shape, shape.layers) | {"_name_or_path": f"microsoft/{name}"}, indent=1)
        tensors = hf_folders.shapes(name)
        if name == "phi-4":
            whole = _safetensors(hf_folders.head(tensors))
            found.append({"config.json": config.encode(), "model.safetensors": whole})
            continue
        parts = {f"model-0000{n + 1}-of-00002.safetensors": list(tensors)[n::2] for n in range(2)}
        shards = {file: _safetensors(hf_folders.head(hf_folders.part(tensors, names))) for file, names in parts.items()}
        total = sum(shard.size - 8 - int.from_bytes(shard.head[:8], "little") for shard in shards.values())
        index = {"metadata": {"total_size": total},
                 "weight_map": {one: file for file, names in parts.items() for one in names}}  # fmt: skip
        found.append({"config.json": config.encode(), hugging_face.INDEX: json.dumps(index).encode(), **shards})
    return found


def _of_header(step: Step) -> Step:
    """A step of the JSON in a safetensors file, its length told anew."""

    def changed(rng: random.Random, data: bytes) -> bytes | None:
        if len(data) < 9 or data[8:9] != b"{":
            return None
        new = step(rng, data[8:])
        return None if new is None else struct.pack("<Q", len(new)) + new

    return changed


# ------------------------------------------------------------------------------------------------- ONNX


def _packages() -> list[Tree]:
    if importlib.util.find_spec("onnx") is None:
        return []
    from phibench.synth import onnx
    from phibench.synth.onnx import graph

    found: list[Tree] = []
    for name, quantization in (("phi-2", "int4"), ("phi-4", "fp16")):
        plan = plans.plan(catalog.variant(name), quantization, 2, fmt="onnx")
        model = onnx.with_places(plan, graph.model(plan, lambda _: np.zeros((4, 2), np.float32)))
        found.append({
            "model.onnx": model.SerializeToString(), "model.onnx.data": Sparse(b"", plan_onnx.data_bytes(plan)),
            "genai_config.json": plan_onnx.genai_config(plan), "phibench.json": plan_onnx.about(plan),
        })  # fmt: skip
    return found


_JSON_STEPS = {name: _of_header(in_json(name)) for name in JSON_STEPS}
READERS = (
    Reader("gguf", _ggufs, _gguf, _check, _beside),
    Reader("hugging-face-folder", _hugging_faces, folders.recognise, _check, _beside, _JSON_STEPS,
           harmless=frozenset({"another file beside"})),
    *((Reader("onnx-package", _packages, folders.recognise, _check, _beside,
              harmless=frozenset({"another file beside"})),) if importlib.util.find_spec("onnx") else ()),
)  # fmt: skip
