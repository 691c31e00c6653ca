"""Which Phi, quantization and format a folder on disk is: a package of onnxruntime-genai, or one of Hugging Face.

The folder is from anywhere: nothing in it is trusted, no weight is read, and pickles are refused.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import msgspec

from phibench.catalog import plans
from phibench.catalog.plans.base import Plan
from phibench.catalog.readers import other_folders, untrusted, which
from phibench.catalog.readers.untrusted import HUGGING_FACE, ONNX, Content
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Noun

_HEAD = "lm_head.weight"  # absent, or a copy of the embedding, where it is tied
# what GPTQ, AWQ, bitsandbytes, compressed-tensors and ModelOpt keep beside or in place of a matrix
_PACKED = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|absmax|quant_map|weight_packed|weight_scale\w*|input_scale)$|quant_state"
)


class Recognised(Noun, frozen=True, kw_only=True):
    """A folder with a name. ``plan`` has the folder's own tensors and facts."""

    variant: str
    quantization: str
    format: str  # "onnx" or "torch"
    plan: Plan
    artifact: Artifact
    notes: tuple[str, ...] = ()


def recognise(path: Path) -> Recognised:
    """Variant and quantization of a folder with a Phi in it.

    Raises PhibenchError: exit 2 when it is no such folder or no Phi, exit 1 when it cannot be read or is cut off.
    """
    content = _content(path)
    named = msgspec.structs.replace(content, names=(*content.names, *which.own_names(path)), places=which.places(path))
    variant, notes = which.variant(path, named, content.format, content.told)
    assert variant.shape is not None
    layers = content.numbers["layers"]
    planned = plans.plan(variant, content.quantization, layers, fmt=content.format)
    if content.format == "torch":
        _check_tensors(path, content, planned)
    plan = msgspec.structs.replace(
        planned, tensors=content.tensors, embedding=content.embedding, head=content.head, file_bytes=content.bytes,
        tokenizer_bytes=0, facts={**planned.facts, **content.facts},
    )  # fmt: skip
    artifact = Artifact(
        path=str(path),
        bytes=content.bytes,
        weights="synthetic" if content.told else "real",
        layers=layers if layers != variant.shape.layers else None,
        tensor_types=plan.histogram,
        parameters=plan.parameters,
        facts=plan.facts,
    )
    return Recognised(
        variant=variant.id,
        quantization=content.quantization,
        format=content.format,
        plan=plan,
        artifact=artifact,
        notes=(*content.notes, *notes),
    )


def _check_tensors(path: Path, content: Content, planned: Plan) -> None:
    """Raises PhibenchError (exit 2) unless the tensors are those that its config.json asks for, as PyTorch would."""
    has, due = ({one.name: math.prod(one.shape) for one in of.tensors} for of in (content, planned))
    lacks, strange = (sorted((one.keys() - other.keys()) - {_HEAD}) for one, other in ((due, has), (has, due)))
    if any(_PACKED.search(name) for name in strange):
        raise PhibenchError(f"{path} was quantized by another tool ({strange[0][:100]!r}): take the original")
    if lacks and not strange:
        raise PhibenchError(f"{path} lacks {len(lacks)} of its {len(due)} tensors, as {lacks[0]}: download it again")
    if lacks or strange:
        what = f"lacks {lacks[0]} and has {strange[0][:100]!r}" if lacks else f"has {strange[0][:100]!r}"
        raise PhibenchError(
            f"{path} is not the model of its config.json: it {what}: take the original, or save it anew with the names "
            "that transformers gives"
        )
    if other := next((name for name in due if ".layers." in name and has[name] != due[name]), None):
        raise PhibenchError(
            f"{path} is not the model of its config.json: {other} has {has[other]} weights, not {due[other]}: take the "
            "original"
        )


def _content(path: Path) -> Content:
    from phibench.catalog.readers import hugging_face, onnx

    if not path.is_dir():
        raise untrusted.missing(path, "folder") if not path.exists() else _file(path)
    try:
        if (path / ONNX).is_file():
            return onnx.read(path)
        if (path / HUGGING_FACE).is_file():
            return hugging_face.read(path)
        raise other_folders.unknown(path)
    except OSError as error:
        raise untrusted.unreadable(path, error) from None


def _file(path: Path) -> PhibenchError:
    return PhibenchError(f"{path} is no folder; phibench opens GGUF files, and folders with {ONNX} or {HUGGING_FACE}")
