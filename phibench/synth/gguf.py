"""Writes the bytes of a plan: a GGUF file of a Phi's true shape, without a download."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import BinaryIO

from phibench.catalog import tensor_types
from phibench.catalog.plans import plan
from phibench.catalog.plans.base import Plan
from phibench.catalog.plans.gguf import header
from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Artifact, Variant
from phibench.core.units import gb
from phibench.synth import cache, fill, quantizer
from phibench.synth.artifacts import Progress, artifact

ENTRIES = "*.gguf"
QUANTIZER = "llama-cpp-python"  # the package that makes the bytes, and may end its process


def ensure(
    variant: Variant, quantization: str, layers: int | None = None, progress: Progress | None = None
) -> Artifact:
    """The synthetic file of a setup, from the cache or written now.

    Raises PhibenchError (exit 1) when llama-cpp-python is missing or disk or cache limit are too small.
    """
    wanted = plan(variant, quantization, layers, fmt="gguf")
    path = _path(wanted)
    cache.ensure(
        path, wanted.file_bytes, progress, is_whole=lambda: _is_whole(path, wanted), check=quantizer.ggml_base,
        write=lambda: write(wanted, path, progress=progress),
    )  # fmt: skip
    return artifact(wanted, str(path))


def cached(variant: Variant, quantization: str, layers: int | None = None) -> Path | None:
    """Where the whole file of a setup already is."""
    wanted = plan(variant, quantization, layers, fmt="gguf")
    path = _path(wanted)
    return path if _is_whole(path, wanted) else None


def write(wanted: Plan, path: Path, filling: str = "gaussian", progress: Progress | None = None) -> None:
    """Write a plan to ``path``: under a temporary name first, in constant memory (under 300 MB).

    Raises PhibenchError (exit 1) when the disk is too small; nothing half-written stays.
    """
    filler = fill.Filler(filling)
    quantizer.ggml_base()
    _check_disk(path, wanted)
    try:
        with files.atomic(path) as stream:
            pour(wanted, filler, stream, progress)
    except PhibenchError as error:
        raise PhibenchError(f"{error}; the file needs {gb(wanted.file_bytes)}", error.exit_code) from None


def pour(wanted: Plan, filler: fill.Filler, stream: BinaryIO, progress: Progress | None = None) -> None:
    """Header, then every tensor with its padding, in pieces of a few MB."""
    done, total = stream.write(header(wanted)), wanted.file_bytes
    for index, tensor in enumerate(wanted.tensors):
        for piece in filler.chunks(tensor, index):
            done += stream.write(piece)
            if progress:
                progress(done, total)
        done += stream.write(bytes(tensor_types.padded(tensor.bytes) - tensor.bytes))
    if progress:
        progress(done, total)


def header_only(wanted: Plan, path: Path) -> None:
    """The header and then nothing up to the full length: a sparse file, to ask an engine about memory."""
    with files.atomic(path) as stream:
        stream.write(header(wanted))
        stream.truncate(wanted.file_bytes)


def _check_disk(path: Path, wanted: Plan) -> None:
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < wanted.file_bytes:
        raise PhibenchError(
            f"{wanted.variant} {wanted.quantization} needs {gb(wanted.file_bytes)} in {path.parent}, {gb(free)} are "
            "free; free some, set PHIBENCH_CACHE to another disk, or measure a slice with --layers",
            FAILED,
        )


def _path(wanted: Plan) -> Path:
    slice_ = f"-{wanted.layers}layers" if wanted.layers < wanted.of_layers else ""
    digest = hashlib.sha256(header(wanted) + f"gaussian {fill.VERSION}".encode()).hexdigest()[:10]
    return cache.folder("gguf") / f"{wanted.variant}-{wanted.quantization}{slice_}-{digest}.gguf"


def _is_whole(path: Path, wanted: Plan) -> bool:
    """A file that was cut or swapped by hand is not ours any more."""
    try:
        return path.stat().st_size == wanted.file_bytes
    except OSError:
        return False
