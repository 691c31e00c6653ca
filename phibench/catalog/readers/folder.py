"""Which Phi, quantization and format a folder on disk is: a package of onnxruntime-genai, or one of Hugging Face.

The folder is from anywhere: nothing in it is trusted, no weight is read, and pickles are refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.plans.base import Plan
from phibench.catalog.readers.untrusted import HUGGING_FACE, ONNX, Content
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Artifact, Noun, Variant

_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


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


def _content(path: Path) -> Content:
    from phibench.catalog.readers import hugging_face, onnx

    try:
        if (path / ONNX).is_file():
            return onnx.read(path)
        if (path / HUGGING_FACE).is_file():
            if not any(path.glob("*.safetensors")) and any(next(path.glob(p), None) for p in _PICKLES):
                raise PhibenchError(
                    f"{path} holds its weights as pickles, which can run any code when they are opened; "
                    "take the model's safetensors files"
                )
            return hugging_face.read(path)
    except OSError as error:
        raise PhibenchError(f"cannot read {error.filename or path}: {error.strerror or error}", FAILED) from None
    if not path.exists():
        raise PhibenchError(f"there is no folder {path}")
    if not path.is_dir():
        raise PhibenchError(
            f"{path} is no folder; phibench opens .gguf files and folders with {ONNX} or {HUGGING_FACE}"
        )
    below = next((found for depth in ("*", "*/*") for found in path.glob(f"{depth}/{ONNX}")), None)
    hint = f"; did you mean {below.parent}?" if below else ""
    raise PhibenchError(f"{path} has neither {ONNX} (ONNX) nor {HUGGING_FACE} (Hugging Face){hint}")


def _variant(path: Path, content: Content) -> tuple[Variant, tuple[str, ...]]:
    """The variant with this shape; where several have it, the one that the folder's names mean."""
    if content.told is not None:
        variant = catalog.variant(content.told)
        if not _fits(variant, content, synthetic=True):
            raise PhibenchError(f"{path} says that it is a synthetic {variant.id}, but has another shape")
        return variant, ()
    fitting = [v for v in catalog.variants() if _fits(v, content)]
    if not fitting:
        said = ", ".join(f"{key} {value}" for key, value in content.numbers.items() if value is not None)
        raise PhibenchError(f"{path} has the shape of no Phi that phibench knows ({said}); see phibench models")
    for good in (_same_rope, _same_context):
        fitting = [v for v in fitting if good(v, content)] or fitting
    if len(fitting) == 1:
        return fitting[0], ()
    texts = [_key(text) for text in (*content.names, str(path.resolve()))]
    named = [(len(key), v) for v in fitting for key in _keys(v) if any(key in text for text in texts)]
    if named:
        return max(named, key=lambda pair: pair[0])[1], ()
    others = ", ".join(v.id for v in fitting[1:])
    note = f"its shape is also that of {others}, and no name decides: taken for {fitting[0].id}"
    return fitting[0], (note,)


def _fits(variant: Variant, content: Content, *, synthetic: bool = False) -> bool:
    """Every number that decides bytes and speed; a synthetic folder may be a slice."""
    shape = variant.shape
    if shape is None or shape.architecture != content.architecture or plans.objection(variant, content.format):
        return False
    numbers = {key: value for key, value in content.numbers.items() if key != "context" and value is not None}
    if synthetic and 1 <= (numbers.pop("layers", 0)) <= shape.layers:
        numbers["layers"] = shape.layers
    return all(getattr(shape, key) == value for key, value in numbers.items())


def _same_rope(variant: Variant, content: Content) -> bool:
    return variant.shape is not None and variant.shape.longrope == content.longrope


def _same_context(variant: Variant, content: Content) -> bool:
    return variant.shape is not None and variant.shape.context == content.numbers["context"]


def _keys(variant: Variant) -> list[str]:
    return [_key(name.removeprefix("microsoft/")) for name in catalog.names(variant)]


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


# ------------------------------------------------------------------------------------- reading what is not trusted
