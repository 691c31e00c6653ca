"""Which Phi, quantization and format a folder on disk is: a package of onnxruntime-genai, or one of Hugging Face.

The folder is from anywhere: nothing in it is trusted, no weight is read, and pickles are refused.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from phibench.catalog import plans
from phibench.catalog.plans.base import Plan
from phibench.catalog.readers import other_folders, untrusted, which
from phibench.catalog.readers.untrusted import HUGGING_FACE, ONNX, Content
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Noun, Variant


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
    variant, notes = _variant(path, content)
    assert variant.shape is not None
    layers = content.numbers["layers"]
    planned = plans.plan(variant, content.quantization, layers, fmt=content.format)
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


def _variant(path: Path, content: Content) -> tuple[Variant, tuple[str, ...]]:
    """The variant with this shape; of a synthetic folder the one that it names."""
    if content.told is not None:
        return which.own(path, content, content.told, content.format), ()
    named = msgspec.structs.replace(content, names=(*content.names, *which.own_names(path)), places=which.places(path))
    return which.variant(path, named, content.format)


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
