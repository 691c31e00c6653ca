"""Which Phi and which quantization a GGUF file on disk is: by its shape, and among equal shapes by its names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.plans.base import Plan
from phibench.catalog.readers.gguf_header import Header, read_header
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Noun, Shape, Variant

__all__ = ["Header", "Recognised", "read_header", "recognise"]

ARCHITECTURES = ("phi2", "phi3", "phimoe")
GUESSED = 1024  # LLAMA_FTYPE_GUESSED: a flag beside the number
SAME_SIZE = 0.10  # mixes of other llama.cpp versions differ by up to some 5 %; a wrong name by far more


class Recognised(Noun, frozen=True, kw_only=True):
    """A file with a name. ``plan`` has the file's own tensors (and the key-values of a synthetic twin)."""

    variant: str
    quantization: str
    header: Header
    plan: Plan
    artifact: Artifact
    notes: tuple[str, ...] = ()


def recognise(path: Path) -> Recognised:
    """Variant and quantization of a Phi file.

    Raises PhibenchError: exit 2 when it is no GGUF or no Phi, exit 1 when it cannot be read or is cut off.
    """
    header = read_header(path)
    _check_kind(path, header)
    synthetic = header.metadata.get("phibench.synthetic") is True
    variant, notes = _own(path, header) if synthetic else _variant(path, header)
    layers = _layers(header)
    quantization, more = _quantization(path, header, variant, layers)
    planned = plans.plan(variant, quantization, layers, fmt="gguf")
    names = {tensor.name for tensor in header.tensors}
    plan = msgspec.structs.replace(
        planned,
        tensors=header.tensors,
        head="output.weight" if "output.weight" in names else planned.embedding,
        file_bytes=header.file_bytes,
        tokenizer_bytes=0,
    )
    artifact = Artifact(
        path=str(path),
        bytes=header.file_bytes,
        weights="synthetic" if synthetic else "real",
        layers=layers if layers < planned.of_layers else None,
        tensor_types=header.histogram,
        parameters=plan.parameters,
    )
    return Recognised(
        variant=variant.id,
        quantization=quantization,
        header=header,
        plan=plan,
        artifact=artifact,
        notes=(*notes, *more),
    )


def _check_kind(path: Path, header: Header) -> None:
    if header.architecture not in ARCHITECTURES:
        kind = f"a {header.architecture!r} model" if header.architecture else "a model that names no architecture"
        raise PhibenchError(f"{path} is {kind}; phibench measures Phi: {', '.join(ARCHITECTURES)}")
    if (header.count("split.count") or 0) > 1:
        raise PhibenchError(f"{path} is one part of several; join them first: llama-gguf-split --merge")


def _layers(header: Header) -> int:
    return header.count(f"{header.architecture}.block_count") or 0


def _own(path: Path, header: Header) -> tuple[Variant, tuple[str, ...]]:
    """The variant that a synthetic file says it is; a slice has fewer layers, all else must fit."""
    variant = catalog.variant(header.text("phibench.variant"))
    whole = variant.shape and msgspec.structs.replace(variant.shape, layers=_layers(header))
    if not whole or not _fits(whole, header):
        raise PhibenchError(f"{path} says that it is a synthetic {variant.id}, but has another shape")
    return variant, ()


def _variant(path: Path, header: Header) -> tuple[Variant, tuple[str, ...]]:
    """The variant with this shape; where several have it, the one that the file's names mean."""
    fitting = [v for v in catalog.variants() if v.shape and plans.can_plan(v, "gguf") and _fits(v.shape, header)]
    if not fitting:
        a = header.architecture
        raise PhibenchError(
            f"{path} is a {a} model, but no Phi that phibench knows has its shape ({_layers(header)} layers of "
            f"{header.count(f'{a}.embedding_length')}, vocabulary {_vocabulary(header)}); see phibench models"
        )
    for agrees in (_same_rope, _same_context):
        fitting = _prefer(fitting, lambda v, agrees=agrees: agrees(v.shape, header))  # type: ignore[misc]
    if len(fitting) == 1:
        return fitting[0], ()
    named = [(len(key), v) for v in fitting for key in _named(v, path, header)]
    if named:
        return max(named, key=lambda pair: pair[0])[1], ()
    first = _prefer(fitting, lambda v: v.modalities_in == ("text",))[0]
    others = ", ".join(v.id for v in fitting if v is not first)
    return first, (f"its shape is also that of {others}, and no name in the file decides: taken for {first.id}",)


def _prefer(variants: Sequence[Variant], good: Callable[[Variant], bool]) -> list[Variant]:
    """Those that are good; all of them when none is."""
    return [v for v in variants if good(v)] or list(variants)


def _fits(shape: Shape, header: Header) -> bool:
    """Every number that decides bytes and speed."""
    wanted = {
        "block_count": shape.layers,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.ffn,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "expert_count": shape.experts,
    }
    optional = {"attention.head_count_kv": shape.heads, "expert_count": 0}  # what an absent key means
    found = {key: header.count(f"{header.architecture}.{key}") for key in wanted}
    found = {key: optional.get(key) if value is None else value for key, value in found.items()}
    return shape.architecture == header.architecture and found == wanted and _vocabulary(header) == shape.vocab


def _vocabulary(header: Header) -> int | None:
    return next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), None)


def _same_rope(shape: Shape, header: Header) -> bool:
    longrope = any(tensor.name.startswith("rope_factors") for tensor in header.tensors)
    theta = header.metadata.get(f"{header.architecture}.rope.freq_base")
    return shape.longrope == longrope and theta in (None, shape.rope_theta)


def _same_context(shape: Shape, header: Header) -> bool:
    return header.count(f"{header.architecture}.context_length") == shape.context


def _named(variant: Variant, path: Path, header: Header) -> list[str]:
    """The variant's names that the file's names contain, without case and punctuation."""
    texts = [header.text("general.name"), header.text("general.base_model.0.name"), path.stem]
    texts.append(header.text("general.basename") + header.text("general.finetune"))
    said = [_key(text) for text in texts]
    known = [_key(name.removeprefix("microsoft/")) for name in catalog.names(variant)]
    return [key for key in known if any(key in text for text in said)]


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _quantization(path: Path, header: Header, variant: Variant, layers: int) -> tuple[str, tuple[str, ...]]:
    """The declared quantization if the tensors weigh what it says, else the one that they do weigh."""
    weighs = sum(tensor.bytes for tensor in header.tensors)
    planned = {name: plans.plan(variant, name, layers, fmt="gguf") for name in plan_gguf.types().quantizations}
    off = {name: abs(weighs / plan.weights_bytes - 1) for name, plan in planned.items()}
    declared = _declared(header)
    nearest = min(off, key=lambda name: off[name])
    chosen = declared if declared and off[declared] < SAME_SIZE else nearest
    if off[chosen] >= SAME_SIZE:
        raise PhibenchError(f"{path} has tensor types that are no known quantization of {variant.id}: {_types(header)}")
    if planned[chosen].histogram == header.histogram:
        return chosen, ()
    said = "" if chosen == declared else f"; the file calls itself {declared or 'nothing that phibench knows'}"
    version = plan_gguf.types().llama_cpp
    return chosen, (f"its tensor types ({_types(header)}) are not those of {chosen} in llama.cpp {version}{said}",)


def _declared(header: Header) -> str | None:
    number = header.count("general.file_type")
    by_number = {kind.ftype: name for name, kind in plan_gguf.types().quantizations.items()}
    return None if number is None else by_number.get(number & ~GUESSED)


def _types(header: Header) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(header.histogram.items()))
