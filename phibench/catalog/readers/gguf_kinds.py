"""GGUF files that are no Phi one could measure: what each is, and what to take instead."""

from __future__ import annotations

import re
from pathlib import Path

from phibench.catalog.readers import untrusted, which
from phibench.catalog.readers.gguf_header import Header
from phibench.catalog.readers.untrusted import Said
from phibench.core.errors import PhibenchError
from phibench.core.nouns import ARCHITECTURES

_TAKE = "take the text model's file"
# general.type (GGUFType in gguf-py/gguf/constants.py), or an architecture that is as good as one
_TYPES = {
    "adapter": ("a LoRA adapter{of}, no whole model", "merge it into its model first: llama-export-lora"),
    "imatrix": ("an importance matrix, which steers quantizing, no model", "take the quantized model's file"),
    "mmproj": ("the {part} part of a model", _TAKE),
    "clip": ("the {part} part of a model", _TAKE),
    "controlvector": ("a control vector, no model", "take the file of the model that it steers"),
    "vocab": ("a vocabulary without weights", "take the model's file"),
}
_EMBEDS = re.compile(r"bert|embed|t5encoder|jina", re.IGNORECASE)  # LLM_ARCH_NAMES in llama.cpp's llama-arch.cpp
_DRAFTS = re.compile(r"eagle|mtp|medusa", re.IGNORECASE)


def check(path: Path, header: Header, said: Said) -> None:
    """Raises PhibenchError (exit 2) for what is no whole Phi in one file."""
    check_model(path, header)
    name = header.architecture
    if name in ARCHITECTURES:
        return
    if not name:
        raise PhibenchError(f"{path} is a GGUF file that names no architecture, so no model: take a Phi's file")
    if phi := which.in_llamas_form(path, said, "gguf"):
        raise PhibenchError(
            f"{path} is {phi.id} in {untrusted.plain(name, 50)}'s form (its fused matrices are split), another graph: "
            f"take a file that was made of the original, {phi.hf_repo}"
        )
    what = "an embedding model" if _EMBEDS.search(name) else "a draft model" if _DRAFTS.search(name) else "a model"
    raise PhibenchError(
        f"{path} is {what} of the kind {name[:50]!r}; phibench measures Phi ({', '.join(ARCHITECTURES)}): "
        "take the file of one of 'phibench models'"
    )


def check_model(path: Path, header: Header) -> None:
    """Raises PhibenchError (exit 2) for what is no whole model in one file, whosever it is."""
    _check_whole(path, header)
    if kind := _kind(header):
        what, remedy = _TYPES[kind]
        base = header.text("general.base_model.0.name")
        sound = any(key.startswith("clip.audio.") for key in header.metadata)
        image = not sound or any(key.startswith("clip.vision.") for key in header.metadata)
        part = " and ".join(["image"] * image + ["sound"] * sound)
        said = what.format(of=f" of {untrusted.plain(base, 60)}" if base else "", part=part)
        raise PhibenchError(f"{path} is {said}: {remedy}")


def _check_whole(path: Path, header: Header) -> None:
    """Parts of llama-gguf-split: only the first says which model it is."""
    count, number = header.count("split.count") or 0, header.count("split.no") or 0
    if count < 2:
        return
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
    raise PhibenchError(
        f"{path} is part {number + 1} of {count}, not the whole model: join them first: "
        f"llama-gguf-split --merge {stem}-00001-of-{count:05}.gguf {stem}.gguf"
    )


def _kind(header: Header) -> str | None:
    kind = header.text("general.type")
    if kind in _TYPES:
        return kind
    if header.architecture in _TYPES:
        return header.architecture
    if any(key.startswith("imatrix.") for key in header.metadata):
        return "imatrix"
    if "adapter.type" in header.metadata or any(tensor.name.endswith(".lora_a") for tensor in header.tensors):
        return "adapter"
    return None if header.tensors or not header.architecture else "vocab"
