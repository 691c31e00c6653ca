"""Writes the files of a plan: an ONNX folder of a Phi's true shape that onnxruntime-genai opens, without a download."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from phibench.catalog.plans import hf_config, plan
from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.plans.base import Plan
from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Artifact, Variant
from phibench.core.units import gb
from phibench.synth import cache, fill
from phibench.synth.artifacts import Progress, artifact
from phibench.synth.onnx import weights as contents

if TYPE_CHECKING:
    from onnx import ModelProto

MODEL, DATA, CONFIG = "model.onnx", "model.onnx.data", "genai_config.json"
ENTRIES = "[!.]*"  # folders
QUANTIZER = "onnxruntime"  # the package that makes the bytes, and may end its process
_PADDING = "phibench.padding"


def ensure(
    variant: Variant, quantization: str, layers: int | None = None, progress: Progress | None = None
) -> Artifact:
    """The synthetic folder of a setup, from the cache or written now.

    Raises PhibenchError (exit 1) when onnx or onnxruntime is missing or disk or cache limit are too small.
    """
    wanted = plan(variant, quantization, layers, fmt="onnx")
    path = _path(wanted)
    cache.ensure(
        path, wanted.file_bytes, progress, is_whole=lambda: _is_whole(path, wanted), check=contents.check_packages,
        write=lambda: write(wanted, path, progress=progress),
    )  # fmt: skip
    return artifact(wanted, str(path))


def cached(variant: Variant, quantization: str, layers: int | None = None) -> Path | None:
    """Where the whole folder of a setup already is."""
    wanted = plan(variant, quantization, layers, fmt="onnx")
    path = _path(wanted)
    return path if _is_whole(path, wanted) else None


def write(
    wanted: Plan,
    folder: Path,
    weights: contents.Weights | None = None,
    rope: hf_config.Factors | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a plan to ``folder``: under a temporary name first, in constant memory (under 400 MB).

    ``weights`` maps a Hugging Face tensor name to its values, shape (out, in), which are really quantized; without
    it, noise. ``rope``: the factors of LongRoPE, else those of ``catalog.hf``. Raises PhibenchError (exit 1) when
    a package is missing or the disk is too small; nothing half-written stays.
    """
    contents.check_packages()
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        _write(wanted, part, weights, rope, progress)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise PhibenchError(f"cannot write {folder}: {error.strerror}", FAILED) from None
    except PhibenchError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise PhibenchError(f"{error}; the folder needs {gb(wanted.file_bytes)}", error.exit_code) from None
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write(
    wanted: Plan,
    folder: Path,
    weights: contents.Weights | None,
    rope: hf_config.Factors | None,
    progress: Progress | None,
) -> None:
    source = contents.Given(wanted, weights) if weights else contents.Noise(wanted)
    with files.atomic(folder / DATA) as stream:
        _pour(wanted, source, rope, stream, progress)
    with files.atomic(folder / MODEL) as stream:
        stream.write(_model(wanted, rope, synthetic=weights is None))
    small = {CONFIG: plan_onnx.genai_config(wanted), plan_onnx.ABOUT: plan_onnx.about(wanted, weights is None)}
    for name, content in small.items():
        with files.atomic(folder / name) as stream:
            stream.write(content)
    if progress:
        progress(wanted.file_bytes, wanted.file_bytes)


def _pour(
    wanted: Plan,
    source: contents.Noise | contents.Given,
    rope: hf_config.Factors | None,
    stream: BinaryIO,
    progress: Progress | None,
) -> None:
    """The weights, one behind the other, in pieces."""
    done = 0
    for index, tensor in enumerate(wanted.tensors):
        if plan_onnx.is_branch(tensor):
            continue
        pieces: Iterator[memoryview] = source.chunks(tensor, index)
        if tensor.name in ("cos_cache", "sin_cache"):
            pieces = iter([memoryview(contents.table(wanted, tensor.name, rope).tobytes())])
        for piece in pieces:
            done += stream.write(piece)
            if progress:
                progress(done, wanted.file_bytes)


def _model(wanted: Plan, rope: hf_config.Factors | None, synthetic: bool) -> bytes:
    """``model.onnx``: the graph, where each weight lies, and padding up to the planned size."""
    from onnx import helper

    from phibench.synth.onnx import graph

    model = with_places(wanted, graph.model(wanted, lambda name: contents.table(wanted, name, rope)))
    told = {"phibench.synthetic": str(synthetic).lower(), "phibench.variant": wanted.variant, _PADDING: ""}
    helper.set_model_props(model, told)
    return _padded(model, plan_onnx.graph_bytes(wanted))


def with_places(wanted: Plan, model: ModelProto) -> ModelProto:
    """The model, told where in ``model.onnx.data`` each of its weights lies."""
    from onnx import TensorProto

    types = {"uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}
    offset = 0
    for tensor in wanted.tensors:
        for part in () if plan_onnx.is_branch(tensor) else contents.parts(tensor):
            one = TensorProto(name=part.name, data_type=types[part.kind], dims=part.dims)
            one.data_location = TensorProto.EXTERNAL
            for key, value in (("location", DATA), ("offset", offset), ("length", part.bytes)):
                one.external_data.add(key=key, value=str(value))
            model.graph.initializer.append(one)
            offset += part.bytes
    return model


def _padded(model: ModelProto, size: int) -> bytes:
    """Serialized in ``size`` bytes, with spaces in its last property.

    A length is a number of 1 to 5 bytes before the text; with at least 16384 spaces it has 3 bytes, always.
    """
    padding = model.metadata_props[-1]
    assert padding.key == _PADDING
    padding.value = " " * plan_onnx.PADDING_BYTES
    missing = size - model.ByteSize()
    assert missing >= 0, f"the graph takes {-missing} bytes more than planned"
    padding.value += " " * missing
    content: bytes = model.SerializeToString()
    return content


def _path(wanted: Plan) -> Path:
    slice_ = f"-{wanted.layers}layers" if wanted.layers < wanted.of_layers else ""
    versions = f"gaussian {fill.VERSION} {contents.VERSION}".encode()
    digest = hashlib.sha256(msgspec.json.encode(wanted, order="deterministic") + versions).hexdigest()[:10]
    return cache.folder("onnx") / f"{wanted.variant}-{wanted.quantization}{slice_}-{digest}"


def _is_whole(path: Path, wanted: Plan) -> bool:
    """A folder that was cut or swapped by hand is not ours any more."""
    try:
        return sum(file.stat().st_size for file in path.iterdir()) == wanted.file_bytes
    except OSError:
        return False
